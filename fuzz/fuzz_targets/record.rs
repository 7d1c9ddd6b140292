//! What is read from the journal is written back as it was.
#![no_main]

use connector::journal::payment::PaymentRecord;
use connector::journal::record::Obligation;
use libfuzzer_sys::fuzz_target;

fn stays<T: serde::de::DeserializeOwned + serde::Serialize>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        let once = serde_json::to_string(&value).expect("writable");
        let again: T = serde_json::from_str(&once).expect("readable");
        assert_eq!(serde_json::to_string(&again).expect("writable"), once);
    }
}

fuzz_target!(|bytes: &[u8]| {
    stays::<Obligation>(bytes);
    stays::<PaymentRecord>(bytes);
});
