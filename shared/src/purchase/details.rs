//! Start and finalize of storing payment details.
//!
//! Obligation = customer + payment data, so that the same data is stored once. A head per customer knows which storings wait for him and
//! how many were refused today.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::{REPORT, Snapshot, canonical, fingerprint};
use super::hand_in::hand_in;
use super::order::{MAX_ATTEMPTS, SAME_CLICK, is_over, just_refused, last_touched, not_read};
use super::position::{Position, forget, position, snapshot};
use super::settle::{close, go_on};
use super::tell::{self, Told};
use super::{ask, report, start};
use crate::billing::case::{Case, StepTurn};
use crate::billing::gateway_step::ANOTHER_PAYMENT;
use crate::billing::{Story, later};
use crate::cleeng::{CleengError, NewPaymentDetails, PaymentSource};
use crate::flow::{Delivery, Verdict};
use crate::front::body::{self, PaymentInput};
use crate::front::reply::{self, Refusal, Reply};
use crate::front::{Desk, FrontRequest, GATEWAY_TIMEOUT};
use crate::ids::{CustomerId, PaymentMethodId};
use crate::journal::SCHEMA;
use crate::journal::record::{AttemptKind, Finish};
use crate::journal::store::Key;
use crate::journal::work::Keep;
use crate::metrics::Metric;
use crate::money::Money;

/// The path of the redirect style, behind the gateway's name (Cleeng's media store SDK).
pub const TOKENS: &str = "v1/payment_details/tokens";

/// More refusals of one customer on one day look like card testing.
pub const MAX_DECLINES_A_DAY: u32 = 10;
/// So many storings can wait for a customer; older ones cannot be finalized any more.
const MAX_WAITING: usize = 5;
/// A storing is given up after this long.
const LIFE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// How long the head is kept.
const HEAD_KEPT: std::time::Duration = std::time::Duration::from_secs(3 * 24 * 3600);
const DAY: i64 = 86_400;

/// What is known of a customer's storings.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    schema: u32,
    /// Obligations, the latest last.
    waiting: Vec<String>,
    /// Days since 1970.
    day: i64,
    /// Refusals on that day.
    declines: u32,
}

impl Head {
    fn key(customer: &CustomerId) -> Key {
        Key::new("details-head", &[customer.as_str()])
    }

    /// As it is today.
    async fn read(case: &mut Case<'_>, customer: &CustomerId) -> Story<Self> {
        let key = Self::key(customer);
        case.run.work.load(std::slice::from_ref(&key)).await?;
        let today = case.now().secs().div_euclid(DAY);
        let head = case.run.work.read::<Self>(&key)?;
        let fresh = Self { schema: SCHEMA, waiting: Vec::new(), day: today, declines: 0 };
        Ok(match head {
            Some(head) if head.day == today => head,
            Some(head) => Self { waiting: head.waiting, ..fresh },
            None => fresh,
        })
    }

    /// Stages it for the next write.
    fn stage(&self, case: &mut Case<'_>, customer: &CustomerId) -> Story<()> {
        let expires_at = Some(case.now().after(HEAD_KEPT));
        Ok(case.run.work.stage(&Self::key(customer), self, Keep { expires_at, ..Keep::default() })?)
    }
}

/// What is known of a customer's storings.
#[must_use]
pub fn head_key(customer: &CustomerId) -> Key {
    Head::key(customer)
}

/// Counts a refusal, in memory.
///
/// # Errors
/// Later, if the journal cannot be read.
pub async fn count_decline(case: &mut Case<'_>, customer: &CustomerId) -> Story<()> {
    let mut head = Head::read(case, customer).await?;
    head.declines = head.declines.saturating_add(1);
    head.stage(case, customer)
}

