//! What happens in a run, one after the other, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::envelope::Envelope;
use connector::clock::Timestamp;
use connector::delivery::Delivery;
use connector::flow::{Disposition, NotificationFlow as _, ScheduledJob as _};
use connector::gateway::{DeclineClass, GatewayName};
use connector::http::{HeaderMap, HeaderValue};
use connector::lambda::queue::NotificationEnvelope;
use gateway_notification::GatewayNotifications;
use reconciliation::Reconciliation;
use serde_json::Value;

use super::actors::{self, PAGE_RETRY_INTERVAL, Shopper, Subscriber};
use super::event_queue::{CredentialOwner, InFlightMessage, LifeEvent, MessageContent, ScheduledEvent};
use super::executor::{TaskKind, TaskResult, run_to_completion};
use super::fault_profile::FaultProfile;
use super::outage::Outage;
use super::simulator::Simulator;
use crate::expect::expect_fixture;
use crate::simulators::cleeng::SentWebhook;
use crate::simulators::simulated_gateway::NotificationRequest;
use crate::testkit::fixtures::{FRONTEND_TIMEOUT, FUNCTION_TIMEOUT, PUBLISHER, flow_for, id};
use crate::testkit::gateway_fixtures::base_urls_of;
use crate::testkit::notifications::notification_path;

/// A queue shows a message again after this time if its worker crashed: six times the function's.
const VISIBILITY_TIMEOUT_SECS: u64 = 540;
/// So often a message is delivered at the most before it goes to the dead letters, where nobody but an operator looks: `maxReceiveCount`.
const MAX_RECEIVES: u32 = 200;
/// A message is put back for this long at first where its function does not say how long, and for twice as long each time up to the longest: the
/// queue consumer's own backoff.
const BACKOFF_SECS: u64 = 30;
const MAX_BACKOFF_SECS: u64 = 900;

