//! Adyen's adapter with other answers to cancels and refunds: what a gateway says that answers at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector::gateway::{
    CancelRequest, Capabilities, CaptureRequest, Decline, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError, GatewayName,
    InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Outcome, PurchaseRequest, RefundRequest, StoreDetailsRequest,
};
use connector::http::HeaderMap;
use sandbox::stage::Stage;

use crate::world::with_gateway;

type Answer = Result<Outcome, GatewayError>;

pub(crate) struct Hooked {
    inner: Arc<dyn Gateway>,
    pub(crate) cancel: Option<Answer>,
    pub(crate) refund: Option<Answer>,
    pub(crate) refunds: Mutex<Vec<RefundRequest>>,
}

/// A stage whose gateway answers so.
pub(crate) fn answering(stage: Stage, cancel: Option<Answer>, refund: Option<Answer>) -> (Stage, Arc<Hooked>) {
    let inner = Arc::clone(stage.world.gateways.get(GatewayName::Adyen).unwrap());
    let hooked = Arc::new(Hooked { inner, cancel, refund, refunds: Mutex::new(Vec::new()) });
    (with_gateway(stage, hooked.clone()), hooked)
}

#[async_trait]
impl Gateway for Hooked {
    fn name(&self) -> GatewayName {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn authorise(&self, request: &MerchantInitiated) -> Answer {
        self.inner.authorise(request).await
    }

    async fn charge(&self, request: &MerchantInitiated) -> Answer {
        self.inner.charge(request).await
    }

    async fn capture(&self, request: &CaptureRequest) -> Answer {
        self.inner.capture(request).await
    }

    fn holds_after_refusal(&self, refusal: &Decline, accepted: bool) -> bool {
        self.inner.holds_after_refusal(refusal, accepted)
    }

    async fn cancel(&self, request: &CancelRequest) -> Answer {
        match &self.cancel {
            Some(answer) => answer.clone(),
            None => self.inner.cancel(request).await,
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Answer {
        self.refunds.lock().unwrap().push(request.clone());
        match &self.refund {
            Some(answer) => answer.clone(),
            None => self.inner.refund(request).await,
        }
    }

    async fn inquire(&self, request: &InquiryRequest) -> Result<Option<Outcome>, GatewayError> {
        self.inner.inquire(request).await
    }

    async fn check_access(&self) -> Result<(), GatewayError> {
        self.inner.check_access().await
    }

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> Answer {
        self.inner.delete_details(request).await
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> Answer {
        self.inner.start_purchase(request).await
    }

    async fn finalize(&self, request: &FinalizeRequest) -> Answer {
        self.inner.finalize(request).await
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> Answer {
        self.inner.store_details(request).await
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        self.inner.read_notification(headers, body).await
    }
}
