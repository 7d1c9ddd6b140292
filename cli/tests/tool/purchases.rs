//! A purchase that needs an operator's decision, from the page to Cleeng's records.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::ScheduledJob;
use connector::http::Method;
use reconciliation::Reconciliation;
use sandbox::simulators::network::Fault;
use sandbox::simulators::simulated_gateway::{EnteredDetails, SimulatedGateway as _};
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::support::run_command;

#[tokio::test]
async fn a_purchase_whose_report_is_unknown_is_found_after_a_retry_and_paid_once() {
    let stage = TestEnvironment::default();
    let customer = stage.cleeng.new_customer().unwrap();
    let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(ADYEN_METHOD)).unwrap();
    let mut body = json!({ "orderId": order, "origin": SHOP_ORIGIN, "returnUrl": format!("{SHOP_ORIGIN}/checkout"), "captchaValue": "x" });
    if let (Some(body), Value::Object(entered)) = (body.as_object_mut(), stage.adyen.payment_data(EnteredDetails::Frictionless, 1)) {
        body.extend(entered);
    }
    // The answer is lost, and no subscription names its latest payment until the deadline of unknown outcomes is over.
    stage.network.inject(Fault::TimeoutAfter, |peer, request| {
        peer == "cleeng" && request.method == Method::POST && request.path.ends_with("/payments")
    });
    let hide = |body: &mut Value| {
        drop(body.pointer_mut("/data/0").and_then(Value::as_object_mut).and_then(|read| read.remove("latestPaymentExternalId")))
    };
    let hide_next = || stage.network.inject(Fault::Mutate(Arc::new(hide)), |_, request| request.path.ends_with("/subscriptions"));
    hide_next();
    let reply = stage.call("initial-payment", &stage.cleeng.customer_token(&customer), &body).await;
    assert_ne!(reply.status, 200, "{}", reply.body);
    for _ in 0..26 {
        hide_next();
        stage.clock.advance(Duration::from_secs(3_600));
        Reconciliation.run(&stage.flow_context, &stage.delivery_received_now()).await;
    }
    stage.network.clear_faults();
    let queue = Arc::default();
    let listed = run_command(&stage, &queue, &["parked", "list"]).await;
    assert_eq!(listed.json["parked"][0]["reason"], "report_unknown", "{}", listed.text);

    let key = format!("order#{order}");
    stage.clock.advance(Duration::from_secs(600));
    let words = ["parked", "resolve", &key, "--as", "retry", "--by", "night shift", "--note", "Cleeng mended it", "--apply"];
    let answer = run_command(&stage, &queue, &words).await;
    assert!(answer.exit_code == 0 && answer.text.contains("the next run"), "{}", answer.text);
    Reconciliation.run(&stage.flow_context, &stage.delivery_received_now()).await;
    stage.process_gateways();
    let statuses: Vec<PaymentStatus> = stage.cleeng.payments().into_iter().map(|payment| payment.status).collect();
    assert_eq!((statuses, stage.adyen.authorisations()), (vec![PaymentStatus::Captured], 1));
    assert_eq!(stage.discrepancies(), Vec::<String>::new());
    assert_eq!(run_command(&stage, &queue, &["parked", "list"]).await.text, "nothing is parked\n");
}
