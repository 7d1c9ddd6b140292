//! Mistakes in what is asked of a gateway and in what is made of its answers.

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
use sandbox::simulation::Tricks;

use super::assert_caught;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// Every call has another idempotency key.
    AnotherKey,
    /// What is unknown is taken for a refusal.
    UnknownIsDeclined,
    /// What is unknown is taken for done.
    UnknownIsDone,
    /// What the gateway only took is taken for done.
    ReceivedIsDone,
    /// Nobody calls the gateway to release what is held.
    NothingIsReleased,
    /// A call whose outcome is unknown is never asked about: it was not done.
    NeverAsked,
    /// A refusal is taken for an agreement.
    DeclinedIsDone,
}

struct Mistaken {
    inner: Arc<dyn Gateway>,
    mistake: Mistake,
    calls: AtomicU64,
}

type Came = Result<Outcome, GatewayError>;

impl Mistaken {
    fn key(&self, key: &IdempotencyKey) -> IdempotencyKey {
        if self.mistake != Mistake::AnotherKey {
            return key.clone();
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst).to_string();
        IdempotencyKey::derive(&SecretString::new("another"), GatewayText("any"), OperationKind::Charge, key.as_str(), &call)
    }

    fn made_of(&self, came: Came) -> Came {
        came.map(|outcome| match (self.mistake, outcome) {
            (Mistake::UnknownIsDeclined, Outcome::Unknown(_)) => Outcome::Declined(Decline::new(DeclineClass::Soft, "no_answer")),
            (Mistake::UnknownIsDone, Outcome::Unknown(_)) => Outcome::Done(Operation::default()),
            (Mistake::DeclinedIsDone, Outcome::Declined(declined)) => {
                Outcome::Done(Operation { external_payment_id: declined.payment, ..Operation::default() })
            }
            (Mistake::ReceivedIsDone, Outcome::Received(operation)) => Outcome::Done(operation),
            (_, outcome) => outcome,
        })
    }
}

#[async_trait]
impl Gateway for Mistaken {
    async fn check_access(&self) -> Result<(), GatewayError> {
        self.inner.check_access().await
    }

    fn name(&self) -> GatewayName {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn authorise(&self, request: &MerchantInitiated) -> Came {
        let request = MerchantInitiated { key: self.key(&request.key), ..request.clone() };
        self.made_of(self.inner.authorise(&request).await)
    }

    async fn charge(&self, request: &MerchantInitiated) -> Came {
        let request = MerchantInitiated { key: self.key(&request.key), ..request.clone() };
        self.made_of(self.inner.charge(&request).await)
    }

    async fn capture(&self, request: &CaptureRequest) -> Came {
        let request = CaptureRequest { key: self.key(&request.key), ..request.clone() };
        self.made_of(self.inner.capture(&request).await)
    }

    fn holds_after_refusal(&self, refusal: &Decline, accepted: bool) -> bool {
        self.inner.holds_after_refusal(refusal, accepted)
    }

    async fn cancel(&self, request: &CancelRequest) -> Came {
        if self.mistake == Mistake::NothingIsReleased {
            return Ok(Outcome::Done(Operation::default()));
        }
        let request = CancelRequest { key: self.key(&request.key), ..request.clone() };
        self.made_of(self.inner.cancel(&request).await)
    }

    async fn refund(&self, request: &RefundRequest) -> Came {
        let request = RefundRequest { key: self.key(&request.key), ..request.clone() };
        self.made_of(self.inner.refund(&request).await)
    }

    async fn inquire(&self, request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        if self.mistake == Mistake::NeverAsked {
            return Ok(Some(Outcome::Declined(Decline::new(DeclineClass::Soft, "not_found"))));
        }
        self.inner.inquire(request).await
    }

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> Came {
        self.inner.delete_details(request).await
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> Came {
        self.made_of(self.inner.start_purchase(request).await)
    }

    async fn finalize(&self, request: &FinalizeRequest) -> Came {
        self.made_of(self.inner.finalize(request).await)
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> Came {
        self.inner.store_details(request).await
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        self.inner.read_notification(headers, body).await
    }
}

impl Tricks for Mistake {
    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        Arc::new(Mistaken { inner: adapter, mistake: *self, calls: AtomicU64::new(0) })
    }
}

#[test]
fn another_idempotency_key_at_every_call_is_found() {
    assert_caught(&Mistake::AnotherKey, &["hold money", "charged", "unknown to Cleeng", "paid twice", "held for ever"]);
}

#[test]
fn an_unknown_outcome_that_is_taken_for_a_refusal_is_found() {
    assert_caught(&Mistake::UnknownIsDeclined, &["unknown to Cleeng", "hold money", "charged", "held for ever", "a payment went"]);
}

#[test]
fn an_unknown_outcome_that_is_taken_for_done_is_found() {
    assert_caught(&Mistake::UnknownIsDone, &["unknown to the gateway", "at the gateway", "held for ever", "never settled"]);
}

#[test]
fn a_call_that_is_taken_for_not_done_without_asking_is_found() {
    assert_caught(&Mistake::NeverAsked, &["hold money", "charged", "unknown to Cleeng", "held for ever"]);
}

#[test]
fn a_release_that_nobody_asks_the_gateway_for_is_found() {
    assert_caught(&Mistake::NothingIsReleased, &["held for ever", "hold money", "at the gateway"]);
}

#[test]
fn a_refusal_that_is_taken_for_an_agreement_is_found() {
    assert_caught(&Mistake::DeclinedIsDone, &["at the gateway", "unknown to the gateway"]);
}

#[test]
fn a_receipt_that_is_taken_for_the_result_is_found() {
    assert_caught(&Mistake::ReceivedIsDone, &["at the gateway", "held for ever", "hold money"]);
}
