//! Every fault on every call: unknown is never declined and never done, and the customer is charged once or not at all.

use connector::cleeng::PaymentStatus;
use connector::http::Method;
use connector::metrics::Metric;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::testkit::harness::TestEnvironment;
use serde_json::{Value, json};

use crate::front::{
    GOOD, REDIRECTING, assert_balanced, assert_paid_once, buyer, card, code, is_paid, is_pending, redirect_result, statuses,
};
use crate::support::changes::CHANGES;
use crate::support::faults::FAULTS;

type RequestMatcher = fn(&str, &ServerRequest) -> bool;

fn is_read(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.path.starts_with("/mediastore")
}

fn is_start(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/payments")
}

fn is_finalize(peer: &str, request: &ServerRequest) -> bool {
    peer == "adyen" && request.path.ends_with("/details")
}

fn is_report(peer: &str, request: &ServerRequest) -> bool {
    peer == "cleeng" && request.path.ends_with("/payments") && request.method == Method::POST
}

/// Refused credentials are told to the page at once: a test of their own.
fn faults_of_upstreams() -> impl Iterator<Item = Fault> {
    FAULTS.into_iter().filter(|fault| !matches!(fault, Fault::StatusBefore(401)))
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_purchase_pays_once_eventually() {
    let calls: [RequestMatcher; 3] = [is_read, is_start, is_report];
    for call in calls {
        for fault in faults_of_upstreams() {
            for times in 1..=2 {
                let env = TestEnvironment::default();
                let buyer = buyer(&env);
                for _ in 0..times {
                    env.network.inject(fault.clone(), call);
                }
                let told = buyer.start_until_final(&env, &card(GOOD, "J D", "1")).await;
                assert!(is_paid(&told), "{}", told.body);
                // A lost report is found in Cleeng, and not made a second time.
                assert!(times == 2 || !env.network.has_faults());
                assert_eq!(env.adyen.authorisations(), 1);
                assert_paid_once(&env, &buyer);
            }
        }
    }
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_finalize_pays_once_eventually() {
    let calls: [RequestMatcher; 3] = [is_read, is_finalize, is_report];
    for call in calls {
        for fault in faults_of_upstreams() {
            let env = TestEnvironment::default();
            let buyer = buyer(&env);
            let back = redirect_result(&buyer.start(&env, &card(REDIRECTING, "J D", "1")).await);
            env.network.inject(fault.clone(), call);
            let told = buyer.finalize_until_final(&env, &back).await;
            assert!(is_paid(&told), "{}", told.body);
            assert!(!env.network.has_faults());
            assert_paid_once(&env, &buyer);
        }
    }
}

#[tokio::test]
async fn a_fault_at_the_report_of_a_refusal_still_answers_the_customer_who_may_retry() {
    for fault in faults_of_upstreams() {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        env.network.inject(fault.clone(), is_report);
        let told = buyer.start_until_final(&env, &card(GOOD, "DECLINED", "1")).await;
        assert_eq!(code(&told), (422, "ADYEN0002"));
        assert!(is_paid(&buyer.start_until_final(&env, &card(GOOD, "J D", "2")).await));
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn a_refusal_of_our_own_credentials_is_no_decline() {
    for status in [401, 403] {
        let env = TestEnvironment::default();
        let buyer = buyer(&env);
        env.network.inject(Fault::StatusBefore(status), is_start);
        assert_eq!(code(&buyer.start(&env, &card(GOOD, "J D", "1")).await), (503, "ADYEN0005"));
        assert_eq!(statuses(&env), []);
        // Another card may go at once: it is known that nothing happened.
        assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "2")).await));
        assert_paid_once(&env, &buyer);
    }
}

