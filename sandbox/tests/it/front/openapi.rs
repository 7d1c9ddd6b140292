//! `docs/openapi.json` describes the real responses: every kind of response is checked against it, and so is every request that the tests
//! send as a page would.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use connector::frontend_api::redirect_urls::RedirectMessage;
use connector::frontend_api::{NextStep, Reply};
use connector::gateway::GatewayName;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::SHOP_ORIGIN;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::gateway_fixtures::PAYPAL_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::tokens::{paypal_shopper, redirect_url, shopper, with_addresses};
use crate::front::{Buyer, GOOD, NATIVE, REDIRECTING, buyer, card, redirect_result};

const START: &str = "initial-payment";
const FINALIZE: &str = "initial-payment/finalize";
const TOKENS: &str = connector::checkout::order::REDIRECT_PATH;
const DETAILS_TOKENS: &str = connector::checkout::details::REDIRECT_PATH;
const METHODS: &str = connector::checkout::page_methods::METHODS_PATH;
const SESSIONS: &str = connector::checkout::page_methods::SESSIONS_PATH;
const STORE: &str = "payment-details";
const STORE_FINALIZE: &str = "payment-details/finalize";

struct OpenApiFile(Value);

impl OpenApiFile {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        Self(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    /// The operation of a path, whichever method it has.
    fn operation(&self, path: &str) -> &Value {
        let operations = self.0["paths"][format!("/connectors/{{gateway}}/{path}")].as_object();
        operations.unwrap_or_else(|| panic!("{path} is not described")).values().next().unwrap()
    }

    /// What of a value does not fit the schema that this content names.
    fn schema_errors(&self, content: &Value, value: &Value) -> Vec<String> {
        let name = content["application/json"]["schema"]["$ref"].as_str().unwrap();
        // The document itself is the root, so that its references lead somewhere.
        let mut root = self.0.clone();
        root["$ref"] = json!(name);
        let validator = jsonschema::draft202012::new(&root).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn check_response(&self, path: &str, reply: &Reply) {
        let answer = &self.operation(path)["responses"][reply.status.as_str()];
        assert!(answer.is_object(), "{path} answers {} and the description does not know it: {}", reply.status, reply.body);
        assert_eq!(self.schema_errors(&answer["content"], &reply.body), Vec::<String>::new(), "{path} {}: {}", reply.status, reply.body);
    }
}

/// A page that checks everything it sends and is told.
struct CheckedClient<'a> {
    env: &'a TestEnvironment,
    description: &'a OpenApiFile,
    seen: BTreeSet<(String, u16)>,
}

impl CheckedClient<'_> {
    async fn call(&mut self, path: &str, token: &str, body: &Value) -> Reply {
        let request = &self.description.operation(path)["requestBody"]["content"];
        assert_eq!(self.description.schema_errors(request, body), Vec::<String>::new(), "{path}: {body}");
        self.call_malformed(path, token, body).await
    }

    /// The same at PayPal.
    async fn call_paypal(&mut self, path: &str, token: &str, body: &Value) -> Reply {
        let request = &self.description.operation(path)["requestBody"]["content"];
        assert_eq!(self.description.schema_errors(request, body), Vec::<String>::new(), "{path}: {body}");
        let reply = self.env.call_at(GatewayName::PayPal, path, token, body).await;
        self.description.check_response(path, &reply);
        self.seen.insert((path.to_owned(), reply.status.as_u16()));
        reply
    }

    /// A browser follows an address of this way.
    async fn follow(&mut self, way: &str, address: &str) -> Reply {
        let reply = self.env.follow_redirect(address).await;
        self.description.check_response(way, &reply);
        assert_eq!(reply.location.is_some(), reply.status == 303, "{address}");
        self.seen.insert((way.to_owned(), reply.status.as_u16()));
        reply
    }

    async fn call_malformed(&mut self, path: &str, token: &str, body: &Value) -> Reply {
        let reply = self.env.call(path, token, body).await;
        self.description.check_response(path, &reply);
        self.seen.insert((path.to_owned(), reply.status.as_u16()));
        reply
    }
}

