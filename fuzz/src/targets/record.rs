//! A document of the journal is written back as it was read, and reads as the same again; a document that does not fit is an error.

use connector::checkout::snapshot::{PurchaseResult, ReturnedData, Snapshot};
use connector::frontend_api::redirect_urls::RedirectUrls;
use connector::gateway::GatewayNotification;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Obligation;
use connector::journal::stored_tokens::TokenRecord;
use connector::payments::subscription_state::LastBillingEvent;
use connector::payments::subscription_state::SubscriptionState;
use connector::payments::token_usage::TokenUsers;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Written once and read again, it says the same.
fn round_trip<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<(T, T)> {
    let document = serde_json::from_slice::<T>(bytes).ok()?;
    let once = serde_json::to_string(&document).expect("writable");
    let again: T = serde_json::from_str(&once).expect("readable");
    assert_eq!(serde_json::to_string(&again).expect("writable"), once);
    // What is not written again was not known; what is written again is what was read, or what stands for something absent.
    if let (Ok(read), Ok(written)) = (serde_json::from_slice::<Value>(bytes), serde_json::from_str::<Value>(&once)) {
        assert_same_members(&read, &written);
    }
    Some((document, again))
}

/// And nothing of it is lost.
fn assert_round_trips<T: DeserializeOwned + Serialize + PartialEq>(bytes: &[u8]) {
    assert!(round_trip::<T>(bytes).is_none_or(|(document, again)| document == again), "something is lost");
}

/// Numbers and flags are not changed: an amount, a version, a time. Texts may be normalised.
fn assert_same_members(read: &Value, written: &Value) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            read.iter()
                .filter_map(|(name, read)| Some((read, written.get(name)?)))
                .for_each(|(read, written)| assert_same_members(read, written));
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
            read.iter().zip(written).for_each(|(read, written)| assert_same_members(read, written));
        }
        (Value::Number(read), Value::Number(written)) => assert_eq!(read, written, "a number changes"),
        (Value::Bool(read), Value::Bool(written)) => assert_eq!(read, written, "a flag changes"),
        _ => {}
    }
}

pub(super) fn body(bytes: &[u8]) {
    assert_round_trips::<Obligation>(bytes);
    assert_round_trips::<PaymentRecord>(bytes);
    assert_round_trips::<TokenRecord>(bytes);
    assert_round_trips::<SubscriptionState>(bytes);
    assert_round_trips::<TokenUsers>(bytes);
    assert_round_trips::<LastBillingEvent>(bytes);
    assert_round_trips::<RedirectUrls>(bytes);
    assert_round_trips::<GatewayNotification>(bytes);
    let _ = (round_trip::<Snapshot>(bytes), round_trip::<ReturnedData>(bytes), round_trip::<PurchaseResult>(bytes));
}
