//! Every write of a flow fails in every way, once and twice in a row.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::http::Method;
use connector::reason::CompletionReason;
use sandbox::simulators::network::ServerRequest;
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerEntry};
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{
    Buyer, approved_entries, assert_balanced, assert_once, assert_paid_once, at_first_attempt, changed_details, charged, due_to_be_charged,
    environment, is_paid, refund, statuses, usd,
};
use crate::support::faults::FAULTS;

pub(crate) type RequestMatcher = fn(&str, &ServerRequest) -> bool;

/// The writes of both sides: every server except Cleeng is the gateway.
pub(crate) const AT_CLEENG: RequestMatcher = |peer, request| peer == "cleeng" && request.method != Method::GET;
pub(crate) const AT_THE_GATEWAY: RequestMatcher = |peer, request| peer != "cleeng" && request.method != Method::GET;

/// Runs a scenario with each fault at the `nth` write of each side, for every one that it has.
pub(crate) async fn with_each_fault(writes: &[RequestMatcher], scenario: impl AsyncFn(&dyn Fn(&TestEnvironment), &str)) {
    for (side, write) in writes.iter().enumerate() {
        for nth in 0..4 {
            for (kind, fault) in FAULTS.iter().enumerate() {
                for times in 1..=2 {
                    let lay = |env: &TestEnvironment| {
                        for _ in 0..times {
                            let seen = std::sync::atomic::AtomicUsize::new(0);
                            let write = *write;
                            env.network.inject(fault.clone(), move |peer, request| {
                                write(peer, request) && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= nth
                            });
                        }
                    };
                    scenario(&lay, &format!("side {side}, write {nth}, fault {kind}, {times} times")).await;
                }
            }
        }
    }
}

pub(crate) async fn at_any_write_of_a_renewal(gateway: GatewayName) {
    with_each_fault(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let (env, subscriber) = at_first_attempt(gateway);
        lay(&env);
        assert_eq!(
            env.run_event(&env.authorisation_event(&subscriber, 72)).await,
            Disposition::Completed(CompletionReason::Authorised),
            "{context}"
        );
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured), "{context}");
        assert_once(&env, gateway, &PaymentStatus::Captured, context);
    })
    .await;
}

pub(crate) async fn at_any_write_of_a_charge(gateway: GatewayName) {
    with_each_fault(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let (env, subscriber) = due_to_be_charged(gateway);
        lay(&env);
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured), "{context}");
        assert_once(&env, gateway, &PaymentStatus::Captured, context);
    })
    .await;
}

pub(crate) async fn at_any_write_of_a_clean_up(gateway: GatewayName) {
    with_each_fault(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let env = environment();
        let (_, _, event) = changed_details(&env, gateway).await;
        lay(&env);
        assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Deactivated), "{context}");
        assert!(approved_entries(&env, gateway).iter().all(LedgerEntry::is_released), "{context}");
        assert_eq!(statuses(&env), [PaymentStatus::Cancelled], "{context}");
        assert_balanced(&env, context);
    })
    .await;
}

pub(crate) async fn at_the_gateway_in_a_refund(gateway: GatewayName) {
    with_each_fault(&[AT_THE_GATEWAY], async |lay, context| {
        let (env, _, payment) = charged(gateway).await;
        lay(&env);
        assert_eq!(env.run_event(&refund(&env, &payment, None, 1)).await, Disposition::Completed(CompletionReason::Refunded), "{context}");
        assert_eq!(approved_entries(&env, gateway)[0].refunded, usd(999), "{context}");
        assert_balanced(&env, context);
    })
    .await;
}

pub(crate) async fn at_any_write_of_a_purchase(gateway: GatewayName) {
    with_each_fault(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        lay(&env);
        let paid = buyer.pay_until_final(&env, EnteredDetails::ActionRequired, 1).await;
        assert!(is_paid(&paid), "{context}: {}", paid.body);
        env.run_until_idle().await;
        assert_paid_once(&env, &buyer, context);
    })
    .await;
}
