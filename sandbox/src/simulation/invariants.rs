//! The invariants: after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::Timestamp;
use connector::flow::Disposition;
use connector::frontend_api::Reply;
use connector::gateway::GatewayName;
use connector::ids::{PaymentDetailsId, SubscriptionId};
use connector::payments::deleted_details::deactivation_key;
use serde_json::Value;

use super::behaviour::Behaviour;
use super::context::SimulationContext;
use super::event_queue::MessageContent;
use super::journal_checker::{JournalChecker, UnsettledObligation};
use super::ledger_audit::{LedgerAudit, Purpose, numbered_entries};
use crate::simulators::cleeng::{PaymentRow, SentWebhook};
use crate::simulators::simulated_gateway::{LedgerEntry, LedgerStatus, NotificationRequest};
use crate::testkit::balance_check::{compare, double_payments, is_about, latest_words, must_be_in_cleeng};
use crate::testkit::harness::TestEnvironment;

/// A worker ran past its deadline.
pub(super) const OVERRUN_ALARM: &str = "overrun";

/// An event that was sent before something changed comes later than this only if it never comes.
const MAX_EVENT_AGE: Duration = Duration::from_secs(24 * 3_600);

/// Compares Cleeng's records with the gateways' ledgers after every step.
pub(super) struct InvariantChecker {
    /// Webhooks that never came, and what they were about: a subscription or payment details.
    lost_webhooks: BTreeSet<(String, String)>,
    /// The gateways' ids of details that others took the place of, and when.
    pub(super) replaced_details: BTreeMap<(GatewayName, String), Timestamp>,
    /// How long nobody worked behind the queues.
    pub(super) outage_duration: Duration,
    ledgers: LedgerAudit,
    /// The payments that were taken.
    captured: BTreeSet<(GatewayName, usize)>,
    decided_later: BTreeSet<(GatewayName, usize)>,
    /// Genuine notifications that were not accepted yet, and the status of the last response.
    unaccepted: BTreeMap<Bytes, u64>,
    seen_violations: usize,
}

impl InvariantChecker {
    pub(super) fn for_environment(env: &TestEnvironment) -> Self {
        Self {
            lost_webhooks: BTreeSet::new(),
            replaced_details: BTreeMap::new(),
            outage_duration: Duration::ZERO,
            ledgers: LedgerAudit::default(),
            captured: BTreeSet::new(),
            decided_later: BTreeSet::new(),
            unaccepted: BTreeMap::new(),
            seen_violations: env.cleeng.violations().len(),
        }
    }

    /// A webhook of Cleeng never comes.
    pub(super) fn record_lost_webhook(&mut self, webhook: &SentWebhook) {
        let body: Value = serde_json::from_slice(&webhook.body).unwrap_or_default();
        let named = |name: &str| body.pointer(&format!("/data/{name}")).map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let about = named("subscriptionId").or_else(|| named("paymentDetailsId")).unwrap_or_default();
        self.lost_webhooks.insert((format!("{:?}", webhook.topic), about));
    }

    /// Whether an event was lost that reconciliation cannot make up for, and that would have released what is held with these details for this
    /// subscription: Cleeng has no list of announcements about details, and whether nobody pays for a subscription any more is for Cleeng to say.
    fn has_lost_release_event(&self, subscription: Option<&SubscriptionId>, details: Option<&PaymentDetailsId>) -> bool {
        let lost = |topic: Topic, about: Option<&str>| {
            about.is_some_and(|about| self.lost_webhooks.contains(&(format!("{topic:?}"), about.to_owned())))
        };
        lost(Topic::SubscriptionReadyForTermination, subscription.map(SubscriptionId::as_str))
            || lost(Topic::PaymentDetailsDeactivated, details.map(PaymentDetailsId::as_str))
    }

    /// What must be true at any time.
    pub(super) fn check_step(&mut self, env: &TestEnvironment, context: &SimulationContext) {
        let violations = env.cleeng.violations();
        for violation in violations.iter().skip(self.seen_violations) {
            // A report whose answer was lost can only be made once more, and an attempt that was begun is gone on with: where the order lapsed,
            // the details were deleted or the subscription ended meanwhile, Cleeng says no. What comes of it is seen in the end.
            let in_between = ["payment_for_expired_order", "payment_with_unknown_details", "order_for_ended_subscription"]
                .contains(&violation.rule)
                || (violation.rule == "charged_too_early" && context.was_overtaken());
            // After a refund that failed when it was reported already, the payment is parked for an operator; and a worker that runs past its
            // deadline, as no function does, may repeat another worker's report.
            let operators =
                violation.rule == "repeated_change" && (context.has_alarm("refund_failed_later") || context.has_alarm(OVERRUN_ALARM));
            let is_known = context.has_no_faults() && !context.was_overtaken();
            if (!in_between || is_known) && !operators {
                context.report_violation(format!("Cleeng's contract: {} by {}", violation.rule, violation.request));
            }
        }
        self.seen_violations = violations.len();
        self.ledgers.check_step(env, context);
        for (id, entry) in numbered_entries(env) {
            if entry.captured.minor > entry.amount.minor {
                context.report_violation(format!("{} of {} taken at the gateway of {}", entry.captured, entry.amount, entry.reference));
            }
            if entry.refunded.minor > entry.captured.minor {
                context
                    .report_violation(format!("{} of {} refunded at the gateway of {}", entry.refunded, entry.captured, entry.reference));
            }
            // What a gateway decides later, it decides by itself: nobody asks for it then.
            if matches!(entry.status, LedgerStatus::Pending | LedgerStatus::Declined) {
                self.decided_later.insert(id);
            }
            if entry.status == LedgerStatus::Captured && self.captured.insert(id) && !self.decided_later.contains(&id) {
                self.check_capture(id.0, &entry, context);
            }
        }
        for line in double_payments(&env.cleeng.payments()) {
            context.report_violation(line);
        }
    }

