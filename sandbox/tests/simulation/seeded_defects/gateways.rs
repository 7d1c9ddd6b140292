//! Defects in requests to a gateway and in the reading of its responses.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use connector::gateway::{
    CancelRequest, Capabilities, CaptureRequest, Decline, DeclineClass, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError,
    GatewayName, GatewayText, IdempotencyKey, InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, NotificationKind,
    Operation, OperationKind, Outcome, PurchaseRequest, RefundRequest, StoreDetailsRequest,
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
    /// A payment that is undecided is taken for refused.
    UndecidedTreatedAsDeclined,
    /// A success is not read if a refusal of the same payment was read before.
    LateSuccessIgnored,
    /// That a cancel or a refund failed is not read.
    FailedGiveBackIgnored,
    /// What a refusal says about trying again is not read.
    AdviceIgnored,
    /// A notification of more than 33 KB is not read.
    LargeNotificationRefused,
    /// One item that nobody signed makes a whole notification unsigned.
    UnsignedItemRefused,
    /// Items of an unknown kind are of no interest.
    UnknownKindIgnored,
    /// Nothing is refunded, and it is told as done.
    RefundNotSent,
}

struct DefectiveGateway {
    inner: Arc<dyn Gateway>,
    defect: GatewayDefect,
    calls: AtomicU64,
    /// The references of payments that were told as refused.
    refused: Mutex<BTreeSet<String>>,
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

    /// What a gateway tells later, as the defect reads it.
    fn distort_item(&self, item: NotificationItem) -> NotificationItem {
        let Ok(mut told) = item else { return item };
        let reference = told.reference.as_ref().map(|reference| reference.as_str().to_owned()).unwrap_or_default();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unread = match told.kind {
            NotificationKind::AuthorisationDeclined => {
                refused.insert(reference);
                false
            }
            NotificationKind::Authorised => self.defect == GatewayDefect::LateSuccessIgnored && refused.contains(&reference),
            NotificationKind::CancelFailed | NotificationKind::RefundFailed => self.defect == GatewayDefect::FailedGiveBackIgnored,
            NotificationKind::NotUnderstood => self.defect == GatewayDefect::UnknownKindIgnored,
            _ => false,
        };
        if is_unread {
            told.kind = NotificationKind::Ignored;
        }
        Ok(told)
    }

    fn distort_undecided(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Received(_) if self.defect == GatewayDefect::UndecidedTreatedAsDeclined => {
                Outcome::Declined(Decline::new(DeclineClass::Soft, "pending"))
            }
            outcome => outcome,
        }
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
            (GatewayDefect::AdviceIgnored, Outcome::Declined(declined)) => {
                Outcome::Declined(Decline { class: DeclineClass::Soft, retry: None, ..declined })
            }
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
        self.distort(self.inner.authorise(&request).await).map(|outcome| self.distort_undecided(outcome))
    }

    async fn charge(&self, request: &MerchantInitiated) -> GatewayResult {
        let request = MerchantInitiated { key: self.key(&request.key), ..request.clone() };
        self.distort(self.inner.charge(&request).await).map(|outcome| self.distort_undecided(outcome))
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
        if self.defect == GatewayDefect::RefundNotSent {
            return Ok(Outcome::Done(Operation::default()));
        }
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
        let has_unsigned = || {
            let text = String::from_utf8_lossy(body);
            text.matches("\"eventCode\"").count() > text.matches("hmacSignature").count()
        };
        match self.defect {
            GatewayDefect::LargeNotificationRefused if body.len() > 33_000 => Err(NotificationError::Malformed),
            GatewayDefect::UnsignedItemRefused if has_unsigned() => Err(NotificationError::Unsigned),
            _ => {
                let items = self.inner.read_notification(headers, body).await?;
                Ok(items.into_iter().map(|item| self.distort_item(item)).collect())
            }
        }
    }
}

impl Interceptors for GatewayDefect {
    fn gateway(&self, adapter: Arc<dyn Gateway>) -> Arc<dyn Gateway> {
        Arc::new(DefectiveGateway { inner: adapter, defect: *self, calls: AtomicU64::new(0), refused: Mutex::default() })
    }
}

#[test]
fn a_new_idempotency_key_per_call_is_detected() {
    assert_detected(
        &GatewayDefect::NewKeyPerCall,
        &["hold or keep", "did not say just now", "unknown to Cleeng", "paid twice", "held for ever"],
    );
}

#[test]
fn an_unknown_outcome_treated_as_declined_is_detected() {
    assert_detected(
        &GatewayDefect::UnknownTreatedAsDeclined,
        &["unknown to Cleeng", "hold or keep", "did not say just now", "held for ever", "a payment went"],
    );
}

#[test]
fn an_unknown_outcome_treated_as_done_is_detected() {
    assert_detected(&GatewayDefect::UnknownTreatedAsDone, &["unknown to the gateway", "at the gateway", "held for ever", "never settled"]);
}

#[test]
fn a_missing_inquiry_is_detected() {
    assert_detected(&GatewayDefect::InquiryNotSent, &["hold or keep", "did not say just now", "unknown to Cleeng", "held for ever"]);
}

#[test]
fn a_release_that_is_not_sent_is_detected() {
    assert_detected(&GatewayDefect::ReleaseNotSent, &["held for ever", "hold or keep", "at the gateway"]);
}

#[test]
fn a_decline_treated_as_done_is_detected() {
    assert_detected(&GatewayDefect::DeclinedTreatedAsDone, &["at the gateway", "unknown to the gateway"]);
}

#[test]
fn an_acknowledgement_treated_as_done_is_detected() {
    assert_detected(&GatewayDefect::ReceivedTreatedAsDone, &["at the gateway", "held for ever", "hold or keep"]);
}

#[test]
fn an_undecided_payment_treated_as_declined_is_detected() {
    assert_detected(&GatewayDefect::UndecidedTreatedAsDeclined, &["at the gateway", "unknown to Cleeng", "hold or keep", "held for ever"]);
}

#[test]
fn an_ignored_success_after_a_refusal_is_detected() {
    assert_detected(&GatewayDefect::LateSuccessIgnored, &["at the gateway", "unknown to Cleeng", "hold or keep", "held for ever"]);
}

#[test]
fn an_ignored_failure_of_a_give_back_is_detected() {
    assert_detected(&GatewayDefect::FailedGiveBackIgnored, &["at the gateway", "held for ever", "hold or keep", "never settled"]);
}

#[test]
fn ignored_advice_is_detected() {
    assert_detected(&GatewayDefect::AdviceIgnored, &["never be tried again"]);
}

#[test]
fn a_refused_large_notification_is_detected() {
    assert_detected(&GatewayDefect::LargeNotificationRefused, &["to a genuine notification"]);
}

#[test]
fn an_unsigned_item_that_holds_back_signed_ones_is_detected() {
    assert_detected(&GatewayDefect::UnsignedItemRefused, &["to a genuine notification"]);
}

#[test]
fn an_ignored_notification_of_an_unknown_kind_is_detected() {
    assert_detected(&GatewayDefect::UnknownKindIgnored, &["ignored in silence"]);
}

#[test]
fn a_refund_that_is_not_sent_is_detected() {
    assert_detected(&GatewayDefect::RefundNotSent, &["at the gateway"]);
}
