//! `docs/openapi.json` says what the routes really answer: every kind of answer is checked against it, and so is every request that the tests
//! send as a page would.

use std::collections::BTreeSet;
use std::path::Path;

use connector::front::{Next, Reply};
use sandbox::peer::Fault;
use sandbox::stage::{METHOD, ORIGIN, Stage};
use serde_json::{Value, json};

use crate::{Buyer, GOOD, NATIVE, REDIRECTING, buyer, card, redirect_result};

const START: &str = "initial-payment";
const FINALIZE: &str = "initial-payment/finalize";
const STORE: &str = "payment-details";
const STORE_FINALIZE: &str = "payment-details/finalize";

struct Description(Value);

impl Description {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        Self(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    fn operation(&self, path: &str) -> &Value {
        &self.0["paths"][format!("/connectors/{{gateway}}/{path}")]["post"]
    }

    /// What of a value does not fit the schema that this content names.
    fn mistakes(&self, content: &Value, value: &Value) -> Vec<String> {
        let name = content["application/json"]["schema"]["$ref"].as_str().unwrap();
        // The document itself is the root, so that its references lead somewhere.
        let mut root = self.0.clone();
        root["$ref"] = json!(name);
        let validator = jsonschema::draft202012::new(&root).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn check_answer(&self, path: &str, reply: &Reply) {
        let answer = &self.operation(path)["responses"][reply.status.as_str()];
        assert!(answer.is_object(), "{path} answers {} and the description does not know it: {}", reply.status, reply.body);
        assert_eq!(self.mistakes(&answer["content"], &reply.body), Vec::<String>::new(), "{path} {}: {}", reply.status, reply.body);
    }
}

/// A page that checks everything it sends and is told.
struct Page<'a> {
    stage: &'a Stage,
    description: &'a Description,
    seen: BTreeSet<(String, u16)>,
}

impl Page<'_> {
    async fn call(&mut self, path: &str, token: &str, body: &Value) -> Reply {
        let request = &self.description.operation(path)["requestBody"]["content"];
        assert_eq!(self.description.mistakes(request, body), Vec::<String>::new(), "{path}: {body}");
        self.call_wrongly(path, token, body).await
    }

    async fn call_wrongly(&mut self, path: &str, token: &str, body: &Value) -> Reply {
        let reply = self.stage.call(path, token, body).await;
        self.description.check_answer(path, &reply);
        self.seen.insert((path.to_owned(), reply.status.as_u16()));
        reply
    }
}

fn store_body(method: &Value) -> Value {
    json!({ "paymentMethodId": METHOD, "paymentMethod": method, "origin": ORIGIN, "returnUrl": format!("{ORIGIN}/account"), "active": true })
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let (stage, description) = (Stage::default(), Description::read());
    let mut page = Page { stage: &stage, description: &description, seen: BTreeSet::new() };
    // Paid at once, with a redirect, within the page, and refused.
    let one = buyer(&stage);
    page.call(START, &one.token, &one.start_body(&card(GOOD, "J D", "1"))).await;
    let two = buyer(&stage);
    let action = page.call(START, &two.token, &two.start_body(&card(REDIRECTING, "J D", "1"))).await;
    let back = json!({ "orderId": two.order, "details": redirect_result(&action) });
    page.call(FINALIZE, &two.token, &back).await;
    let three = buyer(&stage);
    let first = page.call(START, &three.token, &three.start_body(&card(NATIVE, "J D", "1"))).await;
    let round = json!({ "threeDSResult": first.body["responseData"]["action"]["token"] });
    page.call(FINALIZE, &three.token, &json!({ "orderId": three.order, "details": round })).await;
    let four = buyer(&stage);
    for entry in 0..6 {
        page.call(START, &four.token, &four.start_body(&card(GOOD, "DECLINED", &entry.to_string()))).await;
    }
    // Nothing waits, pending, unavailable, not the customer's, no token, not understood.
    let five = buyer(&stage);
    page.call(FINALIZE, &five.token, &json!({ "orderId": five.order, "details": { "redirectResult": "X" } })).await;
    stage.road.lay(Fault::TimeoutAfter, |peer, _| peer == "adyen");
    page.call(START, &five.token, &five.start_body(&card(GOOD, "J D", "1"))).await;
    stage.road.lay(Fault::NotSent, |peer, _| peer == "cleeng");
    page.call(START, &five.token, &five.start_body(&card(GOOD, "J D", "1"))).await;
    let thief = Buyer { order: one.order.clone(), ..buyer(&stage) };
    page.call(START, &thief.token, &thief.start_body(&card(GOOD, "J D", "1"))).await;
    page.call(START, "nothing", &one.start_body(&card(GOOD, "J D", "1"))).await;
    page.call_wrongly(START, &one.token, &json!({ "orderId": [] })).await;
    page.call_wrongly(START, &one.token, &json!({ "orderId": 1, "card": "4111111111111111" })).await;
    page.call_wrongly(START, &one.token, &json!({ "orderId": 1, "more": "x".repeat(40_000) })).await;
    let seen: Vec<u16> = page.seen.iter().filter(|(path, _)| path == START).map(|(_, status)| *status).collect();
    assert_eq!(seen, [200, 202, 400, 401, 404, 413, 422, 429, 503]);
    // Storing details.
    page.call(STORE, &one.token, &store_body(&card(GOOD, "J D", "1"))).await;
    let action = page.call(STORE, &two.token, &store_body(&card(REDIRECTING, "J D", "1"))).await;
    let back = json!({ "paymentMethodId": METHOD, "details": redirect_result(&action) });
    page.call(STORE_FINALIZE, &two.token, &back).await;
    page.call(STORE, &three.token, &store_body(&card(GOOD, "DECLINED", "1"))).await;
    page.call(STORE_FINALIZE, &three.token, &back).await;
    page.call_wrongly(STORE, &one.token, &json!({ "paymentMethodId": METHOD, "active": "yes" })).await;
}

#[test]
fn every_next_step_and_every_code_is_described() {
    let description = Description::read();
    let schemas = &description.0["components"]["schemas"];
    let words: Vec<&str> = schemas["NextStep"]["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words, Next::ALL.map(Next::as_str));
    let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } });
    for refusal in connector::front::reply::ALL {
        let reply = refusal.reply(Some(connector::gateway::GatewayName::Adyen));
        assert_eq!(description.mistakes(&content, &reply.body), Vec::<String>::new(), "{}", reply.body);
        let status = reply.status.as_str();
        assert!(description.operation(START)["responses"][status].is_object(), "{status}");
    }
}

#[test]
fn a_wrong_answer_does_not_fit_the_description() {
    let description = Description::read();
    let answer = &description.operation(START)["responses"]["200"]["content"];
    for wrong in [
        json!({ "responseData": { "payment": { "status": "captured" } }, "errors": [], "code": null }),
        json!({ "responseData": { "action": {} }, "errors": [], "code": null }),
        json!({ "responseData": { "action": { "type": "redirect" } }, "errors": ["x"], "code": null }),
        json!({ "payment": {} }),
    ] {
        assert!(!description.mistakes(answer, &wrong).is_empty(), "{wrong}");
    }
}
