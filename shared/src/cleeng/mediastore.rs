//! The MediaStore API: Cleeng as a customer sees it, with the customer's own JWT.
//!
//! It is how a customer is known: a caller that can read an order with the customer's token may pay it (the key of Cleeng's JWT is not
//! published). The token itself is decoded for routing only and never believed; what counts is MediaStore's answer. A token must never be
//! stored, logged or sent anywhere else.

mod client;
mod token;

use async_trait::async_trait;
pub use client::{MediaStoreApi, MediaStoreSettings};
use thiserror::Error;
pub use token::{CustomerToken, TokenError};

use crate::clock::Timestamp;
use crate::http::TransportError;
use crate::ids::{CustomerId, OfferId, OrderId, PaymentMethodId, PublisherId};
use crate::money::{Currency, Money};
use crate::secret::EmailAddress;

/// What is read with a customer's token.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// `GET /orders/{id}`.
    ///
    /// # Errors
    /// [`MediaStoreError`]; a read has no effect.
    async fn order(&self, token: &CustomerToken, id: &OrderId) -> Result<CustomerOrder, MediaStoreError>;

    /// `GET /customers/{id}` for the token's own customer.
    ///
    /// # Errors
    /// As [`MediaStore::order`].
    async fn customer(&self, token: &CustomerToken) -> Result<Customer, MediaStoreError>;
}

/// An order as its customer sees it: everything that a payment needs is there, or the order is not read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerOrder {
    /// Its id.
    pub id: OrderId,
    /// Whose.
    pub customer: CustomerId,
    /// At which publisher.
    pub publisher: PublisherId,
    /// What for.
    pub offer: OfferId,
    /// What is to be paid, tax included.
    pub total: Money,
    /// Which method, if one was chosen.
    pub payment_method: Option<PaymentMethodId>,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// Whether payment details are wanted even if nothing is to be paid. Reported or assumed.
    pub needs_details: bool,
    /// The country that it is taxed in, ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// The customer's e-mail address.
    pub email: Option<EmailAddress>,
}

impl CustomerOrder {
    /// Whether it buys a subscription; ids of offers begin with their kind.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.offer.as_str().starts_with('S')
    }
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The id.
    pub id: CustomerId,
    /// The currency that the customer pays in.
    pub currency: Currency,
    /// The customer's country, ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// The customer's e-mail address.
    pub email: Option<EmailAddress>,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MediaStoreError {
    /// 401: the token is not taken.
    #[error("MediaStore does not take the customer's token")]
    Refused,
    /// 403 or 404: there is no such thing, or not for this customer.
    #[error("MediaStore knows no such resource of this customer")]
    NotFound,
    /// 429.
    #[error("MediaStore asks to slow down")]
    Throttled,
    /// No answer, or a 5xx.
    #[error("MediaStore cannot be reached")]
    Unavailable(Option<TransportError>),
    /// A success that lacks what matters, or has it in another type.
    #[error("MediaStore's answer is not understood: {0} is missing or of another type")]
    Unreadable(&'static str),
}

impl MediaStoreError {
    /// A stable code for alarms.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused => "mediastore_refused",
            Self::NotFound => "mediastore_not_found",
            Self::Throttled => "mediastore_throttled",
            Self::Unavailable(_) => "mediastore_unavailable",
            Self::Unreadable(_) => "mediastore_unreadable",
        }
    }
}
