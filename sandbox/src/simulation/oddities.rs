//! What gateways and people do that is rare, drawn from random numbers of its own: a run without any of it is the same as if there were none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connector::cleeng::SubscriptionStatus;
use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName, RetryAdvice};
use connector::http::HeaderMap;
use connector::money::{Currency, Money};
use serde_json::Value;

use super::behaviour::Behaviour;
use super::event_queue::{LifeEvent, ScheduledEvent};
use super::simulator::Simulator;
use crate::expect::expect_fixture;
use crate::simulators::simulated_gateway::{LedgerStatus, NotificationRequest};
use crate::testkit::fixtures::{OFFER, START, id};

/// The price that Cleeng writes while it computes with floats.
const FLOAT_PRICE: &str = "9.990000000000000213";
/// How much is put into a notification to make it large, in bytes.
const FILLER: usize = 200_000;

/// Something rare.
#[derive(Clone, Copy, Debug)]
pub(super) enum Oddity {
    /// Adyen announces a report.
    UnsignedReport,
    /// A gateway sends a notification of a kind that nobody knows about the latest payment that was taken there.
    UnknownCode(usize),
    /// Access to the gateways that was granted for a time is older than a permission from now on.
    StaleAccessTokens,
    /// The offer costs so much from now on, in minor units.
    Price(i64),
    /// Cleeng writes amounts as floats, or no longer.
    Floats(bool),
    /// Another connector pays the next period of this subscriber.
    PaidElsewhere(usize),
    /// Another connector pays the order of this shopper.
    OrderPaidElsewhere(usize),
    /// The subscription of this subscriber is paused.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// This subscriber removes the details that are in use.
    DetailsRemoved(usize),
    /// The next payment of this subscriber is undecided for so long; then it is decided so.
    Undecided(usize, Duration, bool),
    /// The next payment of this subscriber is refused.
    Refusal(usize),
    /// A refused payment of this subscriber succeeds after all.
    ChangeOfMind(usize),
    /// The payment of this subscriber is charged back; the merchant wins, and it is charged back again.
    Disputes(usize),
    /// The next refusal of this subscriber's details says that nobody may try again for so many hours.
    Advice(usize, u32),
}

