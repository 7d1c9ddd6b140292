//! A report whose answer is lost is looked for on Cleeng's list of authorised payments, and nothing on it is taken for another.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::money::{Currency, Money};
use sandbox::cleeng::Purchase;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::{CAPTURE_ONLY_METHOD, Cast, METHOD, OFFER, Stage, id};
use serde_json::Value;

use crate::{assert_balanced, at_first_attempt, calls, settled, statuses};

fn is_report(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.path.contains("/payments") && request.method != Method::GET
}

fn is_list(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.path.ends_with("/authorised_payments")
}

/// Another connector holds money with the same details; Cleeng lists it first.
fn with_another_hold() -> (Stage, Cast) {
    let (stage, cast) = at_first_attempt();
    let (details, customer) = (Some(cast.subscriber.details.clone()), cast.subscriber.customer.clone());
    let external = ExternalPaymentId::new("OTHERS").unwrap();
    let (total, status) = (Money::new(999, Currency::new("USD").unwrap()), PaymentStatus::Authorised);
    stage.cleeng.put_purchase(Purchase { customer, offer: id(OFFER), method: id(METHOD), details, total, external, status }).unwrap();
    (stage, cast)
}

/// The next list names no payment by its id at the gateway.
fn lay_list_without_ids(stage: &Stage) {
    let forget = |payment: &mut Value| payment["externalPaymentId"] = Value::Null;
    let change = move |answer: &mut Value| match answer {
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => answer.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut).flatten().for_each(forget),
    };
    stage.road.lay(Fault::Mutate(Arc::new(change)), is_list);
}

#[tokio::test]
async fn a_payment_that_another_holds_with_the_same_details_is_not_taken_for_ours() {
    for fault in [Fault::TimeoutBefore, Fault::TimeoutAfter] {
        let (stage, cast) = with_another_hold();
        stage.road.lay(fault.clone(), is_report);
        assert_eq!(stage.deliver_until_settled(&stage.authorisation(&cast, 72)).await, settled("authorised"));
        assert_eq!(statuses(&stage), [PaymentStatus::Authorised, PaymentStatus::Authorised]);
        stage.clock.advance_to(cast.due);
        stage.road.lay(fault, is_report);
        assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
        assert_eq!(statuses(&stage), [PaymentStatus::Authorised, PaymentStatus::Captured]);
    }
}

#[tokio::test]
async fn nothing_is_concluded_from_a_list_that_does_not_say_which_payments_they_are_at_the_gateway() {
    let (stage, cast) = at_first_attempt();
    let event = stage.authorisation(&cast, 72);
    stage.road.lay(Fault::TimeoutAfter, is_report);
    assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
    stage.clock.advance(Duration::from_secs(600));
    lay_list_without_ids(&stage);
    assert_eq!(stage.deliver(&event).await, Verdict::Later { after: None, reason: "cleeng_list_incomplete" });
    assert_eq!(calls(&stage).2, 1);
    stage.clock.advance(Duration::from_secs(600));
    assert_eq!(stage.deliver(&event).await, settled("authorised"));
    assert_eq!((calls(&stage).2, statuses(&stage)), (1, vec![PaymentStatus::Authorised]));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_payment_that_the_journal_knows_by_cleengs_id_is_found_on_such_a_list() {
    for (fault, told) in [(Fault::TimeoutBefore, 2), (Fault::TimeoutAfter, 1)] {
        let (stage, cast) = with_another_hold();
        assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
        stage.clock.advance_to(cast.due);
        let capture = stage.capture(&cast);
        let patches = || stage.road.calls().into_iter().filter(|call| call.peer == "cleeng" && call.method == Method::PATCH).count();
        stage.road.lay(fault, is_report);
        while patches() == 0 {
            assert!(matches!(stage.deliver(&capture).await, Verdict::Later { .. }));
            stage.adyen.process();
            stage.clock.advance(Duration::from_secs(600));
        }
        lay_list_without_ids(&stage);
        assert_eq!(stage.deliver_until_settled(&capture).await, settled("captured"));
        assert_eq!((patches(), statuses(&stage)), (told, vec![PaymentStatus::Authorised, PaymentStatus::Captured]));
    }
}

/// The next look at the subscription says this of its latest payment, and that it is paid until then.
fn lay_subscription(stage: &Stage, latest: Option<&'static str>, paid_until: Option<i64>) {
    let change = move |answer: &mut Value| {
        let said = answer.as_object_mut().unwrap();
        match latest {
            Some("") => drop(said.remove("latestPaymentExternalId")),
            Some(other) => drop(said.insert("latestPaymentExternalId".to_owned(), Value::from(other))),
            None => {}
        }
        said.extend(paid_until.map(|until| ("dateTo".to_owned(), Value::from(until))));
    };
    stage.road.lay(Fault::Mutate(Arc::new(change)), |peer, request| {
        peer == "cleeng" && request.method == Method::GET && request.path.contains("/subscriptions/")
    });
}

#[tokio::test]
async fn a_charge_was_told_if_the_subscription_is_paid_for_longer_or_names_it_and_is_told_again_if_it_names_another() {
    for (fault, latest, old_end, verdict, reports) in [
        (Fault::TimeoutAfter, Some(""), false, settled("captured"), 1),
        (Fault::TimeoutAfter, None, true, settled("captured"), 1),
        (Fault::TimeoutBefore, Some("OTHERS"), false, settled("captured"), 1),
        (Fault::TimeoutBefore, Some(""), false, Verdict::Parked("report_unknown"), 0),
    ] {
        let stage = Stage::default();
        let cast = stage.subscriber(CAPTURE_ONLY_METHOD);
        stage.clock.advance_to(cast.due);
        let event = stage.capture(&cast);
        stage.road.lay(fault, is_report);
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
        stage.clock.advance(Duration::from_secs(600));
        // The old end, although Cleeng booked the payment; else whatever Cleeng has.
        lay_subscription(&stage, latest, old_end.then_some(cast.due.secs()));
        assert_eq!(stage.deliver_until_settled(&event).await, verdict, "{latest:?} {old_end}");
        assert_eq!((calls(&stage).2, stage.adyen.authorisations()), (reports, 1), "{latest:?} {old_end}");
        assert_eq!(statuses(&stage).len(), reports, "{latest:?} {old_end}");
    }
}

#[tokio::test]
async fn a_report_is_made_again_only_when_the_first_one_cannot_be_on_its_way_any_more() {
    for method in [METHOD, CAPTURE_ONLY_METHOD] {
        let stage = Stage::default();
        let cast = stage.subscriber(method);
        let (event, word) = if method == METHOD {
            stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3_600)));
            (stage.authorisation(&cast, 72), "authorised")
        } else {
            stage.clock.advance_to(cast.due);
            (stage.capture(&cast), "captured")
        };
        stage.road.lay(Fault::TimeoutBefore, is_report);
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { .. }));
        for (wait, left) in [(0, 60), (59, 1)] {
            stage.clock.advance(Duration::from_secs(wait));
            let verdict = stage.deliver(&event).await;
            assert_eq!(verdict, Verdict::Later { after: Some(Duration::from_secs(left)), reason: "report_unknown" }, "{method}");
            assert_eq!(calls(&stage).2, 0, "{method}");
        }
        stage.clock.advance(Duration::from_secs(1));
        assert_eq!(stage.deliver(&event).await, settled(word));
        assert_eq!((calls(&stage).2, statuses(&stage).len()), (1, 1), "{method}");
    }
}