impl Simulator<'_> {
    /// The actors of the run, and what happens to them until the fault phase ends.
    pub(super) fn schedule_actors(&mut self, profile: &FaultProfile, fault_phase_end: Timestamp) {
        // What was there before it began.
        if self.prng.chance(250) {
            let (payment, asked) = (actors::single_purchase(&self.env, &mut self.prng), self.prng.duration(3_600, 5 * 86_400));
            self.events.schedule(self.context.now().after(asked), ScheduledEvent::SinglePurchaseCapture(payment));
        }
        self.context.set_fault_profile(profile.clone());
        let mut day = self.context.now();
        while day < fault_phase_end {
            if self.context.chance(|profile| profile.credential_rotation) {
                let (whose, at) =
                    (self.prng.choose(CredentialOwner::Cleeng, &[CredentialOwner::Gateway]), day.after(self.prng.duration(0, 86_400)));
                self.events.schedule(at, ScheduledEvent::CredentialRotation(whose, true));
                self.events.schedule(at.after(self.prng.duration(60, 7_200)), ScheduledEvent::CredentialRotation(whose, false));
            }
            day = day.after(Duration::from_secs(86_400));
        }
        let (subscriber_count, shopper_count) = (self.prng.duration(1, 4).as_secs(), self.prng.below(4));
        for _ in 0..subscriber_count {
            let actor = Subscriber::random(&self.env, &mut self.prng);
            let (who, due) = (self.subscribers.len(), actor.subscriber.due);
            self.context.trace(|| format!("subscriber {who} at {}: subscription {}", actor.gateway, actor.subscriber.ids.subscription));
            self.subscribers.push(actor);
            self.schedule_life_events(who, due);
            if fault_phase_end > due.after(Duration::from_secs(31 * 86_400)) {
                self.schedule_life_events(who, due.after(Duration::from_secs(31 * 86_400)));
            }
        }
        for _ in 0..shopper_count {
            let shopper = Shopper::random(&self.env, &mut self.prng);
            let (who, comes) = (self.shoppers.len(), self.context.now().after(self.prng.duration(60, 8 * 86_400)));
            self.context.trace(|| format!("shopper {who} at {}: {:?}", shopper.gateway, shopper.order));
            self.shoppers.push(shopper);
            self.events.schedule(comes, ScheduledEvent::PageCall(who));
        }
        self.schedule_oddities(fault_phase_end);
    }

    /// What happens to a subscriber around the end of their period.
    fn schedule_life_events(&mut self, who: usize, due: Timestamp) {
        while self.context.chance(|profile| profile.life_event) && self.prng.chance(700) {
            let gateways = self.env.gateways.len();
            let refusal = LifeEvent::Decline(self.prng.choose(
                DeclineClass::Soft,
                &[DeclineClass::Soft, DeclineClass::NeedsCustomer, DeclineClass::NeedsNewDetails, DeclineClass::Hard, DeclineClass::Risk],
            ));
            let part = i64::try_from(self.prng.below(999)).unwrap_or(1).saturating_add(1);
            // Card schemes decide within hours, bank debits within days.
            let longest = self.prng.choose(20 * 3_600, &[20 * 3_600, 20 * 3_600, 20 * 86_400]);
            let (undecided, approves) = (self.prng.duration(60, longest), self.prng.chance(600));
            let others = [
                LifeEvent::Undecided(undecided, approves),
                LifeEvent::UndecidedCapture(undecided, approves),
                LifeEvent::ChangeOfMind,
                LifeEvent::ChangeOfMind,
                LifeEvent::RefundFailure,
                LifeEvent::ChargebackWon,
                refusal,
                refusal,
                LifeEvent::Expiry,
                LifeEvent::Chargeback,
                LifeEvent::Refund(None),
                LifeEvent::Refund(Some(part)),
                LifeEvent::Refund(Some(part)),
                LifeEvent::OperationFailure,
                LifeEvent::Stop,
                LifeEvent::RepeatedDeactivation,
            ];
            let elsewhere = LifeEvent::NewDetails(self.prng.index(gateways));
            let life = self.prng.choose(elsewhere, &others);
            let at = match life {
                LifeEvent::Decline(_)
                | LifeEvent::NewDetails(_)
                | LifeEvent::Expiry
                | LifeEvent::OperationFailure
                | LifeEvent::Stop
                | LifeEvent::Undecided(..)
                | LifeEvent::UndecidedCapture(..)
                | LifeEvent::ChangeOfMind
                | LifeEvent::RepeatedDeactivation => due.before(Duration::from_secs(80 * 3600)).after(self.prng.duration(0, 110 * 3600)),
                LifeEvent::Chargeback | LifeEvent::ChargebackWon | LifeEvent::RefundFailure | LifeEvent::Refund(_) => {
                    due.after(self.prng.duration(0, 72 * 3600))
                }
            };
            self.events.schedule(at, ScheduledEvent::LifeEvent(who, life));
        }
    }

    /// Cleeng sends what is due by its own clock.
    pub(super) fn send_cleeng_webhooks(&mut self) {
        for webhook in self.env.cleeng.due_webhooks() {
            let (topic, now) = (webhook.topic, self.context.now());
            if self.context.chance(|profile| profile.dropped) {
                self.context.trace(|| format!("Cleeng loses a {topic:?}"));
                self.invariants.record_lost_webhook(&webhook);
                continue;
            }
            let times = if self.context.chance(|profile| profile.duplicate) { 2 } else { 1 };
            if self.context.chance(|profile| profile.forgery) {
                self.events.schedule(now.after(self.prng.duration(0, 60)), ScheduledEvent::ForgedWebhook(webhook.clone()));
            }
            for _ in 0..times {
                let at = if self.context.chance(|profile| profile.delayed) { now.after(self.prng.duration(1, 2 * 3600)) } else { now };
                self.events.schedule(at, ScheduledEvent::Webhook(webhook.clone()));
            }
        }
    }

    /// A reconciliation run starts.
    pub(super) fn start_reconciliation(&mut self) {
        let (flow_context, delivery) = (self.env.flow_context.clone(), self.new_delivery(FUNCTION_TIMEOUT, self.context.now(), 1));
        self.context.trace(|| format!("w{} starts a reconciliation run", self.next_task_id()));
        let run = async move { TaskResult::ReconciliationFinished(Reconciliation.run(&flow_context, &delivery).await) };
        self.spawn(TaskKind::Reconciliation, FUNCTION_TIMEOUT, Box::pin(run));
    }

    pub(super) fn handle_event(&mut self, event: ScheduledEvent) {
        if let Some(outage) = self.outage.filter(|outage| outage.contains(self.context.now()))
            && Outage::delays(&event)
        {
            self.events.schedule(outage.end.after(self.prng.duration(0, 120)), event);
            return;
        }
        match event {
            ScheduledEvent::Webhook(webhook) => self.receive_webhook(&webhook),
            ScheduledEvent::Notification(gateway, posted) => self.receive_notification(gateway, posted),
            ScheduledEvent::MessageDelivery(number) => self.deliver_message(number),
            ScheduledEvent::PageCall(who) => self.call_page(who),
            ScheduledEvent::GatewayProcessing(gateway) => self.process_gateway(gateway),
            ScheduledEvent::LateRequest(request) => {
                let transport = Arc::clone(&self.transport);
                run_to_completion(async move { transport.deliver_late(request).await });
            }
            ScheduledEvent::Oddity(oddity) => self.handle_oddity(oddity),
            ScheduledEvent::LifeEvent(who, life) => self.handle_life_event(who, life),
            ScheduledEvent::SinglePurchaseCapture(payment) => {
                if let Some(webhook) = self.env.cleeng.capture_payment_event(&payment) {
                    self.receive_webhook(&webhook);
                }
            }
            ScheduledEvent::CredentialRotation(whose, refused) => self.set_credentials_refused(whose, refused),
            ScheduledEvent::ForgedWebhook(webhook) => self.receive_forged_webhook(&webhook),
            ScheduledEvent::ForgedNotification(gateway, posted) => self.receive_forged_notification(gateway, posted),
        }
    }

    /// A webhook reaches its function's handler, which acknowledges it only after its queue accepted it.
    fn receive_webhook(&mut self, webhook: &SentWebhook) {
        let mut headers = HeaderMap::new();
        headers.insert("x-cleeng-signature", expect_fixture(HeaderValue::from_str(&webhook.signature).ok()));
        let (now, topic) = (self.context.now(), webhook.topic);
        if self.context.chance(|profile| profile.queue_error) {
            if self.interceptors.acknowledges_before_enqueue() {
                return;
            }
            // 503: whether Cleeng sends it again is not documented; here it does.
            self.context.trace(|| format!("the webhook handler does not accept a {topic:?}"));
            self.events.schedule(now.after(self.prng.duration(60, 900)), ScheduledEvent::Webhook(webhook.clone()));
            return;
        }
        let verified = self.env.verifier.verify(&headers, &webhook.body, &id(PUBLISHER), topic);
        let event = Arc::new(expect_fixture(verified.ok()));
        self.context.trace(|| format!("a {topic:?} arrives"));
        self.enqueue(MessageContent::Event(event, now));
    }

    fn enqueue(&mut self, content: MessageContent) {
        self.last_id = self.last_id.saturating_add(1);
        let (number, now) = (self.last_id, self.context.now());
        self.messages.insert(number, InFlightMessage { content, receives: 0 });
        self.events.schedule(now, ScheduledEvent::MessageDelivery(number));
        if self.context.chance(|profile| profile.queue_error) {
            // A queue delivers at least once (Amazon SQS, "At-least-once delivery").
            self.events.schedule(now.after(self.prng.duration(0, 3)), ScheduledEvent::MessageDelivery(number));
        }
    }

    fn deliver_message(&mut self, number: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.receives = message.receives.saturating_add(1);
        let InFlightMessage { content, receives } = message.clone();
        if receives > MAX_RECEIVES {
            self.messages.remove(&number);
            // Reconciliation brings back copies of what waits, which are delivered as often: one of them is left.
            if !self.messages.values().any(|other| other.content.is_copy_of(&content)) {
                self.invariants.check_dead_letter(&self.context, &self.checker, &content);
            }
            return;
        }
        let flow_context = self.env.flow_context.clone();
        let worker = self.next_task_id();
        let come: std::pin::Pin<Box<dyn Future<Output = TaskResult>>> = match content {
            MessageContent::Event(event, received_at) => {
                let delivery = self.new_delivery(FUNCTION_TIMEOUT, received_at, receives);
                let flow = self.interceptors.flow(expect_fixture(flow_for(event.get().topic)));
                self.context.trace(|| format!("w{worker} receives {:?}, message {number}, delivery {receives}", event.get().topic));
                Box::pin(async move { TaskResult::MessageHandled(number, flow.handle(&flow_context, &event, &delivery).await) })
            }
            MessageContent::Notification(message) => {
                let envelope = expect_fixture(NotificationEnvelope::from_text(&message).ok());
                let (gateway, delivery) = (envelope.gateway(), self.new_delivery(FUNCTION_TIMEOUT, envelope.received_at(), receives));
                let item = envelope.open();
                self.context.trace(|| {
                    let (kind, reference) = (item.get().kind.as_str(), item.get().reference.as_ref().map_or("", |it| it.as_str()));
                    format!("w{worker} receives {kind} of {reference} from {gateway}, message {number}, delivery {receives}")
                });
                Box::pin(async move {
                    TaskResult::MessageHandled(number, GatewayNotifications.handle(&flow_context, gateway, &item, &delivery).await)
                })
            }
        };
        self.spawn(TaskKind::Message(number), FUNCTION_TIMEOUT, come);
    }

    fn new_delivery(&self, time: Duration, received_at: Timestamp, count: u32) -> Delivery {
        Delivery { id: format!("w{}", self.next_task_id()), deadline: self.context.now().after(time), received_at, count }
    }

    fn receive_notification(&mut self, gateway: GatewayName, posted: NotificationRequest) {
        let posted = self.env.gateway(gateway).simulator.sign_for_redelivery(&posted);
        let (endpoint, kept) = (Arc::clone(&self.endpoint), posted.clone());
        self.context.trace(|| format!("w{} receives a notification of {gateway}", self.next_task_id()));
        let headers: Value = posted.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        let come = async move {
            let (status, _) = endpoint.post(&notification_path(gateway), &headers, &posted.body).await;
            TaskResult::NotificationHandled(gateway, posted, status)
        };
        self.spawn(TaskKind::Notification(gateway, kept), FRONTEND_TIMEOUT, Box::pin(come));
    }

    /// A gateway processes what it has received, and notifies at least once, in any order.
    fn process_gateway(&mut self, gateway: GatewayName) {
        let env = Arc::clone(&self.env);
        let simulator = &env.gateway(gateway).simulator;
        simulator.process();
        self.invariants.check_step(&env, &self.context);
        for sent in simulator.take_notifications() {
            let notification = self.observe_notification(gateway, &sent);
            let times = if self.context.chance(|profile| profile.duplicate) { 2 } else { 1 };
            if self.context.chance(|profile| profile.forgery) {
                let wait = self.prng.duration(0, 60);
                self.events.schedule(self.context.now().after(wait), ScheduledEvent::ForgedNotification(gateway, sent.clone()));
            }
            for _ in 0..times {
                let late = self.context.chance(|profile| profile.delayed);
                let wait = if late { self.prng.duration(1, 6 * 3600) } else { self.prng.duration(0, 2) };
                self.events.schedule(self.context.now().after(wait), ScheduledEvent::Notification(gateway, notification.clone()));
            }
        }
    }

    /// Gateways that were asked to do something do it soon, or when they come to it.
    pub(super) fn schedule_gateway_processing(&mut self, reached: &[String]) {
        for host in reached {
            let of_host = |gateway: &GatewayName| base_urls_of(*gateway).iter().any(|address| address.ends_with(host.as_str()));
            let Some(gateway) = GatewayName::ALL.iter().copied().find(of_host) else { continue };
            let wait = self.prng.choose(0, &[0, 0, 1, 5, 60, 1_200]);
            let wait =
                if self.context.chance(|profile| profile.delayed) { self.prng.duration(1, 20 * 3600) } else { Duration::from_secs(wait) };
            self.events.schedule(self.context.now().after(wait), ScheduledEvent::GatewayProcessing(gateway));
        }
    }

    /// Calls that were given up arrive at some time.
    pub(super) fn schedule_late_requests(&mut self) {
        for request in self.context.take_late_requests() {
            let wait = self.prng.duration(0, 900);
            self.events.schedule(self.context.now().after(wait), ScheduledEvent::LateRequest(request));
        }
    }

    /// What functions put on queues becomes messages.
    pub(super) fn collect_messages(&mut self) {
        for message in self.queue.take_messages() {
            self.enqueue(MessageContent::Notification(message));
        }
        for text in self.env.requeue.take_events() {
            let envelope = expect_fixture(Envelope::from_waiting_event(&text, self.context.now()).ok());
            self.enqueue(MessageContent::Event(Arc::new(expect_fixture(envelope.open().ok())), envelope.received_at()));
        }
    }

    /// As the queue consumer has it: less up to a fifth.
    fn backoff(&mut self, receives: u32) -> Duration {
        let doubled = BACKOFF_SECS.saturating_mul(2_u64.saturating_pow(receives.saturating_sub(1).min(10))).min(MAX_BACKOFF_SECS);
        Duration::from_secs(doubled.saturating_sub(self.prng.below(doubled.div_euclid(5).saturating_add(1))))
    }

    /// A worker crashed: what it was at comes again.
    pub(super) fn reschedule(&mut self, kind: TaskKind) {
        let now = self.context.now();
        match kind {
            TaskKind::Message(number) => {
                self.events.schedule(now.after(Duration::from_secs(VISIBILITY_TIMEOUT_SECS)), ScheduledEvent::MessageDelivery(number))
            }
            TaskKind::Notification(gateway, posted) => {
                self.events.schedule(now.after(self.prng.duration(60, 900)), ScheduledEvent::Notification(gateway, posted))
            }
            TaskKind::PageCall(who) => self.events.schedule(now.after(PAGE_RETRY_INTERVAL), ScheduledEvent::PageCall(who)),
            TaskKind::Reconciliation | TaskKind::Forgery => {}
        }
    }

    /// A worker came to its end.
    pub(super) fn handle_result(&mut self, result: TaskResult) {
        let now = self.context.now();
        match result {
            TaskResult::MessageHandled(number, disposition) => {
                self.context.trace(|| format!("message {number}: {disposition:?}"));
                if let Disposition::Retry { after, .. } = disposition {
                    let receives = self.messages.get(&number).map_or(1, |message| message.receives);
                    let after = after.unwrap_or_else(|| self.backoff(receives)).max(Duration::from_secs(1));
                    self.events.schedule(now.after(after), ScheduledEvent::MessageDelivery(number));
                } else if let Some(message) = self.messages.remove(&number) {
                    self.invariants.check_finished_message(&message.content, &disposition, &self.checker, &self.context);
                }
            }
            TaskResult::NotificationHandled(gateway, posted, status) => {
                self.invariants.check_notification_status(&posted, status, &self.context);
                if status != 200 {
                    self.context.trace(|| format!("the notification handler answers {status}"));
                    self.events.schedule(now.after(self.prng.duration(60, 900)), ScheduledEvent::Notification(gateway, posted));
                }
            }
            TaskResult::ForgeryHandled(status) => {
                self.context.trace(|| format!("the notification handler answers {status}"));
                if status < 400 {
                    self.context.report_violation(format!("the notification handler answers {status} to a forged notification"));
                }
            }
            TaskResult::PageAnswered(who, reply) => self.handle_page_reply(who, &reply),
            TaskResult::ReconciliationFinished(report) => self.context.trace(|| format!("reconciliation run finished: {report:?}")),
        }
    }
}
