//! Stripe's own ways through the flows, with the effects checked at both sides.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{BillingPolicy, Disposition};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerEntry, LedgerStatus, SimulatedGateway};
use sandbox::testkit::fixtures::{PASS, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::{STRIPE_CAPTURE_ONLY_METHOD, STRIPE_METHOD};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A subscriber who is charged at once, when the paid period ends.
fn due_to_be_charged(change: impl FnOnce(&mut BillingPolicy)) -> (TestEnvironment, TestSubscriber) {
    let env = TestEnvironment::new(change);
    let subscriber = env.subscriber(STRIPE_CAPTURE_ONLY_METHOD);
    env.clock.advance_to(subscriber.due);
    (env, subscriber)
}

fn statuses(env: &TestEnvironment) -> Vec<PaymentStatus> {
    env.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

fn ledger_statuses(env: &TestEnvironment) -> Vec<LedgerStatus> {
    env.stripe.ledger().into_iter().map(|entry| entry.status).collect()
}

fn assert_balanced(env: &TestEnvironment) {
    assert_eq!(env.discrepancies(), Vec::<String>::new());
}

#[tokio::test]
async fn a_processing_renewal_is_reported_when_it_is_decided() {
    for (code, status, standing) in [
        (None, PaymentStatus::Captured, LedgerStatus::Captured),
        (Some("insufficient_funds"), PaymentStatus::Rejected, LedgerStatus::Declined),
    ] {
        let (env, subscriber) = due_to_be_charged(|_| {});
        env.stripe.leave_next_processing(&subscriber.token, code);
        env.enqueue(&env.capture_event(&subscriber));
        env.run_until_idle().await;
        assert_eq!((statuses(&env), ledger_statuses(&env)), (vec![status], vec![standing]));
        assert_balanced(&env);
    }
}

#[tokio::test]
async fn a_server_error_with_an_effect_is_resolved_and_one_without_is_parked() {
    let (env, subscriber) = due_to_be_charged(|_| {});
    env.stripe.server_error_next(true);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed("captured"));
    assert_eq!((statuses(&env), ledger_statuses(&env)), (vec![PaymentStatus::Captured], vec![LedgerStatus::Captured]));
    assert_balanced(&env);
    // Stripe says the same for a day, and nobody knows more.
    let (env, subscriber) = due_to_be_charged(|rules| rules.unknown_deadline = Duration::from_secs(3_600));
    env.stripe.server_error_next(false);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Parked("outcome_unknown"));
    assert_eq!((statuses(&env), ledger_statuses(&env)), (vec![], vec![]));
}

#[tokio::test]
async fn a_refund_that_fails_after_its_report_raises_an_alarm() {
    let (env, subscriber) = due_to_be_charged(|_| {});
    env.run_event(&env.capture_event(&subscriber)).await;
    let payment = env.cleeng.payments()[0].id.clone();
    let asked = sandbox::simulators::cleeng::OperatorRefund { amount: None, id: None, reason: None };
    env.stripe.set_next_refund_status("pending");
    assert_eq!(env.run_event(&env.cleeng.refund_event(&payment, &asked).unwrap()).await, Disposition::Completed("refunded"));
    assert_eq!(statuses(&env), [PaymentStatus::Refunded]);
    assert_balanced(&env);
    env.stripe.fail_refund_later(&env.stripe.refunds()[0].0);
    env.run_until_idle().await;
    assert_eq!(env.metrics.count(Metric::Alarm, "refund_failed_later"), 1);
    assert_eq!(env.stripe.ledger()[0].refunded.minor, 0);
}

#[tokio::test]
async fn a_pending_refund_that_fails_refunds_nothing_and_is_parked() {
    let (env, subscriber) = due_to_be_charged(|_| {});
    env.run_event(&env.capture_event(&subscriber)).await;
    let payment = env.cleeng.payments()[0].id.clone();
    let asked = sandbox::simulators::cleeng::OperatorRefund { amount: None, id: None, reason: None };
    env.stripe.set_next_refund_status("pending");
    let event = env.cleeng.refund_event(&payment, &asked).unwrap();
    assert_eq!(env.deliver(&event).await, Disposition::Completed("refund_received"));
    env.stripe.fail_refund_later(&env.stripe.refunds()[0].0);
    let dispositions = env.run_until_idle().await;
    assert_eq!(dispositions.first(), Some(&Disposition::Parked("refund_failed")), "{dispositions:?}");
    // Three events tell it, and it failed once.
    assert_eq!(env.metrics.count(Metric::Parked, "refund_failed"), 1);
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_visa_authorisation_that_lapses_early_is_never_reported_as_captured() {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(STRIPE_METHOD);
    env.clock.advance_to(subscriber.due.before(3 * DAY));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed("authorised"));
    env.clock.advance_to(subscriber.due.after(2 * DAY));
    let disposition = env.run_event(&env.capture_event(&subscriber)).await;
    let told = env.cleeng.payments();
    let taken: i64 = env.stripe.ledger().iter().map(|entry| entry.captured.minor).sum();
    let captured = told.iter().filter(|payment| payment.status == PaymentStatus::Captured).count();
    assert_eq!((taken, ledger_statuses(&env)[0]), (i64::try_from(captured).unwrap() * 999, LedgerStatus::Expired), "{disposition:?}");
    assert_balanced(&env);
}