/// `POST /connectors/{gateway}/payment-details`, or `.../v1/payment_details/tokens`.
pub async fn start(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
    match checked_start(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn checked_start(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Result<Reply, Refusal> {
    body::check(desk, request).await?;
    let token = request.token(desk)?;
    let method = our_method(desk, request)?;
    let active = match request.body.get("active") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(active)) => *active,
        Some(_) => return Err(reply::bad_request("active must be true or false")),
    };
    let input = PaymentInput::read(desk, request, TOKENS)?;
    let customer = read_customer(desk, &token).await?;
    let print = fingerprint(&desk.world.rules.salt, &["store", &canonical(&input.wish()), method.as_str()]);
    let wanted = Snapshot {
        order: None,
        offer: None,
        customer: customer.id,
        method,
        gateway: request.gateway,
        amount: Money::new(0, customer.currency),
        expires_at: desk.world.clock.now().after(LIFE),
        fingerprint: print,
        active,
        rounds: Vec::new(),
        onward: input.back_to.onward().cloned(),
        gave_up: false,
    };
    Ok(start::start(desk, &wanted, &input, delivery).await)
}

fn our_method(desk: &Desk, request: &FrontRequest) -> Result<PaymentMethodId, Refusal> {
    let method: PaymentMethodId = body::id(request, "paymentMethodId", "paymentMethodId is missing or no id")?;
    let ours = desk.world.rules.methods.get(&method).is_some_and(|settings| settings.gateway == request.gateway);
    if ours { Ok(method) } else { Err(reply::OTHER_METHOD) }
}

/// Reads the customer with his own token: that is how he is known.
async fn read_customer(
    desk: &Desk,
    token: &crate::cleeng::mediastore::CustomerToken,
) -> Result<crate::cleeng::mediastore::Customer, Refusal> {
    if *token.publisher() != desk.world.rules.publisher {
        return Err(reply::TOKEN_INVALID);
    }
    let customer = desk.mediastore.customer(token).await.map_err(|error| match not_read(desk, error) {
        reply::ORDER_NOT_FOUND => reply::TOKEN_INVALID,
        other => other,
    })?;
    if customer.id == *token.customer() { Ok(customer) } else { Err(reply::TOKEN_INVALID) }
}

/// The obligation of a storing.
#[must_use]
pub fn details_key(wanted: &Snapshot) -> Key {
    Key::new("details", &[wanted.customer.as_str(), &wanted.fingerprint])
}

/// The story of a start.
///
/// # Errors
/// Later or parked.
pub async fn store(case: &mut Case<'_>, wanted: &Snapshot, input: &PaymentInput) -> Story<Verdict> {
    if let Some(verdict) = ended(case)
        && !is_new_wish(case, input)
    {
        return Ok(verdict);
    }
    if case.attempt().is_some() {
        let kept = snapshot(case)?;
        let answered = match position(case)? {
            Position::Waiting { .. } if is_over(case, &kept, input) => None,
            Position::Waiting { .. } => return Ok(Verdict::Settled("action")),
            Position::Pending => return Err(later("payment_pending")),
            Position::NotStarted | Position::StartUnknown => Some(ask::start(case, &kept, input).await?),
            Position::RoundUnknown(round) => Some(ask::finish(case, &kept, round).await?),
            Position::Decided(answered) => Some(answered),
        };
        let Some(answered) = answered else { return anew(case, wanted, input).await };
        return go_on(case, &kept, answered).await;
    }
    if just_refused(case, wanted) {
        return Ok(Verdict::Settled("declined"));
    }
    anew(case, wanted, input).await
}

/// Opens an attempt, in place of one whose page is over.
async fn anew(case: &mut Case<'_>, wanted: &Snapshot, input: &PaymentInput) -> Story<Verdict> {
    let mut head = Head::read(case, &wanted.customer).await?;
    if head.declines >= MAX_DECLINES_A_DAY || tries_today(case) >= MAX_ATTEMPTS {
        return Ok(Verdict::Settled("too_many_attempts"));
    }
    if case.attempt().is_some() {
        close(case, Finish::Superseded)?;
    }
    let own = case.run.key().as_str().to_owned();
    head.waiting.retain(|other| *other != own);
    head.waiting.push(own);
    while head.waiting.len() > MAX_WAITING {
        head.waiting.remove(0);
    }
    head.stage(case, &wanted.customer)?;
    ask::open(case, AttemptKind::StoreDetails, wanted)?;
    let answered = ask::start(case, wanted, input).await?;
    go_on(case, wanted, answered).await
}

/// How many attempts at this storing began within its life.
fn tries_today(case: &Case<'_>) -> usize {
    let attempts = case.run.obligation.attempts.iter();
    attempts.filter(|attempt| case.now().since(attempt.opened_at) < LIFE).count()
}

/// Whether details are to be stored anew though the same data was stored before. Where the customer enters nothing here, the same data says
/// nothing: he may have removed the details since, or choose another account at the gateway.
fn is_new_wish(case: &Case<'_>, input: &PaymentInput) -> bool {
    let stored = case.run.obligation.attempts.last().filter(|last| last.finish == Some(Finish::Stored));
    input.says_nothing() && stored.is_some_and(|last| case.now().since(last_touched(last)) >= SAME_CLICK)
}

fn ended(case: &Case<'_>) -> Option<Verdict> {
    let obligation = &case.run.obligation;
    // An attempt after one that stored is a new wish.
    if obligation.attempts.last().is_some_and(|last| last.finish == Some(Finish::Stored)) {
        return Some(Verdict::Settled("stored"));
    }
    obligation.is_blocked().then_some(Verdict::Settled("parked"))
}

/// Tells Cleeng: `POST /payment_details`. It moves no money, so that a report whose answer was lost may be made once more.
///
/// # Errors
/// Later or parked.
pub async fn report(case: &mut Case<'_>, snapshot: &Snapshot, source: PaymentSource) -> Story<Verdict> {
    match case.turn::<Value>(REPORT)? {
        StepTurn::Done(_) => {}
        StepTurn::Unknown(step) if step.repeats > 0 => return case.park("details_report_unknown", false).await,
        StepTurn::Fresh | StepTurn::Unknown(_) => post(case, snapshot, source).await?,
    }
    forget(case)?;
    case.finish(Finish::Stored).await
}

async fn post(case: &mut Case<'_>, snapshot: &Snapshot, source: PaymentSource) -> Story<()> {
    let claimed = report::claim_token(case, snapshot, &source).await?;
    let known = report::known_details(snapshot, &source);
    let PaymentSource::New { token, shown } = source else { return Err(later("token_pending")) };
    let details = NewPaymentDetails {
        customer: snapshot.customer.clone(),
        token,
        payment_method: snapshot.method.clone(),
        shown,
        active: snapshot.active,
    };
    case.begin(REPORT, None, report::REPORT_TIMEOUT).await?;
    match case.world.cleeng.create_payment_details(&details).await {
        Ok(created) => {
            report::note_token(case, claimed.as_ref(), Some(&created.id)).await?;
            report::remember_details(case, known, Some(&created.id)).await?;
            case.done(REPORT, &created.shown);
            Ok(())
        }
        Err(error @ (CleengError::Refused { .. } | CleengError::NotFound)) => {
            tracing::error!(obligation = %case.run.key(), error = %error, "Cleeng refused payment details");
            case.world.metrics.count(Metric::Warning, &[("reason", "details_refused")]);
            Err(case.park("cleeng_refused_details", false).await?)
        }
        Err(error @ CleengError::Unknown(_)) => Err(case.leave_unknown(REPORT, error.code()).await),
        Err(CleengError::Throttled { retry_after }) => Err(case.no_effect(REPORT, retry_after, "cleeng_throttled").await),
        Err(error) => Err(case.no_effect(REPORT, None, error.code()).await),
    }
}

/// `POST /connectors/{gateway}/payment-details/finalize`.
pub async fn finalize(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Reply {
    match checked_finalize(desk, request, delivery).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(Some(request.gateway)),
    }
}

async fn checked_finalize(desk: &Desk, request: &FrontRequest, delivery: &Delivery) -> Result<Reply, Refusal> {
    body::check(desk, request).await?;
    let token = request.token(desk)?;
    let method = our_method(desk, request)?;
    let back = body::brought_back(request)?;
    let customer = read_customer(desk, &token).await?;
    let waiting = waiting(desk, &customer.id).await?;
    let mut last = Told::Refused(reply::NOTHING_WAITS);
    // The request does not say which storing it belongs to. The latest comes first; the gateway's answer tells.
    for key in waiting.into_iter().rev() {
        let key = Key::from_stored(key);
        let (told, again) = finalize_patiently(desk, &key, &method, &back, delivery).await;
        last = told;
        if !again {
            break;
        }
    }
    Ok(last.reply(request.gateway))
}

async fn waiting(desk: &Desk, customer: &CustomerId) -> Result<Vec<String>, Refusal> {
    let mut work = crate::journal::work::Work::new(std::sync::Arc::clone(&desk.world.store));
    let key = Head::key(customer);
    let loaded = work.load(std::slice::from_ref(&key)).await;
    let head = loaded.and_then(|()| work.read::<Head>(&key)).map_err(|_| reply::UNAVAILABLE)?;
    Ok(head.map(|head| head.waiting).unwrap_or_default())
}

/// Hands it in for one storing. Tells also whether another one should be tried.
async fn finalize_patiently(desk: &Desk, key: &Key, method: &PaymentMethodId, back: &Value, delivery: &Delivery) -> (Told, bool) {
    let again = std::sync::atomic::AtomicBool::new(false);
    let once = || async {
        let mut case = match Case::open_alone(&desk.world, key.clone(), &[], delivery).await {
            Ok(case) => case,
            Err(verdict) => return tell::unopened(&verdict),
        };
        case.bound_calls(GATEWAY_TIMEOUT);
        let story = come_back(&mut case, method, back).await;
        let verdict = case.conclude(story).await;
        let other = matches!(verdict, Verdict::Later { reason: ANOTHER_PAYMENT, .. } | Verdict::Settled("nothing_waits"));
        again.store(other, std::sync::atomic::Ordering::SeqCst);
        tell::tell(&case, &verdict)
    };
    let told = tell::patiently(desk, once).await;
    (told, again.load(std::sync::atomic::Ordering::SeqCst))
}

/// The story of a finalize.
async fn come_back(case: &mut Case<'_>, method: &PaymentMethodId, back: &Value) -> Story<Verdict> {
    let print = ask::fingerprint_of(case, back);
    let brought = |case: &Case<'_>| case.run.obligation.attempts.last().is_some_and(|last| super::order::brought(last, &print));
    if case.attempt().is_none() {
        // The same click again is told what the first one came to; anything else may belong to another storing.
        return Ok(match ended(case) {
            Some(verdict) if brought(case) => verdict,
            None if brought(case) => Verdict::Settled("declined"),
            _ => Verdict::Settled("nothing_waits"),
        });
    }
    let kept = snapshot(case)?;
    if kept.method != *method {
        return Ok(Verdict::Settled("nothing_waits"));
    }
    hand_in(case, back, |_, _| None).await
}
