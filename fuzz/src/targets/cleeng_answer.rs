//! Cleeng's answer to any call is anything: no panic, no token in what is told, nothing is done under a status that says no, and an amount is
//! one that stands in the answer. The first line is the status.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use connector::cleeng::client::{CleengSettings, CoreApi, Environment};
use connector::cleeng::mediastore::{CustomerToken, MediaStore, MediaStoreApi, MediaStoreSettings};
use connector::cleeng::{
    Cleeng, CleengError, NewOrder, NewPayment, NewPaymentDetails, NewPaymentStatus, PaymentOperation, PaymentPatch, PaymentSource,
    TerminationType,
};
use connector::clock::Clock;
use connector::http::{Response, StatusCode, Transport};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::stage::{METHOD, OFFER, PUBLISHER_TOKEN, id};
use serde_json::{Value, json};

use crate::tools::peers::Always;
use crate::tools::{message, peers, silent, wait};

const STORED: &str = "8416035739152375:338816082";

pub(super) fn body(input: &[u8]) {
    let message = message(input);
    let status = message.first.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let answer = Response { status, headers: message.headers, body: Bytes::copy_from_slice(message.body) };
    let way: Arc<dyn Transport> = Arc::new(Always(answer));
    let read = serde_json::from_slice(message.body).unwrap_or(Value::Null);
    wait(core(Arc::clone(&way), status, &read));
    wait(mediastore(way, status, &read));
}

async fn core(way: Arc<dyn Transport>, status: StatusCode, answer: &Value) {
    let settings = CleengSettings::defaults(Environment::Sandbox);
    let cleeng = CoreApi::new(settings, vec![SecretString::new(PUBLISHER_TOKEN)], way).expect("good settings");
    let said_yes = |name: &str, ok: bool| assert!(!ok || status.is_success(), "{name} is done under {status}");
    let dollars = Currency::new("USD").expect("dollars");

    let subscription = told(cleeng.subscription(&id("332332332")).await);
    said_yes("subscription", subscription.is_some());
    let order = NewOrder {
        customer: id("338816082"),
        offer: id(OFFER),
        currency: dollars,
        country: "US".to_owned(),
        payment_method: id(METHOD),
        subscription: id("332332332"),
    };
    for order in [told(cleeng.create_order(&order).await), told(cleeng.order(&id("123456789")).await)] {
        said_yes("order", order.is_some());
        order.into_iter().for_each(|order| stands(answer, order.total));
    }
    let payment = NewPayment {
        order: id("123456789"),
        status: NewPaymentStatus::Captured,
        operation: PaymentOperation::Recurring,
        source: PaymentSource::Existing(id("193925084")),
        external_payment_id: id("D2RGHBT7PGNG5S82"),
        subscription: Some(id("332332332")),
    };
    let created = told(cleeng.create_payment(&payment).await);
    said_yes("payment", created.is_some());
    let listed = told(cleeng.authorised_payments(&id("193925084")).await);
    said_yes("list", listed.is_some());
    created.into_iter().chain(listed.into_iter().flatten()).filter_map(|payment| payment.total).for_each(|total| stands(answer, total));
    let _ = told(cleeng.subscriptions(&id(METHOD), 0).await);
    let _ = told(cleeng.latest_payments(&id("338816082"), &id(OFFER)).await);
    let details = NewPaymentDetails {
        customer: id("338816082"),
        token: SecretString::new(STORED),
        payment_method: id(METHOD),
        shown: json!({ "lastCardFourDigits": "1111" }),
        active: true,
    };
    said_yes("details", told(cleeng.create_payment_details(&details).await).is_some());
    let patch = PaymentPatch::Captured { external_payment_id: Some(id("V4HZ4RBFJGXXGN82")) };
    let _ = told(cleeng.update_payment(&id("987654321"), &patch).await);
    let _ = told(cleeng.cancel_payment(&id("987654321")).await);
    let _ = told(cleeng.delete_payment_details(&id("193925084")).await);
    let _ = told(cleeng.terminate(&id("332332332"), TerminationType::PaymentCancel).await);
    let _ = (told(cleeng.standings(&id(METHOD)).await), told(cleeng.webhook_endpoints().await));
}

fn told<T>(answered: Result<T, CleengError>) -> Option<T> {
    match answered {
        Ok(read) => Some(read),
        Err(error) => {
            silent(&format!("{error} {error:?} {}", error.code()), &[PUBLISHER_TOKEN, STORED]);
            None
        }
    }
}

async fn mediastore(way: Arc<dyn Transport>, status: StatusCode, answer: &Value) {
    let now = peers::clock().now();
    let claims = json!({ "customerId": 338_816_082, "publisherId": 558_186_818, "exp": now.secs() + 900 });
    let header = format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let token = CustomerToken::from_header(Some(&header), now).expect("a token");
    let mediastore = MediaStoreApi::new(MediaStoreSettings { url: "https://cleeng.test".to_owned() }, way);
    match mediastore.order(&token, &id("123456789")).await {
        Ok(order) => {
            assert!(status.is_success(), "an order under {status}");
            stands(answer, order.total);
        }
        Err(error) => silent(&format!("{error} {error:?}"), &[&header[7..]]),
    }
    match mediastore.customer(&token).await {
        Ok(_) => assert!(status.is_success(), "a customer under {status}"),
        Err(error) => silent(&format!("{error} {error:?}"), &[&header[7..]]),
    }
}

/// Somewhere in the answer is a number, or a text, that is this amount.
fn stands(answer: &Value, amount: Money) {
    fn is_there(value: &Value, amount: Money) -> bool {
        match value {
            Value::Object(members) => members.values().any(|value| is_there(value, amount)),
            Value::Array(items) => items.iter().any(|value| is_there(value, amount)),
            Value::Number(number) => Money::parse(&number.to_string(), amount.currency) == Ok(amount),
            Value::String(text) => Money::parse(text, amount.currency) == Ok(amount),
            _ => false,
        }
    }
    assert!(is_there(answer, amount), "{amount} is not what Cleeng said");
}
