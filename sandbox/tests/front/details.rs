//! Storing payment details without a charge.

use connector::cleeng::webhook::Topic;
use connector::flow::Verdict;
use connector::front::Reply;
use connector::http::Method;
use sandbox::crash::When;
use sandbox::peer::Fault;
use sandbox::stage::{METHOD, ORIGIN, Stage};
use serde_json::{Value, json};

use crate::absent::authorised;
use crate::{Buyer, GOOD, NATIVE, REDIRECTING, assert_balanced, buyer, card, code, is_pending, redirect_result};

fn body(method: &Value) -> Value {
    json!({ "paymentMethodId": METHOD, "paymentMethod": method, "origin": ORIGIN, "returnUrl": format!("{ORIGIN}/account") })
}

async fn start(stage: &Stage, buyer: &Buyer, method: &Value) -> Reply {
    stage.call("payment-details", &buyer.token, &body(method)).await
}

async fn finalize(stage: &Stage, buyer: &Buyer, details: &Value) -> Reply {
    stage.call("payment-details/finalize", &buyer.token, &json!({ "paymentMethodId": METHOD, "details": details })).await
}

fn is_stored(reply: &Reply) -> bool {
    reply.status == 200 && reply.body["responseData"]["paymentDetails"]["id"].is_string()
        || reply.body["responseData"]["paymentDetails"]["id"].is_number()
}

fn created(stage: &Stage) -> usize {
    stage.road.reached("cleeng", &Method::POST, "/payment_details")
}

#[tokio::test]
async fn details_are_stored_without_a_charge_and_cleeng_has_them() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let stored = start(&stage, &buyer, &card(GOOD, "J D", "1")).await;
    assert!(is_stored(&stored), "{}", stored.body);
    let told = &stored.body["responseData"]["paymentDetails"];
    assert_eq!((&told["active"], told.get("token")), (&json!(true), None));
    assert_eq!(told["paymentMethodSpecificParams"]["lastCardFourDigits"], "1111");
    assert_eq!((stage.adyen.payments()[0].amount, stage.adyen.total_captured("USD")), (0, 0));
    for _ in 0..3 {
        assert_eq!(start(&stage, &buyer, &card(GOOD, "J D", "1")).await, stored);
    }
    assert_eq!((created(&stage), stage.adyen.payments().len()), (1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn new_active_details_take_the_place_of_the_old_ones_and_inactive_ones_do_not() {
    for active in [true, false] {
        let stage = Stage::default();
        let cast = stage.subscriber(METHOD);
        let token = stage.cleeng.customer_token(&cast.subscriber.customer);
        let mut request = body(&card(GOOD, "J D", "1"));
        request["active"] = json!(active);
        assert!(is_stored(&stage.call("payment-details", &token, &request).await));
        assert_eq!(stage.cleeng.details(&cast.subscriber.details).unwrap().active, !active);
        let announced = stage.cleeng.due_webhooks().into_iter().filter(|sent| sent.topic == Topic::PaymentDetailsDeactivated).count();
        assert_eq!(announced, usize::from(active));
    }
}

#[tokio::test]
async fn details_that_need_the_customer_are_stored_when_he_is_back_and_the_request_need_not_say_which() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let first = start(&stage, &buyer, &card(REDIRECTING, "J D", "1")).await;
    let second = start(&stage, &buyer, &card(REDIRECTING, "J D", "2")).await;
    assert_eq!(start(&stage, &buyer, &card(REDIRECTING, "J D", "1")).await, first);
    // The earlier one is brought back first.
    let one = finalize(&stage, &buyer, &redirect_result(&first)).await;
    assert!(is_stored(&one), "{}", one.body);
    assert_eq!(finalize(&stage, &buyer, &redirect_result(&first)).await, one);
    let other = finalize(&stage, &buyer, &redirect_result(&second)).await;
    assert!(is_stored(&other) && other != one, "{}", other.body);
    assert_eq!((created(&stage), stage.adyen.payments().len()), (2, 2));
}

#[tokio::test]
async fn authentication_within_the_page_stores_details_too() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let first = start(&stage, &buyer, &card(NATIVE, "J D", "1")).await;
    let second = finalize(&stage, &buyer, &json!({ "threeDSResult": first.body["responseData"]["action"]["token"] })).await;
    assert_eq!(second.body["responseData"]["action"]["subtype"], "challenge");
    assert!(is_stored(&finalize(&stage, &buyer, &json!({ "threeDSResult": second.body["responseData"]["action"]["token"] })).await));
}

