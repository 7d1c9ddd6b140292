//! One response of Cleeng or of a gateway in the middle of a renewal is replaced by arbitrary bytes: no money is taken twice, nothing is
//! reported that did not happen, and a payment is declined only if the gateway's response says so. The first line selects the response:
//! `cleeng 2`, `gateway 0`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use sandbox::simulators::network::Fault;
use sandbox::testkit::harness::TestEnvironment;
use serde_json::Value;

use crate::tools::{block_on, parse_message};

/// Where gateways say that something was refused.
const REFUSALS: [&str; 5] = ["resultCode", "error", "details", "status", "last_payment_error"];

pub(super) fn body(input: &[u8]) {
    let message = parse_message(input);
    let (whose, nth) = message.first_line.split_once(' ').unwrap_or((message.first_line, "0"));
    let (at_cleeng, nth) = (whose == "cleeng", nth.parse::<usize>().unwrap_or(0) % 8);
    let answer = serde_json::from_slice(message.body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(message.body)));
    for fixture in TestEnvironment::default().gateways {
        block_on(renewal(fixture.method, at_cleeng, nth, &answer));
    }
}

async fn renewal(method: &str, at_cleeng: bool, nth: usize, answer: &Value) {
    let env = TestEnvironment::default();
    let subscriber = env.subscriber(method);
    env.clock.advance_to(subscriber.due.before(Duration::from_secs(72 * 3600)));
    let may_decline = !at_cleeng && REFUSALS.iter().any(|name| answer.get(name).is_some());
    let (seen, answer) = (AtomicUsize::new(0), answer.clone());
    env.network.inject(Fault::Mutate(Arc::new(move |body: &mut Value| body.clone_from(&answer))), move |peer, _| {
        (peer == "cleeng") == at_cleeng && seen.fetch_add(1, Ordering::SeqCst) == nth
    });
    env.run_event(&env.authorisation_event(&subscriber, 72)).await;
    env.clock.advance_to(subscriber.due);
    env.run_event(&env.capture_event(&subscriber)).await;
    let ledger = env.gateway_of_method(method).simulator.ledger();
    let agreed: Vec<_> = ledger.iter().filter(|entry| entry.authorised).collect();
    assert!(agreed.len() <= 1 && agreed.iter().all(|entry| entry.captured.minor <= 999), "{agreed:?}");
    let told = env.cleeng.payments();
    let declined = told.iter().any(|payment| payment.status == PaymentStatus::Rejected);
    assert!(!declined || may_decline, "somebody is declined");
    let captured = told.iter().any(|payment| payment.status == PaymentStatus::Captured);
    assert!(!captured || agreed.iter().any(|entry| entry.captured.minor == 999), "told as captured and not taken");
}
