//! What must be true: after every step, and in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::clock::Timestamp;
use connector::flow::Verdict;
use connector::front::Reply;
use connector::ids::{PaymentDetailsId, SubscriptionId};
use connector::journal::payment::PaymentState;
use serde_json::Value;

use super::agenda::Content;
use super::sky::Sky;
use super::watch::{Unsettled, Watch};
use crate::books::{compare, doubled, is_kept};
use crate::cleeng::{PaymentRecord, SentWebhook};
use crate::house::{LedgerEntry, Standing};
use crate::stage::Stage;

/// A worker went on after its time.
pub(super) const UNDEAD: &str = "undead";

/// An event that was sent before something changed comes later than this only if it never comes.
const OLD_EVENTS: Duration = Duration::from_secs(24 * 3_600);

/// Looks at both sides' books, again and again.
pub(super) struct Audit {
    /// Webhooks that never came, and what they were about: a subscription or payment details.
    lost: BTreeSet<(String, String)>,
    /// Details that others took the place of, and when.
    pub(super) replaced: BTreeMap<PaymentDetailsId, Timestamp>,
    /// How long nobody worked behind the queues.
    pub(super) night: Duration,
    captured: BTreeSet<String>,
    violations: usize,
}

impl Audit {
    pub(super) fn of(stage: &Stage) -> Self {
        Self {
            lost: BTreeSet::new(),
            replaced: BTreeMap::new(),
            night: Duration::ZERO,
            captured: BTreeSet::new(),
            violations: stage.cleeng.violations().len(),
        }
    }

    /// A webhook of Cleeng never comes.
    pub(super) fn loses(&mut self, webhook: &SentWebhook) {
        let body: Value = serde_json::from_slice(&webhook.body).unwrap_or_default();
        let named = |name: &str| body.pointer(&format!("/data/{name}")).map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let about = named("subscriptionId").or_else(|| named("paymentDetailsId")).unwrap_or_default();
        self.lost.insert((format!("{:?}", webhook.topic), about));
    }

    /// Whether an event was lost that reconciliation cannot make up for, and that would have released what is held with these details for this
    /// subscription: Cleeng has no list of announcements about details, and whether nobody pays for a subscription any more is for Cleeng to say.
    fn lost_a_release(&self, subscription: Option<&SubscriptionId>, details: Option<&PaymentDetailsId>) -> bool {
        let lost =
            |topic: Topic, about: Option<&str>| about.is_some_and(|about| self.lost.contains(&(format!("{topic:?}"), about.to_owned())));
        lost(Topic::SubscriptionReadyForTermination, subscription.map(SubscriptionId::as_str))
            || lost(Topic::PaymentDetailsDeactivated, details.map(PaymentDetailsId::as_str))
    }

