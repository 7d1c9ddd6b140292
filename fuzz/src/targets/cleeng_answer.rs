//! Cleeng's response to any call is arbitrary: no panic, no token in an error, no success under an error status, and every amount is one of
//! the response. The first line is the status.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use connector::cleeng::client::{CleengEnvironment, CleengSettings, CoreApi};
use connector::cleeng::mediastore::{CustomerToken, MediaStore, MediaStoreApi, MediaStoreSettings};
use connector::cleeng::{
    Cleeng, CleengError, NewOrder, NewPayment, NewPaymentDetails, NewPaymentStatus, PaymentOperation, PaymentPatch, PaymentSource,
    TerminationType,
};
use connector::clock::Clock;
use connector::http::{Response, StatusCode, Transport};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::testkit::fixtures::{OFFER, PUBLISHER_TOKEN, id};
use sandbox::testkit::gateway_fixtures::ADYEN_METHOD;
use serde_json::{Value, json};

use crate::tools::functions::ConstantTransport;
use crate::tools::{assert_no_secret, block_on, functions, parse_message};

const STORED: &str = "8416035739152375:338816082";

pub(super) fn body(input: &[u8]) {
    let message = parse_message(input);
    let status = message.first_line.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let answer = Response { status, headers: message.headers, body: Bytes::copy_from_slice(message.body) };
    let way: Arc<dyn Transport> = Arc::new(ConstantTransport(answer));
    let read = serde_json::from_slice(message.body).unwrap_or(Value::Null);
    block_on(core(Arc::clone(&way), status, &read));
    block_on(mediastore(way, status, &read));
}

async fn core(way: Arc<dyn Transport>, status: StatusCode, answer: &Value) {
    let settings = CleengSettings::defaults(CleengEnvironment::Sandbox);
    let cleeng = CoreApi::new(settings, vec![SecretString::new(PUBLISHER_TOKEN)], way).expect("good settings");
    let said_yes = |name: &str, ok: bool| assert!(!ok || status.is_success(), "{name} is done under {status}");
    let dollars = Currency::new("USD").expect("dollars");

    let subscription = check_error(cleeng.subscription(&id("332332332")).await);
    said_yes("subscription", subscription.is_some());
    let order = NewOrder {
        customer: id("338816082"),
        offer: id(OFFER),
        currency: dollars,
        country: "US".to_owned(),
        payment_method: id(ADYEN_METHOD),
        subscription: id("332332332"),
    };
    for order in [check_error(cleeng.create_order(&order).await), check_error(cleeng.order(&id("123456789")).await)] {
        said_yes("order", order.is_some());
        order.into_iter().for_each(|order| assert_amount_in_answer(answer, order.total));
    }
    let payment = NewPayment {
        order: id("123456789"),
        status: NewPaymentStatus::Captured,
        operation: PaymentOperation::Recurring,
        source: PaymentSource::Existing(id("193925084")),
        external_payment_id: id("D2RGHBT7PGNG5S82"),
        subscription: Some(id("332332332")),
    };
    let created = check_error(cleeng.create_payment(&payment).await);
    said_yes("payment", created.is_some());
    let listed = check_error(cleeng.authorised_payments(&id("193925084")).await);
    said_yes("list", listed.is_some());
    created
        .into_iter()
        .chain(listed.into_iter().flatten())
        .filter_map(|payment| payment.total)
        .for_each(|total| assert_amount_in_answer(answer, total));
    let _ = check_error(cleeng.subscriptions(&id(ADYEN_METHOD), 0).await);
    let _ = check_error(cleeng.latest_payments(&id("338816082"), &id(OFFER)).await);
    let details = NewPaymentDetails {
        customer: id("338816082"),
        token: SecretString::new(STORED),
        payment_method: id(ADYEN_METHOD),
        display_params: json!({ "lastCardFourDigits": "1111" }),
        active: true,
    };
    said_yes("details", check_error(cleeng.create_payment_details(&details).await).is_some());
    let patch = PaymentPatch::Captured { order: None, external_payment_id: Some(id("V4HZ4RBFJGXXGN82")) };
    let _ = check_error(cleeng.update_payment(&id("987654321"), &patch).await);
    let _ = check_error(cleeng.cancel_payment(&id("987654321")).await);
    let _ = check_error(cleeng.delete_payment_details(&id("193925084")).await);
    let _ = check_error(cleeng.terminate(&id("332332332"), TerminationType::PaymentCancel).await);
    let _ = (check_error(cleeng.listed_subscriptions(&id(ADYEN_METHOD)).await), check_error(cleeng.webhook_endpoints().await));
}

fn check_error<T>(answered: Result<T, CleengError>) -> Option<T> {
    match answered {
        Ok(read) => Some(read),
        Err(error) => {
            assert_no_secret(&format!("{error} {error:?} {}", error.code()), &[PUBLISHER_TOKEN, STORED]);
            None
        }
    }
}

async fn mediastore(way: Arc<dyn Transport>, status: StatusCode, answer: &Value) {
    let now = functions::clock().now();
    let claims = json!({ "customerId": 338_816_082, "publisherId": 558_186_818, "exp": now.secs() + 900 });
    let header = format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let token = CustomerToken::from_header(Some(&header), now).expect("a token");
    let mediastore = MediaStoreApi::new(MediaStoreSettings { url: "https://cleeng.test".to_owned() }, way);
    match mediastore.order(&token, &id("123456789")).await {
        Ok(order) => {
            assert!(status.is_success(), "an order under {status}");
            assert_amount_in_answer(answer, order.total);
        }
        Err(error) => assert_no_secret(&format!("{error} {error:?}"), &[&header[7..]]),
    }
    match mediastore.customer(&token).await {
        Ok(_) => assert!(status.is_success(), "a customer under {status}"),
        Err(error) => assert_no_secret(&format!("{error} {error:?}"), &[&header[7..]]),
    }
}

/// Somewhere in the answer is a number, or a text, that is this amount.
fn assert_amount_in_answer(answer: &Value, amount: Money) {
    fn contains_amount(value: &Value, amount: Money) -> bool {
        match value {
            Value::Object(members) => members.values().any(|value| contains_amount(value, amount)),
            Value::Array(items) => items.iter().any(|value| contains_amount(value, amount)),
            Value::Number(number) => Money::parse(&number.to_string(), amount.currency) == Ok(amount),
            Value::String(text) => Money::parse(text, amount.currency) == Ok(amount),
            _ => false,
        }
    }
    assert!(contains_amount(answer, amount), "{amount} is not what Cleeng said");
}
