//! Every fault on every call: unknown is never declined and never done, and the customer is charged once or not at all.

use connector::cleeng::PaymentStatus;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::Stage;
use serde_json::{Value, json};

use crate::all_faults::FAULTS;
use crate::changes::CHANGES;
use crate::{GOOD, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, code, is_paid, is_pending, redirect_result, statuses};

type Chooser = fn(&str, &PeerRequest) -> bool;

fn is_read(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.path.starts_with("/mediastore")
}

fn is_start(peer: &str, request: &PeerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/payments")
}

fn is_finalize(peer: &str, request: &PeerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/details")
}

fn is_report(peer: &str, request: &PeerRequest) -> bool {
    peer == "cleeng" && request.path.ends_with("/payments") && request.method == Method::POST
}

/// Refused credentials are told to the page at once: a test of their own.
fn faults_that_are_not_ours() -> impl Iterator<Item = Fault> {
    FAULTS.into_iter().filter(|fault| !matches!(fault, Fault::StatusBefore(401)))
}

#[tokio::test]
async fn whatever_happens_to_any_call_of_a_purchase_it_is_paid_once_in_the_end() {
    let calls: [Chooser; 3] = [is_read, is_start, is_report];
    for call in calls {
        for fault in faults_that_are_not_ours() {
            for times in 1..=2 {
                let stage = Stage::default();
                let buyer = buyer(&stage);
                for _ in 0..times {
                    stage.road.lay(fault.clone(), call);
                }
                let told = buyer.start_until_told(&stage, &card(GOOD, "J D", "1")).await;
                assert!(is_paid(&told), "{}", told.body);
                // A lost report is found in Cleeng, and not made a second time.
                assert!(times == 2 || !stage.road.has_faults());
                assert_eq!(stage.adyen.authorisations(), 1);
                assert_paid_once(&stage, &buyer);
            }
        }
    }
}

#[tokio::test]
async fn whatever_happens_to_any_call_of_a_finalize_it_is_paid_once_in_the_end() {
    let calls: [Chooser; 3] = [is_read, is_finalize, is_report];
    for call in calls {
        for fault in faults_that_are_not_ours() {
            let stage = Stage::default();
            let buyer = buyer(&stage);
            let back = redirect_result(&buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await);
            stage.road.lay(fault.clone(), call);
            let told = buyer.finalize_until_told(&stage, &back).await;
            assert!(is_paid(&told), "{}", told.body);
            assert!(!stage.road.has_faults());
            assert_paid_once(&stage, &buyer);
        }
    }
}

#[tokio::test]
async fn whatever_happens_to_the_report_of_a_refusal_the_customer_is_told_and_may_try_again() {
    for fault in faults_that_are_not_ours() {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        stage.road.lay(fault.clone(), is_report);
        let told = buyer.start_until_told(&stage, &card(GOOD, "DECLINED", "1")).await;
        assert_eq!(code(&told), (422, "ADYEN0002"));
        assert!(is_paid(&buyer.start_until_told(&stage, &card(GOOD, "J D", "2")).await));
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn a_refusal_of_our_own_credentials_is_no_decline() {
    for status in [401, 403] {
        let stage = Stage::default();
        let buyer = buyer(&stage);
        stage.road.lay(Fault::StatusBefore(status), is_start);
        assert_eq!(code(&buyer.start(&stage, &card(GOOD, "J D", "1")).await), (503, "ADYEN0005"));
        assert_eq!(statuses(&stage), []);
        // Another card may go at once: it is known that nothing happened.
        assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "2")).await));
        assert_paid_once(&stage, &buyer);
    }
}

