//! Every write of a flow goes wrong in every way, once and twice in a row.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use connector::http::Method;
use sandbox::house::{Entry, LedgerEntry};
use sandbox::peer::PeerRequest;
use sandbox::stage::Stage;

use crate::all_faults::FAULTS;
use crate::scenes::{
    Buyer, agreed, assert_balanced, assert_once, assert_paid_once, at_first_attempt, changed_details, charged, due_to_be_charged, is_paid,
    refund, stage, statuses, usd,
};

pub(crate) type Chooser = fn(&str, &PeerRequest) -> bool;

/// The writes of both sides: whoever is not Cleeng is the gateway.
pub(crate) const AT_CLEENG: Chooser = |peer, request| peer == "cleeng" && request.method != Method::GET;
pub(crate) const AT_THE_GATEWAY: Chooser = |peer, request| peer != "cleeng" && request.method != Method::GET;

/// Plays a story with each fault at the `nth` write of each side, for every one that it has.
pub(crate) async fn each(writes: &[Chooser], story: impl AsyncFn(&dyn Fn(&Stage), &str)) {
    for (side, write) in writes.iter().enumerate() {
        for nth in 0..4 {
            for (kind, fault) in FAULTS.iter().enumerate() {
                for times in 1..=2 {
                    let lay = |stage: &Stage| {
                        for _ in 0..times {
                            let seen = std::sync::atomic::AtomicUsize::new(0);
                            let write = *write;
                            stage.road.lay(fault.clone(), move |peer, request| {
                                write(peer, request) && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= nth
                            });
                        }
                    };
                    story(&lay, &format!("side {side}, write {nth}, fault {kind}, {times} times")).await;
                }
            }
        }
    }
}

pub(crate) async fn at_any_write_of_a_renewal(gateway: GatewayName) {
    each(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let (stage, cast) = at_first_attempt(gateway);
        lay(&stage);
        assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"), "{context}");
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"), "{context}");
        assert_once(&stage, gateway, &PaymentStatus::Captured, context);
    })
    .await;
}

pub(crate) async fn at_any_write_of_a_charge(gateway: GatewayName) {
    each(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let (stage, cast) = due_to_be_charged(gateway);
        lay(&stage);
        assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"), "{context}");
        assert_once(&stage, gateway, &PaymentStatus::Captured, context);
    })
    .await;
}

pub(crate) async fn at_any_write_of_a_clean_up(gateway: GatewayName) {
    each(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let stage = stage();
        let (_, _, event) = changed_details(&stage, gateway).await;
        lay(&stage);
        assert_eq!(stage.play(&event).await, Verdict::Settled("deactivated"), "{context}");
        assert!(agreed(&stage, gateway).iter().all(LedgerEntry::released), "{context}");
        assert_eq!(statuses(&stage), [PaymentStatus::Cancelled], "{context}");
        assert_balanced(&stage, context);
    })
    .await;
}

pub(crate) async fn at_the_gateway_in_a_refund(gateway: GatewayName) {
    each(&[AT_THE_GATEWAY], async |lay, context| {
        let (stage, _, payment) = charged(gateway).await;
        lay(&stage);
        assert_eq!(stage.play(&refund(&stage, &payment, None, 1)).await, Verdict::Settled("refunded"), "{context}");
        assert_eq!(agreed(&stage, gateway)[0].refunded, usd(999), "{context}");
        assert_balanced(&stage, context);
    })
    .await;
}

pub(crate) async fn at_any_write_of_a_purchase(gateway: GatewayName) {
    each(&[AT_CLEENG, AT_THE_GATEWAY], async |lay, context| {
        let stage = stage();
        let buyer = Buyer::new(&stage, gateway);
        lay(&stage);
        let paid = buyer.pay(&stage, Entry::Asked, 1).await;
        assert!(is_paid(&paid), "{context}: {}", paid.body);
        stage.run_until_quiet().await;
        assert_paid_once(&stage, &buyer, context);
    })
    .await;
}