#[tokio::test]
async fn a_storing_whose_customer_is_gone_is_finished_by_the_notification() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&start(&stage, &buyer, &card(REDIRECTING, "J D", "1")).await);
    stage.adyen.finish_away(back["redirectResult"].as_str().unwrap());
    let payment = stage.adyen.payments().remove(0);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("stored"));
    assert_eq!(authorised(&stage, &payment, stored.as_deref()).await, Verdict::Settled("known"));
    assert!(is_stored(&start(&stage, &buyer, &card(REDIRECTING, "J D", "1")).await));
    assert_eq!(created(&stage), 1);
}

#[tokio::test]
async fn refusals_are_told_and_capped_per_customer_and_day() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    for entry in 0..10 {
        let refused = start(&stage, &buyer, &card(GOOD, "DECLINED", &entry.to_string())).await;
        assert_eq!(code(&refused), (422, "ADYEN0002"));
        assert_eq!(start(&stage, &buyer, &card(GOOD, "DECLINED", &entry.to_string())).await, refused);
    }
    assert_eq!(code(&start(&stage, &buyer, &card(GOOD, "J D", "11")).await), (429, "ORDER0005"));
    assert_eq!((stage.adyen.payments().len(), created(&stage)), (10, 0));
    let neighbour = crate::buyer(&stage);
    assert!(is_stored(&start(&stage, &neighbour, &card(GOOD, "J D", "11")).await));
    stage.clock.advance(std::time::Duration::from_secs(86_400));
    let buyer = Buyer { token: stage.cleeng.customer_token(&buyer.customer), ..buyer };
    assert!(is_stored(&start(&stage, &buyer, &card(GOOD, "J D", "12")).await));
}

#[tokio::test]
async fn a_double_click_stores_once_wherever_the_two_meet() {
    for head_start in 0..30 {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        let data = card(GOOD, "J D", "1");
        let late = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            start(&stage, &buyer, &data).await
        };
        let (one, other) = tokio::join!(start(&stage, &buyer, &data), late);
        assert!(is_stored(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!((created(&stage), stage.adyen.payments().len()), (1, 1), "{head_start}");
    }
}

async fn until_stored(stage: &Stage, buyer: &Buyer, data: &Value) -> Reply {
    for _ in 0..60 {
        let reply = start(stage, buyer, data).await;
        if !is_pending(&reply) {
            return reply;
        }
        stage.clock.advance(std::time::Duration::from_secs(30));
    }
    panic!("never told");
}

#[tokio::test]
async fn a_death_before_or_after_any_call_stores_once_at_the_gateway_and_tells_cleeng() {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 0.. {
            let stage = Stage::default();
            let buyer = buyer(&stage);
            let data = card(GOOD, "J D", "1");
            stage.switch.arm(nth, when);
            let survived = stage.switch.run(start(&stage, &buyer, &data)).await.is_some();
            stage.switch.disarm();
            stage.clock.advance(std::time::Duration::from_secs(30));
            assert!(is_stored(&until_stored(&stage, &buyer, &data).await), "{when:?} {nth}");
            // Only the answer to the report itself can be lost beyond recall; it moves nothing, and may be made once more.
            assert!(stage.adyen.payments().len() == 1 && (1..=2).contains(&created(&stage)), "{when:?} {nth}");
            if survived {
                break;
            }
            deaths += 1;
        }
    }
    assert_eq!(deaths, 2 * 6);
}

#[tokio::test]
async fn whatever_happens_to_any_call_the_details_are_stored_in_the_end() {
    for fault in [Fault::NotSent, Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::StatusBefore(429)] {
        for nth in 0..3 {
            let stage = Stage::default();
            let buyer = buyer(&stage);
            let seen = std::sync::atomic::AtomicUsize::new(0);
            stage.road.lay(fault.clone(), move |_, _| seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth);
            assert!(is_stored(&until_stored(&stage, &buyer, &card(GOOD, "J D", "1")).await), "{nth}");
            assert_eq!(stage.adyen.payments().len(), 1, "{nth}");
        }
    }
}

