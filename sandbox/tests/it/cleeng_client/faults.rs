//! Every way in which a response can be missing or bad, the client's result, and the effect in Cleeng.

use std::time::Duration;

use connector::cleeng::{Cleeng, CleengError, NewPaymentStatus, PaymentPatch, UnknownAnswer};
use connector::http::{Method, TransportCause, TransportError};
use connector::secret::SecretString;
use sandbox::simulators::cleeng::refusal;
use sandbox::simulators::network::{Fault, ServerResponse};
use serde_json::json;

use crate::cleeng_client::harness::{CleengHarness, TOKEN};

async fn read_with(fault: Fault) -> CleengError {
    let harness = CleengHarness::at_renewal();
    harness.network.inject(fault, |_, _| true);
    harness.api().subscription(&harness.subscriber.subscription).await.unwrap_err()
}

async fn write_with(fault: Fault) -> CleengError {
    let harness = CleengHarness::at_renewal();
    let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    harness.network.inject(fault, |_, _| true);
    harness.api().cancel_payment(&payment.id).await.unwrap_err()
}

/// The forms in which one status comes: Cleeng's own, a message alone, a page of something in between, and nothing.
fn forms(status: u16) -> [Fault; 4] {
    let mut page = ServerResponse::empty(status);
    page.body = "<html>no</html>".into();
    let message = ServerResponse::json(status, &json!({ "message": "Not Found" }));
    [refusal(status), Fault::AnswerBefore(message), Fault::AnswerBefore(page), Fault::StatusBefore(status)]
}

const fn unknown(answer: UnknownAnswer) -> CleengError {
    CleengError::Unknown(answer)
}

#[tokio::test]
async fn a_refusal_is_believed_in_cleengs_own_form_and_under_four_statuses_alone() {
    for status in [302, 400, 402, 404, 405, 409, 410, 418, 422, 425] {
        let refused = CleengError::Refused { status };
        let (unconfirmed, elsewhere) = (unknown(UnknownAnswer::Unconfirmed(status)), unknown(UnknownAnswer::Status(status)));
        let [own_to_read, own_to_write, message] = match status {
            302 => [elsewhere.clone(), elsewhere.clone(), elsewhere.clone()],
            400 | 402 | 409 | 422 => [refused.clone(), refused, unconfirmed],
            404 => [CleengError::NotFound, unconfirmed.clone(), unconfirmed],
            _ => [unconfirmed.clone(), unconfirmed.clone(), unconfirmed],
        };
        for (fault, expected) in forms(status).into_iter().zip([&own_to_read, &message, &elsewhere, &elsewhere]) {
            assert_eq!(read_with(fault).await, *expected, "read {status}");
        }
        for (fault, expected) in forms(status).into_iter().zip([&own_to_write, &message, &elsewhere, &elsewhere]) {
            assert_eq!(write_with(fault).await, *expected, "write {status}");
        }
    }
}

