//! The client's requests and results without faults, in every wrapper and with every preference.

use std::sync::Arc;

use connector::cleeng::client::{AuthorisedList, AuthorisedSpelling, CleengSettings, RejectedDetails, Termination};
use connector::cleeng::{
    Cleeng, CleengError, LatestPayment, NewPayment, NewPaymentDetails, NewPaymentStatus, PaymentOperation, PaymentPatch, PaymentSource,
    PaymentStatus, RenewalCycle, SubscriptionStatus, TerminationType, UnknownAnswer,
};
use connector::http::Method;
use connector::ids::{OfferId, PaymentDetailsId, SubscriptionId};
use connector::metrics::{Metric, Metrics};
use connector::secret::SecretString;
use sandbox::simulators::cleeng::{Cycle, Unit, Wrapper};
use sandbox::testkit::metric_recorder::MetricRecorder;
use serde_json::json;

use crate::cleeng_client::harness::{CleengHarness, DAY, TOKEN, external, method, offer, rejected, usd};

#[tokio::test]
async fn a_renewal_is_ordered_authorised_and_captured() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let before = api.subscription(&harness.subscriber.subscription).await.unwrap();
    assert_eq!((before.status, before.paid_until, before.latest_payment), (SubscriptionStatus::Active, harness.due, LatestPayment::None));
    assert_eq!((before.payment_details, before.payment_method), (Some(harness.subscriber.details.clone()), Some(method())));
    assert_eq!((before.cycle, before.next_payment_action.as_deref()), (Some(RenewalCycle(28 * DAY)), Some("authorise")));

    let order = api.create_order(&harness.new_order()).await.unwrap();
    assert_eq!((order.total, order.offer.clone()), (usd(999), Some(offer())));
    assert_eq!(api.order(&order.id).await, Ok(order.clone()));
    let payment = api.create_payment(&harness.new_payment(&order, NewPaymentStatus::Authorised, "PSP1")).await.unwrap();
    assert_eq!((payment.status.clone(), payment.total, payment.order.clone()), (PaymentStatus::Authorised, Some(usd(999)), Some(order.id)));
    assert_eq!(api.authorised_payments(&harness.subscriber.details).await, Ok(vec![payment.clone()]));

    let captured = PaymentPatch::Captured { order: payment.order.clone(), external_payment_id: Some(external("PSP2")) };
    assert_eq!(api.update_payment(&payment.id, &captured).await, Ok(()));
    let after = api.subscription(&harness.subscriber.subscription).await.unwrap();
    assert_eq!(after.latest_payment, LatestPayment::Known(external("PSP2")));
    assert!(after.paid_until > harness.due);
    assert_eq!(api.authorised_payments(&harness.subscriber.details).await, Ok(Vec::new()));
    assert_eq!(harness.cleeng.transactions().iter().map(|booked| booked.amount).collect::<Vec<_>>(), [usd(999)]);
    assert_eq!(harness.violated_rules(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_held_payment_is_cancelled_or_rejected() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let first = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    assert_eq!(api.cancel_payment(&first.id).await, Ok(()));
    let second = harness.pay(NewPaymentStatus::Authorised, "PSP2").await;
    let lost_card = PaymentPatch::Rejected { order: second.order.clone(), reason: "hard: lost card".to_owned() };
    assert_eq!(api.update_payment(&second.id, &lost_card).await, Ok(()));
    let third = harness.pay(rejected(), "our-reference").await;
    assert_eq!(third.status, PaymentStatus::Rejected);
    let states: Vec<PaymentStatus> = harness.cleeng.payments().into_iter().map(|payment| payment.status).collect();
    assert_eq!(states, [PaymentStatus::Cancelled, PaymentStatus::Rejected, PaymentStatus::Rejected]);
    assert_eq!(harness.violated_rules(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_partial_refund_sends_the_exact_digits() {
    let harness = CleengHarness::at_renewal();
    let payment = harness.pay(NewPaymentStatus::Captured, "PSP1").await;
    let refund = |amount| PaymentPatch::Refunded {
        order: payment.order.clone().unwrap(),
        operation: PaymentOperation::Recurring,
        reason: "requested".to_owned(),
        amount,
        chargeback: true,
    };
    // An amount that is not above zero could be taken for a full refund, so it is never sent.
    let refused = harness.api().update_payment(&payment.id, &refund(Some(usd(0)))).await.unwrap_err();
    assert!(refused.had_no_effect());
    assert_eq!(harness.network.delivered_count("cleeng", &Method::PATCH, "/payments/"), 0);
    assert_eq!(harness.api().update_payment(&payment.id, &refund(Some(usd(1)))).await, Ok(()));
    let booked = harness.cleeng.payments().into_iter().find_map(|payment| payment.refund).unwrap();
    assert_eq!((booked.amount, booked.kind.as_str(), booked.reason.as_str()), (usd(1), "chargeback", "requested"));
    assert_eq!(harness.violated_rules(), Vec::<&str>::new());
}

#[tokio::test]
async fn details_are_created_without_showing_their_token_and_deleted_twice() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let new = NewPaymentDetails {
        customer: harness.subscriber.customer.clone(),
        token: SecretString::new("tok_very_secret"),
        payment_method: method(),
        display_params: json!({ "variant": "visa" }),
        active: true,
    };
    let details = api.create_payment_details(&new).await.unwrap();
    assert_eq!((details.active, &details.public_json["paymentMethodSpecificParams"]), (Some(true), &json!({ "variant": "visa" })));
    assert!(!details.public_json.to_string().contains("tok_very_secret"));
    assert_eq!(harness.cleeng.details(&details.id).unwrap().token, "tok_very_secret");
    assert!(!harness.cleeng.details(&harness.subscriber.details).unwrap().active);
    assert_eq!(api.delete_payment_details(&details.id).await, Ok(()));
    assert!(harness.cleeng.details(&details.id).is_none());
    // The second time Cleeng finds nothing to delete, which is looked up.
    assert_eq!(api.delete_payment_details(&details.id).await, Err(CleengError::Unknown(UnknownAnswer::Unconfirmed(404))));
    assert_eq!(api.authorised_payments(&harness.subscriber.details).await, Ok(Vec::new()));
    assert_eq!(api.authorised_payments(&details.id).await, Err(CleengError::NotFound));
}

#[tokio::test]
async fn a_payment_brings_its_own_details() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let order = api.create_order(&harness.new_order()).await.unwrap();
    let source = PaymentSource::New { token: SecretString::new("tok_new"), display_params: json!({ "variant": "mc" }) };
    let payment = NewPayment { source, ..harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1") };
    let made = api.create_payment(&payment).await.unwrap().payment_details.unwrap();
    assert_eq!(harness.cleeng.details(&made).unwrap().token, "tok_new");
}

#[tokio::test]
async fn every_wrapper_is_read() {
    for wrapper in Wrapper::ALL {
        let harness = CleengHarness::at_renewal();
        harness.cleeng.change_quirks(|quirks| (quirks.order, quirks.payment) = (wrapper, wrapper));
        let payment = match wrapper {
            // No client or document shows a payment there.
            Wrapper::ResponseDataNamed => continue,
            _ => harness.pay(NewPaymentStatus::Authorised, "PSP1").await,
        };
        for (list, name) in [
            (Wrapper::Bare, "payments"),
            (Wrapper::Named, "payments"),
            (Wrapper::Named, "payment"),
            (Wrapper::Data, "payments"),
            (Wrapper::ResponseData, "payments"),
            (Wrapper::ResponseDataNamed, "payments"),
        ] {
            harness.cleeng.change_quirks(|quirks| (quirks.authorised_list, quirks.list_name) = (list, name));
            assert_eq!(harness.api().authorised_payments(&harness.subscriber.details).await, Ok(vec![payment.clone()]), "{list:?} {name}");
        }
    }
    let harness = CleengHarness::at_renewal();
    harness.cleeng.change_quirks(|quirks| quirks.order = Wrapper::ResponseDataNamed);
    assert_eq!(harness.api().create_order(&harness.new_order()).await.unwrap().total, usd(999));
}

#[tokio::test]
async fn the_authorised_list_goes_the_other_way_where_the_first_is_not_there_and_stays_with_it() {
    for preference in [AuthorisedList::Post, AuthorisedList::Get] {
        for missing in [None, Some(404), Some(405), Some(410)] {
            for first_is_missing in [true, false] {
                let harness = CleengHarness::at_renewal();
                let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
                let is_post = (preference == AuthorisedList::Post) == first_is_missing;
                harness.cleeng.change_quirks(|quirks| *if is_post { &mut quirks.list_by_post } else { &mut quirks.list_by_get } = missing);
                let api = harness.api_with(CleengSettings { authorised_list: preference, ..CleengHarness::settings() }, &[TOKEN]);
                for _ in 0..3 {
                    assert_eq!(api.authorised_payments(&harness.subscriber.details).await, Ok(vec![payment.clone()]));
                }
                let (first, second) = match preference {
                    AuthorisedList::Post => (Method::POST, Method::GET),
                    AuthorisedList::Get => (Method::GET, Method::POST),
                };
                let by = |method| harness.network.delivered_count("cleeng", &method, "authorised_payments");
                let expected = if first_is_missing && missing.is_some() { (1, 3) } else { (3, 0) };
                assert_eq!((by(first), by(second)), expected, "{preference:?} {missing:?}");
            }
        }
    }
}

#[tokio::test]
async fn details_are_gone_only_where_the_list_shows_others_at_the_same_time() {
    let harness = CleengHarness::at_renewal();
    let (known, gone) = (&harness.subscriber.details, PaymentDetailsId::new("1").unwrap());
    let unconfirmed = Err(CleengError::Unknown(UnknownAnswer::Unconfirmed(404)));
    let api = harness.api();
    assert_eq!(api.authorised_payments(&gone).await, unconfirmed, "nothing was listed yet");
    assert_eq!(api.authorised_payments(known).await, Ok(Vec::new()));
    assert_eq!(api.authorised_payments(&gone).await, Err(CleengError::NotFound));
    // Now the list is not there any more, whichever way.
    harness.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (Some(404), Some(404)));
    assert_eq!(api.authorised_payments(&gone).await, unconfirmed);
    assert_eq!(api.authorised_payments(known).await, unconfirmed, "it is its own witness");
    harness.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (Some(405), Some(405)));
    assert_eq!(api.authorised_payments(&gone).await, Err(CleengError::Unknown(UnknownAnswer::Unconfirmed(405))));
}

#[tokio::test]
async fn a_termination_goes_the_other_way_where_the_first_is_not_there_or_refuses_the_field() {
    for preference in [Termination::Patch, Termination::Terminate] {
        for (verb, patch) in [None, Some(400), Some(404), Some(405), Some(410), Some(422)].into_iter().flat_map(|s| [(None, s), (s, None)])
        {
            let harness = CleengHarness::at_renewal();
            harness.cleeng.change_quirks(|quirks| (quirks.terminate, quirks.patch_status) = (verb, patch));
            let api = harness.api_with(CleengSettings { termination: preference, ..CleengHarness::settings() }, &[TOKEN]);
            let id = &harness.subscriber.subscription;
            assert_eq!(api.terminate(id, TerminationType::UserCancel).await, Ok(()), "{preference:?} {verb:?} {patch:?}");
            let ended = harness.cleeng.subscription(id).unwrap();
            let by_verb = verb.is_none() && (preference == Termination::Terminate || patch.is_some());
            assert_eq!(ended.status, SubscriptionStatus::Terminated);
            assert_eq!(ended.terminated_as.as_deref(), Some(if by_verb { "userCancel" } else { "status" }));
            assert!(matches!(api.terminate(id, TerminationType::UserCancel).await, Err(CleengError::Refused { .. })));
        }
    }
}

#[tokio::test]
async fn the_end_of_a_subscription_that_does_not_exist_is_looked_up() {
    let harness = CleengHarness::at_renewal();
    let unknown = SubscriptionId::new("1").unwrap();
    for preference in [Termination::Terminate, Termination::Patch] {
        let api = harness.api_with(CleengSettings { termination: preference, ..CleengHarness::settings() }, &[TOKEN]);
        let ended = api.terminate(&unknown, TerminationType::PaymentCancel).await;
        assert_eq!(ended, Err(CleengError::Unknown(UnknownAnswer::Unconfirmed(404))));
    }
    assert_eq!(harness.api().subscription(&unknown).await, Err(CleengError::NotFound));
    assert_eq!(harness.cleeng.subscription(&harness.subscriber.subscription).unwrap().status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn each_spelling_of_authorised_is_followed_once_by_the_other_and_counted() {
    for cleeng in [AuthorisedSpelling::Authorized, AuthorisedSpelling::Authorised] {
        for sent_first in [AuthorisedSpelling::Authorized, AuthorisedSpelling::Authorised] {
            let harness = CleengHarness::at_renewal();
            harness.cleeng.change_quirks(|quirks| quirks.spelling = cleeng);
            let metrics = Arc::new(MetricRecorder::default());
            let settings = CleengSettings { spelling: sent_first, ..CleengHarness::settings() };
            let api = harness.api_with(settings, &[TOKEN]).with_metrics(Metrics::new(metrics.clone()));
            for id in ["PSP1", "PSP2"] {
                let order = api.create_order(&harness.new_order()).await.unwrap();
                let held = api.create_payment(&harness.new_payment(&order, NewPaymentStatus::Authorised, id)).await.unwrap();
                assert_eq!(held.status, PaymentStatus::Authorised);
                assert_eq!(api.cancel_payment(&held.id).await, Ok(()));
            }
            let turned = usize::from(cleeng != sent_first);
            let reports = harness.network.calls().iter().filter(|call| call.path == "/3.1/payments").count();
            assert_eq!((reports, metrics.count(Metric::Warning, "cleeng_spelling_fallback")), (2 + turned, turned));
            assert_eq!(harness.violated_rules(), Vec::<&str>::new());
        }
    }
}

#[tokio::test]
async fn a_refusal_of_anything_but_the_word_is_repeated_once_and_stays_a_refusal() {
    let harness = CleengHarness::at_renewal();
    harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    let order = harness.api().create_order(&harness.new_order()).await.unwrap();
    let second = harness.new_payment(&order, NewPaymentStatus::Authorised, "PSP2");
    assert_eq!(harness.api().create_payment(&second).await.map(|_| ()), Err(CleengError::Refused { status: 422 }));
    assert_eq!(harness.cleeng.payments().len(), 1);
    assert_eq!(harness.violated_rules(), ["double_charge"]);
}

#[tokio::test]
async fn a_refused_first_purchase_goes_without_details_or_with_an_empty_object() {
    for cleeng in [RejectedDetails::None, RejectedDetails::EmptyObject] {
        for sent in [RejectedDetails::None, RejectedDetails::EmptyObject] {
            let harness = CleengHarness::at_renewal();
            harness.cleeng.change_quirks(|quirks| quirks.rejected_details = cleeng);
            let order = harness.cleeng.new_order(&harness.subscriber.customer, &offer(), &method()).unwrap();
            let refused = NewPayment {
                order,
                status: rejected(),
                operation: PaymentOperation::Initial,
                source: PaymentSource::None,
                external_payment_id: external("PSP1"),
                subscription: None,
            };
            let api = harness.api_with(CleengSettings { rejected_details: sent, ..CleengHarness::settings() }, &[TOKEN]);
            assert_eq!(api.create_payment(&refused).await.is_ok(), cleeng == sent, "{cleeng:?} {sent:?}");
        }
    }
}

#[tokio::test]
async fn a_seasonal_subscription_has_a_cycle() {
    let harness = CleengHarness::at_renewal();
    let seasonal = OfferId::new("S123123124_US").unwrap();
    harness.cleeng.add_offer(seasonal.clone(), usd(999), Cycle { unit: Unit::Season, amount: 1 });
    let subscriber = harness.cleeng.new_subscriber(&seasonal, &method(), "tok", harness.due).unwrap();
    let read = harness.api().subscription(&subscriber.subscription).await.unwrap();
    assert_eq!(read.cycle, Some(RenewalCycle(84 * DAY)));
}

#[tokio::test]
async fn an_id_that_would_leave_its_path_is_never_sent() {
    let harness = CleengHarness::at_renewal();
    for text in ["../payments", "1/terminate", "1?x=1", "%2e%2e", ".."] {
        let id = SubscriptionId::new(text).unwrap();
        let error = harness.api().terminate(&id, TerminationType::PaymentCancel).await.unwrap_err();
        assert!(error.had_no_effect(), "{text}");
    }
    assert_eq!(harness.network.calls().len(), 0);
}
