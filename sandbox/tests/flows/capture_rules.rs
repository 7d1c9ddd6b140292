//! When a capture event captures, waits, asks or calls an operator.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::{Billing, Verdict};
use connector::metrics::Metric;
use sandbox::stage::{METHOD, Stage, id};

use crate::{assert_balanced, at_due_date_authorised, at_first_attempt, calls, settled, statuses};

#[tokio::test]
async fn a_capture_of_a_period_that_was_never_authorised_charges_nobody_waits_asks_cleeng_and_is_parked() {
    let (stage, cast) = at_first_attempt();
    stage.clock.advance_to(cast.due);
    let capture = stage.capture(&cast);
    assert_eq!(stage.deliver(&capture).await, Verdict::Later { after: None, reason: "waiting_for_authorisation" });
    stage.clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(stage.deliver(&capture).await, Verdict::Later { after: None, reason: "waiting_for_authorisation" });
    assert_eq!(stage.store.writes(), 0);
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(stage.deliver(&capture).await, Verdict::Parked("capture_without_authorisation"));
    assert_eq!(stage.road.reached("cleeng", &connector::http::Method::GET, "authorised_payments"), 1);
    assert_eq!(stage.metrics.count(Metric::Parked, "capture_without_authorisation"), 1);
    assert_eq!(stage.deliver(&capture).await, settled("parked"));
    assert_eq!((calls(&stage), statuses(&stage)), ((0, 0, 0), vec![]));
}

#[tokio::test]
async fn a_capture_that_comes_before_its_authorisation_waits_and_captures_once() {
    let (stage, cast) = at_first_attempt();
    stage.clock.advance_to(cast.due);
    assert!(!crate::SETTLED(&stage.deliver(&stage.capture(&cast)).await));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 0)).await, settled("authorised"));
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(calls(&stage), (1, 1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_capture_that_names_other_details_never_captures_what_the_old_ones_hold() {
    let (stage, mut cast) = at_due_date_authorised().await;
    stage.change_card(&mut cast, METHOD);
    let capture = stage.capture(&cast);
    assert!(!crate::SETTLED(&stage.deliver(&capture).await));
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(stage.deliver_until_settled(&capture).await, Verdict::Parked("capture_without_authorisation"));
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled]);
    assert_eq!(stage.adyen.total_captured("USD"), 0);
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_authorisation_that_lapsed_is_not_captured_and_the_next_attempt_authorises_anew() {
    let (stage, cast) = at_first_attempt();
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    lapse(&stage).await;
    stage.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    stage.adyen.process();
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Authorised]);
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_balanced(&stage);
}

/// Adyen says no date; a gateway that does leaves it in the payment record. It is written there as that gateway's adapter would have it.
async fn lapse(stage: &Stage) {
    use connector::journal::payment::PaymentRecord;
    use connector::journal::store::Key;
    use connector::journal::work::{Keep, Work};
    let reference = stage.adyen.payments()[0].reference.clone();
    let key = Key::new("payment", &[&reference]);
    let mut work = Work::new(stage.store.clone());
    work.load(std::slice::from_ref(&key)).await.unwrap();
    let mut payment: PaymentRecord = work.read(&key).unwrap().unwrap();
    payment.expires_at = Some(connector::clock::Clock::now(&stage.clock));
    work.stage(&key, &payment, Keep::default()).unwrap();
    work.commit().await.unwrap();
}

#[tokio::test]
async fn an_authorisation_made_before_this_connector_is_found_in_cleeng_and_captured() {
    let (old, cast) = at_due_date_authorised().await;
    // The same world, with a journal that knows nothing.
    let empty = std::sync::Arc::new(connector::journal::memory::MemoryStore::new(std::sync::Arc::new(old.clock.clone())));
    let stage = Stage { world: connector::flow::World { store: empty, ..old.world.clone() }, ..old };
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
    assert_eq!(stage.adyen.total_captured("USD"), 999);
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_older_authorisation_of_another_customer_or_offer_or_one_that_is_taken_already_is_not_captured() {
    let others: [fn(&mut serde_json::Value); 3] = [
        |payment| payment["customerId"] = "99".into(),
        |payment| payment["offerId"] = "S999_US".into(),
        |payment| payment["status"] = "captured".into(),
    ];
    for (number, other) in others.into_iter().enumerate() {
        let (old, cast) = at_due_date_authorised().await;
        let empty = std::sync::Arc::new(connector::journal::memory::MemoryStore::new(std::sync::Arc::new(old.clock.clone())));
        let stage = Stage { world: connector::flow::World { store: empty, ..old.world.clone() }, ..old };
        stage.clock.advance(Duration::from_secs(3600));
        let change = move |answer: &mut serde_json::Value| match answer {
            serde_json::Value::Array(list) => list.iter_mut().for_each(other),
            _ => answer.as_object_mut().unwrap().values_mut().filter_map(serde_json::Value::as_array_mut).flatten().for_each(other),
        };
        stage.road.lay(sandbox::peer::Fault::Mutate(std::sync::Arc::new(change)), |peer, request| {
            peer == "cleeng" && request.path.ends_with("/authorised_payments")
        });
        assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, Verdict::Parked("capture_without_authorisation"), "{number}");
        assert_eq!(stage.adyen.total_captured("USD"), 0, "{number}");
    }
}