impl Simulator<'_> {
    /// Draws what is rare in this run.
    pub(super) fn schedule_oddities(&mut self, end: Timestamp) {
        let (subscribers, shoppers) = (self.subscribers.len(), self.shoppers.len());
        let Some(prng) = self.oddity_prng.as_mut() else { return };
        let mut found = Vec::new();
        let whole = end.since(START).as_secs();
        let anytime = START.after(prng.duration(0, whole));
        // Near the times at which the functions are at work: a step of them takes seconds.
        let due: Vec<Timestamp> = self.subscribers.iter().map(|one| one.subscriber.due).collect();
        let who = prng.index(subscribers);
        let (attempt, second) = (prng.choose(72_u64, &[48, 24, 0]), prng.duration(0, 40));
        let busy = due.get(who).copied().unwrap_or(START).before(Duration::from_secs(attempt.saturating_mul(3600))).after(second);
        let cents = prng.choose(499, &[1_499, 30, 30, 30]);
        let later = busy.after(prng.duration(3_600, 30 * 3_600));
        if prng.chance(60) {
            found.push((anytime, Oddity::UnsignedReport));
        }
        if prng.chance(250) {
            let place = prng.index(self.env.gateways.len());
            found.push((busy.after(prng.duration(0, 3 * 86_400)), Oddity::UnknownCode(place)));
        }
        for _ in 0..4 {
            let since = prng.duration(0, 3 * 3_600);
            found.extend(prng.chance(500).then(|| (busy.after(since), Oddity::StaleAccessTokens)));
        }
        if shoppers > 0 && prng.chance(400) {
            let early = START.after(prng.duration(0, 20 * 3_600));
            found.push((early, Oddity::OrderPaidElsewhere(prng.index(shoppers))));
        }
        let longest = prng.choose(20 * 3_600, &[12 * 86_400]);
        let (undecided, approves) = (prng.duration(2 * 3_600, longest), prng.chance(500));
        match prng.below(15) {
            0 | 14 => found.push((busy.before(Duration::from_secs(60)), Oddity::Price(cents))),
            1 => found.extend([(busy.before(Duration::from_secs(60)), Oddity::Floats(true)), (later, Oddity::Floats(false))]),
            2 => found.push((busy, Oddity::PaidElsewhere(who))),
            3 => found.extend([(busy, Oddity::Pause(who)), (later, Oddity::Resume(who))]),
            4 => found.push((busy, Oddity::DetailsRemoved(who))),
            5 => found.push((busy.before(Duration::from_secs(600)), Oddity::Advice(who, prng.choose(24, &[1, 48, 96, 240])))),
            6 => found.push((busy.before(Duration::from_secs(600)), Oddity::Undecided(who, undecided, approves))),
            7 => found.extend([
                (busy.before(Duration::from_secs(600)), Oddity::Refusal(who)),
                (busy.after(prng.duration(1_800, 20 * 3_600)), Oddity::ChangeOfMind(who)),
            ]),
            8 => found.push((due.get(who).copied().unwrap_or(START).after(prng.duration(3_600, 20 * 3_600)), Oddity::Disputes(who))),
            _ => {}
        }
        if prng.chance(600) {
            self.env.gateways.iter().for_each(|fixture| fixture.simulator.delay_details());
        }
        for (at, oddity) in found {
            self.events.schedule(at, ScheduledEvent::Oddity(oddity));
        }
    }

    /// Something rare happens.
    pub(super) fn handle_oddity(&mut self, oddity: Oddity) {
        let env = Arc::clone(&self.env);
        self.context.trace(|| format!("{oddity:?}"));
        let subscription = |who: usize| self.subscribers.get(who).map(|one| one.subscriber.ids.subscription.clone());
        match oddity {
            Oddity::UnsignedReport => {
                self.context.count(Behaviour::UnsignedReport);
                let posted = NotificationRequest { headers: HeaderMap::new(), body: Bytes::from(env.adyen.unsigned_report()) };
                self.events.schedule(self.context.now(), ScheduledEvent::Notification(GatewayName::Adyen, posted));
            }
            Oddity::UnknownCode(place) => self.send_unknown_code(place),
            Oddity::StaleAccessTokens => env.gateways.iter().for_each(|fixture| fixture.simulator.make_access_stale()),
            Oddity::Price(minor) => {
                env.cleeng.set_price(&id(OFFER), Money::new(minor, expect_fixture(Currency::new("USD").ok())));
                self.context.count(Behaviour::PriceChange);
            }
            Oddity::Floats(on) => env.cleeng.change_quirks(|quirks| quirks.order_total = on.then_some(FLOAT_PRICE)),
            Oddity::PaidElsewhere(who) => {
                let Some(row) = subscription(who).and_then(|id| env.cleeng.subscription(&id)) else { return };
                if row.status == SubscriptionStatus::Active {
                    env.cleeng.record_foreign_payment(&row.id, &id("paid-elsewhere"), row.cycle.after(row.date_to));
                    self.context.count(Behaviour::PaidElsewhere);
                }
            }
            Oddity::OrderPaidElsewhere(who) => {
                let order = self.shoppers.get(who).and_then(|shopper| shopper.order.clone());
                if order
                    .is_some_and(|order| env.cleeng.is_order_due(&order) && env.cleeng.pay_order_elsewhere(&order, &id("paid-elsewhere")))
                {
                    self.context.count(Behaviour::OrderPaidElsewhere);
                }
            }
            Oddity::Pause(who) => {
                let Some(row) = subscription(who).and_then(|id| env.cleeng.subscription(&id)) else { return };
                if row.status == SubscriptionStatus::Active {
                    env.cleeng.set_status(&row.id, SubscriptionStatus::Paused);
                    self.context.count(Behaviour::Pause);
                }
            }
            Oddity::Resume(who) => {
                let Some(row) = subscription(who).and_then(|id| env.cleeng.subscription(&id)) else { return };
                if row.status == SubscriptionStatus::Paused {
                    env.cleeng.set_status(&row.id, SubscriptionStatus::Active);
                }
            }
            Oddity::DetailsRemoved(who) => {
                let Some(details) = subscription(who).and_then(|id| env.cleeng.subscription(&id)?.details) else { return };
                if let Some(webhook) = env.cleeng.remove_details(&details) {
                    self.events.schedule(self.context.now(), ScheduledEvent::Webhook(webhook));
                    self.context.count(Behaviour::DetailsRemoved);
                }
            }
            Oddity::Undecided(who, wait, approves) => self.handle_life_event(who, LifeEvent::Undecided(wait, approves)),
            Oddity::Refusal(who) => self.handle_life_event(who, LifeEvent::Decline(DeclineClass::Soft)),
            Oddity::ChangeOfMind(who) => self.handle_life_event(who, LifeEvent::ChangeOfMind),
            Oddity::Disputes(who) => {
                let day = Duration::from_secs(86_400);
                for (life, days) in [(LifeEvent::Chargeback, 0), (LifeEvent::ChargebackWon, 1), (LifeEvent::Chargeback, 2)] {
                    self.events.schedule(self.context.now().after(day.saturating_mul(days)), ScheduledEvent::LifeEvent(who, life));
                }
            }
            Oddity::Advice(who, hours) => {
                let Some(actor) = self.subscribers.get(who) else { return };
                let simulator = &env.gateway(actor.gateway).simulator;
                if simulator.decline_next_with_advice(&actor.subscriber.token, RetryAdvice::AfterHours(hours)) {
                    self.context.count(Behaviour::AdviceWithTime);
                }
            }
        }
    }

    /// A gateway sends a notification of an unknown kind about the latest payment that was taken there.
    fn send_unknown_code(&mut self, place: usize) {
        let env = Arc::clone(&self.env);
        let Some(simulator) = env.gateways.get(place).map(|fixture| &fixture.simulator) else { return };
        let taken = simulator.ledger().into_iter().rev().find(|entry| entry.status == LedgerStatus::Captured);
        if let Some(posted) = taken.and_then(|entry| simulator.unknown_notification(&entry)) {
            self.context.count(Behaviour::UnknownCode);
            self.events.schedule(self.context.now(), ScheduledEvent::Notification(simulator.gateway_name(), posted));
        }
    }

    /// Counts what a notification tells, and makes a few of them large, or puts an unsigned item in front.
    pub(super) fn observe_notification(&mut self, gateway: GatewayName, posted: &NotificationRequest) -> NotificationRequest {
        let Ok(mut body) = serde_json::from_slice::<Value>(&posted.body) else { return posted.clone() };
        let env = Arc::clone(&self.env);
        let simulator = &env.gateway(gateway).simulator;
        for behaviour in told_behaviours(&body, |id| simulator.was_renewed(id)) {
            self.context.count(behaviour);
        }
        if body.pointer("/resource/metadata/order_id").is_some() && simulator.details_are_delayed() {
            self.context.count(Behaviour::LateVaulting);
        }
        let Some(prng) = self.oddity_prng.as_mut() else { return posted.clone() };
        let (is_large, has_report) = (prng.chance(8), prng.chance(20));
        if let Some(items) = body.get_mut("notificationItems").and_then(Value::as_array_mut).filter(|_| has_report) {
            let report: Value = serde_json::from_str(&env.adyen.unsigned_report()).unwrap_or_default();
            items.splice(0..0, report.pointer("/notificationItems/0").cloned());
            self.context.count(Behaviour::UnsignedReportWithItem);
            return NotificationRequest { body: Bytes::from(body.to_string()), ..posted.clone() };
        }
        match simulator.enlarged(posted, FILLER).filter(|_| is_large) {
            Some(large) => {
                self.context.count(Behaviour::LargeBody);
                large
            }
            None => posted.clone(),
        }
    }
}

