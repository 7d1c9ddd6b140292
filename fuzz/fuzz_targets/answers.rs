//! One answer of Cleeng or of a gateway is replaced by anything: no money is taken twice, nothing is told that did not happen, nobody is declined.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use connector::cleeng::PaymentStatus;
use libfuzzer_sys::fuzz_target;
use sandbox::peer::Fault;
use sandbox::stage::Stage;
use serde_json::Value;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (nth, at_cleeng, bytes) = input;
    let answer = serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for guest in Stage::default().guests {
            let stage = Stage::default();
            let cast = stage.subscriber(guest.method);
            stage.clock.advance_to(cast.due.before(std::time::Duration::from_secs(72 * 3600)));
            let (seen, answer) = (AtomicUsize::new(0), answer.clone());
            stage.road.lay(Fault::Mutate(Arc::new(move |body: &mut Value| body.clone_from(&answer))), move |peer, _| {
                (peer == "cleeng") == at_cleeng && seen.fetch_add(1, Ordering::SeqCst) == usize::from(nth % 8)
            });
            stage.play(&stage.authorisation(&cast, 72)).await;
            stage.clock.advance_to(cast.due);
            stage.play(&stage.capture(&cast)).await;
            let ledger = stage.guest(guest.house.gateway()).house.ledger();
            let agreed: Vec<_> = ledger.iter().filter(|entry| entry.authorised).collect();
            assert!(agreed.len() <= 1 && agreed.iter().all(|entry| entry.captured.minor <= 999), "{agreed:?}");
            let told = stage.cleeng.payments();
            assert!(told.iter().all(|payment| payment.status != PaymentStatus::Rejected), "nobody declined");
            let captured = told.iter().any(|payment| payment.status == PaymentStatus::Captured);
            assert!(!captured || agreed.iter().any(|entry| entry.captured.minor == 999), "told as captured and not taken");
        }
    });
});