#[tokio::test]
async fn a_lost_report_is_found_in_cleeng_and_not_made_twice() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.network.inject(Fault::TimeoutAfter, is_report);
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
    let paid = buyer.start(&env, &card(GOOD, "J D", "1")).await;
    assert!(is_paid(&paid));
    assert_eq!(env.network.delivered_count("cleeng", &Method::POST, "/payments"), 1);
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn a_lost_report_is_repeated_only_after_the_first_one_can_no_longer_arrive() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.network.inject(Fault::TimeoutBefore, is_report);
    let reports = || env.network.delivered_count("cleeng", &Method::POST, "/payments");
    for wait in [0, 59] {
        assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
        env.clock.advance(std::time::Duration::from_secs(wait));
        assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
        assert_eq!(reports(), 0);
    }
    env.clock.advance(std::time::Duration::from_secs(1));
    assert!(is_paid(&buyer.start(&env, &card(GOOD, "J D", "1")).await));
    assert_eq!(reports(), 1);
    assert_paid_once(&env, &buyer);
}

#[tokio::test]
async fn the_report_of_a_refusal_is_made_twice_at_the_most() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    for _ in 0..3 {
        env.network.inject(Fault::TimeoutBefore, is_report);
    }
    assert_eq!(code(&buyer.start_until_final(&env, &card(GOOD, "DECLINED", "1")).await), (422, "ADYEN0002"));
    assert_eq!(env.metrics.count(Metric::Warning, "rejected_report_unknown"), 1);
    assert!(env.network.has_faults(), "a third one was not made");
    env.network.clear_faults();
    assert!(is_paid(&buyer.start_until_final(&env, &card(GOOD, "J D", "2")).await));
    assert_eq!(statuses(&env).len(), 1);
}

#[tokio::test]
async fn a_lost_report_that_cannot_be_resolved_is_parked_and_never_made_twice() {
    let env = TestEnvironment::default();
    let buyer = buyer(&env);
    env.network.inject(Fault::TimeoutBefore, is_report);
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "1")).await.status, 202);
    // A Cleeng that does not tell its subscriptions' latest payments.
    let silent = |body: &mut Value| {
        *body = json!({ "success": true, "data": [{ "subscriptionId": 1, "status": "active", "dateTo": 2_000_000_000 }] })
    };
    env.network
        .inject(Fault::Mutate(std::sync::Arc::new(silent)), |peer, request| peer == "cleeng" && request.path.ends_with("/subscriptions"));
    let parked = buyer.start(&env, &card(GOOD, "J D", "1")).await;
    assert_eq!(code(&parked), (409, "ORDER0009"));
    assert_eq!(buyer.start(&env, &card(GOOD, "J D", "2")).await, parked);
    assert_eq!(env.metrics.count(Metric::Parked, "report_unknown"), 1);
    assert_eq!((env.adyen.total_captured("USD"), env.network.delivered_count("cleeng", &Method::POST, "/payments")), (999, 0));
}

#[tokio::test]
async fn no_mutated_answer_of_either_side_leads_to_a_wrong_money_decision() {
    for peer in ["cleeng", "adyen"] {
        for nth in 0..3 {
            for change in CHANGES {
                let env = TestEnvironment::default();
                let buyer = buyer(&env);
                let seen = std::sync::atomic::AtomicUsize::new(0);
                env.network.inject(Fault::Mutate(std::sync::Arc::new(change)), move |name, _| {
                    name == peer && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == nth
                });
                let mut told = buyer.start(&env, &card(REDIRECTING, "J D", "1")).await;
                if is_pending(&told) {
                    told = buyer.start(&env, &card(REDIRECTING, "J D", "1")).await;
                }
                if told.body["responseData"]["action"]["url"].as_str().is_some_and(|url| url.contains("result=")) {
                    let back = redirect_result(&told);
                    for _ in 0..3 {
                        told = buyer.finalize(&env, &back).await;
                        env.clock.advance(std::time::Duration::from_secs(100));
                    }
                }
                let context = format!("{peer} {nth}: {}", told.body);
                assert!(env.adyen.authorisations() <= 1 && env.adyen.total_captured("USD") <= 999, "{context}");
                assert!(!statuses(&env).contains(&PaymentStatus::Rejected), "nobody declined: {context}");
                assert!(!is_paid(&told) || env.adyen.total_captured("USD") == 999, "{context}");
                if is_paid(&told) {
                    assert_balanced(&env);
                }
            }
        }
    }
}