#[tokio::test]
async fn a_lost_report_is_found_in_cleeng_and_not_made_twice() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.road.lay(Fault::TimeoutAfter, is_report);
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
    let paid = buyer.start(&stage, &card(GOOD, "J D", "1")).await;
    assert!(is_paid(&paid));
    assert_eq!(stage.road.reached("cleeng", &Method::POST, "/payments"), 1);
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn a_lost_report_is_made_again_only_when_the_first_one_cannot_be_on_its_way_any_more() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.road.lay(Fault::TimeoutBefore, is_report);
    let reports = || stage.road.reached("cleeng", &Method::POST, "/payments");
    for wait in [0, 59] {
        assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
        stage.clock.advance(std::time::Duration::from_secs(wait));
        assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
        assert_eq!(reports(), 0);
    }
    stage.clock.advance(std::time::Duration::from_secs(1));
    assert!(is_paid(&buyer.start(&stage, &card(GOOD, "J D", "1")).await));
    assert_eq!(reports(), 1);
    assert_paid_once(&stage, &buyer);
}

#[tokio::test]
async fn the_report_of_a_refusal_is_made_twice_at_the_most() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    for _ in 0..3 {
        stage.road.lay(Fault::TimeoutBefore, is_report);
    }
    assert_eq!(code(&buyer.start_until_told(&stage, &card(GOOD, "DECLINED", "1")).await), (422, "ADYEN0002"));
    assert_eq!(stage.metrics.count(Metric::Warning, "rejected_report_unknown"), 1);
    assert!(stage.road.has_faults(), "a third one was not made");
    stage.road.clear();
    assert!(is_paid(&buyer.start_until_told(&stage, &card(GOOD, "J D", "2")).await));
    assert_eq!(statuses(&stage).len(), 1);
}

#[tokio::test]
async fn a_lost_report_that_nobody_can_tell_about_is_parked_and_never_made_twice() {
    let stage = Stage::default();
    let buyer = buyer(&stage);
    stage.road.lay(Fault::TimeoutBefore, is_report);
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "1")).await.status, 202);
    // A Cleeng that does not tell its subscriptions' latest payments.
    let silent = |body: &mut Value| {
        *body = json!({ "success": true, "data": [{ "subscriptionId": 1, "status": "active", "dateTo": 2_000_000_000 }] })
    };
    stage
        .road
        .lay(Fault::Mutate(std::sync::Arc::new(silent)), |peer, request| peer == "cleeng" && request.path.ends_with("/subscriptions"));
    let parked = buyer.start(&stage, &card(GOOD, "J D", "1")).await;
    assert_eq!(code(&parked), (409, "ORDER0009"));
    assert_eq!(buyer.start(&stage, &card(GOOD, "J D", "2")).await, parked);
    assert_eq!(stage.metrics.count(Metric::Parked, "report_unknown"), 1);
    assert_eq!((stage.adyen.total_captured("USD"), stage.road.reached("cleeng", &Method::POST, "/payments")), (999, 0));
}

#[tokio::test]
async fn no_mutated_answer_of_either_side_leads_to_a_wrong_money_decision() {
    for peer in ["cleeng", "adyen"] {
        for nth in 0..3 {
            for change in CHANGES {
                let stage = Stage::default();
                let buyer = buyer(&stage);
                let seen = std::sync::atomic::AtomicUsize::new(0);
                stage.road.lay(Fault::Mutate(std::sync::Arc::new(change)), move |name, _| {
                    name == peer && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth
                });
                let mut told = buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await;
                if is_pending(&told) {
                    told = buyer.start(&stage, &card(REDIRECTING, "J D", "1")).await;
                }
                if told.body["responseData"]["action"]["url"].as_str().is_some_and(|url| url.contains("result=")) {
                    let back = redirect_result(&told);
                    for _ in 0..3 {
                        told = buyer.finalize(&stage, &back).await;
                        stage.clock.advance(std::time::Duration::from_secs(100));
                    }
                }
                let context = format!("{peer} {nth}: {}", told.body);
                assert!(stage.adyen.authorisations() <= 1 && stage.adyen.total_captured("USD") <= 999, "{context}");
                assert!(!statuses(&stage).contains(&PaymentStatus::Rejected), "nobody declined: {context}");
                assert!(!is_paid(&told) || stage.adyen.total_captured("USD") == 999, "{context}");
                if is_paid(&told) {
                    assert_balanced(&stage);
                }
            }
        }
    }
}
