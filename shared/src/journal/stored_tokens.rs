//! Stored details that a gateway notified: those that were created later than the payment that stored them, and those that can no longer be
//! used. Holds data that gives access to the details, as the waiting events do: it has no `Debug`.

use serde::{Deserialize, Serialize};

use super::SCHEMA;
use super::store::Key;
use crate::clock::Timestamp;
use crate::gateway::GatewayName;
use crate::ids::CustomerId;

/// How many stored details of one customer are remembered; the oldest go first.
const MAX_TOKENS: usize = 20;

/// What a gateway notified about a customer's stored details.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The schema that it was written with.
    pub schema: u32,
    /// The details, in the order of their first notifications.
    pub tokens: Vec<TokenEntry>,
}

/// One set of stored details.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// In the adapter's own form.
    pub token: String,
    /// They can never be used again.
    pub disabled: bool,
    /// When they were first notified.
    pub at: Timestamp,
}

impl TokenRecord {
    /// Its key in the journal: by the gateway's name of the customer. `None` if that name is no id.
    #[must_use]
    pub fn key(gateway: GatewayName, shopper: &str) -> Option<Key> {
        let shopper = CustomerId::new(shopper).ok()?;
        Some(Key::new("gateway-token", &[gateway.as_str(), shopper.as_str()]))
    }

    /// Records a notification. The order of notifications does not matter.
    pub fn record(&mut self, token: &str, disabled: bool, now: Timestamp) {
        if let Some(known) = self.tokens.iter_mut().find(|known| known.token == token) {
            known.disabled |= disabled;
            return;
        }
        if self.tokens.len() >= MAX_TOKENS {
            self.tokens.remove(0);
        }
        self.tokens.push(TokenEntry { token: token.to_owned(), disabled, at: now });
    }
}

impl Default for TokenRecord {
    fn default() -> Self {
        Self { schema: SCHEMA, tokens: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_disabled_stays_so_and_the_record_stays_small() {
        let mut record = TokenRecord::default();
        record.record("a", true, Timestamp::from_secs(1));
        record.record("a", false, Timestamp::from_secs(2));
        assert!(record.tokens.iter().all(|known| known.disabled && known.at == Timestamp::from_secs(1)));
        for number in 0..100 {
            record.record(&number.to_string(), false, Timestamp::from_secs(3));
        }
        assert_eq!(record.tokens.len(), MAX_TOKENS);
        assert!(TokenRecord::key(GatewayName::Adyen, "a#b").is_none());
    }
}
