//! Stripe's own ways through the flows, with the effects checked at both sides.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{Rules, Verdict};
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::guests::{STRIPE_CAPTURE_ONLY_METHOD, STRIPE_METHOD};
use sandbox::house::{Entry, House, LedgerEntry, Standing};
use sandbox::peer::Fault;
use sandbox::stage::{Cast, ORIGIN, PASS, Stage, id};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A subscriber who is charged at once, when his paid period ends.
fn due_to_be_charged(change: impl FnOnce(&mut Rules)) -> (Stage, Cast) {
    let stage = Stage::new(change);
    let cast = stage.subscriber(STRIPE_CAPTURE_ONLY_METHOD);
    stage.clock.advance_to(cast.due);
    (stage, cast)
}

fn statuses(stage: &Stage) -> Vec<PaymentStatus> {
    stage.cleeng.payments().into_iter().map(|payment| payment.status).collect()
}

fn standings(stage: &Stage) -> Vec<Standing> {
    stage.stripe.ledger().into_iter().map(|entry| entry.standing).collect()
}

fn assert_balanced(stage: &Stage) {
    assert_eq!(stage.disagreements(), Vec::<String>::new());
}

#[tokio::test]
async fn a_renewal_that_stripe_processes_is_told_when_it_is_decided() {
    for (code, status, standing) in
        [(None, PaymentStatus::Captured, Standing::Captured), (Some("insufficient_funds"), PaymentStatus::Rejected, Standing::Refused)]
    {
        let (stage, cast) = due_to_be_charged(|_| {});
        stage.stripe.process_next(&cast.token, code);
        stage.post(&stage.capture(&cast));
        stage.run_until_quiet().await;
        assert_eq!((statuses(&stage), standings(&stage)), (vec![status], vec![standing]));
        assert_balanced(&stage);
    }
}

#[tokio::test]
async fn a_server_error_with_an_effect_is_found_out_and_one_without_is_an_operators() {
    let (stage, cast) = due_to_be_charged(|_| {});
    stage.stripe.server_error_next(true);
    assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    assert_eq!((statuses(&stage), standings(&stage)), (vec![PaymentStatus::Captured], vec![Standing::Captured]));
    assert_balanced(&stage);
    // Stripe says the same for a day, and nobody knows more.
    let (stage, cast) = due_to_be_charged(|rules| rules.unknown_deadline = Duration::from_secs(3_600));
    stage.stripe.server_error_next(false);
    assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Parked("outcome_unknown"));
    assert_eq!((statuses(&stage), standings(&stage)), (vec![], vec![]));
}

#[tokio::test]
async fn a_refund_that_comes_back_after_it_was_reported_is_alarmed() {
    let (stage, cast) = due_to_be_charged(|_| {});
    stage.play(&stage.capture(&cast)).await;
    let payment = stage.cleeng.payments()[0].id.clone();
    let asked = sandbox::cleeng::RefundRequest { amount: None, id: None, reason: None };
    stage.stripe.next_refund_is("pending");
    assert_eq!(stage.play(&stage.cleeng.refund_event(&payment, &asked).unwrap()).await, Verdict::Settled("refunded"));
    assert_eq!(statuses(&stage), [PaymentStatus::Refunded]);
    assert_balanced(&stage);
    stage.stripe.refund_fails_later(&stage.stripe.refunds()[0].0);
    stage.run_until_quiet().await;
    assert_eq!(stage.metrics.count(Metric::Alarm, "refund_failed_later"), 1);
    assert_eq!(stage.stripe.ledger()[0].refunded.minor, 0);
}

#[tokio::test]
async fn a_pending_refund_that_fails_gives_nothing_back_and_calls_an_operator() {
    let (stage, cast) = due_to_be_charged(|_| {});
    stage.play(&stage.capture(&cast)).await;
    let payment = stage.cleeng.payments()[0].id.clone();
    let asked = sandbox::cleeng::RefundRequest { amount: None, id: None, reason: None };
    stage.stripe.next_refund_is("pending");
    let event = stage.cleeng.refund_event(&payment, &asked).unwrap();
    assert_eq!(stage.deliver(&event).await, Verdict::Settled("refund_received"));
    stage.stripe.refund_fails_later(&stage.stripe.refunds()[0].0);
    let verdicts = stage.run_until_quiet().await;
    assert_eq!(verdicts.first(), Some(&Verdict::Parked("refund_failed")), "{verdicts:?}");
    // Three events tell it, and it failed once.
    assert_eq!(stage.metrics.count(Metric::Parked, "refund_failed"), 1);
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_visa_hold_that_lapses_before_its_time_is_never_told_as_captured() {
    let stage = Stage::default();
    let cast = stage.subscriber(STRIPE_METHOD);
    stage.clock.advance_to(cast.due.before(3 * DAY));
    assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due.after(2 * DAY));
    let verdict = stage.play(&stage.capture(&cast)).await;
    let told = stage.cleeng.payments();
    let taken: i64 = stage.stripe.ledger().iter().map(|entry| entry.captured.minor).sum();
    let captured = told.iter().filter(|payment| payment.status == PaymentStatus::Captured).count();
    assert_eq!((taken, standings(&stage)[0]), (i64::try_from(captured).unwrap() * 999, Standing::Expired), "{verdict:?}");
    assert_balanced(&stage);
}