#[tokio::test]
async fn nobody_stores_details_for_another_customer() {
    let stage = Stage::default();
    let (owner, thief) = (buyer(&stage), buyer(&stage));
    let back = redirect_result(&start(&stage, &owner, &card(REDIRECTING, "J D", "1")).await);
    // The token decides whose details they are; a body cannot say otherwise.
    let mut request = body(&card(GOOD, "T", "1"));
    request["customerId"] = json!(owner.customer);
    assert!(is_stored(&stage.call("payment-details", &thief.token, &request).await));
    assert_eq!(stage.adyen.payments()[0].shopper_reference, thief.customer.as_str());
    assert_eq!(code(&finalize(&stage, &thief, &back).await), (409, "ORDER0007"));
    assert!(is_stored(&finalize(&stage, &owner, &back).await));
    // A MediaStore that shows somebody else is not believed.
    let id = owner.customer.clone();
    let change = move |body: &mut Value| body["responseData"]["id"] = id.to_json_number();
    stage.road.lay(Fault::Mutate(std::sync::Arc::new(change)), |peer, request| peer == "cleeng" && request.path.contains("customers"));
    assert_eq!(code(&start(&stage, &thief, &card(GOOD, "T", "2")).await), (503, "S0001"));
    let mut request = body(&card(GOOD, "T", "3"));
    request["paymentMethodId"] = json!(777_777_777);
    assert_eq!(code(&stage.call("payment-details", &thief.token, &request).await), (422, "ORDER0003"));
}

#[tokio::test]
async fn a_report_of_details_is_made_twice_at_the_most() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    for _ in 0..3 {
        stage.road.lay(Fault::TimeoutBefore, |peer, request| peer == "cleeng" && request.path.ends_with("/payment_details"));
    }
    assert_eq!(code(&until_stored(&stage, &buyer, &card(GOOD, "J D", "1")).await), (500, "ADYEN0005"));
    assert_eq!(stage.metrics.count(connector::metrics::Metric::Parked, "details_report_unknown"), 1);
    assert!(stage.road.has_faults(), "a third one was not made");
}

#[tokio::test]
async fn a_refused_storing_is_told_again_to_the_same_click_and_to_no_other() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let back = redirect_result(&start(&stage, &buyer, &card(REDIRECTING, "NOT_3D_AUTHENTICATED", "1")).await);
    for _ in 0..2 {
        assert_eq!(code(&finalize(&stage, &buyer, &back).await), (422, "ADYEN0002"));
    }
    assert_eq!(code(&finalize(&stage, &buyer, &json!({ "redirectResult": "another" })).await), (409, "ORDER0007"));
    assert_eq!((stage.road.reached("adyen", &Method::POST, "/payments/details"), created(&stage)), (1, 0));
}

/// Comes again with a token that is valid now.
fn again(stage: &Stage, buyer: &Buyer) -> Buyer {
    Buyer { token: stage.cleeng.customer_token(&buyer.customer), ..buyer.clone() }
}

#[tokio::test]
async fn five_storings_wait_for_a_customer_also_over_midnight_and_a_sixth_takes_the_place_of_the_oldest() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    let begin = async |entry: usize, buyer: &Buyer| {
        let data = card(REDIRECTING, "J D", &entry.to_string());
        redirect_result(&start(&stage, buyer, &data).await)
    };
    let mut waiting = vec![begin(0, &buyer).await];
    // To another day, within the life of the first one.
    stage.clock.advance(std::time::Duration::from_secs(23 * 3_600 + 1_800));
    let buyer = again(&stage, &buyer);
    for entry in 1..5 {
        waiting.push(begin(entry, &buyer).await);
    }
    assert!(is_stored(&finalize(&stage, &buyer, &waiting[0]).await));
    waiting.push(begin(5, &buyer).await);
    assert_eq!(code(&finalize(&stage, &buyer, &waiting[0]).await), (409, "ORDER0008"));
    for back in &waiting[1..] {
        let stored = finalize(&stage, &buyer, back).await;
        assert!(is_stored(&stored), "{}", stored.body);
    }
    assert_eq!(created(&stage), 6);
}
