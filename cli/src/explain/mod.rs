//! The history behind an id: of Cleeng (subscription, order, payment, payment details), of a gateway, our own reference, or a key of the
//! journal. From the journal first, then from both sides, if they can be queried. Changes nothing.

mod describe;
pub(crate) mod related_documents;

use connector::cleeng::{Cleeng, LatestPayment};
use connector::gateway::{InquiryRequest, OperationKind};
use connector::ids::{OrderId, SubscriptionId};
use connector::journal::JournalError;
use connector::journal::payment::{PaymentRecord, PaymentState};
use connector::journal::record::{AttemptKind, StepStatus};
use connector::journal::store::Key;
use serde_json::{Value, json};

use self::related_documents::{RelatedDocuments, find_related};
use crate::command_env::CommandEnv;
use crate::output::{CommandError, CommandOutput};
use crate::parked::journal_error;
use crate::session::{self, Session};

/// Explains an id.
///
/// # Errors
/// [`CommandError`] if the journal cannot be read. A side that cannot be queried is no failure: the output says so.
pub async fn run(id: &str, env: &CommandEnv) -> Result<CommandOutput, CommandError> {
    let id = id.trim();
    let deployment = session::deployment(env)?;
    let store = session::store(&deployment, env).await?;
    (env.progress)("reading the journal");
    let read = |error| journal_error(&JournalError::Store(error));
    let mut found = find_related(store.as_ref(), id, &[]).await.map_err(read)?;
    (env.progress)("querying Cleeng and the gateways");
    let mut sides = Vec::new();
    match Session::open(env).await {
        Ok(session) => {
            let current = ask_cleeng(&session, id, &found, &mut sides).await;
            if current.iter().any(|key| !found.obligations.contains_key(key)) {
                found = find_related(store.as_ref(), id, &current).await.map_err(read)?;
            }
            ask_gateways(&session, &found, &mut sides).await;
        }
        Err(failure) => sides.push(format!("neither Cleeng nor a gateway was queried: {}", failure.problem)),
    }
    Ok(to_output(id, &found, &sides, env))
}

/// What Cleeng reports, and the keys of the periods that it names.
async fn ask_cleeng(session: &Session, id: &str, found: &RelatedDocuments, sides: &mut Vec<String>) -> Vec<Key> {
    let mut periods = Vec::new();
    let mut subscriptions = found.subscriptions();
    if found.is_empty() {
        // The journal knows nothing: the id may be one that only Cleeng knows.
        subscriptions.extend(SubscriptionId::new(id));
    }
    for subscription in subscriptions {
        match session.cleeng.subscription(&subscription).await {
            Ok(told) => {
                periods.push(Key::new("period", &[subscription.as_str(), &told.paid_until.secs().to_string()]));
                let next = told.next_payment_action.as_deref().unwrap_or("nothing that it reports");
                let latest = match &told.latest_payment {
                    LatestPayment::Known(external) => format!("its latest payment is {external}"),
                    LatestPayment::None => "it has no payment".to_owned(),
                    LatestPayment::NotReported => "its latest payment is not reported".to_owned(),
                };
                let status = format!("{:?}", told.status).to_lowercase();
                sides.push(format!(
                    "Cleeng: subscription {subscription} is {status}, paid until {}, next comes {next}; {latest}",
                    told.paid_until
                ));
            }
            Err(error) => sides.push(format!("Cleeng: subscription {subscription}: {error}")),
        }
    }
    for payment in found.payments.values() {
        sides.extend(describe_order(session, payment.order.as_ref()).await);
        sides.extend(describe_authorised(session, payment).await);
    }
    if found.is_empty() {
        sides.extend(describe_order(session, OrderId::new(id).ok().as_ref()).await);
    }
    periods
}

async fn describe_order(session: &Session, order: Option<&OrderId>) -> Option<String> {
    let order = order?;
    Some(match session.cleeng.order(order).await {
        Ok(told) => {
            let expiry = told.expires_at.map(|at| format!(", expires at {at} if unpaid")).unwrap_or_default();
            format!("Cleeng: order {order} over {}{expiry}", told.total)
        }
        Err(error) => format!("Cleeng: order {order}: {error}"),
    })
}