    /// What must be true at any time.
    pub(super) fn after_a_step(&mut self, stage: &Stage, watch: &Watch, sky: &Sky) {
        let violations = stage.cleeng.violations();
        for violation in violations.iter().skip(self.violations) {
            // A report whose answer was lost can only be made once more, and an attempt that was begun is gone on with: where the order lapsed,
            // the details were deleted or the subscription ended meanwhile, Cleeng says no. What comes of it is seen in the end.
            let in_between =
                ["payment_for_expired_order", "payment_with_unknown_details", "order_for_ended_subscription"].contains(&violation.rule);
            // After a refund that failed when Cleeng had been told of it, an operator has the payment; and whoever outlives his time, which no
            // function does, may tell what another one has told.
            let operators = violation.rule == "repeated_change" && (sky.was_alarmed("refund_failed_later") || sky.was_alarmed(UNDEAD));
            if (!in_between || sky.is_fair()) && !operators {
                sky.find(format!("Cleeng's contract: {} by {}", violation.rule, violation.request));
            }
        }
        self.violations = violations.len();
        let mut periods: BTreeMap<String, Vec<LedgerEntry>> = BTreeMap::new();
        for entry in ledger(stage) {
            if entry.captured.minor > entry.amount.minor {
                sky.find(format!("{} of {} taken at the gateway of {}", entry.captured, entry.amount, entry.reference));
            }
            if entry.refunded.minor > entry.captured.minor {
                sky.find(format!("{} of {} given back at the gateway of {}", entry.refunded, entry.captured, entry.reference));
            }
            if entry.standing == Standing::Captured && self.captured.insert(entry.reference.clone()) {
                self.newly_captured(&entry, watch, sky);
            }
            // A hold whose cancel the gateway has taken is as good as gone: the next authorisation need not wait for it.
            if entry.holds_money()
                && let Some((obligation, state)) = watch.standing_of(&entry.reference)
                && obligation.starts_with("period#")
                && !(entry.standing == Standing::Authorised && watch.has_failed(&entry.reference, sky))
                && (entry.standing == Standing::Captured || !matches!(state, PaymentState::Cancelling | PaymentState::Cancelled))
            {
                periods.entry(obligation).or_default().push(entry);
            }
        }
        for (obligation, entries) in periods {
            let taken = entries.iter().filter(|entry| entry.standing == Standing::Captured).count();
            if taken > 1 {
                sky.find(format!("{obligation} is charged {taken} times"));
            }
            if entries.len() > 1 {
                sky.find(format!("{} payments hold money for {obligation} at once", entries.len()));
            }
        }
        for line in doubled(&stage.cleeng.payments()) {
            sky.find(line);
        }
    }

    /// Money of a period was taken: with the details that its subscription has, or had until a moment ago.
    fn newly_captured(&self, entry: &LedgerEntry, watch: &Watch, sky: &Sky) {
        let of_period = watch.standing_of(&entry.reference).is_some_and(|(obligation, _)| obligation.starts_with("period#"));
        let replaced = watch.made_with(&entry.reference).filter(|_| of_period).and_then(|details| self.replaced.get(&details));
        if replaced.is_some_and(|at| sky.now().since(*at) > OLD_EVENTS.saturating_add(self.night)) {
            sky.find(format!("{} is captured with details that were replaced", entry.reference));
        }
    }

