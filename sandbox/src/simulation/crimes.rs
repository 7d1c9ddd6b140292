//! What nobody signed, and credentials that are not taken.

use std::sync::Arc;

use bytes::Bytes;
use connector::gateway::GatewayName;
use connector::http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::agenda::Rotated;
use super::theatre::{Came, Errand, Theatre};
use crate::cleeng::SentWebhook;
use crate::house::Posted;
use crate::notices::route;
use crate::stage::{ADYEN_API_KEY, FRONT_TIME, PUBLISHER, PUBLISHER_TOKEN, id};

impl Theatre<'_> {
    /// Our credentials are refused from now on, or are taken again.
    pub(super) fn rotate(&mut self, whose: Rotated, refused: bool) {
        self.sky.note(|| format!("credentials at {whose:?} are refused: {refused}"));
        match whose {
            Rotated::Cleeng => self.stage.cleeng.rotate_token(if refused { "another-token" } else { PUBLISHER_TOKEN }),
            Rotated::Gateway => self.stage.adyen.accept_api_keys(&[if refused { "another-key" } else { ADYEN_API_KEY }]),
        }
    }

    /// A true webhook with another content under the same signature, or without one.
    pub(super) fn forged_webhook(&mut self, webhook: &SentWebhook) {
        let (unsigned, place) = (self.dice.happens(300), self.dice.index(webhook.body.len()));
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
        self.sky.note(|| format!("a forged {:?} arrives", webhook.topic));
        if self.stage.verifier.verify(&headers, &body, &id(PUBLISHER), webhook.topic).is_ok() {
            self.sky.find("a forged webhook is taken".to_owned());
        }
    }

    /// The same with a gateway's notification: another payment, another amount, another result.
    pub(super) fn forged_notice(&mut self, gateway: GatewayName, posted: Posted) {
        let text = String::from_utf8_lossy(&posted.body).into_owned();
        let changes = [("\"clg-", "\"clg-f"), ("999", "998"), ("\"true\"", "\"false\""), ("9.99", "8.99")];
        let first = self.dice.index(changes.len());
        let forged = changes.iter().cycle().skip(first).take(changes.len()).find(|(from, _)| text.contains(from));
        let Some((from, to)) = forged else { return };
        let body = Bytes::from(text.replacen(from, to, 1));
        self.sky.note(|| format!("w{} opens to somebody who is not {gateway}", self.next_worker()));
        let headers: Value = posted.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default())).collect();
        let door = Arc::clone(&self.door);
        let come = async move { Came::Forged(door.post(&route(gateway), &headers, &body).await.0) };
        self.hire(Errand::Forgery, FRONT_TIME, Box::pin(come));
    }
}
