//! What is read from the journal is written back as it was, and reads as the same again; what does not fit is an error.

use connector::billing::head::Head;
use connector::billing::tokens::TokenUse;
use connector::billing::watch::Watch;
use connector::front::onward::Onward;
use connector::gateway::GatewayNotification;
use connector::journal::payment::PaymentRecord;
use connector::journal::record::Obligation;
use connector::journal::token::TokenRecord;
use connector::purchase::facts::{Answered, Round, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Written once and read again, it says the same.
fn stays<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<(T, T)> {
    let document = serde_json::from_slice::<T>(bytes).ok()?;
    let once = serde_json::to_string(&document).expect("writable");
    let again: T = serde_json::from_str(&once).expect("readable");
    assert_eq!(serde_json::to_string(&again).expect("writable"), once);
    // What is not written again was not known; what is written again is what was read, or what stands for something absent.
    if let (Ok(read), Ok(written)) = (serde_json::from_slice::<Value>(bytes), serde_json::from_str::<Value>(&once)) {
        same(&read, &written);
    }
    Some((document, again))
}

/// And nothing of it is lost.
fn stays_whole<T: DeserializeOwned + Serialize + PartialEq>(bytes: &[u8]) {
    assert!(stays::<T>(bytes).is_none_or(|(document, again)| document == again), "something is lost");
}

/// Numbers and flags are not changed: an amount, a version, a time. Texts may be normalised.
fn same(read: &Value, written: &Value) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            read.iter().filter_map(|(name, read)| Some((read, written.get(name)?))).for_each(|(read, written)| same(read, written));
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
            read.iter().zip(written).for_each(|(read, written)| same(read, written));
        }
        (Value::Number(read), Value::Number(written)) => assert_eq!(read, written, "a number changes"),
        (Value::Bool(read), Value::Bool(written)) => assert_eq!(read, written, "a flag changes"),
        _ => {}
    }
}

pub(super) fn body(bytes: &[u8]) {
    stays_whole::<Obligation>(bytes);
    stays_whole::<PaymentRecord>(bytes);
    stays_whole::<TokenRecord>(bytes);
    stays_whole::<Head>(bytes);
    stays_whole::<TokenUse>(bytes);
    stays_whole::<Watch>(bytes);
    stays_whole::<Onward>(bytes);
    stays_whole::<GatewayNotification>(bytes);
    let _ = (stays::<Snapshot>(bytes), stays::<Round>(bytes), stays::<Answered>(bytes));
}
