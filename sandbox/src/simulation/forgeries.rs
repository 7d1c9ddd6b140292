//! Forged webhooks and notifications, and credentials that are refused.

use std::sync::Arc;

use bytes::Bytes;
use connector::gateway::GatewayName;
use connector::http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::event_queue::CredentialOwner;
use super::executor::{TaskKind, TaskResult};
use super::simulator::Simulator;
use crate::simulators::cleeng::SentWebhook;
use crate::simulators::simulated_gateway::NotificationRequest;
use crate::testkit::fixtures::{FRONTEND_TIMEOUT, PUBLISHER, PUBLISHER_TOKEN, id};
use crate::testkit::gateway_fixtures::ADYEN_API_KEY;
use crate::testkit::notifications::notification_path;

impl Simulator<'_> {
    /// Our credentials are refused from now on, or are taken again.
    pub(super) fn set_credentials_refused(&mut self, whose: CredentialOwner, refused: bool) {
        self.context.trace(|| format!("credentials at {whose:?} are refused: {refused}"));
        match whose {
            CredentialOwner::Cleeng => self.env.cleeng.rotate_token(if refused { "another-token" } else { PUBLISHER_TOKEN }),
            CredentialOwner::Gateway => self.env.adyen.accept_api_keys(&[if refused { "another-key" } else { ADYEN_API_KEY }]),
        }
    }

    /// A true webhook with another content under the same signature, or without one.
    pub(super) fn receive_forged_webhook(&mut self, webhook: &SentWebhook) {
        let (unsigned, place) = (self.prng.chance(300), self.prng.index(webhook.body.len()));
        let mut body = webhook.body.clone();
        if let Some(byte) = body.get_mut(place) {
            *byte = if *byte == b'7' { b'8' } else { b'7' };
        }
        let mut headers = HeaderMap::new();
        if let Ok(signature) = HeaderValue::from_str(&webhook.signature)
            && !unsigned
        {
            headers.insert("x-cleeng-signature", signature);
        }
        self.context.trace(|| format!("a forged {:?} arrives", webhook.topic));
        if self.env.verifier.verify(&headers, &body, &id(PUBLISHER), webhook.topic).is_ok() {
            self.context.report_violation("a forged webhook is accepted".to_owned());
        }
    }

    /// The same with a gateway's notification: another payment, another amount, another result.
    pub(super) fn receive_forged_notification(&mut self, gateway: GatewayName, posted: NotificationRequest) {
        let text = String::from_utf8_lossy(&posted.body).into_owned();
        let changes = [("\"clg-", "\"clg-f"), ("999", "998"), ("\"true\"", "\"false\""), ("9.99", "8.99")];
        let first = self.prng.index(changes.len());
        let forged = changes.iter().cycle().skip(first).take(changes.len()).find(|(from, _)| text.contains(from));
        let Some((from, to)) = forged else { return };
        let body = Bytes::from(text.replacen(from, to, 1));
        self.context.trace(|| format!("w{} receives a forged notification of {gateway}", self.next_task_id()));
        let headers: Value = posted.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        let endpoint = Arc::clone(&self.endpoint);
        let come = async move { TaskResult::ForgeryHandled(endpoint.post(&notification_path(gateway), &headers, &body).await.0) };
        self.spawn(TaskKind::Forgery, FRONTEND_TIMEOUT, Box::pin(come));
    }
}
