//! Never again means never again: details that were declined are not tried while the network or the gateway forbids it, nor more often than
//! the networks allow; and details that a gateway does not know are not blamed on subscribers when the account is the wrong one.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::{BillingMode, Disposition};
use connector::gateway::{DeclineClass, GatewayName, RetryAdvice};
use connector::http::Method;
use connector::metrics::Metric;
use connector::reason::{CompletionReason, RetryReason};
use sandbox::simulators::cleeng::SentWebhook;
use sandbox::simulators::simulated_gateway::SimulatedGateway;
use sandbox::testkit::harness::{TestEnvironment, TestSubscriber};

use crate::every_gateway::scenarios::{HOUR, environment, statuses};

const MODES: [BillingMode; 2] = [BillingMode::AuthoriseThenCapture, BillingMode::CaptureOnly];
const DECLINED: Disposition = Disposition::Completed(CompletionReason::Declined);

/// One subscriber's dunning: an attempt every day, the first three days before the paid period ends, or when it ends.
struct Dunning {
    env: TestEnvironment,
    gateway: GatewayName,
    mode: BillingMode,
    subscriber: TestSubscriber,
}

impl Dunning {
    fn new(env: TestEnvironment, gateway: GatewayName, mode: BillingMode) -> Self {
        let subscriber = env.subscriber(method(&env, gateway, mode));
        Self { env, gateway, mode, subscriber }
    }

    fn simulator(&self) -> &dyn SimulatedGateway {
        self.env.gateway(self.gateway).simulator.as_ref()
    }

    /// Runs the attempt of this day to its end.
    async fn attempt(&self, day: u64) -> Disposition {
        let event = attempt_event(&self.env, &self.subscriber, self.mode, day);
        self.env.run_event(&event).await
    }

    fn succeeded(&self) -> Disposition {
        Disposition::Completed(match self.mode {
            BillingMode::AuthoriseThenCapture => CompletionReason::Authorised,
            BillingMode::CaptureOnly => CompletionReason::Captured,
        })
    }

    /// How often the gateway was asked for a payment.
    fn payment_calls(&self) -> usize {
        let calls = self.env.network.calls().into_iter().filter(|call| call.server == self.simulator().name());
        calls.filter(|call| call.method == Method::POST && !call.path.contains("oauth2")).count()
    }

    /// The reasons of the rejected payments in Cleeng, oldest first.
    fn rejections(&self) -> Vec<String> {
        let all = self.env.cleeng.payments().into_iter().filter(|payment| payment.status == PaymentStatus::Rejected);
        all.map(|payment| payment.rejected_reason.unwrap_or_default()).collect()
    }
}

fn method(env: &TestEnvironment, gateway: GatewayName, mode: BillingMode) -> &'static str {
    match mode {
        BillingMode::AuthoriseThenCapture => env.gateway(gateway).method,
        BillingMode::CaptureOnly => env.gateway(gateway).capture_only_method,
    }
}

/// The event of this day's attempt, when it is due.
fn attempt_event(env: &TestEnvironment, subscriber: &TestSubscriber, mode: BillingMode, day: u64) -> SentWebhook {
    let (topic, first) = match mode {
        BillingMode::AuthoriseThenCapture => (Topic::SubscriptionReadyForPaymentAuthorisation, subscriber.due.before(72 * HOUR)),
        BillingMode::CaptureOnly => (Topic::SubscriptionReadyForPaymentCapture, subscriber.due),
    };
    let due = first.after(Duration::from_secs(day * 24 * 3600));
    env.clock.advance_to(due);
    env.billing_event(topic, subscriber, due, subscriber.due)
}

pub(crate) async fn details_that_must_not_be_tried_again_are_told_rejected_without_a_call(gateway: GatewayName) {
    for mode in MODES {
        let mut dunning = Dunning::new(environment(), gateway, mode);
        assert!(dunning.simulator().decline_next_with_advice(&dunning.subscriber.token, RetryAdvice::Never));
        assert_eq!(dunning.attempt(0).await, DECLINED);
        let calls = dunning.payment_calls();
        for day in 1..3 {
            assert_eq!(dunning.attempt(day).await, DECLINED, "{mode:?}");
        }
        assert_eq!(dunning.payment_calls(), calls, "{mode:?}");
        let rejections = dunning.rejections();
        assert!(rejections.len() == 3 && rejections.iter().all(|reason| *reason == rejections[0]), "{rejections:?}");
        let method = method(&dunning.env, gateway, mode);
        dunning.env.change_card(&mut dunning.subscriber, method);
        assert_eq!(dunning.attempt(3).await, dunning.succeeded(), "{mode:?}: other details");
    }
}

pub(crate) async fn details_that_were_updated_are_tried_again(gateway: GatewayName) {
    for mode in MODES {
        let dunning = Dunning::new(environment(), gateway, mode);
        assert!(dunning.simulator().decline_next_with_advice(&dunning.subscriber.token, RetryAdvice::Never));
        assert_eq!(dunning.attempt(0).await, DECLINED);
        dunning.env.clock.advance(HOUR);
        let is_updated = dunning.simulator().update_details(&dunning.subscriber.token);
        dunning.env.run_until_idle().await;
        let expected = if is_updated { dunning.succeeded() } else { DECLINED };
        assert_eq!(dunning.attempt(1).await, expected, "{mode:?}");
    }
}