fn store_body(method: &Value) -> Value {
    json!({ "paymentMethodId": ADYEN_METHOD, "paymentMethod": method, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/account"), "active": true })
}

#[tokio::test]
async fn every_answer_matches_the_openapi_file() {
    let (env, description) = (TestEnvironment::default(), OpenApiFile::read());
    let mut page = CheckedClient { env: &env, description: &description, seen: BTreeSet::new() };
    // Paid at once, with a redirect, within the page, and refused.
    let one = buyer(&env);
    page.call(START, &one.token, &one.start_body(&card(GOOD, "J D", "1"))).await;
    let two = buyer(&env);
    let action = page.call(START, &two.token, &two.start_body(&card(REDIRECTING, "J D", "1"))).await;
    let back = json!({ "orderId": two.order, "details": redirect_result(&action) });
    page.call(FINALIZE, &two.token, &back).await;
    let three = buyer(&env);
    let first = page.call(START, &three.token, &three.start_body(&card(NATIVE, "J D", "1"))).await;
    let round = json!({ "threeDSResult": first.body["responseData"]["action"]["token"] });
    page.call(FINALIZE, &three.token, &json!({ "orderId": three.order, "details": round })).await;
    let four = buyer(&env);
    for entry in 0..6 {
        page.call(START, &four.token, &four.start_body(&card(GOOD, "DECLINED", &entry.to_string()))).await;
    }
    // Nothing waits, pending, unavailable, not the customer's, no token, not understood.
    let five = buyer(&env);
    page.call(FINALIZE, &five.token, &json!({ "orderId": five.order, "details": { "redirectResult": "X" } })).await;
    env.network.inject(Fault::TimeoutAfter, |peer, _| peer == "adyen");
    page.call(START, &five.token, &five.start_body(&card(GOOD, "J D", "1"))).await;
    env.network.inject(Fault::NotSent, |peer, _| peer == "cleeng");
    page.call(START, &five.token, &five.start_body(&card(GOOD, "J D", "1"))).await;
    let thief = Buyer { order: one.order.clone(), ..buyer(&env) };
    page.call(START, &thief.token, &thief.start_body(&card(GOOD, "J D", "1"))).await;
    page.call(START, "nothing", &one.start_body(&card(GOOD, "J D", "1"))).await;
    page.call_malformed(START, &one.token, &json!({ "orderId": [] })).await;
    page.call_malformed(START, &one.token, &json!({ "orderId": 1, "card": "4111111111111111" })).await;
    page.call_malformed(START, &one.token, &json!({ "orderId": 1, "more": "x".repeat(40_000) })).await;
    let seen: Vec<u16> = page.seen.iter().filter(|(path, _)| path == START).map(|(_, status)| *status).collect();
    assert_eq!(seen, [200, 202, 400, 401, 404, 413, 422, 429, 503]);
    // What a component asks for.
    page.call(METHODS, &one.token, &json!({ "orderId": one.order })).await;
    page.call(METHODS, &one.token, &json!({})).await;
    page.call(SESSIONS, &one.token, &json!({ "orderId": one.order, "returnUrl": SHOP_ORIGIN })).await;
    page.call(METHODS, "nothing", &json!({})).await;
    // Storing details.
    page.call(STORE, &one.token, &store_body(&card(GOOD, "J D", "1"))).await;
    let action = page.call(STORE, &two.token, &store_body(&card(REDIRECTING, "J D", "1"))).await;
    let back = json!({ "paymentMethodId": ADYEN_METHOD, "details": redirect_result(&action) });
    page.call(STORE_FINALIZE, &two.token, &back).await;
    page.call(STORE, &three.token, &store_body(&card(GOOD, "DECLINED", "1"))).await;
    page.call(STORE_FINALIZE, &three.token, &back).await;
    page.call_malformed(STORE, &one.token, &json!({ "paymentMethodId": ADYEN_METHOD, "active": "yes" })).await;
}

#[tokio::test]
async fn every_answer_in_the_redirect_style_matches_the_openapi_file() {
    let (env, description) = (TestEnvironment::default(), OpenApiFile::read());
    let mut page = CheckedClient { env: &env, description: &description, seen: BTreeSet::new() };
    for (tokens, of_order) in [(TOKENS, true), (DETAILS_TOKENS, false)] {
        let (back, cancel) = (format!("{tokens}/return/{{reference}}"), format!("{tokens}/cancel/{{reference}}"));
        let new = || {
            let shopper = paypal_shopper(&env);
            let about = if of_order { json!({ "orderId": shopper.order }) } else { json!({ "paymentMethodId": PAYPAL_METHOD }) };
            (with_addresses(about), shopper)
        };
        // There and back, there and given up, and the same again.
        for agrees in [true, false] {
            let (body, one) = new();
            let away = redirect_url(&page.call_paypal(tokens, &one.token, &body).await);
            let address = env.paypal.complete_redirect(&away, agrees).unwrap();
            page.follow(if agrees { &back } else { &cancel }, &address).await;
            page.call_paypal(tokens, &one.token, &body).await;
        }
        // Too late, not understood, unknown, too long.
        let (body, two) = new();
        let away = redirect_url(&page.call_paypal(tokens, &two.token, &body).await);
        let address = env.paypal.complete_redirect(&away, true).unwrap();
        let (path, _) = address.split_once('?').unwrap();
        page.follow(&back, path).await;
        page.follow(&back, &format!("{path}?a={}", "x".repeat(9_000))).await;
        page.follow(&back, &format!("/connectors/paypal/{tokens}/return/clg-00000000-0000-8000-8000-000000000000?a=1")).await;
        env.clock.advance(Duration::from_secs(25 * 3_600));
        page.follow(&back, &address).await;
        // Pending, unavailable, no token, not understood, payment data missing.
        let (body, three) = new();
        env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "paypal" && !request.path.starts_with("/v1/"));
        page.call_paypal(tokens, &three.token, &body).await;
        env.network.inject(Fault::NotSent, |peer, _| peer == "cleeng");
        page.call_paypal(tokens, &three.token, &body).await;
        page.call_paypal(tokens, "nothing", &body).await;
        page.call_malformed(tokens, &three.token, &json!({})).await;
        let adyens = shopper(&env, GatewayName::Adyen);
        let about = if of_order { json!({ "orderId": adyens.order }) } else { json!({ "paymentMethodId": ADYEN_METHOD }) };
        page.call(tokens, &adyens.token, &with_addresses(about)).await;
        let of = |path: &str| page.seen.iter().filter(|(seen, _)| seen == path).map(|(_, status)| *status).collect::<Vec<_>>();
        assert_eq!(
            (of(tokens), of(&back), of(&cancel)),
            (vec![200, 202, 400, 401, 422, 503], vec![303, 400, 404, 413], vec![303]),
            "{tokens}"
        );
    }
}

#[test]
fn every_message_for_a_page_is_described() {
    let description = OpenApiFile::read();
    for way in ["return", "cancel"] {
        for tokens in [TOKENS, DETAILS_TOKENS] {
            let text = description.operation(&format!("{tokens}/{way}/{{reference}}"))["responses"]["303"]["description"].as_str().unwrap();
            for word in RedirectMessage::ALL.iter().map(|message| message.as_str()) {
                assert!(text.contains(&format!("{word} (")), "{word} of {tokens}/{way}");
            }
        }
    }
}

#[test]
fn every_next_step_and_every_code_is_described() {
    let description = OpenApiFile::read();
    let schemas = &description.0["components"]["schemas"];
    let words: Vec<&str> = schemas["NextStep"]["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words, NextStep::ALL.iter().map(|step| step.as_str()).collect::<Vec<_>>());
    let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } });
    for gateway in GatewayName::ALL {
        let names = &schemas["Gateway"]["enum"];
        assert!(names.as_array().unwrap().contains(&json!(gateway.as_str())), "{gateway} is not described");
        for refusal in connector::frontend_api::reply::ALL {
            let reply = refusal.reply(Some(*gateway));
            assert_eq!(description.schema_errors(&content, &reply.body), Vec::<String>::new(), "{}", reply.body);
            let status = reply.status.as_str();
            assert!(description.operation(START)["responses"][status].is_object(), "{status}");
        }
    }
}

