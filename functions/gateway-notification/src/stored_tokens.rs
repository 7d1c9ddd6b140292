//! Stored details that were created or updated, or can no longer be used. Cleeng has no call for details that can no longer be used: the next renewal
//! is declined and dunning asks the customer, so this is counted and recorded, and nothing more.

use std::sync::Arc;

use connector::flow::{Disposition, FlowContext};
use connector::gateway::{GatewayName, GatewayNotification, NotificationKind, StoredToken};
use connector::journal::PAYMENT_RETENTION;
use connector::journal::payment::PaymentRecord;
use connector::journal::stored_tokens::TokenRecord;
use connector::journal::transaction::{Retention, Transaction};
use connector::metrics::Metric;
use connector::payments::{FlowResult, token_usage};
use connector::secret::SecretString;

/// The details that a notification of their own named for a payment: the customer's latest that were named after the payment started and
/// can be used.
pub(crate) async fn for_payment(flow_context: &FlowContext, payment: &PaymentRecord) -> FlowResult<Option<StoredToken>> {
    let Some(key) = TokenRecord::key(payment.gateway, payment.customer.as_str()) else { return Ok(None) };
    let mut transaction = Transaction::new(Arc::clone(&flow_context.store));
    transaction.load(std::slice::from_ref(&key)).await?;
    let record: TokenRecord = transaction.read(&key)?.unwrap_or_default();
    let begun = payment.history.first().map(|(at, _)| *at);
    let usable = record.tokens.iter().filter(|token| !token.disabled && Some(token.at) >= begun);
    Ok(usable.max_by_key(|token| token.at).map(|token| StoredToken(SecretString::new(token.token.as_str()))))
}

pub(crate) async fn record_token(flow_context: &FlowContext, gateway: GatewayName, item: &GatewayNotification) -> FlowResult<Disposition> {
    let disabled = item.kind == NotificationKind::TokenDisabled;
    let named = item.token.as_ref().and_then(|token| Some((TokenRecord::key(gateway, &token.shopper)?, token)));
    // It does not name the details, or its customer cannot be one of Cleeng's.
    let Some((key, token)) = named else { return Ok(Disposition::NotOurs) };
    let mut transaction = Transaction::new(Arc::clone(&flow_context.store));
    transaction.load(std::slice::from_ref(&key)).await?;
    let mut record: TokenRecord = transaction.read(&key)?.unwrap_or_default();
    let now = flow_context.clock.now();
    record.record(&token.token, disabled, now);
    if disabled {
        flow_context.metrics.count(Metric::Warning, &[("reason", "token_disabled")]);
    }
    if item.kind == NotificationKind::TokenUpdated {
        let users = token_usage::token_key(&flow_context.policy.salt, gateway, &SecretString::new(token.token.as_str()));
        token_usage::mark_updated(&mut transaction, &users, now).await?;
    }
    transaction.stage(&key, &record, Retention { expires_at: Some(now.after(PAYMENT_RETENTION)), ..Retention::default() })?;
    transaction.commit().await?;
    Ok(Disposition::Completed(item.kind.into()))
}
