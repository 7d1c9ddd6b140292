//! What is asked of a gateway.

use crate::clock::Timestamp;
use crate::ids::{CustomerId, ExternalPaymentId};
use crate::money::Money;
use crate::reference::{IdempotencyKey, OperationKind, Reference};
use crate::secret::{EmailAddress, SecretString};

/// Stored details as Cleeng keeps them in `token`: one reversible text of the adapter's own form that holds everything the gateway needs.
#[derive(Clone)]
pub struct StoredToken(pub SecretString);

/// A payment without the customer present, with stored details.
#[derive(Clone)]
pub struct MerchantInitiated {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference.
    pub reference: Reference,
    /// Exactly the order's amount.
    pub amount: Money,
    /// The details.
    pub token: StoredToken,
    /// Cleeng's customer.
    pub customer: CustomerId,
}

/// A capture of the whole authorised amount.
#[derive(Clone)]
pub struct CaptureRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of the payment.
    pub reference: Reference,
    /// The authorisation.
    pub external_payment_id: ExternalPaymentId,
    /// The authorised amount.
    pub amount: Money,
    /// When it was authorised, where that is known: an old authorisation may have to be renewed first.
    pub authorised_at: Option<Timestamp>,
}

/// What a cancel is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelTarget {
    /// The payment with this gateway id.
    Payment(ExternalPaymentId),
    /// The payment that we named so, when its gateway id never reached us.
    Reference {
        /// Our name of it.
        reference: Reference,
        /// What the gateway called it while it waited for the customer, if it got that far ([`super::Operation::pending_id`]).
        pending_id: Option<String>,
    },
}

/// A release of an authorised payment.
#[derive(Clone)]
pub struct CancelRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of the payment.
    pub reference: Reference,
    /// What to cancel.
    pub target: CancelTarget,
}

/// A refund, whole or partial.
#[derive(Clone)]
pub struct RefundRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of this refund.
    pub reference: Reference,
    /// The payment as Cleeng knows it now.
    pub external_payment_id: ExternalPaymentId,
    /// The amount to refund.
    pub amount: Money,
    /// How much was captured in all.
    pub captured: Money,
}

/// A question about a write whose outcome is unknown, or which the gateway acknowledged and had not decided.
#[derive(Clone)]
pub struct InquiryRequest {
    /// What was attempted.
    pub operation: OperationKind,
    /// The key that it was attempted under.
    pub key: IdempotencyKey,
    /// Our reference of the payment or refund.
    pub reference: Reference,
    /// The payment, where its id is known.
    pub external_payment_id: Option<ExternalPaymentId>,
    /// The gateway's id of the operation, where it acknowledged the write.
    pub operation_ref: Option<String>,
    /// The amount that was asked for.
    pub amount: Option<Money>,
}

/// Stored details to delete.
#[derive(Clone)]
pub struct DeleteDetailsRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// The details.
    pub token: StoredToken,
    /// Cleeng's customer.
    pub customer: CustomerId,
}

/// A purchase with the customer present.
#[derive(Clone)]
pub struct PurchaseRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference.
    pub reference: Reference,
    /// Exactly the order's amount; zero verifies and stores the details without a charge.
    pub amount: Money,
    /// Cleeng's customer.
    pub customer: CustomerId,
    /// What the gateway's front-end component collected, checked for card numbers before it gets here.
    pub payment_data: serde_json::Value,
    /// Whether the details are kept for renewals.
    pub store: bool,
    /// Where the customer comes back to.
    pub return_url: String,
    /// Where the customer comes back to after cancelling, if that is another place.
    pub cancel_url: Option<String>,
    /// The page's origin.
    pub origin: Option<String>,
    /// The customer's address on the network.
    pub customer_ip: Option<String>,
    /// The customer's e-mail address, if Cleeng has it.
    pub customer_email: Option<EmailAddress>,
}

/// A question about the payment methods that a gateway's component offers in a page.
#[derive(Clone)]
pub struct PageMethodsQuery {
    /// What is to be paid; zero where details are stored.
    pub amount: Money,
    /// The customer's country, ISO 3166-1 alpha-2, if Cleeng has it.
    pub country: Option<String>,
    /// Cleeng's customer.
    pub customer: CustomerId,
    /// Whether the stored details are for renewals.
    pub renews: bool,
}

/// The customer came back.
#[derive(Clone)]
pub struct FinalizeRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// Our reference of what is finished.
    pub reference: Reference,
    /// The amount that was asked for.
    pub amount: Money,
    /// Cleeng's customer.
    pub customer: CustomerId,
    /// The payment at the gateway, if the start returned its id.
    pub external_payment_id: Option<ExternalPaymentId>,
    /// What the gateway called what waits for the customer ([`super::Operation::pending_id`]).
    pub pending_id: Option<String>,
    /// The data that the gateway's front-end component or redirect returned; null if a notification said that the customer agreed.
    pub details: serde_json::Value,
}

/// Details to store without a charge.
#[derive(Clone)]
pub struct StoreDetailsRequest {
    /// Everything that a purchase has; its amount is zero in the currency of the customer.
    pub purchase: PurchaseRequest,
}

/// A question about the details that a purchase stored.
#[derive(Clone)]
pub struct StoredDetailsQuery {
    /// Our reference of the purchase.
    pub reference: Reference,
    /// The amount that was asked for.
    pub amount: Money,
    /// What the gateway called what waited for the customer ([`super::Operation::pending_id`]).
    pub pending_id: Option<String>,
}
