//! Stored details that came to be, or can no longer be used. Cleeng has no way to be told that details are dead: the next renewal is declined
//! and dunning asks the customer, so it is counted and noted, and nothing more.

use std::sync::Arc;

use connector::billing::Story;
use connector::flow::{Verdict, World};
use connector::gateway::{GatewayName, GatewayNotification, NotificationKind, StoredToken};
use connector::journal::PAYMENT_KEPT;
use connector::journal::payment::PaymentRecord;
use connector::journal::token::TokenRecord;
use connector::journal::work::{Keep, Work};
use connector::metrics::Metric;
use connector::secret::SecretString;

/// The details that came to be for a payment, where a notification of their own told about them: the customer's latest that were told after
/// the payment began and can be used.
pub(crate) async fn of_payment(world: &World, payment: &PaymentRecord) -> Story<Option<StoredToken>> {
    let Some(key) = TokenRecord::key(payment.gateway, payment.customer.as_str()) else { return Ok(None) };
    let mut work = Work::new(Arc::clone(&world.store));
    work.load(std::slice::from_ref(&key)).await?;
    let record: TokenRecord = work.read(&key)?.unwrap_or_default();
    let begun = payment.history.first().map(|(at, _)| *at);
    let usable = record.tokens.iter().filter(|token| !token.disabled && Some(token.at) >= begun);
    Ok(usable.max_by_key(|token| token.at).map(|token| StoredToken(SecretString::new(token.token.as_str()))))
}

pub(crate) async fn note(world: &World, gateway: GatewayName, item: &GatewayNotification) -> Story<Verdict> {
    let disabled = item.kind == NotificationKind::TokenDisabled;
    let named = item.token.as_ref().and_then(|token| Some((TokenRecord::key(gateway, &token.shopper)?, token)));
    // A word about details that does not name them, or whose customer cannot be one of Cleeng's.
    let Some((key, token)) = named else { return Ok(Verdict::NotOurs) };
    let mut work = Work::new(Arc::clone(&world.store));
    work.load(std::slice::from_ref(&key)).await?;
    let mut record: TokenRecord = work.read(&key)?.unwrap_or_default();
    let now = world.clock.now();
    record.note(&token.token, disabled, now);
    if disabled {
        world.metrics.count(Metric::Warning, &[("reason", "token_disabled")]);
    }
    work.stage(&key, &record, Keep { expires_at: Some(now.after(PAYMENT_KEPT)), ..Keep::default() })?;
    work.commit().await?;
    Ok(Verdict::Settled(item.kind.as_str()))
}