    /// Money was taken: with the details that its subscription has, or had until a moment ago.
    fn check_capture(&self, gateway: GatewayName, entry: &LedgerEntry, context: &SimulationContext) {
        let replaced = entry.stored_details.as_ref().and_then(|stored| self.replaced_details.get(&(gateway, stored.clone())));
        if replaced.is_some_and(|at| context.now().since(*at) > MAX_EVENT_AGE.saturating_add(self.outage_duration)) {
            context.report_violation(format!("{} is captured with details that were replaced", entry.reference));
        }
    }

    /// A message left its queue for good.
    pub(super) fn check_finished_message(
        &self,
        content: &MessageContent,
        disposition: &Disposition,
        checker: &JournalChecker,
        context: &SimulationContext,
    ) {
        let MessageContent::Event(event, _) = content else { return };
        if *disposition == Disposition::NotOurs {
            context.report_violation(format!("a {:?} of ours was treated as another connector's", event.get().topic));
            return;
        }
        let data = &event.get().data;
        let ids = ["subscriptionId", "paymentId", "paymentDetailsId"].iter().filter_map(|name| data.get(*name));
        let known = ids.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)).any(|id| checker.mentions(&id));
        if !known {
            context.report_violation(format!(
                "{:?} left its queue as {disposition:?}, and the journal knows nothing of it",
                event.get().topic
            ));
        }
    }

    /// A message was delivered so often that its queue gives it up. Only technical failures may end so; a message of a subscription that is parked for an operator may
    /// as well.
    pub(super) fn check_dead_letter(&self, context: &SimulationContext, checker: &JournalChecker, content: &MessageContent) {
        let what = match content {
            MessageContent::Event(event, _) => {
                let subscription =
                    event.get().data.get("subscriptionId").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
                let has_it =
                    |id: &String| checker.unsettled_obligations().iter().any(|one| one.parked && one.key.as_str().contains(id.as_str()));
                if subscription.as_ref().is_some_and(has_it) {
                    return;
                }
                format!("{:?}", event.get().topic)
            }
            MessageContent::Notification(_) => "a notification".to_owned(),
        };
        context.report_violation(format!("{what} ends among the dead letters"));
    }

    /// The handler answered a genuine notification, which is redelivered unless it was accepted. 401 is right only for a signature that is checked
    /// after its time is over, and 503 only while the signature cannot be checked; any other refusal rings.
    pub(super) fn check_notification_status(&mut self, posted: &NotificationRequest, status: u64, context: &SimulationContext) {
        if status == 200 {
            self.unaccepted.remove(&posted.body);
            return;
        }
        self.unaccepted.insert(posted.body.clone(), status);
        let undecided = status == 401 && !context.has_no_faults() && context.has_alarm(OVERRUN_ALARM);
        if status != 503 && status != 500 && !undecided {
            context.report_violation(format!("the notification handler answers {status} to a genuine notification"));
        }
    }

    /// A reply to a customer.
    pub(super) fn check_reply(&self, reply: &Reply, context: &SimulationContext) {
        let text = reply.body.to_string();
        if super::leak_checker::find_leak(&text).is_some_and(|what| what != super::leak_checker::PERSONAL_DATA) {
            context.report_violation("a reply to a customer contains a secret".to_owned());
        }
    }

    /// What must be true when everything has come to its end.
    pub(super) fn check_final_state(
        &mut self,
        env: &TestEnvironment,
        checker: &JournalChecker,
        context: &SimulationContext,
        unfinished: usize,
    ) {
        self.check_step(env, context);
        if unfinished > 0 {
            context.report_violation(format!("{unfinished} messages never leave their queue"));
        }
        if context.occurred(Behaviour::UnknownCode) && !context.has_alarm("notification_not_understood") {
            context.report_violation("a notification that names a payment of ours was ignored in silence".to_owned());
        }
        let unsettled = checker.unsettled_obligations();
        for open in unsettled.iter().filter(|one| !one.parked && !waits_for_its_deactivation(one, &unsettled, checker)) {
            context.report_violation(format!("{} is never settled", open.key));
        }
        if let Some(status) = self.unaccepted.values().next() {
            context.report_violation(format!("a genuine notification is answered {status} for ever"));
        }
        let (ours, theirs) = (env.cleeng.payments(), numbered_entries(env));
        self.ledgers.check_final_state(env, context, |purpose, entry| {
            is_parked(&unsettled, purpose) || is_with_operator(&unsettled, (checker, context), None, Some(entry))
        });
        for payment in latest_words(&ours) {
            let entry = theirs.iter().map(|(_, entry)| entry).find(|other| is_about(payment, other));
            // The money of a chargeback that was won is there again, and Cleeng cannot be told.
            let won = payment.status == PaymentStatus::Refunded
                && entry.is_some_and(|entry| entry.status == LedgerStatus::Captured)
                && context.has_alarm("chargeback_reversed");
            // An expired authorisation is reported by the event that would have released it, which was lost.
            let untold = self.has_lost_release_event(payment.subscription.as_ref(), payment.details.as_ref())
                && payment.status == PaymentStatus::Authorised
                && entry.is_some_and(|entry| entry.status == LedgerStatus::Expired);
            if let Some(line) = compare(payment, entry)
                && !untold
                && !won
                && !is_with_operator(&unsettled, (checker, context), Some(payment), entry)
            {
                context.report_violation(line);
            }
        }
        for (id, entry) in &theirs {
            let payment = ours.iter().find(|payment| payment.external_payment_id == entry.external_payment_id);
            let excused = || is_with_operator(&unsettled, (checker, context), payment, Some(entry));
            if payment.is_none() && must_be_in_cleeng(entry) && !excused() {
                context
                    .report_violation(format!("{} ({}) at the gateway is unknown to Cleeng", entry.external_payment_id, entry.reference));
            }
            let held = entry.status == LedgerStatus::Authorised && entry.amount.minor > 0;
            let subscription = match self.ledgers.purpose(*id) {
                Some(Purpose::Period(subscription, _)) => Some(subscription),
                _ => None,
            };
            let owner = entry.stored_details.as_ref().and_then(|stored| env.cleeng.owner_of_details(id.0, stored));
            // Left to lapse by itself.
            let left = self.has_lost_release_event(subscription, owner.as_ref().map(|(_, details)| details));
            if held && !left && !excused() {
                context.report_violation(format!("{} ({}) is held for ever", entry.external_payment_id, entry.reference));
            }
        }
    }
}

