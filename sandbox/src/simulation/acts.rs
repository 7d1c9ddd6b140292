//! What happens in a play, one after the other, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use connector::clock::Timestamp;
use connector::flow::{Delivery, NotificationFlow as _, Rounds as _, Verdict};
use connector::gateway::{DeclineClass, GatewayName};
use connector::http::{HeaderMap, HeaderValue};
use connector::lambda::queue::{Envelope, NotificationEnvelope};
use gateway_notification::Notifications;
use reconciliation::Reconciliation;
use serde_json::Value;

use super::agenda::{Content, Happening, Letter, Life, Rotated};
use super::cast::{self, Member, Visitor};
use super::climate::Climate;
use super::night::Night;
use super::pages::PAGE_WAITS;
use super::theatre::{Came, Errand, Theatre};
use crate::cleeng::SentWebhook;
use crate::guests::addresses_of;
use crate::house::Posted;
use crate::notices::route;
use crate::stage::{FRONT_TIME, FUNCTION_TIME, PUBLISHER, flow, id, known};

/// A queue shows a message again after this time if its worker died: six times the function's.
const VISIBILITY: u64 = 540;
/// So often a message is delivered at the most before it goes to the dead letters, where nobody but an operator looks: `maxReceiveCount`.
const MOST_RECEIVES: u32 = 200;
/// A message is put back for this long at first where its function does not say how long, and for twice as long each time up to the longest: the
/// queue door's own backoff.
const BACKOFF: u64 = 30;
const LONGEST_BACKOFF: u64 = 900;

