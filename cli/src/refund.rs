//! A refund that an operator asks for. It goes to the queue of the refund function like Cleeng's `refundPayment`, so that it is journaled,
//! made once and reported like any other. The same request, with the same note, is the same refund.

use connector::cleeng::envelope::Envelope;
use connector::cleeng::webhook::{REQUESTED_BY_OPERATOR, Topic};
use connector::journal::JournalError;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::lambda::operator::Deployment;
use connector::money::Money;
use serde_json::{Value, json};

use crate::arguments::Refund;
use crate::command_env::CommandEnv;
use crate::explain::related_documents::find_related;
use crate::output::{CommandError, CommandOutput};
use crate::parked::journal_error;
use crate::session;

/// Shows what would be refunded, and asks for it with `--apply`.
///
/// # Errors
/// [`CommandError`] if the payment is not known, cannot be refunded by so much, or the queue does not take the request.
pub async fn run(options: &Refund, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let deployment = session::deployment(env)?;
    let payment = find_payment(&deployment, &options.payment, env).await?;
    let amount = refundable(&payment, options.amount.as_deref())?;
    let about = json!({
        "payment": payment.cleeng_payment.as_ref().map(ToString::to_string), "reference": payment.reference.as_str(),
        "gateway": payment.gateway.as_str(), "amount": amount.to_decimal(), "currency": amount.currency.as_str(),
    });
    let name = payment.cleeng_payment.as_ref().map_or_else(|| payment.reference.as_str().to_owned(), ToString::to_string);
    let summary = format!(
        "refund {amount} of payment {name} at {} (captured {}, refunded before {})\n",
        payment.gateway, payment.captured, payment.refunded
    );
    if !options.apply {
        let text = format!("{summary}nothing was sent; --apply asks the refund function for it\n");
        return Ok(CommandOutput { text, json: json!({ "sent": false, "refund": about }), exit_code: 0 });
    }
    let queue = session::event_queue(Some(Topic::RefundPayment), options.queue.as_deref(), &deployment, env).await?;
    session::send(queue.as_ref(), &envelope(options, &payment, amount, &deployment, env)?).await?;
    let text = format!("{summary}sent: its function refunds it now; connectorctl explain {name} shows what it did\n");
    Ok(CommandOutput { text, json: json!({ "sent": true, "refund": about }), exit_code: 0 })
}

/// The one payment that an id names.
async fn find_payment(deployment: &Deployment, id: &str, env: &CommandEnv) -> Result<PaymentRecord, CommandError> {
    let store = session::store(deployment, env).await?;
    (env.progress)("reading the journal");
    let found = find_related(store.as_ref(), id.trim(), &[]).await.map_err(|error| journal_error(&JournalError::Store(error)))?;
    let is_named = |payment: &&PaymentRecord| {
        let ids = [payment.cleeng_payment.as_ref().map(ToString::to_string), payment.external_payment_id.as_ref().map(ToString::to_string)];
        payment.reference.as_str() == id.trim() || ids.iter().flatten().any(|known| known == id.trim())
    };
    let mut named = found.payments.into_values().filter(|payment| is_named(&payment));
    match (named.next(), named.next()) {
        (Some(payment), None) => Ok(payment),
        (Some(_), Some(_)) => {
            Err(CommandError::new("the id names several payments", "give the connector's reference, which starts with clg-"))
        }
        (None, _) => Err(CommandError::new(
            "the journal knows no payment of this id",
            "give Cleeng's payment id, the gateway's, or the connector's reference; connectorctl explain ORDER_OR_SUBSCRIPTION shows them",
        )),
    }
}

/// How much is to be refunded: what was asked for, else all that is left.
fn refundable(payment: &PaymentRecord, asked: Option<&str>) -> Result<Money, CommandError> {
    if payment.state != PaymentState::Captured {
        let problem = format!("the payment is {}, and only captured money can be refunded", payment.state.as_str());
        return Err(CommandError::new(problem, "connectorctl explain shows its history"));
    }
    if payment.cleeng_payment.is_none() {
        return Err(CommandError::new(
            "Cleeng does not know the payment, so that its refund could not be reported",
            "settle what keeps it from being reported first (connectorctl parked list), or refund it at the gateway",
        ));
    }
    let inconsistent = |_| CommandError::new("the refunds of this payment do not add up", "check it at the gateway");
    let left = payment.committed_refunds().and_then(|committed| payment.captured.checked_sub(committed)).map_err(inconsistent)?;
    let amount = match asked {
        None => left,
        Some(text) => Money::parse(text, left.currency).map_err(|_| {
            CommandError::new(format!("--amount is no amount of {}", left.currency), "write major units, such as 4.99, without a currency")
        })?,
    };
    if amount.minor <= 0 || amount.minor > left.minor {
        return Err(CommandError::new(
            format!("{amount} cannot be refunded: {left} of the payment is left"),
            "give --amount between zero and that; refunds that are on their way count",
        ));
    }
    Ok(amount)
}

/// The request as an event. The amount is named only for a part: what it is called in Cleeng's API is not certain.
fn envelope(
    options: &Refund,
    payment: &PaymentRecord,
    amount: Money,
    deployment: &Deployment,
    env: &CommandEnv,
) -> Result<String, CommandError> {
    let mut data = json!({
        "paymentId": payment.cleeng_payment, "externalPaymentId": payment.external_payment_id, "currency": amount.currency.as_str(),
        "reason": options.note, REQUESTED_BY_OPERATOR: { "by": options.by, "note": options.note },
    });
    if amount != payment.captured
        && let Some(members) = data.as_object_mut()
    {
        members.insert("amount".to_owned(), Value::from(amount.to_decimal()));
    }
    let event = json!({ "broadcasterId": deployment.settings.publisher, "topic": Topic::RefundPayment.as_str(), "data": data });
    let sealed = Envelope::from_waiting_event(&event.to_string(), env.clock.now());
    let sealed = sealed.map_err(|error| CommandError::new(format!("the request cannot be written: {error}"), "shorten --note"))?;
    Ok(sealed.to_text())
}
