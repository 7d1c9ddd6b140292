//! The simulator rejects what a wrong connector does.

use std::sync::Arc;

use connector::cleeng::{
    Cleeng, CleengError, NewPayment, NewPaymentStatus, PaymentOperation, PaymentPatch, PaymentSource, SubscriptionStatus, TerminationType,
};
use connector::http::{HeaderName, Method, Request, Transport};
use connector::secret::SecretString;
use sandbox::simulators::cleeng::{CleengSimulator, Cycle};
use sandbox::simulators::network::InProcessTransport;
use serde_json::{Value, json};

use crate::cleeng_client::harness::{CleengHarness, DAY, TOKEN, external, rejected, usd};

const REFUSED: Result<(), CleengError> = Err(CleengError::Refused { status: 422 });
const MALFORMED: Result<(), CleengError> = Err(CleengError::Refused { status: 400 });

async fn post(harness: &CleengHarness, payment: &NewPayment) -> Result<(), CleengError> {
    harness.api().create_payment(payment).await.map(|_| ())
}

#[tokio::test]
async fn a_second_live_payment_of_a_period_is_a_double_charge() {
    let harness = CleengHarness::at_renewal();
    harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    assert_eq!(post(&harness, &harness.new_payment(&order, NewPaymentStatus::Captured, "PSP2")).await, REFUSED);
    assert_eq!(harness.violated_rules(), ["double_charge"]);
    // A refusal of the same period takes no money.
    assert_eq!(post(&harness, &harness.new_payment(&order, rejected(), "PSP3")).await, Ok(()));
}

#[tokio::test]
async fn a_period_that_is_not_yet_due_is_not_charged() {
    let harness = CleengHarness::at_renewal();
    harness.pay(NewPaymentStatus::Captured, "PSP1").await;
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    assert_eq!(post(&harness, &harness.new_payment(&order, NewPaymentStatus::Captured, "PSP2")).await, REFUSED);
    assert_eq!(harness.violated_rules(), ["charged_too_early"]);
}

