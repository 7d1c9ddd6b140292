//! Defects in requests to a gateway and in the reading of its responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use connector::gateway::{
    CancelRequest, Capabilities, CaptureRequest, Decline, DeclineClass, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError,
    GatewayName, GatewayText, IdempotencyKey, InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Operation,
    OperationKind, Outcome, PurchaseRequest, RefundRequest, StoreDetailsRequest,
};
use connector::http::HeaderMap;
use connector::secret::SecretString;
use sandbox::testkit::interceptors::Interceptors;

use super::assert_detected;

#[derive(Clone, Copy, PartialEq, Eq)]
enum GatewayDefect {
    /// Every call has another idempotency key.
    NewKeyPerCall,
    /// What is unknown is taken for a refusal.
    UnknownTreatedAsDeclined,
    /// What is unknown is taken for done.
    UnknownTreatedAsDone,
    /// What the gateway only took is taken for done.
    ReceivedTreatedAsDone,
    /// Nobody calls the gateway to release what is held.
    ReleaseNotSent,
    /// A call whose outcome is unknown is never asked about: it was not done.
    InquiryNotSent,
    /// A refusal is taken for an agreement.
    DeclinedTreatedAsDone,
}

struct DefectiveGateway {
    inner: Arc<dyn Gateway>,
    defect: GatewayDefect,
    calls: AtomicU64,
}

type GatewayResult = Result<Outcome, GatewayError>;

impl DefectiveGateway {
    fn key(&self, key: &IdempotencyKey) -> IdempotencyKey {
        if self.defect != GatewayDefect::NewKeyPerCall {
            return key.clone();
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst).to_string();
        IdempotencyKey::derive(&SecretString::new("another"), GatewayText("any"), OperationKind::Charge, key.as_str(), &call)
    }

    fn distort(&self, came: GatewayResult) -> GatewayResult {
        came.map(|outcome| match (self.defect, outcome) {
            (GatewayDefect::UnknownTreatedAsDeclined, Outcome::Unknown(_)) => {
                Outcome::Declined(Decline::new(DeclineClass::Soft, "no_answer"))
            }
            (GatewayDefect::UnknownTreatedAsDone, Outcome::Unknown(_)) => Outcome::Done(Operation::default()),
            (GatewayDefect::DeclinedTreatedAsDone, Outcome::Declined(declined)) => {
                Outcome::Done(Operation { external_payment_id: declined.payment, ..Operation::default() })
            }
            (GatewayDefect::ReceivedTreatedAsDone, Outcome::Received(operation)) => Outcome::Done(operation),
            (_, outcome) => outcome,
        })
    }
}

#[async_trait]
impl Gateway for DefectiveGateway {
    async fn check_access(&self) -> Result<(), GatewayError> {
        self.inner.check_access().await
    }

    fn name(&self) -> GatewayName {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn authorise(&self, request: &MerchantInitiated) -> GatewayResult {
        let request = MerchantInitiated { key: self.key(&request.key), ..request.clone() };
        self.distort(self.inner.authorise(&request).await)
    }

    async fn charge(&self, request: &MerchantInitiated) -> GatewayResult {
        let request = MerchantInitiated { key: self.key(&request.key), ..request.clone() };
        self.distort(self.inner.charge(&request).await)
    }

    async fn capture(&self, request: &CaptureRequest) -> GatewayResult {
        let request = CaptureRequest { key: self.key(&request.key), ..request.clone() };
        self.distort(self.inner.capture(&request).await)
    }

    fn authorisation_may_remain(&self, refusal: &Decline, accepted: bool) -> bool {
        self.inner.authorisation_may_remain(refusal, accepted)
    }

    async fn cancel(&self, request: &CancelRequest) -> GatewayResult {
        if self.defect == GatewayDefect::ReleaseNotSent {
            return Ok(Outcome::Done(Operation::default()));
        }
        let request = CancelRequest { key: self.key(&request.key), ..request.clone() };
        self.distort(self.inner.cancel(&request).await)
    }

    async fn refund(&self, request: &RefundRequest) -> GatewayResult {
        let request = RefundRequest { key: self.key(&request.key), ..request.clone() };
        self.distort(self.inner.refund(&request).await)
    }

    async fn inquire(&self, request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        if self.defect == GatewayDefect::InquiryNotSent {
            return Ok(Some(Outcome::Declined(Decline::new(DeclineClass::Soft, "not_found"))));
        }
        self.inner.inquire(request).await
    }

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> GatewayResult {
        self.inner.delete_details(request).await
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> GatewayResult {
        self.distort(self.inner.start_purchase(request).await)
    }

    async fn finalize(&self, request: &FinalizeRequest) -> GatewayResult {
        self.distort(self.inner.finalize(request).await)
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> GatewayResult {
        self.inner.store_details(request).await
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        self.inner.read_notification(headers, body).await
    }
}

impl Interceptors for GatewayDefect {
    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        Arc::new(DefectiveGateway { inner: adapter, defect: *self, calls: AtomicU64::new(0) })
    }
}

#[test]
fn a_new_idempotency_key_per_call_is_detected() {
    assert_detected(&GatewayDefect::NewKeyPerCall, &["hold money", "charged", "unknown to Cleeng", "paid twice", "held for ever"]);
}

#[test]
fn an_unknown_outcome_treated_as_declined_is_detected() {
    assert_detected(
        &GatewayDefect::UnknownTreatedAsDeclined,
        &["unknown to Cleeng", "hold money", "charged", "held for ever", "a payment went"],
    );
}

#[test]
fn an_unknown_outcome_treated_as_done_is_detected() {
    assert_detected(&GatewayDefect::UnknownTreatedAsDone, &["unknown to the gateway", "at the gateway", "held for ever", "never settled"]);
}

#[test]
fn a_missing_inquiry_is_detected() {
    assert_detected(&GatewayDefect::InquiryNotSent, &["hold money", "charged", "unknown to Cleeng", "held for ever"]);
}

#[test]
fn a_release_that_is_not_sent_is_detected() {
    assert_detected(&GatewayDefect::ReleaseNotSent, &["held for ever", "hold money", "at the gateway"]);
}

#[test]
fn a_decline_treated_as_done_is_detected() {
    assert_detected(&GatewayDefect::DeclinedTreatedAsDone, &["at the gateway", "unknown to the gateway"]);
}

#[test]
fn an_acknowledgement_treated_as_done_is_detected() {
    assert_detected(&GatewayDefect::ReceivedTreatedAsDone, &["at the gateway", "held for ever", "hold money"]);
}
