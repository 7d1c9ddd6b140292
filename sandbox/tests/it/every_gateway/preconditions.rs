//! Preconditions are asked again right before money moves: whatever happened in Cleeng while an event waited, nothing is taken that is not
//! due any more, and what was held for it is released.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::{PaymentStatus, SubscriptionStatus};
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::ids::ExternalPaymentId;
use connector::journal::SCHEMA;
use connector::journal::transaction::{Retention, Transaction};
use connector::money::Currency;
use connector::payments::subscription_state::StoredDetails;
use connector::reason::{CompletionReason, RetryReason};
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::simulators::simulated_gateway::LedgerEntry;
use sandbox::testkit::fixtures::{OFFER, id};
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::every_gateway::scenarios::{
    HOUR, approved_entries, assert_balanced, assert_once, at_first_attempt, authorised_and_due, due_to_be_charged, statuses, usd,
};

/// What an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To hold the money.
    Authorisation,
    /// To capture what is held.
    Capture,
    /// To take the money at once.
    Charge,
}

const STEPS: [Step; 3] = [Step::Authorisation, Step::Capture, Step::Charge];

/// What happens in Cleeng while the event waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Status(&'static str),
    PaidElsewhere,
    OtherDetails,
}

const CHANGES: [Change; 5] =
    [Change::Status("stopped"), Change::Status("paused"), Change::Status("terminated"), Change::PaidElsewhere, Change::OtherDetails];

impl Step {
    async fn due(self, gateway: GatewayName) -> (TestEnvironment, TestSubscriber, SentWebhook) {
        let (env, subscriber) = match self {
            Self::Authorisation => at_first_attempt(gateway),
            Self::Capture => authorised_and_due(gateway).await,
            Self::Charge => due_to_be_charged(gateway),
        };
        let event = match self {
            Self::Authorisation => env.authorisation_event(&subscriber, 72),
            Self::Capture | Self::Charge => env.capture_event(&subscriber),
        };
        (env, subscriber, event)
    }

    const fn paid_status(self) -> PaymentStatus {
        match self {
            Self::Authorisation => PaymentStatus::Authorised,
            Self::Capture | Self::Charge => PaymentStatus::Captured,
        }
    }
}

impl Change {
    fn make(self, env: &TestEnvironment, subscriber: &mut TestSubscriber, method: &str) {
        let subscription = subscriber.ids.subscription.clone();
        match self {
            Self::Status(word) => {
                let status = match word {
                    "stopped" => SubscriptionStatus::Stopped,
                    "paused" => SubscriptionStatus::Paused,
                    _ => SubscriptionStatus::Terminated,
                };
                env.cleeng.set_status(&subscription, status);
            }
            Self::PaidElsewhere => {
                let elsewhere = ExternalPaymentId::new("PAID-ELSEWHERE").unwrap();
                env.cleeng.record_foreign_payment(&subscription, &elsewhere, subscriber.due.after(720 * HOUR));
            }
            Self::OtherDetails => env.change_card(subscriber, method),
        }
    }
}

/// Every call to the gateway is answered with this status.
fn refuse_calls(env: &TestEnvironment, gateway: GatewayName, status: u16) {
    let name = env.gateway(gateway).simulator.name();
    for _ in 0..12 {
        env.network.inject(Fault::StatusBefore(status), move |peer: &str, _: &ServerRequest| peer == name);
    }
}

/// The event waits because the gateway refuses every call with this status for so long.
async fn wait_for_gateway(env: &TestEnvironment, gateway: GatewayName, event: &SentWebhook, status: u16, wait: Duration) {
    refuse_calls(env, gateway, status);
    let disposition = env.deliver(event).await;
    let reason = if status == 401 { RetryReason::GatewayCredentials } else { RetryReason::GatewayThrottled };
    assert!(matches!(disposition, Disposition::Retry { reason: met, .. } if met == reason), "{disposition:?}");
    env.network.clear_faults();
    env.clock.advance(wait);
}

fn kept(env: &TestEnvironment, gateway: GatewayName) -> Vec<LedgerEntry> {
    approved_entries(env, gateway).into_iter().filter(LedgerEntry::holds_money).collect()
}

/// Cases 1 and 2: a throttled or refused call, and a message that lay among the dead letters until an operator redrove it.
pub(crate) async fn nothing_is_taken_or_kept_if_it_is_not_due_any_more_after_a_wait(gateway: GatewayName) {
    for step in STEPS {
        for change in CHANGES {
            for (status, wait) in [(429, HOUR / 30), (401, 3 * HOUR), (429, 50 * HOUR)] {
                let context = format!("{step:?}, {change:?}, {status}, {wait:?}");
                let (env, mut subscriber, event) = step.due(gateway).await;
                let method = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().method;
                wait_for_gateway(&env, gateway, &event, status, wait).await;
                change.make(&env, &mut subscriber, method.as_str());
                assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Stale), "{context}");
                env.clock.advance(HOUR / 2);
                env.run_reconciliation().await;
                env.run_until_idle().await;
                assert_eq!(kept(&env, gateway), [], "{context}");
                assert!(!statuses(&env).contains(&PaymentStatus::Captured), "{context}");
                assert!(!statuses(&env).contains(&PaymentStatus::Authorised), "{context}");
                assert_balanced(&env, &context);
            }
        }
    }
}

