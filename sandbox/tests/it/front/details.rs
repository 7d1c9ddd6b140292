//! Storing payment details without a charge.

use connector::cleeng::webhook::Topic;
use connector::flow::Disposition;
use connector::frontend_api::Reply;
use connector::http::Method;
use connector::reason::CompletionReason;
use sandbox::simulators::network::Fault;
use sandbox::testkit::crash::CrashTiming;
use sandbox::testkit::fixtures::SHOP_ORIGIN;
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::without_customer::notify_authorised;
use crate::front::{Buyer, GOOD, NATIVE, REDIRECTING, assert_balanced, buyer, card, code, is_pending, redirect_result};

fn body(method: &Value) -> Value {
    json!({ "paymentMethodId": ADYEN_METHOD, "paymentMethod": method, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/account") })
}

async fn start(env: &TestEnvironment, buyer: &Buyer, method: &Value) -> Reply {
    env.call("payment-details", &buyer.token, &body(method)).await
}

async fn finalize(env: &TestEnvironment, buyer: &Buyer, details: &Value) -> Reply {
    env.call("payment-details/finalize", &buyer.token, &json!({ "paymentMethodId": ADYEN_METHOD, "details": details })).await
}

fn is_stored(reply: &Reply) -> bool {
    reply.status == 200 && reply.body["responseData"]["paymentDetails"]["id"].is_string()
        || reply.body["responseData"]["paymentDetails"]["id"].is_number()
}

fn details_reports(env: &TestEnvironment) -> usize {
    env.network.delivered_count("cleeng", &Method::POST, "/payment_details")
}

#[tokio::test]
async fn details_are_stored_without_a_charge_and_cleeng_has_them() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let stored = start(&env, &buyer, &card(GOOD, "J D", "1")).await;
    assert!(is_stored(&stored), "{}", stored.body);
    let told = &stored.body["responseData"]["paymentDetails"];
    assert_eq!((&told["active"], told.get("token")), (&json!(true), None));
    assert_eq!(told["paymentMethodSpecificParams"]["lastCardFourDigits"], "1111");
    assert_eq!((env.adyen.payments()[0].amount, env.adyen.total_captured("USD")), (0, 0));
    for _ in 0..3 {
        assert_eq!(start(&env, &buyer, &card(GOOD, "J D", "1")).await, stored);
    }
    assert_eq!((details_reports(&env), env.adyen.payments().len()), (1, 1));
    assert_balanced(&env);
}

#[tokio::test]
async fn new_active_details_replace_the_previous_ones_and_inactive_ones_do_not() {
    for active in [true, false] {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(ADYEN_METHOD);
        let token = env.cleeng.customer_token(&subscriber.ids.customer);
        let mut request = body(&card(GOOD, "J D", "1"));
        request["active"] = json!(active);
        assert!(is_stored(&env.call("payment-details", &token, &request).await));
        assert_eq!(env.cleeng.details(&subscriber.ids.details).unwrap().active, !active);
        let announced = env.cleeng.due_webhooks().into_iter().filter(|sent| sent.topic == Topic::PaymentDetailsDeactivated).count();
        assert_eq!(announced, usize::from(active));
    }
}

#[tokio::test]
async fn details_that_need_the_customer_are_stored_on_return_without_naming_them() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = start(&env, &buyer, &card(REDIRECTING, "J D", "1")).await;
    let second = start(&env, &buyer, &card(REDIRECTING, "J D", "2")).await;
    assert_eq!(start(&env, &buyer, &card(REDIRECTING, "J D", "1")).await, first);
    // The customer returns from the earlier one first.
    let one = finalize(&env, &buyer, &redirect_result(&first)).await;
    assert!(is_stored(&one), "{}", one.body);
    assert_eq!(finalize(&env, &buyer, &redirect_result(&first)).await, one);
    let other = finalize(&env, &buyer, &redirect_result(&second)).await;
    assert!(is_stored(&other) && other != one, "{}", other.body);
    assert_eq!((details_reports(&env), env.adyen.payments().len()), (2, 2));
}

#[tokio::test]
async fn in_page_authentication_stores_details_too() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let first = start(&env, &buyer, &card(NATIVE, "J D", "1")).await;
    let second = finalize(&env, &buyer, &json!({ "threeDSResult": first.body["responseData"]["action"]["token"] })).await;
    assert_eq!(second.body["responseData"]["action"]["subtype"], "challenge");
    assert!(is_stored(&finalize(&env, &buyer, &json!({ "threeDSResult": second.body["responseData"]["action"]["token"] })).await));
}