/// What a notification tells, by the names that the gateway gives it.
fn told_behaviours(body: &Value, was_renewed: impl Fn(&str) -> bool) -> Vec<Behaviour> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let adyen = "/notificationItems/0/NotificationRequestItem";
    let (code, failed) = (text(&format!("{adyen}/eventCode")), text(&format!("{adyen}/success")) == "false");
    let is_give_back = matches!(code, "CANCELLATION" | "TECHNICAL_CANCEL" | "REFUND" | "CANCEL_OR_REFUND");
    let kind = if text("/event_type").is_empty() { text("/type") } else { text("/event_type") };
    let mut told = Vec::new();
    if (is_give_back && failed) || matches!(kind, "PAYMENT.REFUND.FAILED" | "refund.failed") {
        told.push(Behaviour::GiveBackFailed);
    }
    if kind == "PAYMENT.AUTHORIZATION.VOIDED" && was_renewed(text("/resource/id")) {
        told.push(Behaviour::RenewedHoldVoided);
    }
    if matches!(kind, "VAULT.PAYMENT-TOKEN.CREATED" | "recurring.token.created") {
        told.push(Behaviour::VaultEvent);
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_notification_tells_is_counted_by_its_name() {
        let renewed = json!({ "event_type": "PAYMENT.AUTHORIZATION.VOIDED", "resource": { "id": "A" } });
        assert_eq!(told_behaviours(&renewed, |id| id == "A"), [Behaviour::RenewedHoldVoided]);
        assert_eq!(told_behaviours(&renewed, |_| false), []);
        let refund = json!({ "notificationItems": [{ "NotificationRequestItem": { "eventCode": "REFUND", "success": "false" } }] });
        assert_eq!(told_behaviours(&refund, |_| false), [Behaviour::GiveBackFailed]);
        assert_eq!(told_behaviours(&json!({ "type": "refund.failed" }), |_| false), [Behaviour::GiveBackFailed]);
        assert_eq!(told_behaviours(&json!({ "type": "recurring.token.created" }), |_| false), [Behaviour::VaultEvent]);
    }
}