#[tokio::test]
async fn an_order_is_paid_once_and_within_a_day() {
    let harness = CleengHarness::at_renewal();
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    harness.clock.advance(DAY);
    assert_eq!(post(&harness, &harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1")).await, REFUSED);
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    let payment = harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1");
    assert_eq!((post(&harness, &payment).await, post(&harness, &payment).await), (Ok(()), REFUSED));
    assert_eq!(harness.violated_rules(), ["payment_for_expired_order", "order_paid_twice"]);
}

#[tokio::test]
async fn a_payment_needs_what_its_status_and_operation_need() {
    let harness = CleengHarness::at_renewal();
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    let good = || harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1");
    let no_details = NewPayment { source: PaymentSource::None, ..good() };
    let no_subscription = NewPayment { subscription: None, ..good() };
    let wrong_operation = NewPayment { operation: PaymentOperation::Initial, ..good() };
    let no_reason = NewPayment { status: NewPaymentStatus::Rejected { reason: String::new() }, ..good() };
    for wrong in [no_details, no_subscription, wrong_operation, no_reason] {
        assert_eq!(post(&harness, &wrong).await, MALFORMED);
    }
    let rules =
        ["payment_without_details", "payment_recurring_without_subscription", "payment_operation", "payment_rejected_without_reason"];
    assert_eq!(harness.violated_rules(), rules);
    assert_eq!(harness.cleeng.payments().len(), 0);
}

#[tokio::test]
async fn only_the_documented_transitions_happen() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    let refunded = PaymentPatch::Refunded {
        order: payment.order.clone().unwrap(),
        operation: PaymentOperation::Recurring,
        reason: "x".to_owned(),
        amount: Some(usd(1000)),
        chargeback: false,
    };
    let captured = PaymentPatch::Captured { order: payment.order.clone(), external_payment_id: None };
    assert_eq!(api.update_payment(&payment.id, &refunded).await, REFUSED);
    assert_eq!(api.update_payment(&payment.id, &captured).await, Ok(()));
    assert_eq!(api.update_payment(&payment.id, &captured).await, REFUSED);
    assert_eq!(api.cancel_payment(&payment.id).await, REFUSED);
    assert_eq!(api.update_payment(&payment.id, &refunded).await, REFUSED, "more than was paid");
    assert_eq!(harness.violated_rules(), ["illegal_transition", "repeated_change", "illegal_transition", "refund_amount"]);
    assert_eq!(harness.cleeng.transactions().len(), 1);
}

#[tokio::test]
async fn an_ended_subscription_is_not_renewed() {
    let harness = CleengHarness::at_renewal();
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    harness.api().terminate(&harness.subscriber.subscription, TerminationType::PaymentCancel).await.unwrap();
    assert_eq!(post(&harness, &harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1")).await, REFUSED);
    assert_eq!(harness.api().create_order(&harness.new_order()).await.map(|_| ()), REFUSED);
    assert_eq!(harness.violated_rules(), ["payment_for_ended_subscription", "order_for_ended_subscription"]);
    let ended = harness.cleeng.subscription(&harness.subscriber.subscription).unwrap();
    assert_eq!((ended.status, ended.date_to), (SubscriptionStatus::Terminated, harness.due));
}

#[tokio::test]
async fn a_captured_renewal_moves_the_period_by_one_cycle_from_its_old_end() {
    let harness = CleengHarness::at_renewal();
    harness.pay(NewPaymentStatus::Captured, "PSP1").await;
    let renewed = harness.cleeng.subscription(&harness.subscriber.subscription).unwrap();
    assert_eq!((renewed.date_from, renewed.date_to), (harness.due, Cycle::MONTHLY.after(harness.due)));
    assert_eq!((renewed.latest_payment, renewed.completed), (Some(external("PSP1")), 1));
}

async fn send_raw(cleeng: &CleengSimulator, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let transport = InProcessTransport::default().with_server("http://cleeng.test", Arc::new(cleeng.clone()));
    let mut request = Request::new(method, format!("http://cleeng.test{path}"), DAY)
        .secret_header(HeaderName::from_static("x-publisher-token"), SecretString::new(TOKEN));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = transport.send(request).await.ok().unwrap();
    (answer.status.as_u16(), answer.json().unwrap_or_default())
}

#[tokio::test]
async fn malformed_requests_are_named() {
    let harness = CleengHarness::at_renewal();
    let customer = harness.subscriber.customer.to_json_number();
    let order = json!({ "customerId": customer, "offerId": "S123123123_US", "currency": "USD", "country": "US",
        "paymentMethodId": 123_123_123, "paymentOperation": "recurring-payment", "subscriptionId": harness.subscriber.subscription });
    let with = |name: &str, value: Value| {
        let mut order = order.clone();
        order[name] = value;
        order
    };
    for (body, rule) in [
        (with("amount", json!(1)), "unknown_field"),
        (with("country", json!("USA")), "order_country"),
        (with("currency", json!("EUR")), "order_in_another_currency"),
        (with("paymentMethodId", json!("123123123")), "order_payment_method"),
        (with("paymentOperation", json!("initial-payment")), "order_recurring_pair"),
        (with("subscriptionId", json!("1")), "order_for_unknown_subscription"),
        (json!([]), "body_is_no_object"),
    ] {
        let (status, _) = send_raw(&harness.cleeng, Method::POST, "/3.1/orders", Some(body)).await;
        assert!(matches!(status, 400 | 422), "{rule}");
        assert_eq!(harness.violated_rules().last(), Some(&rule));
    }
    assert_eq!(harness.cleeng.orders().len(), 0);
    assert_eq!(send_raw(&harness.cleeng, Method::POST, "/3.1/orders", Some(order)).await.0, 200);
}

#[tokio::test]
async fn ids_change_their_json_type_from_one_answer_to_the_next() {
    let harness = CleengHarness::at_renewal();
    let path = format!("/3.1/subscriptions/{}", harness.subscriber.subscription);
    let (_, one) = send_raw(&harness.cleeng, Method::GET, &path, None).await;
    let (_, other) = send_raw(&harness.cleeng, Method::GET, &path, None).await;
    assert_ne!(one["subscriptionId"].is_string(), other["subscriptionId"].is_string());
}

#[tokio::test]
async fn a_list_of_subscriptions_needs_a_filter_and_has_pages() {
    let harness = CleengHarness::at_renewal();
    assert_eq!(send_raw(&harness.cleeng, Method::GET, "/3.1/subscriptions", None).await.1["data"], json!([]));
    let (_, page) = send_raw(&harness.cleeng, Method::GET, "/3.1/subscriptions?paymentMethodId=123123123&limit=1", None).await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
    let (_, page) = send_raw(&harness.cleeng, Method::GET, "/3.1/subscriptions?paymentMethodId=123123123&offset=1", None).await;
    assert_eq!(page["data"], json!([]));
}

/// Seventy subscriptions of one customer cannot share a period, so the held payments belong to seventy months.
async fn seed_authorised_payments(harness: &CleengHarness, count: usize) {
    let mut due = harness.due;
    for index in 0..count {
        let subscription = &harness.subscriber.subscription;
        harness.clock.advance_to(due.before(DAY));
        harness.pay(NewPaymentStatus::Authorised, &format!("PSP{index}")).await;
        // The publisher gives the month away, the held payment stays.
        due = Cycle::MONTHLY.after(due);
        let path = format!("/3.1/subscriptions/{subscription}");
        assert_eq!(send_raw(&harness.cleeng, Method::PATCH, &path, Some(json!({ "expiresAt": due.secs() }))).await.0, 200);
    }
}

#[tokio::test]
async fn all_pages_of_the_authorised_list_are_read_and_reading_ends() {
    let harness = CleengHarness::at_renewal();
    seed_authorised_payments(&harness, 45).await;
    let details = &harness.subscriber.details;
    let read = async |page: usize, heeds_offset: bool, total_count: bool| {
        harness.cleeng.change_quirks(|quirks| {
            (quirks.max_page_size, quirks.honours_offset, quirks.sends_total_count) = (page, heeds_offset, total_count)
        });
        let before = harness.network.calls().len();
        let found = harness.api().authorised_payments(details).await.map(|list| list.len());
        (found, harness.network.calls().len() - before)
    };
    assert_eq!(read(100, true, true).await, (Ok(45), 1));
    assert_eq!(read(20, true, true).await, (Ok(45), 3));
    assert_eq!(read(20, true, false).await, (Ok(45), 3));
    assert_eq!(read(10, true, true).await, (Ok(45), 5));
    // Pages that never change: the list is known to be cut short, or it ends where nothing new comes.
    let cut = CleengError::Unknown(connector::cleeng::UnknownAnswer::Unreadable("X-Total-Count"));
    assert_eq!(read(20, false, true).await, (Err(cut), 2));
    assert_eq!(read(100, false, false).await, (Ok(45), 2));
}
