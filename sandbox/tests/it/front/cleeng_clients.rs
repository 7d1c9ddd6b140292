//! Front ends that are made for Cleeng's own connectors: `@cleeng/mediastore-sdk` 5.26.0 and the checkout of jwplayer/ott-web-app. They take
//! every answer without `errors` for a success, whatever its status, show `errors[0]` to the customer, and read `responseData` unchecked.

use connector::frontend_api::Reply;
use connector::frontend_api::reply;
use connector::gateway::{Decline, DeclineClass, GatewayName};
use connector::http::{HeaderMap, HeaderValue};
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::SimulatedGateway as _;
use sandbox::testkit::fixtures::SHOP_ORIGIN;
use sandbox::testkit::gateway_fixtures::{ADYEN_METHOD, PAYPAL_METHOD};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::tokens::{paypal_shopper, with_addresses};
use crate::front::{GOOD, NATIVE, REDIRECTING, assert_paid_once, buyer, card, is_paid, redirect_result};

/// A call as these front ends make it: they do not say that they wait.
async fn call(env: &TestEnvironment, gateway: GatewayName, path: &str, token: &str, body: &Value) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert("origin", HeaderValue::from_static(SHOP_ORIGIN));
    headers.insert("x-requested-by", HeaderValue::from_static("mediastore-sdk@5.26.0"));
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    env.post(&format!("/connectors/{gateway}/{path}"), headers, body.to_string()).await
}

/// An answer that no front end takes for a success, and that says "wait" to those that know it.
fn assert_asks_to_wait(reply: &Reply) {
    assert!(!reply.status.is_success(), "{}", reply.body);
    assert_eq!((&reply.body["responseData"], &reply.body["nextStep"]), (&Value::Null, &json!("wait")), "{}", reply.body);
    assert_eq!(reply.body["errors"], json!(["This is still being processed. Please wait a moment."]));
    assert!(reply.body["code"].as_str().unwrap().starts_with("WAIT") && reply.retry_after.is_some(), "{}", reply.body);
}

#[tokio::test]
async fn what_is_not_known_yet_is_an_error_for_a_page_that_does_not_wait() {
    let env = TestEnvironment::default();
    let (one, two) = (buyer(&env), buyer(&env));
    let start = one.start_body(&card(GOOD, "PENDING", "1"));
    assert_asks_to_wait(&call(&env, GatewayName::Adyen, "initial-payment", &one.token, &start).await);
    assert_eq!(env.call("initial-payment", &one.token, &start).await.status, 202, "of a page that waits");
    let action = two.start(&env, &card(REDIRECTING, "PENDING", "1")).await;
    let finalize = json!({ "orderId": two.order, "details": redirect_result(&action) });
    assert_asks_to_wait(&call(&env, GatewayName::Adyen, "initial-payment/finalize", &two.token, &finalize).await);
    env.network.inject(Fault::TimeoutAfter, |peer, _| peer == "adyen");
    let mut details = buyer(&env).start_body(&card(GOOD, "J D", "1"));
    details["paymentMethodId"] = json!(ADYEN_METHOD);
    assert_asks_to_wait(&call(&env, GatewayName::Adyen, "payment-details", &one.token, &details).await);
    let shopper = paypal_shopper(&env);
    let lose = |peer: &str, request: &sandbox::simulators::network::ServerRequest| peer == "paypal" && !request.path.starts_with("/v1/");
    env.network.inject(Fault::TimeoutAfter, lose);
    let tokens = with_addresses(json!({ "orderId": shopper.order }));
    assert_asks_to_wait(&call(&env, GatewayName::PayPal, "v1/tokens", &shopper.token, &tokens).await);
    env.network.inject(Fault::TimeoutAfter, lose);
    let tokens = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    assert_asks_to_wait(&call(&env, GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &tokens).await);
}

