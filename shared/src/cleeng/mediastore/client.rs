//! MediaStore over HTTP. Must never take an order whose owner, publisher or amount cannot be read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION};
use serde_json::Value;

use super::super::client::{CleengEnvironment, read};
use super::super::{CleengError, UnknownAnswer};
use super::{Customer, CustomerOrder, CustomerToken, MediaStore, MediaStoreError};
use crate::http::{Request, Response, Transport};
use crate::ids::{Id, OrderId, PublisherId};
use crate::money::Currency;
use crate::secret::EmailAddress;
use crate::settings::SettingsReader;

/// How long one read may take: a customer waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where MediaStore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaStoreSettings {
    /// The API's URL without a slash at its end.
    pub url: String,
}

impl MediaStoreSettings {
    /// Reads `CLEENG_MEDIASTORE_URL`; without it the address of this world (Cleeng's media store SDK).
    pub fn read(reader: &mut SettingsReader<'_>, environment: CleengEnvironment) -> Self {
        let url = match environment {
            CleengEnvironment::Sandbox => reader.base_url("CLEENG_MEDIASTORE_URL", "https://mediastore-sandbox.cleeng.com", true),
            CleengEnvironment::Production => reader.vendor_url("CLEENG_MEDIASTORE_URL", "https://mediastore.cleeng.com", &["cleeng.com"]),
        };
        if environment == CleengEnvironment::Production && url.contains("mediastore-sandbox.") {
            reader.problem("CLEENG_MEDIASTORE_URL", "is the address of the other environment", "remove it, or correct CLEENG_ENVIRONMENT");
        }
        Self { url }
    }
}

/// MediaStore over a [`Transport`].
pub struct MediaStoreApi {
    settings: MediaStoreSettings,
    transport: Arc<dyn Transport>,
}

impl MediaStoreApi {
    /// A client.
    #[must_use]
    pub fn new(settings: MediaStoreSettings, transport: Arc<dyn Transport>) -> Self {
        Self { settings, transport }
    }

    async fn get<K>(&self, token: &CustomerToken, collection: &str, id: &Id<K>) -> Result<Value, MediaStoreError> {
        let text = id.as_str();
        // An id that could leave its segment of the path is not one of Cleeng's.
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Err(MediaStoreError::NotFound);
        }
        let request = Request::new(Method::GET, format!("{}/{collection}/{text}", self.settings.url), TIMEOUT)
            .header(ACCEPT, "application/json")
            .secret_header(AUTHORIZATION, token.header());
        let answer = self.transport.send(request).await.map_err(|error| MediaStoreError::Unavailable(Some(error)))?;
        check_status(&answer)
    }
}

fn check_status(answer: &Response) -> Result<Value, MediaStoreError> {
    match answer.status.as_u16() {
        200..=299 => {}
        401 => return Err(MediaStoreError::Refused),
        // Another customer's resource counts as absent.
        403 | 404 | 422 => return Err(MediaStoreError::NotFound),
        429 => return Err(MediaStoreError::Throttled),
        _ => return Err(MediaStoreError::Unavailable(None)),
    }
    let body = answer.json().ok_or(MediaStoreError::Unreadable("body"))?;
    let errors = body.get("errors").and_then(Value::as_array).is_some_and(|errors| !errors.is_empty());
    if errors { Err(MediaStoreError::Unreadable("errors")) } else { Ok(body) }
}

fn unreadable(error: &CleengError) -> MediaStoreError {
    match error {
        CleengError::Unknown(UnknownAnswer::Unreadable(field)) => MediaStoreError::Unreadable(field),
        _ => MediaStoreError::Unreadable("body"),
    }
}

/// A country as ISO 3166-1 writes it; anything else counts as absent.
fn country(resource: &Value) -> Option<String> {
    let country = resource.get("country").and_then(Value::as_str)?;
    (country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase())).then(|| country.to_owned())
}

fn email(customer: &Value) -> Option<EmailAddress> {
    customer.get("email").and_then(Value::as_str).and_then(EmailAddress::new)
}

#[async_trait]
impl MediaStore for MediaStoreApi {
    async fn order(&self, token: &CustomerToken, id: &OrderId) -> Result<CustomerOrder, MediaStoreError> {
        let body = self.get(token, "orders", id).await?;
        let order = read::order(&body).map_err(|error| unreadable(&error))?;
        let whole = read::order_resource(&body);
        let publisher = whole.get("publisherId").and_then(|id| PublisherId::from_json(id).ok());
        if order.id != *id {
            return Err(MediaStoreError::Unreadable("order.id"));
        }
        Ok(CustomerOrder {
            id: order.id,
            customer: order.customer.ok_or(MediaStoreError::Unreadable("order.customerId"))?,
            publisher: publisher.ok_or(MediaStoreError::Unreadable("order.publisherId"))?,
            offer: order.offer.ok_or(MediaStoreError::Unreadable("order.offerId"))?,
            total: order.total,
            payment_method: order.payment_method,
            expires_at: order.expires_at.ok_or(MediaStoreError::Unreadable("order.expirationDate"))?,
            // Only a clear "no" is one: details are asked for in case of doubt.
            needs_details: whole.get("requiredPaymentDetails").and_then(Value::as_bool).unwrap_or(true),
            country: country(whole),
            email: whole.get("customer").and_then(email),
        })
    }

    async fn customer(&self, token: &CustomerToken) -> Result<Customer, MediaStoreError> {
        let body = self.get(token, "customers", token.customer()).await?;
        let customer = body.get("responseData").filter(|data| data.is_object()).unwrap_or(&body);
        let customer = customer.get("customer").filter(|data| data.is_object()).unwrap_or(customer);
        let id = customer.get("id").and_then(|id| Id::from_json(id).ok()).ok_or(MediaStoreError::Unreadable("customer.id"))?;
        let currency = customer.get("currency").and_then(Value::as_str).and_then(|code| Currency::new(code).ok());
        if id != *token.customer() {
            return Err(MediaStoreError::Unreadable("customer.id"));
        }
        let publisher = customer.get("publisherId").and_then(|id| PublisherId::from_json(id).ok());
        if publisher.is_some_and(|publisher| publisher != *token.publisher()) {
            return Err(MediaStoreError::Unreadable("customer.publisherId"));
        }
        let currency = currency.ok_or(MediaStoreError::Unreadable("customer.currency"))?;
        Ok(Customer { id, currency, country: country(customer), email: email(customer) })
    }
}