#[tokio::test]
async fn a_setup_without_a_return_is_finished_by_the_notification() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&start(&env, &buyer, &card(REDIRECTING, "J D", "1")).await);
    env.adyen.finish_without_returning(back["redirectResult"].as_str().unwrap());
    let payment = env.adyen.payments().remove(0);
    let stored = payment.stored_payment_method_id.clone();
    assert_eq!(notify_authorised(&env, &payment, stored.as_deref()).await, Disposition::Completed(CompletionReason::Stored));
    assert_eq!(notify_authorised(&env, &payment, stored.as_deref()).await, Disposition::Completed(CompletionReason::AlreadyFinished));
    assert!(is_stored(&start(&env, &buyer, &card(REDIRECTING, "J D", "1")).await));
    assert_eq!(details_reports(&env), 1);
}

#[tokio::test]
async fn refusals_are_reported_to_the_page_and_limited_per_customer_and_day() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for entry in 0..10 {
        let refused = start(&env, &buyer, &card(GOOD, "DECLINED", &entry.to_string())).await;
        assert_eq!(code(&refused), (422, "ADYEN0002"));
        assert_eq!(start(&env, &buyer, &card(GOOD, "DECLINED", &entry.to_string())).await, refused);
    }
    assert_eq!(code(&start(&env, &buyer, &card(GOOD, "J D", "11")).await), (429, "ORDER0005"));
    assert_eq!((env.adyen.payments().len(), details_reports(&env)), (10, 0));
    let neighbour = crate::front::buyer(&env);
    assert!(is_stored(&start(&env, &neighbour, &card(GOOD, "J D", "11")).await));
    env.clock.advance(std::time::Duration::from_secs(86_400));
    let buyer = Buyer { token: env.cleeng.customer_token(&buyer.customer), ..buyer };
    assert!(is_stored(&start(&env, &buyer, &card(GOOD, "J D", "12")).await));
}

#[tokio::test]
async fn a_double_click_stores_once_at_every_interleaving() {
    for head_start in 0..30 {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        let data = card(GOOD, "J D", "1");
        let late = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            start(&env, &buyer, &data).await
        };
        let (one, other) = tokio::join!(start(&env, &buyer, &data), late);
        assert!(is_stored(&one) && one == other, "{head_start}: {} {}", one.body, other.body);
        assert_eq!((details_reports(&env), env.adyen.payments().len()), (1, 1), "{head_start}");
    }
}

async fn start_until_final(env: &TestEnvironment, buyer: &Buyer, data: &Value) -> Reply {
    for _ in 0..60 {
        let reply = start(env, buyer, data).await;
        if !is_pending(&reply) {
            return reply;
        }
        env.clock.advance(std::time::Duration::from_secs(30));
    }
    panic!("never told");
}

#[tokio::test]
async fn a_crash_before_or_after_any_call_stores_once_and_reports_to_cleeng() {
    let mut crashes = 0;
    for when in [CrashTiming::Before, CrashTiming::After] {
        for nth in 0.. {
            let env = TestEnvironment::default();
            let buyer = buyer(&env);
            let data = card(GOOD, "J D", "1");
            env.crash_point.arm(nth, when);
            let survived = env.crash_point.run(start(&env, &buyer, &data)).await.is_some();
            env.crash_point.disarm();
            env.clock.advance(std::time::Duration::from_secs(30));
            assert!(is_stored(&start_until_final(&env, &buyer, &data).await), "{when:?} {nth}");
            // Only the answer to the report itself can be lost beyond recall; it moves nothing, and may be made once more.
            assert!(env.adyen.payments().len() == 1 && (1..=2).contains(&details_reports(&env)), "{when:?} {nth}");
            if survived {
                break;
            }
            crashes += 1;
        }
    }
    assert_eq!(crashes, 2 * 6);
}

#[tokio::test]
async fn a_fault_at_any_call_stores_the_details_eventually() {
    for fault in [Fault::NotSent, Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::StatusAfter(500), Fault::StatusBefore(429)] {
        for nth in 0..3 {
            let env = TestEnvironment::default();
            let buyer = buyer(&env);
            let seen = std::sync::atomic::AtomicUsize::new(0);
            env.network.inject(fault.clone(), move |_, _| seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth);
            assert!(is_stored(&start_until_final(&env, &buyer, &card(GOOD, "J D", "1")).await), "{nth}");
            assert_eq!(env.adyen.payments().len(), 1, "{nth}");
        }
    }
}

