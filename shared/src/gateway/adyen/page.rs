//! What Adyen's component in a page needs beside payments: the list of payment methods, a session that only lists them, and checks of what
//! the component collected. Must never list stored details, which a page may not name, nor open a session that a customer could pay.

use serde_json::{Map, Value, json};

use super::{Adyen, AdyenEnvironment, wire};
use crate::gateway::PageMethodsQuery;
use crate::gateway::common::call::{CallError, set_field};
use crate::gateway::common::page_data::pick;
use crate::money::Money;
use crate::settings::SettingsReader;

/// The types of payment methods whose stored details renew a subscription: renewals are charged to the card behind them.
const RENEWABLE_TYPES: &[&str] = &["scheme", "applepay", "googlepay"];
/// What single purchases are paid with besides, of what Cleeng's own checkout offers.
const SINGLE_PURCHASE_TYPES: &[&str] = &["bcmc", "bcmc_mobile", "ideal", "gcash"];
/// The data centres that the component knows, by the names that Cleeng's media store SDK uses.
const REGIONS: [&str; 5] = ["EU", "US", "AU", "APSE", "IN"];
/// The longest `returnUrl`, in characters (CheckoutService v71, `PaymentRequest`).
const MAX_RETURN_URL: usize = 1_024;
/// The members that `browserInfo` must have if there is one (CheckoutService v71, `BrowserInfo`).
const BROWSER_MEMBERS: [&str; 8] =
    ["acceptHeader", "colorDepth", "javaEnabled", "language", "screenHeight", "screenWidth", "timeZoneOffset", "userAgent"];
/// The members that an address must have, and what stands for one that the page does not ask for (CheckoutService v71, `BillingAddress`):
/// the component of Cleeng's media store SDK collects the postal code alone.
const ADDRESS_MEMBERS: [(&str, &str); 5] =
    [("city", "N/A"), ("country", "ZZ"), ("houseNumberOrName", "N/A"), ("postalCode", "N/A"), ("street", "N/A")];

/// The settings of Adyen's component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdyenPageSettings {
    /// The client key, which is public; without it no payment methods are listed.
    pub client_key: Option<String>,
    /// The data centre.
    pub region: &'static str,
    /// What wallets show as the merchant's name.
    pub shopper_statement: Option<String>,
}

impl Default for AdyenPageSettings {
    fn default() -> Self {
        let [region, ..] = REGIONS;
        Self { client_key: None, region, shopper_statement: None }
    }
}

impl AdyenPageSettings {
    /// Reads `ADYEN_CLIENT_KEY`, `ADYEN_REGION` and `ADYEN_SHOPPER_STATEMENT`, all optional. Mistakes are noted in the reader.
    pub(super) fn read(reader: &mut SettingsReader<'_>, environment: AdyenEnvironment) -> Self {
        let client_key = reader.text("ADYEN_CLIENT_KEY");
        let prefix = if environment == AdyenEnvironment::Live { "live_" } else { "test_" };
        if client_key.as_deref().is_some_and(|key| !is_client_key(key, prefix)) {
            let fix = format!("copy the client key of the web service user from Adyen's Customer Area: it begins with {prefix}");
            reader.problem("ADYEN_CLIENT_KEY", "is no client key of this environment", fix);
        }
        let defaults = Self::default();
        let region =
            reader.parsed("ADYEN_REGION", defaults.region, &REGIONS.join(", "), |text| REGIONS.into_iter().find(|region| text == *region));
        Self { client_key, region, shopper_statement: reader.text("ADYEN_SHOPPER_STATEMENT") }
    }
}

fn is_client_key(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 16 && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
}

/// What is wrong with what a page sends: a mistake that Adyen would refuse without saying which member it is about.
pub(super) fn check(payment_data: &Value, return_url: Option<&str>) -> Result<(), &'static str> {
    if return_url.is_some_and(|url| url.chars().count() > MAX_RETURN_URL) {
        return Err("returnUrl is too long: 1024 characters at the most");
    }
    let browser = payment_data.get("browserInfo").filter(|browser| !browser.is_null());
    if browser.is_some_and(|browser| BROWSER_MEMBERS.iter().any(|member| browser.get(member).is_none_or(Value::is_null))) {
        return Err(
            "browserInfo must be the object of Adyen's component, with acceptHeader, colorDepth, javaEnabled, language, screenHeight, \
             screenWidth, timeZoneOffset and userAgent",
        );
    }
    if payment_data.get("billingAddress").is_some_and(|address| !address.is_null() && !address.is_object()) {
        return Err("billingAddress must be the object of Adyen's component");
    }
    Ok(())
}

/// An address with everything that Adyen wants of one.
pub(super) fn complete_address(address: &mut Map<String, Value>) {
    for (name, unknown) in ADDRESS_MEMBERS {
        let member = address.entry(name).or_insert(Value::Null);
        if member.is_null() {
            *member = Value::from(unknown);
        }
    }
}

