//! A report whose response is lost is looked up in Cleeng's list of authorised payments, and no other entry is taken for it.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use connector::money::{Currency, Money};
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::cleeng::PaidPurchase;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::gateway_fixtures::{ADYEN_CAPTURE_ONLY_METHOD, ADYEN_METHOD};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};
use serde_json::Value;

use crate::flows::{assert_balanced, at_first_attempt, call_counts, completed, statuses};

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.path.contains("/payments") && request.method != Method::GET
}

fn is_list(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.path.ends_with("/authorised_payments")
}

/// Another connector holds money with the same details; Cleeng lists it first.
fn with_foreign_authorisation() -> (TestEnvironment, TestSubscriber) {
    let (env, subscriber) = at_first_attempt();
    let (details, customer) = (Some(subscriber.ids.details.clone()), subscriber.ids.customer.clone());
    let external = ExternalPaymentId::new("OTHERS").unwrap();
    let (total, status) = (Money::new(999, Currency::new("USD").unwrap()), PaymentStatus::Authorised);
    env.cleeng
        .insert_purchase(PaidPurchase {
            customer,
            offer: id(OFFER),
            method: id(ADYEN_METHOD),
            details,
            total,
            external_payment_id: external,
            status,
        })
        .unwrap();
    (env, subscriber)
}

/// The next list names no payment by its id at the gateway.
fn answer_list_without_ids(env: &TestEnvironment) {
    let forget = |payment: &mut Value| payment["externalPaymentId"] = Value::Null;
    let change = move |answer: &mut Value| match answer {
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => answer.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut).flatten().for_each(forget),
    };
    env.network.inject(Fault::Mutate(Arc::new(change)), is_list);
}

