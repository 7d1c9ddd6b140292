//! A Cleeng that nobody should call.

use async_trait::async_trait;

use crate::cleeng::{
    Cleeng, CleengError, NewOrder, NewPayment, NewPaymentDetails, Order, Payment, PaymentDetails, PaymentPatch, Subscription,
    TerminationType,
};
use crate::ids::{OrderId, PaymentDetailsId, PaymentId, SubscriptionId};

/// Cleeng out of reach: the handlers never call it.
pub(super) struct NoCleeng;

#[async_trait]
impl Cleeng for NoCleeng {
    async fn subscription(&self, _: &SubscriptionId) -> Result<Subscription, CleengError> {
        Err(CleengError::NotFound)
    }
    async fn create_order(&self, _: &NewOrder) -> Result<Order, CleengError> {
        Err(CleengError::NotFound)
    }
    async fn order(&self, _: &OrderId) -> Result<Order, CleengError> {
        Err(CleengError::NotFound)
    }
    async fn create_payment(&self, _: &NewPayment) -> Result<Payment, CleengError> {
        Err(CleengError::NotFound)
    }
    async fn update_payment(&self, _: &PaymentId, _: &PaymentPatch) -> Result<(), CleengError> {
        Err(CleengError::NotFound)
    }
    async fn cancel_payment(&self, _: &PaymentId) -> Result<(), CleengError> {
        Err(CleengError::NotFound)
    }
    async fn authorised_payments(&self, _: &PaymentDetailsId) -> Result<Vec<Payment>, CleengError> {
        Err(CleengError::NotFound)
    }
    async fn create_payment_details(&self, _: &NewPaymentDetails) -> Result<PaymentDetails, CleengError> {
        Err(CleengError::NotFound)
    }
    async fn delete_payment_details(&self, _: &PaymentDetailsId) -> Result<(), CleengError> {
        Err(CleengError::NotFound)
    }
    async fn terminate(&self, _: &SubscriptionId, _: TerminationType) -> Result<(), CleengError> {
        Err(CleengError::NotFound)
    }
}