impl Adyen {
    /// How the customer authenticates (CheckoutService v71, `AuthenticationData`): within the page only if the page says that it can, and in
    /// a test as it asks for. In production a page does not decide whether there is an authentication at all.
    pub(super) fn authentication_data(&self, payment_data: &Value) -> Option<Value> {
        let mut data = Map::new();
        if let Some(redirects) = payment_data.get("enable3DSRedirectFlow").and_then(Value::as_bool) {
            let native = if redirects { "disabled" } else { "preferred" };
            data.insert("threeDSRequestData".to_owned(), json!({ "nativeThreeDS": native }));
        }
        let attempt =
            payment_data.get("attemptAuthentication").and_then(Value::as_str).filter(|attempt| ["always", "never"].contains(attempt));
        if let Some(attempt) = attempt.filter(|_| self.settings.environment == AdyenEnvironment::Test) {
            data.insert("attemptAuthentication".to_owned(), Value::from(attempt));
        }
        (!data.is_empty()).then_some(Value::Object(data))
    }

    /// `POST /paymentMethods`, as Cleeng's media store SDK reads it. No shopper is named, so that no stored details are listed.
    pub(super) async fn list_methods(&self, query: &PageMethodsQuery) -> Result<Option<Value>, CallError> {
        let Some(client_key) = &self.settings.page.client_key else { return Ok(None) };
        let amount = wire::amount(query.amount)?;
        let mut body = json!({
            "merchantAccount": self.settings.merchant_account, "amount": amount, "channel": "Web", "allowedPaymentMethods": offered(query),
        });
        set_country(&mut body, query);
        let answer = self.client.ask("/paymentMethods", &body).await?;
        // The list is what the component shows: nothing but what was asked for, whatever Adyen's answer has.
        let is_offered = |method: &&Value| {
            let kind = method.get("type").and_then(Value::as_str);
            kind.is_some_and(|kind| offered(query).contains(&kind))
        };
        let methods = answer.get("paymentMethods").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Some(json!({
            "paymentMethods": methods.iter().filter(is_offered).collect::<Vec<_>>(),
            "amount": amount,
            "countryCode": query.country,
            "clientKey": client_key,
            "region": self.settings.page.region,
            "shopperStatement": self.settings.page.shopper_statement.as_ref().unwrap_or(&self.settings.merchant_account),
        })))
    }

    /// `POST /sessions` with amount zero: it shows the component what can be paid with, and nothing can be charged through it. The payment
    /// is made by the start that follows.
    pub(super) async fn open_session(&self, query: &PageMethodsQuery, return_url: &str) -> Result<Option<Value>, CallError> {
        let Some(client_key) = &self.settings.page.client_key else { return Ok(None) };
        let mut body = json!({
            "merchantAccount": self.settings.merchant_account,
            "amount": wire::amount(Money::new(0, query.amount.currency))?,
            "channel": "Web",
            "allowedPaymentMethods": offered(query),
            "reference": format!("session-{}", query.customer.as_str()),
            "returnUrl": return_url,
        });
        set_country(&mut body, query);
        let answer = self.client.ask("/sessions", &body).await?;
        const SHOWN: &[&str] = &[
            "id",
            "sessionData",
            "amount",
            "allowedPaymentMethods",
            "countryCode",
            "expiresAt",
            "merchantAccount",
            "reference",
            "returnUrl",
        ];
        let mut session = pick(Some(&answer), SHOWN).unwrap_or_default();
        session.insert("clientKey".to_owned(), Value::from(client_key.as_str()));
        Ok(Some(Value::Object(session)))
    }
}

/// The types of payment methods that are offered.
fn offered(query: &PageMethodsQuery) -> Vec<&'static str> {
    let more = if query.renews { &[] } else { SINGLE_PURCHASE_TYPES };
    RENEWABLE_TYPES.iter().chain(more).copied().collect()
}

fn set_country(body: &mut Value, query: &PageMethodsQuery) {
    if let Some(country) = &query.country {
        set_field(body, "countryCode", country.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adyen_would_refuse_is_named() {
        let browser = json!({
            "acceptHeader": "*/*", "colorDepth": 24, "javaEnabled": false, "language": "en", "screenHeight": 1, "screenWidth": 1,
            "timeZoneOffset": 0, "userAgent": "x",
        });
        assert_eq!(check(&json!({ "browserInfo": browser, "billingAddress": null }), Some("https://shop.test")), Ok(()));
        assert_eq!(check(&json!({}), None), Ok(()));
        for member in browser.as_object().unwrap().keys() {
            let mut incomplete = browser.clone();
            incomplete.as_object_mut().unwrap().remove(member);
            let mistake = check(&json!({ "browserInfo": incomplete }), None).unwrap_err();
            assert!(mistake.starts_with("browserInfo") && mistake.contains(member.as_str()), "{mistake}");
        }
        assert_eq!(check(&json!({ "billingAddress": { "postalCode": "94107" } }), None), Ok(()));
        assert!(check(&json!({ "billingAddress": "x" }), None).unwrap_err().starts_with("billingAddress"));
        assert!(check(&json!({ "browserInfo": "x" }), None).is_err());
        assert!(check(&json!({}), Some(&format!("https://shop.test/{}", "x".repeat(1_024)))).unwrap_err().starts_with("returnUrl"));
    }

    #[test]
    fn a_client_key_is_of_its_environment() {
        assert!(is_client_key("test_ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "test_"));
        for wrong in ["live_ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "test_", "test_<your-client-key-here>", "AQEsandboxApiKey0123456789"] {
            assert!(!is_client_key(wrong, "test_"), "{wrong}");
        }
    }
}
