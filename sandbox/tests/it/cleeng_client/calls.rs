//! The client's requests and results without faults, in every wrapper and with every preference.

use connector::cleeng::client::{AuthorisedList, AuthorisedSpelling, CleengSettings, Termination};
use connector::cleeng::{
    Cleeng, CleengError, LatestPayment, NewPayment, NewPaymentDetails, NewPaymentStatus, PaymentOperation, PaymentPatch, PaymentSource,
    PaymentStatus, RenewalCycle, SubscriptionStatus, TerminationType,
};
use connector::http::Method;
use connector::ids::{PaymentDetailsId, SubscriptionId};
use connector::secret::SecretString;
use sandbox::simulators::cleeng::Wrapper;
use serde_json::json;

use crate::cleeng_client::harness::{CleengHarness, DAY, external, method, offer, rejected, usd};

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

    let captured = PaymentPatch::Captured { external_payment_id: Some(external("PSP2")) };
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
    assert_eq!(api.update_payment(&second.id, &PaymentPatch::Rejected { reason: "hard: lost card".to_owned() }).await, Ok(()));
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
    for _ in 0..2 {
        assert_eq!(api.delete_payment_details(&details.id).await, Ok(()));
    }
    assert!(harness.cleeng.details(&details.id).is_none());
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
async fn the_authorised_list_falls_back_to_the_other_endpoint_if_the_preferred_one_is_unknown() {
    for preference in [AuthorisedList::Get, AuthorisedList::Post] {
        for (get, post) in [(None, None), (Some(405), None), (Some(404), None), (None, Some(405)), (None, Some(404))] {
            let harness = CleengHarness::at_renewal();
            let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
            harness.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (get, post));
            let api = harness.api_with(
                CleengSettings { authorised_list: preference, ..CleengHarness::settings() },
                &[crate::cleeng_client::harness::TOKEN],
            );
            assert_eq!(api.authorised_payments(&harness.subscriber.details).await, Ok(vec![payment]), "{preference:?} {get:?} {post:?}");
            let by = |method| harness.network.delivered_count("cleeng", &method, "authorised_payments");
            let expected = match (preference, get, post) {
                (AuthorisedList::Get, None, _) => (1, 0),
                (AuthorisedList::Post, _, None) => (0, 1),
                _ => (1, 1),
            };
            assert_eq!((by(Method::GET), by(Method::POST)), expected);
        }
    }
}

#[tokio::test]
async fn a_list_that_no_endpoint_has_is_not_found() {
    let harness = CleengHarness::at_renewal();
    let unknown = PaymentDetailsId::new("1").unwrap();
    for (get, post) in [(None, Some(405)), (Some(405), None), (None, None)] {
        harness.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (get, post));
        assert_eq!(harness.api().authorised_payments(&unknown).await, Err(CleengError::NotFound));
    }
    harness.cleeng.change_quirks(|quirks| (quirks.list_by_get, quirks.list_by_post) = (Some(405), Some(405)));
    assert_eq!(harness.api().authorised_payments(&unknown).await, Err(CleengError::Refused { status: 405 }));
}

#[tokio::test]
async fn a_termination_falls_back_to_the_other_endpoint_if_the_preferred_one_is_unknown() {
    for preference in [Termination::Terminate, Termination::Patch] {
        for (verb, patch) in [(None, None), (Some(405), None), (Some(404), None), (None, Some(405)), (None, Some(404))] {
            let harness = CleengHarness::at_renewal();
            harness.cleeng.change_quirks(|quirks| (quirks.terminate, quirks.patch_status) = (verb, patch));
            let api = harness
                .api_with(CleengSettings { termination: preference, ..CleengHarness::settings() }, &[crate::cleeng_client::harness::TOKEN]);
            let id = &harness.subscriber.subscription;
            assert_eq!(api.terminate(id, TerminationType::UserCancel).await, Ok(()), "{preference:?} {verb:?} {patch:?}");
            let ended = harness.cleeng.subscription(id).unwrap();
            let by_verb = verb.is_none() && (preference == Termination::Terminate || patch.is_some());
            assert_eq!(ended.status, SubscriptionStatus::Terminated);
            assert_eq!(ended.terminated_as.as_deref(), Some(if by_verb { "userCancel" } else { "status" }));
            assert_eq!(api.terminate(id, TerminationType::UserCancel).await, Err(CleengError::Refused { status: 422 }));
        }
    }
}

#[tokio::test]
async fn a_subscription_that_does_not_exist_is_not_found_at_either_endpoint() {
    let harness = CleengHarness::at_renewal();
    let unknown = SubscriptionId::new("1").unwrap();
    for preference in [Termination::Terminate, Termination::Patch] {
        let api = harness
            .api_with(CleengSettings { termination: preference, ..CleengHarness::settings() }, &[crate::cleeng_client::harness::TOKEN]);
        assert_eq!(api.terminate(&unknown, TerminationType::PaymentCancel).await, Err(CleengError::NotFound));
    }
    assert_eq!(harness.api().subscription(&unknown).await, Err(CleengError::NotFound));
    assert_eq!(harness.cleeng.subscription(&harness.subscriber.subscription).unwrap().status, SubscriptionStatus::Active);
}

#[tokio::test]
async fn each_spelling_of_authorised_is_sent_as_set_and_read_as_it_comes() {
    for spelling in [AuthorisedSpelling::Authorized, AuthorisedSpelling::Authorised] {
        let harness = CleengHarness::at_renewal();
        harness.cleeng.change_quirks(|quirks| quirks.spelling = spelling);
        let order = harness.api().create_order(&harness.new_order()).await.unwrap();
        let payment = harness.new_payment(&order, NewPaymentStatus::Authorised, "PSP1");
        let other =
            if spelling == AuthorisedSpelling::Authorized { AuthorisedSpelling::Authorised } else { AuthorisedSpelling::Authorized };
        let wrong =
            harness.api_with(CleengSettings { spelling: other, ..CleengHarness::settings() }, &[crate::cleeng_client::harness::TOKEN]);
        assert_eq!(wrong.create_payment(&payment).await.map(|_| ()), Err(CleengError::Refused { status: 400 }));
        let right = harness.api_with(CleengSettings { spelling, ..CleengHarness::settings() }, &[crate::cleeng_client::harness::TOKEN]);
        assert_eq!(right.create_payment(&payment).await.unwrap().status, PaymentStatus::Authorised);
    }
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