impl Theatre<'_> {
    /// Who plays, and what will happen in their lives until the storm is over.
    pub(super) fn prepare(&mut self, climate: &Climate, storm: Timestamp) {
        // What was there before it began.
        if self.dice.happens(250) {
            let (payment, asked) = (cast::single_purchase(&self.stage, &mut self.dice), self.dice.time(3_600, 5 * 86_400));
            self.agenda.put(self.sky.now().after(asked), Happening::Single(payment));
        }
        self.sky.become_climate(climate.clone());
        let mut day = self.sky.now();
        while day < storm {
            if self.sky.happens(|climate| climate.rotation) {
                let (whose, at) = (self.dice.pick(Rotated::Cleeng, &[Rotated::Gateway]), day.after(self.dice.time(0, 86_400)));
                self.agenda.put(at, Happening::Rotation(whose, true));
                self.agenda.put(at.after(self.dice.time(60, 7_200)), Happening::Rotation(whose, false));
            }
            day = day.after(Duration::from_secs(86_400));
        }
        let (members, visitors) = (self.dice.time(1, 4).as_secs(), self.dice.below(4));
        for _ in 0..members {
            let member = Member::joins(&self.stage, &mut self.dice);
            let (who, due) = (self.members.len(), member.cast.due);
            self.sky.note(|| format!("member {who} joins at {}: subscription {}", member.gateway, member.cast.subscriber.subscription));
            self.members.push(member);
            self.fate(who, due);
            if storm > due.after(Duration::from_secs(31 * 86_400)) {
                self.fate(who, due.after(Duration::from_secs(31 * 86_400)));
            }
        }
        for _ in 0..visitors {
            let visitor = Visitor::comes(&self.stage, &mut self.dice);
            let (who, comes) = (self.visitors.len(), self.sky.now().after(self.dice.time(60, 8 * 86_400)));
            self.sky.note(|| format!("visitor {who} comes at {}: {:?}", visitor.gateway, visitor.order));
            self.visitors.push(visitor);
            self.agenda.put(comes, Happening::Page(who));
        }
    }

    /// What will happen to a member around the end of his period.
    fn fate(&mut self, who: usize, due: Timestamp) {
        while self.sky.happens(|climate| climate.life) && self.dice.happens(700) {
            let guests = self.stage.guests.len();
            let refusal = Life::Refusal(self.dice.pick(
                DeclineClass::Soft,
                &[DeclineClass::Soft, DeclineClass::NeedsCustomer, DeclineClass::NeedsNewDetails, DeclineClass::Hard, DeclineClass::Risk],
            ));
            let part = i64::try_from(self.dice.below(999)).unwrap_or(1).saturating_add(1);
            let others = [
                refusal,
                refusal,
                Life::Expiry,
                Life::Chargeback,
                Life::Refund(None),
                Life::Refund(Some(part)),
                Life::Refund(Some(part)),
                Life::Failure,
                Life::Stop,
                Life::Deactivation,
            ];
            let elsewhere = Life::NewDetails(self.dice.index(guests));
            let life = self.dice.pick(elsewhere, &others);
            let at = match life {
                Life::Refusal(_) | Life::NewDetails(_) | Life::Expiry | Life::Failure | Life::Stop | Life::Deactivation => {
                    due.before(Duration::from_secs(80 * 3600)).after(self.dice.time(0, 110 * 3600))
                }
                Life::Chargeback | Life::Refund(_) => due.after(self.dice.time(0, 72 * 3600)),
            };
            self.agenda.put(at, Happening::Life(who, life));
        }
    }

    /// Cleeng sends what is due by its own clock.
    pub(super) fn cleeng_sends(&mut self) {
        for webhook in self.stage.cleeng.due_webhooks() {
            let (topic, now) = (webhook.topic, self.sky.now());
            if self.sky.happens(|climate| climate.dropped) {
                self.sky.note(|| format!("Cleeng loses a {topic:?}"));
                self.audit.loses(&webhook);
                continue;
            }
            let times = if self.sky.happens(|climate| climate.twice) { 2 } else { 1 };
            if self.sky.happens(|climate| climate.forgery) {
                self.agenda.put(now.after(self.dice.time(0, 60)), Happening::ForgedWebhook(webhook.clone()));
            }
            for _ in 0..times {
                let at = if self.sky.happens(|climate| climate.delayed) { now.after(self.dice.time(1, 2 * 3600)) } else { now };
                self.agenda.put(at, Happening::Webhook(webhook.clone()));
            }
        }
    }

    /// A round of reconciliation starts.
    pub(super) fn start_round(&mut self) {
        let (world, delivery) = (self.stage.world.clone(), self.delivery(FUNCTION_TIME, self.sky.now(), 1));
        self.sky.note(|| format!("w{} goes round", self.next_worker()));
        let round = async move { Came::Round(Reconciliation.go(&world, &delivery).await) };
        self.hire(Errand::Round, FUNCTION_TIME, Box::pin(round));
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        if let Some(night) = self.night.filter(|night| night.is(self.sky.now()))
            && Night::holds_up(&happening)
        {
            self.agenda.put(night.dawn.after(self.dice.time(0, 120)), happening);
            return;
        }
        match happening {
            Happening::Webhook(webhook) => self.webhook(&webhook),
            Happening::Posted(gateway, posted) => self.notice(gateway, posted),
            Happening::Delivery(number) => self.deliver(number),
            Happening::Page(who) => self.page(who),
            Happening::Acts(gateway) => self.gateway_acts(gateway),
            Happening::Late(request) => {
                let transport = Arc::clone(&self.transport);
                at_once(async move { transport.arrive_late(request).await });
            }
            Happening::Life(who, life) => self.live(who, life),
            Happening::Single(payment) => {
                if let Some(webhook) = self.stage.cleeng.capture_payment_event(&payment) {
                    self.webhook(&webhook);
                }
            }
            Happening::Rotation(whose, refused) => self.rotate(whose, refused),
            Happening::ForgedWebhook(webhook) => self.forged_webhook(&webhook),
            Happening::ForgedNotice(gateway, posted) => self.forged_notice(gateway, posted),
        }
    }

    /// A webhook at its function's door: it is on its queue before the door says so.
    fn webhook(&mut self, webhook: &SentWebhook) {
        let mut headers = HeaderMap::new();
        headers.insert("x-cleeng-signature", known(HeaderValue::from_str(&webhook.signature).ok()));
        let (now, topic) = (self.sky.now(), webhook.topic);
        if self.sky.happens(|climate| climate.queue) {
            if self.tricks.answers_too_early() {
                return;
            }
            // 503: whether Cleeng sends it again is not documented; here it does.
            self.sky.note(|| format!("the door does not take a {topic:?}"));
            self.agenda.put(now.after(self.dice.time(60, 900)), Happening::Webhook(webhook.clone()));
            return;
        }
        let verified = self.stage.verifier.verify(&headers, &webhook.body, &id(PUBLISHER), topic);
        let event = Arc::new(known(verified.ok()));
        self.sky.note(|| format!("a {topic:?} arrives"));
        self.put_letter(Content::Event(event, now));
    }

    fn put_letter(&mut self, content: Content) {
        self.serial = self.serial.saturating_add(1);
        let (number, now) = (self.serial, self.sky.now());
        self.letters.insert(number, Letter { content, receives: 0 });
        self.agenda.put(now, Happening::Delivery(number));
        if self.sky.happens(|climate| climate.queue) {
            // A queue delivers at least once (Amazon SQS, "At-least-once delivery").
            self.agenda.put(now.after(self.dice.time(0, 3)), Happening::Delivery(number));
        }
    }

    fn deliver(&mut self, number: u64) {
        let Some(letter) = self.letters.get_mut(&number) else { return };
        letter.receives = letter.receives.saturating_add(1);
        let Letter { content, receives } = letter.clone();
        if receives > MOST_RECEIVES {
            self.letters.remove(&number);
            // Reconciliation brings back copies of what waits, which are delivered as often: one of them is left.
            if !self.letters.values().any(|other| other.content.is_same(&content)) {
                self.audit.dead_letter(&self.sky, &self.watch, &content);
            }
            return;
        }
        let world = self.stage.world.clone();
        let worker = self.next_worker();
        let come: std::pin::Pin<Box<dyn Future<Output = Came>>> = match content {
            Content::Event(event, received_at) => {
                let delivery = self.delivery(FUNCTION_TIME, received_at, receives);
                let flow = self.tricks.flow(known(flow(event.get().topic)));
                self.sky.note(|| format!("w{worker} is given {:?}, message {number} for the {receives}. time", event.get().topic));
                Box::pin(async move { Came::Delivered(number, flow.settle(&world, &event, &delivery).await) })
            }
            Content::Notification(message) => {
                let envelope = known(NotificationEnvelope::from_text(&message).ok());
                let (gateway, delivery) = (envelope.gateway(), self.delivery(FUNCTION_TIME, envelope.received_at(), receives));
                let item = envelope.open();
                self.sky.note(|| {
                    let (kind, reference) = (item.get().kind.as_str(), item.get().reference.as_ref().map_or("", |it| it.as_str()));
                    format!("w{worker} is told {kind} of {reference} by {gateway}, message {number} for the {receives}. time")
                });
                Box::pin(async move { Came::Delivered(number, Notifications.settle(&world, gateway, &item, &delivery).await) })
            }
        };
        self.hire(Errand::Letter(number), FUNCTION_TIME, come);
    }

    fn delivery(&self, time: Duration, received_at: Timestamp, count: u32) -> Delivery {
        Delivery { id: format!("w{}", self.next_worker()), deadline: self.sky.now().after(time), received_at, count }
    }

    fn notice(&mut self, gateway: GatewayName, posted: Posted) {
        let posted = self.stage.guest(gateway).house.posted_now(&posted);
        let (door, kept) = (Arc::clone(&self.door), posted.clone());
        self.sky.note(|| format!("w{} opens to {gateway}", self.next_worker()));
        let headers: Value = posted.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        let come = async move {
            let (status, _) = door.post(&route(gateway), &headers, &posted.body).await;
            Came::Noticed(gateway, posted, status)
        };
        self.hire(Errand::Notice(gateway, kept), FRONT_TIME, Box::pin(come));
    }

    /// A gateway does what it has received, and tells it: at least once, in whatever order.
    fn gateway_acts(&mut self, gateway: GatewayName) {
        let stage = Arc::clone(&self.stage);
        let house = &stage.guest(gateway).house;
        house.process();
        self.audit.after_a_step(&stage, &self.watch, &self.sky);
        for told in house.take_notifications() {
            let times = if self.sky.happens(|climate| climate.twice) { 2 } else { 1 };
            if self.sky.happens(|climate| climate.forgery) {
                let wait = self.dice.time(0, 60);
                self.agenda.put(self.sky.now().after(wait), Happening::ForgedNotice(gateway, told.clone()));
            }
            for _ in 0..times {
                let late = self.sky.happens(|climate| climate.delayed);
                let wait = if late { self.dice.time(1, 6 * 3600) } else { self.dice.time(0, 2) };
                self.agenda.put(self.sky.now().after(wait), Happening::Posted(gateway, told.clone()));
            }
        }
    }

    /// Gateways that were asked to do something do it soon, or when they come to it.
    pub(super) fn gateways_heard(&mut self, reached: &[String]) {
        for host in reached {
            let of_host = |gateway: &GatewayName| addresses_of(*gateway).iter().any(|address| address.ends_with(host.as_str()));
            let Some(gateway) = GatewayName::ALL.iter().copied().find(of_host) else { continue };
            let wait = self.dice.pick(0, &[0, 0, 1, 5, 60, 1_200]);
            let wait = if self.sky.happens(|climate| climate.delayed) { self.dice.time(1, 20 * 3600) } else { Duration::from_secs(wait) };
            self.agenda.put(self.sky.now().after(wait), Happening::Acts(gateway));
        }
    }

    /// Calls that were given up arrive at some time.
    pub(super) fn calls_under_way(&mut self) {
        for request in self.sky.take_late() {
            let wait = self.dice.time(0, 900);
            self.agenda.put(self.sky.now().after(wait), Happening::Late(request));
        }
    }

    /// What functions put on queues becomes messages.
    pub(super) fn fetch_messages(&mut self) {
        for message in self.queue.take() {
            self.put_letter(Content::Notification(message));
        }
        for text in self.stage.requeue.take() {
            let envelope = known(Envelope::of_waiting(&text, self.sky.now()).ok());
            self.put_letter(Content::Event(Arc::new(known(envelope.open().ok())), envelope.received_at()));
        }
    }

    /// As the queue door has it: less up to a fifth.
    fn backoff(&mut self, receives: u32) -> Duration {
        let doubled = BACKOFF.saturating_mul(2_u64.saturating_pow(receives.saturating_sub(1).min(10))).min(LONGEST_BACKOFF);
        Duration::from_secs(doubled.saturating_sub(self.dice.below(doubled.div_euclid(5).saturating_add(1))))
    }

    /// A worker died: what it was at comes again.
    pub(super) fn again(&mut self, errand: Errand) {
        let now = self.sky.now();
        match errand {
            Errand::Letter(number) => self.agenda.put(now.after(Duration::from_secs(VISIBILITY)), Happening::Delivery(number)),
            Errand::Notice(gateway, posted) => self.agenda.put(now.after(self.dice.time(60, 900)), Happening::Posted(gateway, posted)),
            Errand::Page(who) => self.agenda.put(now.after(PAGE_WAITS), Happening::Page(who)),
            Errand::Round | Errand::Forgery => {}
        }
    }

    /// A worker came to its end.
    pub(super) fn came(&mut self, came: Came) {
        let now = self.sky.now();
        match came {
            Came::Delivered(number, verdict) => {
                self.sky.note(|| format!("message {number}: {verdict:?}"));
                if let Verdict::Later { after, .. } = verdict {
                    let receives = self.letters.get(&number).map_or(1, |letter| letter.receives);
                    let after = after.unwrap_or_else(|| self.backoff(receives)).max(Duration::from_secs(1));
                    self.agenda.put(now.after(after), Happening::Delivery(number));
                } else if let Some(letter) = self.letters.remove(&number) {
                    self.audit.left_the_queue(&letter.content, &verdict, &self.watch, &self.sky);
                }
            }
            Came::Noticed(gateway, posted, status) => {
                if status != 200 {
                    self.sky.note(|| format!("the door answers {status}"));
                    self.agenda.put(now.after(self.dice.time(60, 900)), Happening::Posted(gateway, posted));
                    self.audit.refused_at_the_door(status, &self.sky);
                }
            }
            Came::Forged(status) => {
                self.sky.note(|| format!("the door answers {status}"));
                if status < 400 {
                    self.sky.find(format!("the door answers {status} to a forged notification"));
                }
            }
            Came::Answered(who, reply) => self.answered(who, &reply),
            Came::Round(tally) => self.sky.note(|| format!("went round: {tally:?}")),
        }
    }
}

/// Runs something to its end that waits for nobody.
pub(super) fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    (0..10_000).find_map(|_| match work.as_mut().poll(&mut context) {
        std::task::Poll::Ready(done) => Some(done),
        std::task::Poll::Pending => None,
    })
}
