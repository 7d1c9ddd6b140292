//! Adyen's adapter with other responses to cancels and refunds: those of a gateway that completes them at once.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use connector::gateway::{
    CancelRequest, Capabilities, CaptureRequest, Decline, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError, GatewayName,
    InquiryRequest, MerchantInitiated, NotificationError, NotificationItem, Outcome, PurchaseRequest, RefundRequest, StoreDetailsRequest,
};
use connector::http::HeaderMap;
use sandbox::testkit::harness::TestEnvironment;

use crate::money::fixtures::with_gateway;

type GatewayResult = Result<Outcome, GatewayError>;

pub(crate) struct ScriptedGateway {
    inner: Arc<dyn Gateway>,
    pub(crate) cancel: Option<GatewayResult>,
    pub(crate) refund: Option<GatewayResult>,
    pub(crate) refunds: Mutex<Vec<RefundRequest>>,
}

/// An environment whose gateway answers so.
pub(crate) fn with_scripted_gateway(
    env: TestEnvironment,
    cancel: Option<GatewayResult>,
    refund: Option<GatewayResult>,
) -> (TestEnvironment, Arc<ScriptedGateway>) {
    let inner = Arc::clone(env.flow_context.gateways.get(GatewayName::Adyen).unwrap());
    let hooked = Arc::new(ScriptedGateway { inner, cancel, refund, refunds: Mutex::new(Vec::new()) });
    (with_gateway(env, hooked.clone()), hooked)
}

#[async_trait]
impl Gateway for ScriptedGateway {
    fn name(&self) -> GatewayName {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn authorise(&self, request: &MerchantInitiated) -> GatewayResult {
        self.inner.authorise(request).await
    }

    async fn charge(&self, request: &MerchantInitiated) -> GatewayResult {
        self.inner.charge(request).await
    }

    async fn capture(&self, request: &CaptureRequest) -> GatewayResult {
        self.inner.capture(request).await
    }

    fn authorisation_may_remain(&self, refusal: &Decline, accepted: bool) -> bool {
        self.inner.authorisation_may_remain(refusal, accepted)
    }

    async fn cancel(&self, request: &CancelRequest) -> GatewayResult {
        match &self.cancel {
            Some(answer) => answer.clone(),
            None => self.inner.cancel(request).await,
        }
    }

    async fn refund(&self, request: &RefundRequest) -> GatewayResult {
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

    async fn delete_details(&self, request: &DeleteDetailsRequest) -> GatewayResult {
        self.inner.delete_details(request).await
    }

    async fn start_purchase(&self, request: &PurchaseRequest) -> GatewayResult {
        self.inner.start_purchase(request).await
    }

    async fn finalize(&self, request: &FinalizeRequest) -> GatewayResult {
        self.inner.finalize(request).await
    }

    async fn store_details(&self, request: &StoreDetailsRequest) -> GatewayResult {
        self.inner.store_details(request).await
    }

    async fn read_notification(&self, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NotificationItem>, NotificationError> {
        self.inner.read_notification(headers, body).await
    }
}
