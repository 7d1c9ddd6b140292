//! One answer of Cleeng or of a gateway in the middle of a renewal is replaced by anything: no money is taken twice, nothing is told that did
//! not happen, nobody is declined unless the gateway's answer says so. The first line says which one: `cleeng 2`, `gateway 0`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use sandbox::peer::Fault;
use sandbox::stage::Stage;
use serde_json::Value;

use crate::tools::{message, wait};

/// Where gateways say that something was refused.
const REFUSALS: [&str; 5] = ["resultCode", "error", "details", "status", "last_payment_error"];

pub(super) fn body(input: &[u8]) {
    let message = message(input);
    let (whose, nth) = message.first.split_once(' ').unwrap_or((message.first, "0"));
    let (at_cleeng, nth) = (whose == "cleeng", nth.parse::<usize>().unwrap_or(0) % 8);
    let answer = serde_json::from_slice(message.body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(message.body)));
    for guest in Stage::default().guests {
        wait(renewal(guest.method, at_cleeng, nth, &answer));
    }
}

async fn renewal(method: &str, at_cleeng: bool, nth: usize, answer: &Value) {
    let stage = Stage::default();
    let cast = stage.subscriber(method);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    let may_decline = !at_cleeng && REFUSALS.iter().any(|name| answer.get(name).is_some());
    let (seen, answer) = (AtomicUsize::new(0), answer.clone());
    stage.road.lay(Fault::Mutate(Arc::new(move |body: &mut Value| body.clone_from(&answer))), move |peer, _| {
        (peer == "cleeng") == at_cleeng && seen.fetch_add(1, Ordering::SeqCst) == nth
    });
    stage.play(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance_to(cast.due);
    stage.play(&stage.capture(&cast)).await;
    let ledger = stage.guest_of(method).house.ledger();
    let agreed: Vec<_> = ledger.iter().filter(|entry| entry.authorised).collect();
    assert!(agreed.len() <= 1 && agreed.iter().all(|entry| entry.captured.minor <= 999), "{agreed:?}");
    let told = stage.cleeng.payments();
    let declined = told.iter().any(|payment| payment.status == PaymentStatus::Rejected);
    assert!(!declined || may_decline, "somebody is declined");
    let captured = told.iter().any(|payment| payment.status == PaymentStatus::Captured);
    assert!(!captured || agreed.iter().any(|entry| entry.captured.minor == 999), "told as captured and not taken");
}