/// A customer at a page with an order.
struct StripePage {
    customer: connector::ids::CustomerId,
    order: connector::ids::OrderId,
}

impl StripePage {
    fn open(env: &TestEnvironment) -> Self {
        let customer = env.cleeng.new_customer().unwrap();
        let order = env.cleeng.new_order(&customer, &id(PASS), &id(STRIPE_METHOD)).unwrap();
        Self { customer, order }
    }

    async fn call(&self, env: &TestEnvironment, path: &str, more: Value) -> (u16, Value) {
        let mut body =
            json!({ "origin": SHOP_ORIGIN, "captchaValue": "x", "orderId": self.order, "returnUrl": format!("{SHOP_ORIGIN}/back") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = env.call_at(GatewayName::Stripe, path, &env.cleeng.customer_token(&self.customer), &body).await;
        (reply.status.as_u16(), reply.body)
    }

    async fn start(&self, env: &TestEnvironment, method: &str) -> (u16, Value) {
        self.call(env, "initial-payment", json!({ "paymentMethod": { "type": "card", "id": method } })).await
    }
}

fn retained_payments(env: &TestEnvironment) -> Vec<LedgerEntry> {
    env.stripe.ledger().into_iter().filter(LedgerEntry::holds_money).collect()
}

#[tokio::test]
async fn a_purchase_that_stripe_processes_waits_and_is_finished_by_its_event() {
    let env = TestEnvironment::default();
    let page = StripePage::open(&env);
    let method = env.stripe.tokenize_card("pm_card_visa", 1);
    env.stripe.leave_next_processing(&method, None);
    assert_eq!(page.start(&env, &method).await.0, 202);
    env.run_until_idle().await;
    assert_eq!(statuses(&env), [PaymentStatus::Captured]);
    assert_eq!(page.start(&env, &method).await.1["responseData"]["payment"]["status"], "captured");
    assert_eq!(retained_payments(&env).len(), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_page_that_authenticates_with_stripes_script_pays() {
    let env = TestEnvironment::default();
    let page = StripePage::open(&env);
    let mut entered = env.stripe.payment_data(EnteredDetails::ActionRequired, 1);
    entered["useStripeSdk"] = json!(true);
    let (status, body) = page.call(&env, "initial-payment", entered).await;
    let action = &body["responseData"]["action"];
    assert_eq!((status, &action["type"]), (200, &json!("sdk")), "{body}");
    let details = env.stripe.complete_action(action);
    let (status, body) = page.call(&env, "initial-payment/finalize", json!({ "details": details })).await;
    assert_eq!((status, &body["responseData"]["payment"]["status"]), (200, &json!("captured")), "{body}");
    env.run_until_idle().await;
    assert_eq!(retained_payments(&env).len(), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_start_with_a_lost_answer_makes_no_second_payment_while_the_search_lags() {
    let env = TestEnvironment::default();
    env.stripe.set_search_delay(30 * DAY);
    let page = StripePage::open(&env);
    env.network.inject(Fault::TimeoutAfter, |peer, request| peer == "stripe" && request.path.ends_with("/payment_intents"));
    let method = env.stripe.tokenize_card("pm_card_visa", 1);
    assert_eq!(page.start(&env, &method).await.0, 202);
    let (status, body) = page.start(&env, &method).await;
    assert_eq!((status, &body["responseData"]["payment"]["status"]), (200, &json!("captured")), "{body}");
    assert_eq!(env.network.delivered_count("stripe", &Method::POST, "/payment_intents"), 1, "it is asked about, not sent again");
    env.run_until_idle().await;
    assert_eq!(retained_payments(&env).len(), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn a_start_is_not_sent_again_if_the_inquiry_used_up_its_time() {
    let env = TestEnvironment::default();
    let page = StripePage::open(&env);
    let method = env.stripe.tokenize_card("pm_card_visa", 1);
    env.network.inject(Fault::TimeoutBefore, |_, request| request.path.ends_with("/payment_intents"));
    assert_eq!(page.start(&env, &method).await.0, 202);
    let clock = env.clock.clone();
    env.network
        .inject(Fault::Mutate(Arc::new(move |_| clock.advance(Duration::from_secs(15)))), |_, request| request.path.contains("search"));
    assert_eq!(page.start(&env, &method).await.0, 202);
    assert_eq!(env.network.delivered_count("stripe", &Method::POST, "/payment_intents"), 0);
    assert_eq!(page.start(&env, &method).await.1["responseData"]["payment"]["status"], "captured");
    env.run_until_idle().await;
    assert_eq!(retained_payments(&env).len(), 1);
    assert_balanced(&env);
}

#[tokio::test]
async fn details_detached_in_the_dashboard_renew_nothing() {
    let (env, subscriber) = due_to_be_charged(|_| {});
    env.stripe.detach_in_dashboard(&subscriber.token);
    env.run_until_idle().await;
    env.run_event(&env.capture_event(&subscriber)).await;
    assert_eq!((statuses(&env), retained_payments(&env).len()), (vec![PaymentStatus::Rejected], 0));
    assert_balanced(&env);
}