#[tokio::test]
async fn nobody_stores_details_for_another_customer() {
    let env = TestEnvironment::default();
    let (owner, thief) = (buyer(&env), buyer(&env));
    let back = redirect_result(&start(&env, &owner, &card(REDIRECTING, "J D", "1")).await);
    // The token decides whose details they are; a body cannot say otherwise.
    let mut request = body(&card(GOOD, "T", "1"));
    request["customerId"] = json!(owner.customer);
    assert!(is_stored(&env.call("payment-details", &thief.token, &request).await));
    assert_eq!(env.adyen.payments()[0].shopper_reference, thief.customer.as_str());
    assert_eq!(code(&finalize(&env, &thief, &back).await), (409, "ORDER0007"));
    assert!(is_stored(&finalize(&env, &owner, &back).await));
    // A MediaStore that shows somebody else is not believed.
    let id = owner.customer.clone();
    let change = move |body: &mut Value| body["responseData"]["id"] = id.to_json_number();
    env.network.inject(Fault::Mutate(std::sync::Arc::new(change)), |peer, request| peer == "cleeng" && request.path.contains("customers"));
    assert_eq!(code(&start(&env, &thief, &card(GOOD, "T", "2")).await), (503, "S0001"));
    let mut request = body(&card(GOOD, "T", "3"));
    request["paymentMethodId"] = json!(777_777_777);
    assert_eq!(code(&env.call("payment-details", &thief.token, &request).await), (422, "ORDER0003"));
}

#[tokio::test]
async fn a_report_of_details_is_made_twice_at_the_most() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for _ in 0..3 {
        env.network.inject(Fault::TimeoutBefore, |peer, request| peer == "cleeng" && request.path.ends_with("/payment_details"));
    }
    assert_eq!(code(&start_until_final(&env, &buyer, &card(GOOD, "J D", "1")).await), (500, "ADYEN0005"));
    assert_eq!(env.metrics.count(connector::metrics::Metric::Parked, "details_report_unknown"), 1);
    assert!(env.network.has_faults(), "a third one was not made");
}

#[tokio::test]
async fn a_refused_setup_is_repeated_to_the_same_request_only() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let back = redirect_result(&start(&env, &buyer, &card(REDIRECTING, "NOT_3D_AUTHENTICATED", "1")).await);
    for _ in 0..2 {
        assert_eq!(code(&finalize(&env, &buyer, &back).await), (422, "ADYEN0002"));
    }
    assert_eq!(code(&finalize(&env, &buyer, &json!({ "redirectResult": "another" })).await), (409, "ORDER0007"));
    assert_eq!((env.network.delivered_count("adyen", &Method::POST, "/payments/details"), details_reports(&env)), (1, 0));
}

/// Comes again with a token that is valid now.
fn with_fresh_token(env: &TestEnvironment, buyer: &Buyer) -> Buyer {
    Buyer { token: env.cleeng.customer_token(&buyer.customer), ..buyer.clone() }
}

#[tokio::test]
async fn at_most_five_setups_wait_per_customer_also_over_midnight_and_a_sixth_replaces_the_oldest() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    let begin = async |entry: usize, buyer: &Buyer| {
        let data = card(REDIRECTING, "J D", &entry.to_string());
        redirect_result(&start(&env, buyer, &data).await)
    };
    let mut waiting = vec![begin(0, &buyer).await];
    // To another day, within the life of the first one.
    env.clock.advance(std::time::Duration::from_secs(23 * 3_600 + 1_800));
    let buyer = with_fresh_token(&env, &buyer);
    for entry in 1..5 {
        waiting.push(begin(entry, &buyer).await);
    }
    assert!(is_stored(&finalize(&env, &buyer, &waiting[0]).await));
    waiting.push(begin(5, &buyer).await);
    assert_eq!(code(&finalize(&env, &buyer, &waiting[0]).await), (409, "ORDER0008"));
    for back in &waiting[1..] {
        let stored = finalize(&env, &buyer, back).await;
        assert!(is_stored(&stored), "{}", stored.body);
    }
    assert_eq!(details_reports(&env), 6);
}