#[tokio::test]
async fn a_live_authorisation_is_captured_even_if_billing_was_switched_to_capture_only() {
    let (old, cast) = at_due_date_authorised().await;
    let mut rules = (*old.world.rules).clone();
    rules
        .methods
        .insert(id(METHOD), connector::flow::Method { gateway: connector::gateway::GatewayName::Adyen, billing: Billing::CaptureOnly });
    let stage = Stage { world: connector::flow::World { rules: std::sync::Arc::new(rules), ..old.world.clone() }, ..old };
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_eq!(calls(&stage), (1, 1, 1));
    assert_balanced(&stage);
}

#[tokio::test]
async fn an_event_without_a_payment_method_is_told_by_journal_or_by_cleeng() {
    use connector::cleeng::webhook::Topic;
    let (stage, cast) = at_due_date_authorised().await;
    let mut body: serde_json::Value = serde_json::from_slice(&stage.capture(&cast).body).unwrap();
    body["data"].as_object_mut().unwrap().remove("paymentMethodId");
    let bare = stage.cleeng.event(Topic::SubscriptionReadyForPaymentCapture, &body["data"]);
    assert_eq!(stage.deliver_until_settled(&bare).await, settled("captured"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_parked_event_is_kept_until_an_operator_has_looked_and_a_settled_one_is_not() {
    use connector::billing::rules::period_key;
    use connector::journal::record::Obligation;
    use connector::journal::store::Store;
    use connector::lambda::queue::Envelope;
    let waiting = async |stage: &Stage, cast: &sandbox::stage::Cast| {
        let key = period_key(&cast.subscriber.subscription, cast.due);
        let stored = stage.store.load(&[key]).await.unwrap().remove(0).unwrap();
        serde_json::from_str::<Obligation>(&stored.body).unwrap().attempts.pop().unwrap().waiting_event
    };
    let (stage, cast) = at_first_attempt();
    stage.clock.advance_to(cast.due.after(Duration::from_secs(3600)));
    assert_eq!(stage.deliver(&stage.capture(&cast)).await, Verdict::Parked("capture_without_authorisation"));
    let event = Envelope::from_text(&waiting(&stage, &cast).await.unwrap()).unwrap().open().unwrap();
    assert_eq!(event.get().topic, connector::cleeng::webhook::Topic::SubscriptionReadyForPaymentCapture);

    let (stage, cast) = at_due_date_authorised().await;
    stage.deliver(&stage.capture(&cast)).await;
    assert!(waiting(&stage, &cast).await.is_some(), "while the gateway's word is awaited");
    stage.deliver_until_settled(&stage.capture(&cast)).await;
    assert_eq!(waiting(&stage, &cast).await, None);
}

#[tokio::test]
async fn an_event_that_nobody_can_place_is_for_an_operator() {
    use connector::cleeng::webhook::Topic;
    use sandbox::peer::Fault;
    let (stage, cast) = at_first_attempt();
    let mut body: serde_json::Value = serde_json::from_slice(&stage.authorisation(&cast, 72).body).unwrap();
    body["data"].as_object_mut().unwrap().remove("paymentMethodId");
    let bare = stage.cleeng.event(Topic::SubscriptionReadyForPaymentAuthorisation, &body["data"]);
    let forget = |answer: &mut serde_json::Value| {
        answer.as_object_mut().unwrap().remove("paymentMethodId");
    };
    stage.road.lay(Fault::Mutate(std::sync::Arc::new(forget)), |peer, _| peer == "cleeng");
    assert_eq!(stage.deliver(&bare).await, Verdict::Parked("whose_event_is_unknown"));
    assert_eq!(calls(&stage), (0, 0, 0));
}