/// A customer at a page with an order.
struct Page {
    customer: connector::ids::CustomerId,
    order: connector::ids::OrderId,
}

impl Page {
    fn open(stage: &Stage) -> Self {
        let customer = stage.cleeng.new_customer().unwrap();
        let order = stage.cleeng.new_order(&customer, &id(PASS), &id(STRIPE_METHOD)).unwrap();
        Self { customer, order }
    }

    async fn call(&self, stage: &Stage, path: &str, more: Value) -> (u16, Value) {
        let mut body = json!({ "origin": ORIGIN, "captchaValue": "x", "orderId": self.order, "returnUrl": format!("{ORIGIN}/back") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = stage.call_at(GatewayName::Stripe, path, &stage.cleeng.customer_token(&self.customer), &body).await;
        (reply.status.as_u16(), reply.body)
    }

    async fn start(&self, stage: &Stage, method: &str) -> (u16, Value) {
        self.call(stage, "initial-payment", json!({ "paymentMethod": { "type": "card", "id": method } })).await
    }
}

fn kept(stage: &Stage) -> Vec<LedgerEntry> {
    stage.stripe.ledger().into_iter().filter(LedgerEntry::holds_money).collect()
}

#[tokio::test]
async fn a_purchase_that_stripe_processes_waits_and_is_finished_by_its_event() {
    let stage = Stage::default();
    let page = Page::open(&stage);
    let method = stage.stripe.collect("pm_card_visa", 1);
    stage.stripe.process_next(&method, None);
    assert_eq!(page.start(&stage, &method).await.0, 202);
    stage.run_until_quiet().await;
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(page.start(&stage, &method).await.1["responseData"]["payment"]["status"], "captured");
    assert_eq!(kept(&stage).len(), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_page_that_asks_itself_pays_with_stripes_own_script() {
    let stage = Stage::default();
    let page = Page::open(&stage);
    let mut entered = stage.stripe.entered(Entry::Asked, 1);
    entered["useStripeSdk"] = json!(true);
    let (status, body) = page.call(&stage, "initial-payment", entered).await;
    let action = &body["responseData"]["action"];
    assert_eq!((status, &action["type"]), (200, &json!("sdk")), "{body}");
    let details = stage.stripe.agree(action);
    let (status, body) = page.call(&stage, "initial-payment/finalize", json!({ "details": details })).await;
    assert_eq!((status, &body["responseData"]["payment"]["status"]), (200, &json!("captured")), "{body}");
    stage.run_until_quiet().await;
    assert_eq!(kept(&stage).len(), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_start_whose_answer_was_lost_takes_no_second_payment_although_the_search_is_behind() {
    let stage = Stage::default();
    stage.stripe.search_lags(30 * DAY);
    let page = Page::open(&stage);
    stage.road.lay(Fault::TimeoutAfter, |peer, request| peer == "stripe" && request.path.ends_with("/payment_intents"));
    let method = stage.stripe.collect("pm_card_visa", 1);
    assert_eq!(page.start(&stage, &method).await.0, 202);
    let (status, body) = page.start(&stage, &method).await;
    assert_eq!((status, &body["responseData"]["payment"]["status"]), (200, &json!("captured")), "{body}");
    assert_eq!(stage.road.reached("stripe", &Method::POST, "/payment_intents"), 1, "it is asked about, not sent again");
    stage.run_until_quiet().await;
    assert_eq!(kept(&stage).len(), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_start_is_not_sent_again_where_asking_took_the_time_that_it_needs() {
    let stage = Stage::default();
    let page = Page::open(&stage);
    let method = stage.stripe.collect("pm_card_visa", 1);
    stage.road.lay(Fault::TimeoutBefore, |_, request| request.path.ends_with("/payment_intents"));
    assert_eq!(page.start(&stage, &method).await.0, 202);
    let clock = stage.clock.clone();
    stage.road.lay(Fault::Mutate(Arc::new(move |_| clock.advance(Duration::from_secs(15)))), |_, request| request.path.contains("search"));
    assert_eq!(page.start(&stage, &method).await.0, 202);
    assert_eq!(stage.road.reached("stripe", &Method::POST, "/payment_intents"), 0);
    assert_eq!(page.start(&stage, &method).await.1["responseData"]["payment"]["status"], "captured");
    stage.run_until_quiet().await;
    assert_eq!(kept(&stage).len(), 1);
    assert_balanced(&stage);
}

#[tokio::test]
async fn details_that_somebody_detaches_in_the_dashboard_renew_nothing() {
    let (stage, cast) = due_to_be_charged(|_| {});
    stage.stripe.detach_in_dashboard(&cast.token);
    stage.run_until_quiet().await;
    stage.play(&stage.capture(&cast)).await;
    assert_eq!((statuses(&stage), kept(&stage).len()), (vec![PaymentStatus::Rejected], 0));
    assert_balanced(&stage);
}