#[test]
fn every_request_and_every_answer_has_an_example_that_matches() {
    let description = OpenApiFile::read();
    let mut bodies = BTreeSet::new();
    for operation in description.0["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values()) {
        let answers = operation["responses"].as_object().unwrap().values();
        let contents =
            answers.chain([&operation["requestBody"]]).filter_map(|body| body["content"]["application/json"]["schema"]["$ref"].as_str());
        bodies.extend(contents.map(str::to_owned));
    }
    for name in bodies {
        let schema = description.0.pointer(name.strip_prefix('#').unwrap()).unwrap();
        let content = json!({ "application/json": { "schema": { "$ref": name } } });
        let examples = schema["examples"].as_array().unwrap_or_else(|| panic!("{name} has no example"));
        for example in examples {
            assert_eq!(description.schema_errors(&content, example), Vec::<String>::new(), "{name}: {example}");
        }
    }
}

/// The example requests are answered by the kind of answer that their operation describes.
#[tokio::test]
async fn the_example_requests_are_understood() {
    let (env, description) = (TestEnvironment::default(), OpenApiFile::read());
    let mut page = CheckedClient { env: &env, description: &description, seen: BTreeSet::new() };
    let example = |name: &str| description.0["components"]["schemas"][name]["examples"][0].clone();
    for (path, name, status) in [
        (START, "InitialPayment", 200),
        (FINALIZE, "FinalizeInitialPayment", 409),
        (STORE, "PaymentDetailsRequest", 200),
        (STORE_FINALIZE, "FinalizePaymentDetails", 409),
        (METHODS, "PageMethodsRequest", 200),
        (SESSIONS, "SessionRequest", 200),
    ] {
        let buyer = buyer(&env);
        let mut body = example(name);
        if body.get("orderId").is_some() {
            body["orderId"] = json!(buyer.order);
        }
        assert_eq!(page.call(path, &buyer.token, &body).await.status, status, "{path}");
    }
    for (path, name) in [(TOKENS, "Tokens"), (DETAILS_TOKENS, "DetailsTokens")] {
        let shopper = paypal_shopper(&env);
        let mut body = example(name);
        if body.get("orderId").is_some() {
            body["orderId"] = json!(shopper.order);
        }
        assert_eq!(page.call_paypal(path, &shopper.token, &body).await.status, 200, "{path}");
    }
}

#[test]
fn a_wrong_answer_does_not_match_the_openapi_file() {
    let description = OpenApiFile::read();
    let answer = &description.operation(START)["responses"]["200"]["content"];
    for wrong in [
        json!({ "responseData": { "payment": { "status": "captured" } }, "errors": [], "code": null }),
        json!({ "responseData": { "action": {} }, "errors": [], "code": null }),
        json!({ "responseData": { "action": { "type": "redirect" } }, "errors": ["x"], "code": null }),
        json!({ "payment": {} }),
    ] {
        assert!(!description.schema_errors(answer, &wrong).is_empty(), "{wrong}");
    }
}