    /// A message left its queue for good.
    pub(super) fn left_the_queue(&self, content: &Content, verdict: &Verdict, watch: &Watch, sky: &Sky) {
        let Content::Event(event, _) = content else { return };
        if *verdict == Verdict::NotOurs {
            sky.find(format!("{:?} of ours was taken for another connector's", event.get().topic));
            return;
        }
        let data = &event.get().data;
        let ids = ["subscriptionId", "paymentId", "paymentDetailsId"].iter().filter_map(|name| data.get(*name));
        let known = ids.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)).any(|id| watch.names(&id));
        if !known {
            sky.find(format!("{:?} left its queue as {verdict:?}, and the journal knows nothing of it", event.get().topic));
        }
    }

    /// A message was delivered so often that its queue gives it up. That is for technical failures alone; where an operator has the subscription
    /// anyway, he has this as well.
    pub(super) fn dead_letter(&self, sky: &Sky, watch: &Watch, content: &Content) {
        let what = match content {
            Content::Event(event, _) => {
                let subscription =
                    event.get().data.get("subscriptionId").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
                let has_it = |id: &String| watch.unsettled().iter().any(|one| one.parked && one.key.as_str().contains(id.as_str()));
                if subscription.as_ref().is_some_and(has_it) {
                    return;
                }
                format!("{:?}", event.get().topic)
            }
            Content::Notification(_) => "a notification".to_owned(),
        };
        sky.find(format!("{what} ends among the dead letters"));
    }

    /// The door did not take what a gateway posted: it comes again. 401 is for whoever looks at a signature when its time is over, and 503 for
    /// when nobody can tell whether it is the gateway's.
    pub(super) fn refused_at_the_door(&self, status: u64, sky: &Sky) {
        let undecided = status == 401 && !sky.is_fair() && sky.was_alarmed(UNDEAD);
        if status != 503 && status != 500 && !undecided {
            sky.find(format!("the door answers {status} to a true notification"));
        }
    }

    /// A customer is told something.
    pub(super) fn told_the_customer(&self, reply: &Reply, sky: &Sky) {
        let text = reply.body.to_string();
        if super::secrets::found_in(&text).is_some_and(|what| what != super::secrets::PERSONAL) {
            sky.find("a customer is told a secret".to_owned());
        }
    }

    /// What must be true when everything has come to its end.
    pub(super) fn at_the_end(&mut self, stage: &Stage, watch: &Watch, sky: &Sky, unfinished: usize) {
        self.after_a_step(stage, watch, sky);
        if unfinished > 0 {
            sky.find(format!("{unfinished} messages never leave their queue"));
        }
        let unsettled = watch.unsettled();
        for open in unsettled.iter().filter(|one| !one.parked) {
            sky.find(format!("{} is never settled", open.key));
        }
        let (ours, theirs) = (stage.cleeng.payments(), ledger(stage));
        for payment in &ours {
            let entry = theirs.iter().find(|other| other.external_payment_id == payment.external_payment_id);
            // A hold that lapsed is told by whatever would have released it, which never came.
            let untold = self.lost_a_release(payment.subscription.as_ref(), payment.details.as_ref())
                && payment.status == PaymentStatus::Authorised
                && entry.is_some_and(|entry| entry.standing == Standing::Expired);
            if let Some(line) = compare(payment, entry)
                && !untold
                && !excused(&unsettled, (watch, sky), Some(payment), entry)
            {
                sky.find(line);
            }
        }
        for entry in &theirs {
            let payment = ours.iter().find(|payment| payment.external_payment_id == entry.external_payment_id);
            let excused = || excused(&unsettled, (watch, sky), payment, Some(entry));
            if payment.is_none() && is_kept(entry) && !excused() {
                sky.find(format!("{} ({}) at the gateway is unknown to Cleeng", entry.external_payment_id, entry.reference));
            }
            let held = entry.standing == Standing::Authorised && entry.amount.minor > 0;
            let record = watch.payment(&entry.reference);
            let (subscription, details) = record.map_or((None, None), |record| (record.subscription, record.details));
            // Left to lapse by itself.
            let left = self.lost_a_release(subscription.as_ref(), details.as_ref());
            if held && !left && !excused() {
                sky.find(format!("{} ({}) is held for ever", entry.external_payment_id, entry.reference));
            }
        }
    }
}

fn ledger(stage: &Stage) -> Vec<LedgerEntry> {
    stage.guests.iter().flat_map(|guest| guest.house.ledger()).collect()
}

/// Whether an operator was told of this payment.
fn excused(unsettled: &[Unsettled], (watch, sky): (&Watch, &Sky), ours: Option<&PaymentRecord>, theirs: Option<&LedgerEntry>) -> bool {
    // What a gateway could not release or capture after all is alarmed, and lapses by itself.
    let takes_back = |entry: &LedgerEntry| matches!(entry.standing, Standing::Authorised | Standing::Captured);
    if theirs.is_some_and(|entry| takes_back(entry) && watch.has_failed(&entry.reference, sky)) {
        return true;
    }
    let mut words: Vec<String> = Vec::new();
    if let Some(payment) = ours {
        words.extend([payment.id.to_string(), payment.order.to_string(), payment.external_payment_id.to_string()]);
        // All periods of a subscription wait for whoever looks after one of them.
        words.extend(payment.subscription.as_ref().map(ToString::to_string));
    }
    if let Some(entry) = theirs {
        words.extend([entry.external_payment_id.to_string(), entry.reference.clone()]);
        words.extend(watch.standing_of(&entry.reference).map(|(obligation, _)| obligation));
    }
    let named = |one: &Unsettled| words.iter().any(|word| one.key.as_str().contains(word.as_str()) || one.body.contains(word.as_str()));
    unsettled.iter().filter(|one| one.parked).any(named)
}