pub(crate) async fn attempts_before_the_time_that_the_advice_names_are_told_rejected(gateway: GatewayName) {
    for mode in MODES {
        let dunning = Dunning::new(environment(), gateway, mode);
        if !dunning.simulator().decline_next_with_advice(&dunning.subscriber.token, RetryAdvice::AfterHours(48)) {
            assert_eq!(gateway, GatewayName::PayPal, "has no such word");
            continue;
        }
        assert_eq!(dunning.attempt(0).await, DECLINED);
        let calls = dunning.payment_calls();
        assert_eq!((dunning.attempt(1).await, dunning.payment_calls()), (DECLINED, calls), "{mode:?}: a day too early");
        assert_eq!(dunning.attempt(3).await, dunning.succeeded(), "{mode:?}");
        assert_eq!(dunning.payment_calls(), calls + 1);
    }
}

pub(crate) async fn a_token_is_declined_no_more_often_than_the_limit(gateway: GatewayName) {
    for mode in MODES {
        let dunning = Dunning::new(TestEnvironment::new(|policy| policy.max_declines = 2), gateway, mode);
        for day in 0..3 {
            assert!(dunning.simulator().decline_next(&dunning.subscriber.token, DeclineClass::Soft));
            assert_eq!(dunning.attempt(day).await, DECLINED, "{mode:?}");
        }
        let calls = dunning.payment_calls();
        assert_eq!((dunning.attempt(3).await, dunning.payment_calls()), (DECLINED, calls), "{mode:?}");
        let rejections = dunning.rejections();
        assert_eq!(rejections[2..], ["risk: too_many_declines", "risk: too_many_declines"], "{mode:?}");
        assert_eq!(dunning.env.metrics.count(Metric::Warning, "details_not_tried_again"), 2);
    }
}

/// Nobody is told `rejected` while it may be our mistake, which a success of somebody else or an hour decides.
pub(crate) async fn details_unknown_to_the_gateway_of_several_subscribers_are_our_own_mistake(gateway: GatewayName) {
    for mode in MODES {
        let env = environment();
        let subscribers: Vec<TestSubscriber> = (0..5).map(|_| env.subscriber(method(&env, gateway, mode))).collect();
        let event = |number: usize| attempt_event(&env, &subscribers[number], mode, 0);
        let simulator = &env.gateway(gateway).simulator;
        let waits = Disposition::Retry { after: None, reason: RetryReason::GatewayDetailsUnknown };
        simulator.use_another_account(true);
        for number in [0, 1, 2, 3, 0] {
            assert_eq!(env.deliver(&event(number)).await, waits, "{mode:?} {number}");
        }
        assert_eq!(statuses(&env), [], "{mode:?}: nobody is told");
        assert_eq!(env.metrics.count(Metric::Alarm, "details_unknown_in_a_row"), 3, "{mode:?}: from the third one on");
        env.clock.advance(5 * HOUR);
        for number in [0, 1, 2, 3] {
            let disposition = env.deliver(&event(number)).await;
            assert!(!matches!(disposition, Disposition::Completed(_) | Disposition::Parked(_)), "{mode:?}: {disposition:?}");
        }
        simulator.use_another_account(false);
        for number in [0, 1, 2, 3, 4] {
            let disposition = env.run_event(&event(number)).await;
            assert!(matches!(disposition, Disposition::Completed(CompletionReason::Authorised | CompletionReason::Captured)), "{mode:?}");
        }
        assert!(!statuses(&env).contains(&PaymentStatus::Rejected), "{mode:?}");
        assert_eq!(env.discrepancies(), Vec::<String>::new());
    }
}

/// One subscriber whose details are gone is told `rejected`, after a success of somebody else or after an hour.
pub(crate) async fn details_unknown_to_the_gateway_of_one_subscriber_are_gone(gateway: GatewayName) {
    for somebody_pays in [true, false] {
        for mode in MODES {
            let context = format!("{mode:?} {somebody_pays}");
            let env = environment();
            let (lost, paying) = (env.subscriber(method(&env, gateway, mode)), env.subscriber(method(&env, gateway, mode)));
            let (event, other) = (attempt_event(&env, &lost, mode, 0), attempt_event(&env, &paying, mode, 0));
            let simulator = &env.gateway(gateway).simulator;
            let waits = Disposition::Retry { after: None, reason: RetryReason::GatewayDetailsUnknown };
            simulator.use_another_account(true);
            assert_eq!(env.deliver(&event).await, waits, "{context}");
            if somebody_pays {
                simulator.use_another_account(false);
                env.run_event(&other).await;
                simulator.use_another_account(true);
                assert_eq!(env.deliver(&event).await, DECLINED, "{context}");
            } else {
                env.clock.advance(HOUR / 2);
                assert_eq!(env.deliver(&event).await, waits, "{context}");
                assert_eq!(env.run_event(&event).await, DECLINED, "{context}");
            }
            assert_eq!(env.metrics.count(Metric::Alarm, "details_unknown_in_a_row"), 0, "{context}");
            assert_eq!(statuses(&env).iter().filter(|status| **status == PaymentStatus::Rejected).count(), 1, "{context}");
        }
    }
}
