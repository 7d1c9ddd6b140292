//! What is built from the secrets, and built again when they change.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::secrets::{SecretCache, Secrets};
use crate::settings::Problems;

/// Builds something from secrets.
type Build<T> = Box<dyn Fn(&Secrets) -> Result<T, Problems> + Send + Sync>;

/// A value that is built from the secrets in force.
pub struct Reloadable<T> {
    secret_cache: SecretCache,
    build: Build<T>,
    current: Mutex<Arc<T>>,
}

impl<T> Reloadable<T> {
    /// Builds it for the first time. What must outlive a change of secrets (journal, connections) belongs to the closure.
    ///
    /// # Errors
    /// Every mistake in the secrets.
    pub fn new(
        secret_cache: SecretCache,
        build: impl Fn(&Secrets) -> Result<T, Problems> + Send + Sync + 'static,
    ) -> Result<Self, Problems> {
        let current = build(&secret_cache.current())?;
        Ok(Self { secret_cache, build: Box::new(build), current: Mutex::new(Arc::new(current)) })
    }

    /// The secrets in force.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secret_cache.current()
    }

    /// What was built from them.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secrets again, because an upstream no longer accepts them, and returns whether something changed.
    pub async fn refresh(&self, why: &'static str) -> bool {
        match self.secret_cache.reload().await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => {
                warn!(why, "secrets could not be read again; the old ones stay in force");
                return false;
            }
        }
        match (self.build)(&self.secret_cache.current()) {
            Ok(rebuilt) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rebuilt);
                info!(why, "secrets changed and are in force");
                true
            }
            Err(problems) => {
                warn!(why, mistakes = problems.0.len(), "secrets changed and are wrong; the old ones stay in force");
                false
            }
        }
    }
}