pub(crate) async fn what_is_still_due_after_a_wait_is_taken_once(gateway: GatewayName) {
    for step in STEPS {
        for (status, wait) in [(429, HOUR / 30), (401, 3 * HOUR), (429, 20 * HOUR)] {
            let context = format!("{step:?}, {status}, {wait:?}");
            let (env, _, event) = step.due(gateway).await;
            wait_for_gateway(&env, gateway, &event, status, wait).await;
            let taken = env.run_event(&event).await;
            assert!(
                matches!(taken, Disposition::Completed(CompletionReason::Authorised | CompletionReason::Captured)),
                "{context}: {taken:?}"
            );
            assert_once(&env, gateway, &step.paid_status(), &context);
        }
    }
}

pub(crate) async fn nothing_is_taken_while_cleeng_cannot_be_asked(gateway: GatewayName) {
    for step in STEPS {
        let (env, _, event) = step.due(gateway).await;
        let before = approved_entries(&env, gateway);
        wait_for_gateway(&env, gateway, &event, 429, HOUR / 30).await;
        for _ in 0..3 {
            let read = |peer: &str, request: &ServerRequest| peer == "cleeng" && request.path.contains("/subscriptions/");
            for _ in 0..4 {
                env.network.inject(Fault::NotSent, read);
            }
            let disposition = env.deliver(&event).await;
            assert!(matches!(disposition, Disposition::Retry { reason: RetryReason::CleengUnreachable, .. }), "{step:?}: {disposition:?}");
            env.network.clear_faults();
            env.clock.advance(HOUR / 60);
        }
        assert_eq!(approved_entries(&env, gateway), before, "{step:?}");
        env.run_event(&event).await;
        assert_once(&env, gateway, &step.paid_status(), &format!("{step:?}"));
    }
}

/// Case 3, and what becomes of the period: it stays expected, and is paid with the details that Cleeng's subscription names.
pub(crate) async fn a_delayed_event_with_replaced_details_takes_nothing_and_the_period_is_paid_with_the_new_ones(gateway: GatewayName) {
    for step in STEPS {
        let (env, mut subscriber, late) = step.due(gateway).await;
        let method = env.cleeng.subscription(&subscriber.ids.subscription).unwrap().method;
        let old = subscriber.ids.details.clone();
        env.change_card(&mut subscriber, method.as_str());
        store_details(&env, &subscriber).await;
        assert_eq!(env.run_event(&late).await, Disposition::Completed(CompletionReason::Stale), "{step:?}");
        assert_eq!(kept(&env, gateway), [], "{step:?}");
        for _ in 0..8 {
            env.clock.advance(HOUR / 12);
            env.run_reconciliation().await;
            env.run_until_idle().await;
        }
        let paid: Vec<_> = env.cleeng.payments().into_iter().filter(|payment| payment.is_live()).collect();
        assert_eq!(paid.len(), 1, "{step:?}: {paid:?}");
        assert_eq!(paid[0].details.as_ref(), Some(&subscriber.ids.details), "{step:?}");
        assert_ne!(paid[0].details.as_ref(), Some(&old), "{step:?}");
        assert_eq!(kept(&env, gateway).len(), 1, "{step:?}");
        assert_balanced(&env, &format!("{step:?}"));
    }
}

/// The details were stored through the connector.
async fn store_details(env: &TestEnvironment, subscriber: &TestSubscriber) {
    let mut transaction = Transaction::new(Arc::clone(&env.flow_context.store));
    let stored = StoredDetails { schema: SCHEMA, token: subscriber.token.clone(), currency: Some(Currency::new("USD").unwrap()) };
    transaction.stage(&StoredDetails::key(&subscriber.ids.details), &stored, Retention::default()).unwrap();
    transaction.commit().await.unwrap();
}

/// Case 4: the price is that of an order that Cleeng still takes.
pub(crate) async fn an_order_that_lapsed_before_the_money_was_asked_for_is_replaced_by_one_with_the_price_of_today(gateway: GatewayName) {
    for step in [Step::Authorisation, Step::Charge] {
        let (env, _, event) = step.due(gateway).await;
        wait_for_gateway(&env, gateway, &event, 429, 26 * HOUR).await;
        env.cleeng.set_price(&id(OFFER), usd(499));
        let taken = env.run_event(&event).await;
        assert!(matches!(taken, Disposition::Completed(CompletionReason::Authorised | CompletionReason::Captured)), "{step:?}: {taken:?}");
        let entries = approved_entries(&env, gateway);
        assert_eq!(entries.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [usd(499)], "{step:?}");
        let payment = env.cleeng.payments().pop().unwrap();
        assert_eq!((payment.total, payment.status), (usd(499), step.paid_status()), "{step:?}");
        assert_eq!(env.cleeng.orders().len(), 2, "{step:?}");
        assert_eq!(env.cleeng.violations(), [], "{step:?}");
        assert_balanced(&env, &format!("{step:?}"));
    }
}