#[tokio::test]
async fn statuses_are_classified_by_their_known_effect() {
    for (status, expected) in [
        (401, CleengError::Unauthorised { status: 401 }),
        (403, unknown(UnknownAnswer::Status(403))),
        (429, CleengError::Throttled { retry_after: None }),
        (408, unknown(UnknownAnswer::Status(408))),
        (500, unknown(UnknownAnswer::Status(500))),
        (503, unknown(UnknownAnswer::Status(503))),
    ] {
        assert_eq!(read_with(Fault::StatusBefore(status)).await, expected, "{status}");
    }
    assert_eq!(read_with(refusal(403)).await, CleengError::Unauthorised { status: 403 });
    assert_eq!(read_with(Fault::NotSent).await, CleengError::Unreachable(TransportError::NotSent(TransportCause::Connect)));
    let silence = CleengError::Unknown(UnknownAnswer::NoAnswer(TransportError::NoResponse(TransportCause::Timeout)));
    assert_eq!(read_with(Fault::TimeoutBefore).await, silence);
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_whether_it_happened_or_not() {
    for (fault, happens) in [
        (Fault::TimeoutBefore, false),
        (Fault::TimeoutAfter, true),
        (Fault::StatusBefore(500), false),
        (Fault::StatusAfter(500), true),
        (Fault::StatusAfter(204), true),
        (Fault::Mutate(std::sync::Arc::new(|body| body["success"] = json!(false))), true),
    ] {
        let harness = CleengHarness::at_renewal();
        let order = harness.api().create_order(&harness.new_order()).await.unwrap();
        harness.network.inject(fault, |_, request| request.path == "/3.1/payments");
        let error = harness.api().create_payment(&harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1")).await.map(|_| ());
        assert!(matches!(error, Err(CleengError::Unknown(_))), "{error:?}");
        assert_eq!(harness.cleeng.payments().len(), usize::from(happens));
        assert_eq!(harness.network.calls().iter().filter(|call| call.path == "/3.1/payments").count(), 1, "a payment is sent once");
    }
}

#[tokio::test]
async fn a_change_whose_answer_names_another_payment_or_state_is_unknown() {
    for (name, value) in [("id", json!(1)), ("id", json!({})), ("status", json!("authorized")), ("status", json!(5))] {
        let harness = CleengHarness::at_renewal();
        let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
        let wrong = value.clone();
        let fault = Fault::Mutate(std::sync::Arc::new(move |body| body["payment"][name] = wrong.clone()));
        harness.network.inject(fault, |_, request| request.method == Method::PATCH);
        let patched = harness
            .api()
            .update_payment(&payment.id, &PaymentPatch::Captured { order: payment.order.clone(), external_payment_id: None })
            .await;
        assert!(matches!(patched, Err(CleengError::Unknown(UnknownAnswer::Unreadable(_)))), "{name} {value}");
    }
}

#[tokio::test]
async fn a_change_with_an_empty_answer_counts_as_done() {
    let harness = CleengHarness::at_renewal();
    let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    harness.network.inject(Fault::StatusAfter(204), |_, request| request.method == Method::PATCH);
    assert_eq!(harness.api().cancel_payment(&payment.id).await, Ok(()));
}

#[tokio::test]
async fn a_token_that_was_rotated_is_replaced_once_and_for_all() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api_with(CleengHarness::settings(), &["the-token-of-yesterday-0123456789", TOKEN]);
    for _ in 0..2 {
        assert!(api.subscription(&harness.subscriber.subscription).await.is_ok());
    }
    let statuses: Vec<_> = harness.network.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(401), Some(200), Some(200)]);
    harness.cleeng.rotate_token("the-token-of-yesterday-0123456789");
    let order = api.create_order(&harness.new_order()).await.unwrap();
    assert!(api.create_payment(&harness.new_payment(&order, NewPaymentStatus::Captured, "PSP1")).await.is_ok());
    assert_eq!(harness.cleeng.payments().len(), 1);
}

#[tokio::test]
async fn tokens_that_are_all_wrong_are_tried_once_each() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api_with(CleengHarness::settings(), &["wrong-token-1-0123456789", "wrong-token-2-0123456789"]);
    assert_eq!(api.subscription(&harness.subscriber.subscription).await, Err(CleengError::Unauthorised { status: 401 }));
    assert_eq!(harness.network.calls().len(), 2);
}

#[tokio::test]
async fn a_missing_or_placeholder_token_is_refused_at_start() {
    let transport = || std::sync::Arc::new(sandbox::simulators::network::InProcessTransport::default());
    for tokens in [vec![], vec![""], vec!["changeme"], vec![TOKEN, "<token>"], vec!["zwölf"]] {
        let secrets = tokens.iter().map(|text| SecretString::new(*text)).collect();
        let refused = connector::cleeng::client::CoreApi::new(CleengHarness::settings(), secrets, transport()).map(|_| ());
        assert_eq!(refused.unwrap_err().0[0].setting, "cleeng.publisher_token", "{tokens:?}");
    }
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    struct ThrottledServer;
    impl sandbox::simulators::network::SimulatedServer for ThrottledServer {
        fn name(&self) -> &'static str {
            "cleeng"
        }
        fn handle(&self, _: &sandbox::simulators::network::ServerRequest) -> sandbox::simulators::network::ServerResponse {
            sandbox::simulators::network::ServerResponse::empty(429).with_header("retry-after", "7")
        }
    }
    let harness = CleengHarness::at_renewal();
    let transport = sandbox::simulators::network::InProcessTransport::new(harness.network.clone())
        .with_server("http://cleeng.test", std::sync::Arc::new(ThrottledServer));
    let api =
        connector::cleeng::client::CoreApi::new(CleengHarness::settings(), vec![SecretString::new(TOKEN)], std::sync::Arc::new(transport))
            .unwrap();
    let order = api.create_order(&harness.new_order()).await;
    assert_eq!(order, Err(CleengError::Throttled { retry_after: Some(Duration::from_secs(7)) }));
    assert_eq!(harness.network.calls().len(), 1);
}
