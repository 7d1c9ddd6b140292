//! The requests that can be made as a step: which operation each of them is, how it is sent, and how the gateway is asked what became of it.

use crate::gateway::{
    CancelRequest, CaptureRequest, FinalizeRequest, Gateway, GatewayError, IdempotencyKey, InquiryRequest, MerchantInitiated,
    OperationKind, Outcome, PurchaseRequest, Reference, RefundRequest, StoreDetailsRequest,
};
use crate::ids::ExternalPaymentId;
use crate::money::Money;

/// A request to the gateway that can be made as a step.
pub trait GatewayCall: Send + Sync {
    /// The operation, which the key of the step is derived for.
    const OPERATION: OperationKind;
    /// Whether it holds or takes money: then Cleeng has to say first, in the same delivery, that the money is due.
    const TAKES_MONEY: bool = false;
    /// Whether it submits the data that the customer returned with, which may belong to another payment.
    const SUBMITS_RETURNED_DATA: bool = false;

    /// The question about it if its outcome is unknown.
    fn inquiry(&self) -> InquiryRequest;

    /// Makes the call.
    ///
    /// # Errors
    /// [`GatewayError`]: known to have had no effect.
    fn send(&self, gateway: &dyn Gateway) -> impl Future<Output = Result<Outcome, GatewayError>> + Send;
}

/// The request for a payment that is authorised now and captured later.
pub struct Authorise(pub MerchantInitiated);

/// The request for a payment that is taken in one go.
pub struct Charge(pub MerchantInitiated);

impl GatewayCall for Authorise {
    const OPERATION: OperationKind = OperationKind::Authorise;
    const TAKES_MONEY: bool = true;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.0.key, &self.0.reference, None, Some(self.0.amount))
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.authorise(&self.0).await
    }
}

impl GatewayCall for Charge {
    const OPERATION: OperationKind = OperationKind::Charge;
    const TAKES_MONEY: bool = true;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.0.key, &self.0.reference, None, Some(self.0.amount))
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.charge(&self.0).await
    }
}

impl GatewayCall for CaptureRequest {
    const OPERATION: OperationKind = OperationKind::Capture;
    const TAKES_MONEY: bool = true;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.key, &self.reference, Some(&self.external_payment_id), Some(self.amount))
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.capture(self).await
    }
}

impl GatewayCall for CancelRequest {
    const OPERATION: OperationKind = OperationKind::Cancel;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.key, &self.reference, None, None)
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.cancel(self).await
    }
}

impl GatewayCall for RefundRequest {
    const OPERATION: OperationKind = OperationKind::Refund;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.key, &self.reference, Some(&self.external_payment_id), Some(self.amount))
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.refund(self).await
    }
}

impl GatewayCall for PurchaseRequest {
    const OPERATION: OperationKind = OperationKind::Purchase;
    const TAKES_MONEY: bool = true;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.key, &self.reference, None, Some(self.amount))
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.start_purchase(self).await
    }
}

impl GatewayCall for StoreDetailsRequest {
    const OPERATION: OperationKind = OperationKind::Store;

    fn inquiry(&self) -> InquiryRequest {
        InquiryRequest { operation: Self::OPERATION, ..self.purchase.inquiry() }
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.store_details(self).await
    }
}

impl GatewayCall for FinalizeRequest {
    const OPERATION: OperationKind = OperationKind::Purchase;
    const TAKES_MONEY: bool = true;
    const SUBMITS_RETURNED_DATA: bool = true;

    fn inquiry(&self) -> InquiryRequest {
        inquiry::<Self>(&self.key, &self.reference, self.external_payment_id.as_ref(), Some(self.amount))
    }

    async fn send(&self, gateway: &dyn Gateway) -> Result<Outcome, GatewayError> {
        gateway.finalize(self).await
    }
}

fn inquiry<C: GatewayCall>(
    key: &IdempotencyKey,
    reference: &Reference,
    payment: Option<&ExternalPaymentId>,
    amount: Option<Money>,
) -> InquiryRequest {
    InquiryRequest {
        operation: C::OPERATION,
        key: key.clone(),
        reference: reference.clone(),
        external_payment_id: payment.cloned(),
        operation_ref: None,
        amount,
    }
}