/// Whether something of this subscription or order is parked for an operator.
fn is_parked(unsettled: &[UnsettledObligation], purpose: &Purpose) -> bool {
    let id = match purpose {
        Purpose::Period(subscription, _) => subscription.as_str(),
        Purpose::Order(order) => order.as_str(),
    };
    unsettled.iter().any(|one| one.parked && (one.key.as_str().contains(id) || one.body.contains(id)))
}

/// Whether this is the release of an authorisation that is a part of the clean-up of its details, which is parked: it goes on with that.
fn waits_for_its_deactivation(open: &UnsettledObligation, unsettled: &[UnsettledObligation], checker: &JournalChecker) -> bool {
    let details = open.key.as_str().strip_prefix("release#").and_then(|reference| checker.payment(reference)?.details);
    let key = details.map(|details| deactivation_key(&details));
    unsettled.iter().any(|other| other.parked && Some(&other.key) == key.as_ref())
}

/// Whether this payment was parked for an operator.
fn is_with_operator(
    unsettled: &[UnsettledObligation],
    (checker, context): (&JournalChecker, &SimulationContext),
    ours: Option<&PaymentRow>,
    theirs: Option<&LedgerEntry>,
) -> bool {
    // What a gateway could not release or capture after all is alarmed, and lapses by itself.
    let takes_back = |entry: &LedgerEntry| matches!(entry.status, LedgerStatus::Authorised | LedgerStatus::Captured);
    if theirs.is_some_and(|entry| takes_back(entry) && checker.has_failed_operation(&entry.reference, context)) {
        return true;
    }
    let mut words: Vec<String> = Vec::new();
    if let Some(payment) = ours {
        words.extend([payment.id.to_string(), payment.order.to_string(), payment.external_payment_id.to_string()]);
        // All periods of a subscription wait while one of them is parked.
        words.extend(payment.subscription.as_ref().map(ToString::to_string));
    }
    if let Some(entry) = theirs {
        words.extend([entry.external_payment_id.to_string(), entry.reference.clone()]);
        words.extend(checker.obligation_of(&entry.reference));
    }
    let named =
        |one: &UnsettledObligation| words.iter().any(|word| one.key.as_str().contains(word.as_str()) || one.body.contains(word.as_str()));
    unsettled.iter().filter(|one| one.parked).any(named)
}