#[tokio::test]
async fn a_foreign_authorisation_with_the_same_details_is_not_treated_as_ours() {
    for fault in [Fault::TimeoutBefore, Fault::TimeoutAfter] {
        let (env, subscriber) = with_foreign_authorisation();
        env.network.inject(fault.clone(), is_report);
        assert_eq!(env.deliver_until_settled(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
        assert_eq!(statuses(&env), [PaymentStatus::Authorised, PaymentStatus::Authorised]);
        env.clock.advance_to(subscriber.due);
        env.network.inject(fault, is_report);
        assert_eq!(env.deliver_until_settled(&env.capture_event(&subscriber)).await, completed("captured"));
        assert_eq!(statuses(&env), [PaymentStatus::Authorised, PaymentStatus::Captured]);
    }
}

#[tokio::test]
async fn a_list_without_gateway_ids_decides_nothing() {
    let (env, subscriber) = at_first_attempt();
    let event = env.authorisation_event(&subscriber, 72);
    env.network.inject(Fault::TimeoutAfter, is_report);
    assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
    env.clock.advance(Duration::from_secs(600));
    answer_list_without_ids(&env);
    assert_eq!(env.deliver(&event).await, Disposition::Retry { after: None, reason: RetryReason::CleengListIncomplete });
    assert_eq!(call_counts(&env).2, 1);
    env.clock.advance(Duration::from_secs(600));
    assert_eq!(env.deliver(&event).await, completed("authorised"));
    assert_eq!((call_counts(&env).2, statuses(&env)), (1, vec![PaymentStatus::Authorised]));
    assert_balanced(&env);
}

#[tokio::test]
async fn a_payment_known_by_cleengs_id_is_found_on_a_list_without_gateway_ids() {
    for (fault, told) in [(Fault::TimeoutBefore, 2), (Fault::TimeoutAfter, 1)] {
        let (env, subscriber) = with_foreign_authorisation();
        assert_eq!(env.deliver(&env.authorisation_event(&subscriber, 72)).await, completed("authorised"));
        env.clock.advance_to(subscriber.due);
        let capture = env.capture_event(&subscriber);
        let patches = || env.network.calls().into_iter().filter(|call| call.server == "cleeng" && call.method == Method::PATCH).count();
        env.network.inject(fault, is_report);
        while patches() == 0 {
            assert!(matches!(env.deliver(&capture).await, Disposition::Retry { .. }));
            env.adyen.process();
            env.clock.advance(Duration::from_secs(600));
        }
        answer_list_without_ids(&env);
        assert_eq!(env.deliver_until_settled(&capture).await, completed("captured"));
        assert_eq!((patches(), statuses(&env)), (told, vec![PaymentStatus::Authorised, PaymentStatus::Captured]));
    }
}

/// The next look at the subscription says this of its latest payment, and that it is paid until then.
fn answer_subscription(env: &TestEnvironment, latest: Option<&'static str>, paid_until: Option<i64>) {
    let change = move |answer: &mut Value| {
        let said = answer.as_object_mut().unwrap();
        match latest {
            Some("") => drop(said.remove("latestPaymentExternalId")),
            Some(other) => drop(said.insert("latestPaymentExternalId".to_owned(), Value::from(other))),
            None => {}
        }
        said.extend(paid_until.map(|until| ("dateTo".to_owned(), Value::from(until))));
    };
    env.network.inject(Fault::Mutate(Arc::new(change)), |peer, request| {
        peer == "cleeng" && request.method == Method::GET && request.path.contains("/subscriptions/")
    });
}

#[tokio::test]
async fn a_charge_counts_as_reported_if_the_subscription_shows_it_and_is_reported_again_otherwise() {
    for (fault, latest, old_end, disposition, reports) in [
        (Fault::TimeoutAfter, Some(""), false, completed("captured"), 1),
        (Fault::TimeoutAfter, None, true, completed("captured"), 1),
        (Fault::TimeoutBefore, Some("OTHERS"), false, completed("captured"), 1),
        (Fault::TimeoutBefore, Some(""), false, Disposition::Parked(ParkReason::ReportUnknown), 0),
    ] {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(ADYEN_CAPTURE_ONLY_METHOD);
        env.clock.advance_to(subscriber.due);
        let event = env.capture_event(&subscriber);
        env.network.inject(fault, is_report);
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
        env.clock.advance(Duration::from_secs(600));
        // The old end, although Cleeng booked the payment; otherwise Cleeng's own value.
        answer_subscription(&env, latest, old_end.then_some(subscriber.due.secs()));
        assert_eq!(env.deliver_until_settled(&event).await, disposition, "{latest:?} {old_end}");
        assert_eq!((call_counts(&env).2, env.adyen.authorisations()), (reports, 1), "{latest:?} {old_end}");
        assert_eq!(statuses(&env).len(), reports, "{latest:?} {old_end}");
    }
}

#[tokio::test]
async fn a_report_is_repeated_only_after_the_first_one_can_no_longer_arrive() {
    for method in [ADYEN_METHOD, ADYEN_CAPTURE_ONLY_METHOD] {
        let env = TestEnvironment::default();
        let subscriber = env.subscriber(method);
        let (event, word) = if method == ADYEN_METHOD {
            env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3_600)));
            (env.authorisation_event(&subscriber, 72), "authorised")
        } else {
            env.clock.advance_to(subscriber.due);
            (env.capture_event(&subscriber), "captured")
        };
        env.network.inject(Fault::TimeoutBefore, is_report);
        assert!(matches!(env.deliver(&event).await, Disposition::Retry { .. }));
        for (wait, left) in [(0, 60), (59, 1)] {
            env.clock.advance(Duration::from_secs(wait));
            let disposition = env.deliver(&event).await;
            assert_eq!(
                disposition,
                Disposition::Retry { after: Some(Duration::from_secs(left)), reason: RetryReason::ReportUnknown },
                "{method}"
            );
            assert_eq!(call_counts(&env).2, 0, "{method}");
        }
        env.clock.advance(Duration::from_secs(1));
        assert_eq!(env.deliver(&event).await, completed(word));
        assert_eq!((call_counts(&env).2, statuses(&env).len()), (1, 1), "{method}");
    }
}