/// The list of authorised payments is the one way to read a payment back from Cleeng (Cleeng, "List a customer's authorised payments").
async fn describe_authorised(session: &Session, payment: &PaymentRecord) -> Option<String> {
    if payment.state != PaymentState::Authorised {
        return None;
    }
    let details = payment.details.as_ref()?;
    Some(match session.cleeng.authorised_payments(details).await {
        Ok(listed) => {
            let there = listed.iter().any(|one| one.external_payment_id == payment.external_payment_id);
            let word = if there { "lists it as authorised" } else { "does NOT list it as authorised" };
            format!("Cleeng: {word}: payment {}", payment.reference.as_str())
        }
        Err(error) => format!("Cleeng: authorised payments of details {details}: {error}"),
    })
}

/// What gateways that can be asked say about steps whose outcome is unknown.
async fn ask_gateways(session: &Session, found: &RelatedDocuments, sides: &mut Vec<String>) {
    for (obligation_key, obligation) in &found.obligations {
        for attempt in &obligation.attempts {
            let Some(payment) = attempt.reference.as_ref().and_then(|reference| found.payments.get(reference.as_str())) else { continue };
            let Some(gateway) = session.gateways.get(payment.gateway) else { continue };
            for step in attempt.steps.iter().filter(|step| step.state == StepStatus::Started) {
                let (Some(key), Some(operation)) = (step.key.clone(), operation_of(&step.name, attempt.kind)) else { continue };
                if !gateway.capabilities().inquiry {
                    let how = format!(
                        "{}: cannot be queried about step {}; look up {} in its dashboard",
                        payment.gateway,
                        step.name,
                        payment.reference.as_str()
                    );
                    sides.push(how);
                    continue;
                }
                let external_payment_id = payment.external_payment_id.clone();
                // A refund has a name and an amount of its own.
                let part =
                    payment.refunds.iter().find(|part| operation == OperationKind::Refund && part.obligation == obligation_key.as_str());
                let (reference, amount) = part.map_or((&payment.reference, payment.amount), |part| (&part.reference, part.amount));
                let (reference, amount) = (reference.clone(), Some(amount));
                let question = InquiryRequest { operation, key, reference, external_payment_id, operation_ref: None, amount };
                let answer = gateway.inquire(&question).await;
                let word = match answer {
                    Ok(Some(outcome)) => outcome.as_str().to_owned(),
                    Ok(None) => "has no information".to_owned(),
                    Err(error) => error.to_string(),
                };
                sides.push(format!("{}: step {} of {}: {word}", payment.gateway, step.name, payment.reference.as_str()));
            }
        }
    }
}

/// The operation of a step at a gateway, by the names that the flows give.
const fn operation_of(step: &str, kind: AttemptKind) -> Option<OperationKind> {
    match (step.as_bytes(), kind) {
        (b"pay", AttemptKind::Charge) => Some(OperationKind::Charge),
        (b"pay", _) => Some(OperationKind::Authorise),
        (b"start", _) => Some(OperationKind::Purchase),
        (b"capture", _) => Some(OperationKind::Capture),
        (b"release" | b"cancel", _) => Some(OperationKind::Cancel),
        (b"refund", _) => Some(OperationKind::Refund),
        _ => None,
    }
}

fn to_output(id: &str, found: &RelatedDocuments, sides: &[String], env: &CommandEnv) -> CommandOutput {
    let timeline = describe::timeline(found);
    let current_state = describe::current_state(found, env.clock.now());
    let mut text = String::new();
    let mut section = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}\n"));
            lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    };
    let happened: Vec<String> = timeline.iter().map(|(at, what)| format!("{at}  {what}")).collect();
    section("What happened", &happened);
    section("Current state", &current_state);
    section("What Cleeng and the gateways say", sides);
    let known = !found.is_empty();
    if found.cut {
        text.push_str("the list was cut: more documents hang together with this id; explain one of the keys above for the rest\n");
    }
    if !known {
        text.push_str(&format!(
            "the journal has no document of {id}: it may belong to another connector, be older than the journal keeps, or be mistyped\n"
        ));
    }
    let happened: Vec<Value> = timeline.iter().map(|(at, what)| json!({ "at": at.to_rfc3339(), "what": what })).collect();
    let json = json!({ "id": id, "known": known, "happened": happened, "state": current_state, "sides": sides, "cut": found.cut });
    CommandOutput { text, json, exit_code: u8::from(!known) }
}
