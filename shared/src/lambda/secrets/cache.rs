//! Keeps the secrets that were read at start, and reads them again when an upstream no longer accepts them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{SecretError, SecretSource, Secrets};
use crate::clock::Clock;
use crate::gateway::GatewayName;
use crate::lambda::telemetry::Redactor;
use crate::rate_limit::WindowLimiter;
use crate::secret::SecretString;

/// The shortest time between two reads: requests with bad signatures must not flood the service.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The secrets in force.
pub struct SecretCache {
    source: Box<dyn SecretSource>,
    gateways: BTreeSet<GatewayName>,
    redactor: Arc<Redactor>,
    clock: Arc<dyn Clock>,
    reads: WindowLimiter,
    cached: Mutex<CachedSecrets>,
}

struct CachedSecrets {
    text: SecretString,
    secrets: Arc<Secrets>,
}

impl SecretCache {
    /// Reads the secrets for the first time and has them kept out of everything that is written.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn open(
        source: Box<dyn SecretSource>,
        gateways: BTreeSet<GatewayName>,
        redactor: Arc<Redactor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SecretError> {
        let text = source.fetch().await?;
        let secrets = parse(&text, &gateways, &redactor)?;
        let reads = WindowLimiter::new(1, RELOAD_INTERVAL);
        // The read at start counts.
        reads.allows(clock.now());
        Ok(Self { source, gateways, redactor, clock, reads, cached: Mutex::new(CachedSecrets { text, secrets }) })
    }

    /// The secrets in force.
    #[must_use]
    pub fn current(&self) -> Arc<Secrets> {
        Arc::clone(&self.lock().secrets)
    }

    /// Reads the secrets again, at most once in [`RELOAD_INTERVAL`], and returns whether they changed. If they cannot be read, or are
    /// wrong, the old ones stay in force.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn reload(&self) -> Result<bool, SecretError> {
        if !self.reads.allows(self.clock.now()) {
            return Ok(false);
        }
        let text = self.source.fetch().await?;
        if self.lock().text.matches(text.expose()) {
            return Ok(false);
        }
        let secrets = parse(&text, &self.gateways, &self.redactor)?;
        *self.lock() = CachedSecrets { text, secrets };
        Ok(true)
    }

    /// The lock is never held across a wait, and nothing below it can fail half-way.
    fn lock(&self) -> MutexGuard<'_, CachedSecrets> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(text: &SecretString, gateways: &BTreeSet<GatewayName>, redactor: &Redactor) -> Result<Arc<Secrets>, SecretError> {
    let secrets = Secrets::parse(text.expose(), gateways).map_err(SecretError::Invalid)?;
    // Old secrets stay registered: they may still be valid at an upstream.
    redactor.register(&secrets.texts());
    Ok(Arc::new(secrets))
}