#[tokio::test]
async fn another_action_after_finalize_is_an_error_for_a_page_that_does_not_look_for_one() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = buyer.start(&env, &card(NATIVE, "J D", "1")).await;
    let details = json!({ "threeDSResult": first.body["responseData"]["action"]["token"] });
    let finalize = json!({ "orderId": buyer.order, "details": details });
    let told = call(&env, GatewayName::Adyen, "initial-payment/finalize", &buyer.token, &finalize).await;
    assert_eq!((told.status.as_u16(), &told.body["code"]), (409, &json!("ACTION0001")), "{}", told.body);
    assert_eq!((&told.body["responseData"], told.body["errors"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
    // A page that looks for it gets it.
    let second = buyer.finalize(&env, &details).await;
    let details = json!({ "threeDSResult": second.body["responseData"]["action"]["token"] });
    assert!(is_paid(&buyer.finalize(&env, &details).await));
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn the_success_address_of_a_payment_names_it_and_that_of_details_does_not() {
    let env = TestEnvironment::default();
    let shopper = paypal_shopper(&env);
    let back = shopper.complete_redirect(&env, true).await;
    let expected = || format!("{SHOP_ORIGIN}/thankyou?u=1&externalPaymentId={}", env.cleeng.payments()[0].external_payment_id);
    assert_eq!(env.follow_redirect(&back).await.location.unwrap(), expected());
    assert_eq!(shopper.start(&env).await.body["responseData"]["redirectUrl"], expected());
    let tokens = with_addresses(json!({ "paymentMethodId": PAYPAL_METHOD }));
    let page = call(&env, GatewayName::PayPal, "v1/payment_details/tokens", &shopper.token, &tokens).await;
    let page = page.body["responseData"]["redirectUrl"].as_str().unwrap().to_owned();
    let back = env.paypal.complete_redirect(&page, true).unwrap();
    assert_eq!(env.follow_redirect(&back).await.location.unwrap(), format!("{SHOP_ORIGIN}/thankyou?u=1"));
}

/// `message` makes the media store SDK say that the payment was not processed, and to try again.
#[tokio::test]
async fn a_payment_that_may_have_been_made_comes_back_without_a_message() {
    use connector::frontend_api::redirect_urls::RedirectMessage;
    for word in RedirectMessage::ALL {
        let may_be_paid = matches!(word, RedirectMessage::Pending | RedirectMessage::UnderReview);
        assert_eq!(word.parameter(), if may_be_paid { "status" } else { "message" }, "{word:?}");
    }
}

#[test]
fn customers_are_told_sentences_and_nothing_for_developers() {
    let declines = [DeclineClass::Soft, DeclineClass::NeedsCustomer, DeclineClass::NeedsNewDetails, DeclineClass::Hard, DeclineClass::Risk];
    let declined = |class| Reply::declined(GatewayName::Adyen, &Decline::new(class, "2"));
    let told = declines.map(declined).into_iter().chain([declined(DeclineClass::Cancelled)]);
    for reply in reply::ALL.iter().map(|error| error.reply(Some(GatewayName::Adyen))).chain(told) {
        assert_eq!((&reply.body["responseData"], reply.body["errors"].as_array().unwrap().len()), (&Value::Null, 1), "{}", reply.body);
        let sentence = reply.body["errors"][0].as_str().unwrap();
        assert!(sentence.starts_with(|first: char| first.is_ascii_uppercase()), "{sentence}");
        for word in ["_", "http", "header", "body", "JSON", "gateway", "connector", "page", "redirect", "token", "attempt", "URL"] {
            assert!(!sentence.contains(word), "{sentence}: {word}");
        }
        assert!(reply.body["detail"].as_str().is_some_and(|detail| detail != sentence) && reply.body["nextStep"].is_string());
    }
    // Words that the media store SDK looks for.
    assert!(declines.map(declined).iter().all(|reply| reply.body["errors"][0].as_str().unwrap().contains("Refused")));
    assert!(declined(DeclineClass::Cancelled).body["errors"][0].as_str().unwrap().contains("Cancelled"));
}
