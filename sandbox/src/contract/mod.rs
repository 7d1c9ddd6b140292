//! What every gateway adapter has to keep, as checks that run against the adapter and its gateway's simulator. [`gateway_contract`](crate::gateway_contract) turns
//! them into tests, so a new adapter implements [`GatewayUnderTest`] and adds one line.
//!
//! The simulator's ledger is the truth. A check must never look at how an adapter does it: only at what it says and what the ledger says.

mod errors;
mod modifications;
mod mutations;
mod notifications;
mod payments;
mod purchases;

use connector::gateway::{
    CaptureRequest, DeclineClass, Gateway, GatewayError, GatewayText, IdempotencyKey, MerchantInitiated, Operation, OperationKind, Outcome,
    Reference, StoredToken,
};
use connector::ids::CustomerId;
use connector::money::Money;
use connector::secret::SecretString;
pub use errors::*;
pub use modifications::*;
pub use mutations::*;
pub use notifications::*;
pub use payments::*;
pub use purchases::*;

use crate::house::House;
pub use crate::house::{LedgerEntry, Posted};
use crate::peer::{PeerRequest, Road};

/// Picks calls by peer name and request, for [`Road::lay`].
pub type Chooser = fn(&str, &PeerRequest) -> bool;

/// Makes a fresh world: an adapter, its simulator, and nothing in the ledger.
pub type Make = fn() -> Box<dyn GatewayUnderTest>;

/// One of the calls that an inquiry is made of.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Picks it.
    pub picks: Chooser,
    /// Whether it is made once reads have caught up, or before.
    pub caught_up: bool,
}

/// An adapter together with its simulator.
pub trait GatewayUnderTest: Send + Sync {
    /// The adapter.
    fn gateway(&self) -> &dyn Gateway;
    /// The simulator.
    fn house(&self) -> &dyn House;
    /// The road between the two.
    fn road(&self) -> &Road;
    /// Picks the calls that write. Reads in between, where a gateway needs them, are not picked.
    fn writes(&self) -> Chooser;
    /// The customer whose details are stored.
    fn customer(&self) -> CustomerId;
    /// An amount that the gateway can express, of at least 4 minor units.
    fn amount(&self) -> Money;
    /// Stored details that work.
    fn working_token(&self) -> StoredToken;
    /// Stored details that always decline in this class; nothing if the gateway has no such decline.
    fn declining_token(&self, class: DeclineClass) -> Option<StoredToken>;
    /// Whether the gateway still has these details.
    fn is_stored(&self, token: &StoredToken) -> bool {
        self.house().is_stored(token.0.expose())
    }
    /// The ledger, oldest first, declined tries included or not.
    fn ledger(&self) -> Vec<LedgerEntry> {
        self.house().ledger()
    }
    /// Lets the gateway do what it has received.
    fn process(&self) {
        self.house().process();
    }
    /// Lets time pass until what can be read at the gateway is what is there. Nothing where it always is.
    fn let_reads_catch_up(&self) {}
    /// The calls that an inquiry is made of; none where there is no inquiry.
    fn questions(&self) -> Vec<Question> {
        Vec::new()
    }
    /// Takes the notifications since the last time.
    fn take_notifications(&self) -> Vec<Posted> {
        self.house().take_notifications()
    }
    /// A rightly signed notification of a kind that does not exist, about one of our payments.
    fn unknown_notification(&self) -> Posted;
    /// A rightly signed notification of a capture of a payment that another system made on the same account.
    fn foreign_notification(&self) -> Posted;
    /// The notification without its signature.
    fn without_signature(&self, posted: &Posted) -> Posted;
    /// The notification, changed in a field that the signature covers.
    fn forged(&self, posted: &Posted) -> Posted;
    /// The next call is answered with 429 and this `Retry-After` in seconds.
    fn throttle_next(&self, retry_after: u64);
    /// No credential of the adapter is taken any more.
    fn refuse_credentials(&self);
    /// Only the adapter's other credential is taken from now on; false where the gateway knows no second one.
    fn rotate_credentials(&self) -> bool;
    /// Texts that must never be seen: credentials, notification keys, tokens.
    fn secrets(&self) -> Vec<String>;
}

/// A broken rule, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// What a check comes to.
pub type Checked = Result<(), Violation>;

/// Turns every check into a test of the adapter that `$make` (a [`Make`]) builds.
#[macro_export]
macro_rules! gateway_contract {
    ($make:path) => {
        $crate::gateway_contract! { @tests $make:
            authorising_is_done_and_takes_no_money, charging_takes_the_money_once, the_same_key_twice_is_one_authorisation,
            another_key_is_another_authorisation, declines_have_their_class_and_no_effect,
            an_answer_lost_after_the_effect_is_unknown_and_the_same_key_finds_the_payment,
            a_call_lost_before_the_effect_is_unknown_and_the_same_key_does_it_once,
            a_server_error_after_the_effect_is_unknown_and_the_same_key_finds_the_payment,
            a_garbled_answer_is_unknown_and_the_same_key_finds_the_payment,
            an_inquiry_tells_the_truth_or_nothing,
            a_connection_that_never_came_about_is_an_error_without_effect, throttling_is_an_error_that_says_how_long,
            refused_credentials_are_an_error_without_effect, a_look_at_our_access_tells_what_calls_would_meet_and_changes_nothing,
            rotated_credentials_go_on_working, a_foreign_token_is_refused_before_any_call,
            amounts_below_zero_are_refused_before_any_call, no_secret_is_ever_told,
            a_capture_is_taken_once_under_its_key, a_capture_whose_answer_was_lost_is_taken_once, a_cancel_releases_the_hold,
            a_payment_is_cancelled_by_reference_alone, a_cancel_after_the_capture_gives_nothing_back,
            refunds_are_given_in_parts_and_each_once, a_refund_above_the_capture_is_refused, deleting_details_twice_is_done_twice,
            a_mutated_answer_never_makes_a_wrong_authorisation, a_mutated_answer_never_makes_a_wrong_charge,
            a_mutated_decline_never_makes_a_payment, a_mutated_answer_never_makes_a_wrong_capture,
            a_mutated_answer_never_makes_a_wrong_cancel, a_mutated_answer_never_makes_a_wrong_refund,
            a_mutated_answer_never_makes_a_wrong_inquiry, a_mutated_answer_never_makes_a_wrong_start,
            a_mutated_answer_never_makes_a_wrong_finish,
            notifications_tell_what_became_of_each_operation, a_repeated_notification_has_the_same_dedupe_key,
            a_forged_or_broken_notification_is_refused, what_is_unknown_or_not_ours_is_ignored,
        }
    };
    (@tests $make:path: $($check:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                assert_eq!($crate::contract::$check($make).await, Ok(()));
            }
        )*
    };
}

/// What an adapter answered.
type Answered = Result<Outcome, GatewayError>;

fn ensure(holds: bool, otherwise: impl Into<String>) -> Checked {
    if holds { Ok(()) } else { Err(Violation(otherwise.into())) }
}

/// An answer in words, without anything that could be a secret.
fn describe(answered: &Answered) -> String {
    match answered {
        Ok(Outcome::Declined(decline)) => format!("declined ({decline})"),
        Ok(Outcome::Unknown(cause)) => format!("unknown ({cause})"),
        Ok(outcome) => outcome.as_str().to_owned(),
        Err(error) => format!("error ({error})"),
    }
}

fn key(kind: OperationKind, number: u32) -> IdempotencyKey {
    let salt = SecretString::new("a salt that only the contract uses");
    IdempotencyKey::derive(&salt, GatewayText("contract"), kind, "obligation", &number.to_string())
}

/// A payment with working details; the number makes the key.
fn payment(world: &dyn GatewayUnderTest, token: StoredToken, number: u32) -> MerchantInitiated {
    let key = key(OperationKind::Authorise, number);
    MerchantInitiated { reference: Reference::from_key(&key), key, amount: world.amount(), token, customer: world.customer() }
}

fn done(answered: Answered) -> Result<Operation, Violation> {
    match answered {
        Ok(Outcome::Done(operation)) => Ok(operation),
        other => Err(Violation(format!("expected done, got {}", describe(&other)))),
    }
}

fn done_or_received(answered: Answered) -> Result<Operation, Violation> {
    match answered {
        Ok(Outcome::Done(operation) | Outcome::Received(operation)) => Ok(operation),
        other => Err(Violation(format!("expected done or received, got {}", describe(&other)))),
    }
}

fn ensure_unknown(answered: &Answered) -> Checked {
    ensure(matches!(answered, Ok(Outcome::Unknown(_))), format!("expected unknown, got {}", describe(answered)))
}

fn authorised(world: &dyn GatewayUnderTest) -> usize {
    world.ledger().iter().filter(|entry| entry.authorised).count()
}

/// The ledger's only authorised payment.
fn only_payment(world: &dyn GatewayUnderTest) -> Result<LedgerEntry, Violation> {
    let mut entries: Vec<_> = world.ledger().into_iter().filter(|entry| entry.authorised).collect();
    match (entries.pop(), entries.len()) {
        (Some(entry), 0) => Ok(entry),
        (_, others) => Err(Violation(format!("expected one authorised payment in the ledger; besides the last there are {others}"))),
    }
}

/// Authorises a payment and returns the ledger's word.
async fn authorise(world: &dyn GatewayUnderTest, number: u32) -> Result<LedgerEntry, Violation> {
    let operation = done(world.gateway().authorise(&payment(world, world.working_token(), number)).await)?;
    let reference = Reference::from_key(&key(OperationKind::Authorise, number));
    let entry = world.ledger().into_iter().find(|entry| entry.reference == reference.as_str());
    let entry = entry.ok_or_else(|| Violation("the ledger has no payment of this reference".to_owned()))?;
    ensure(operation.external_payment_id.as_ref() == Some(&entry.external_payment_id), "the id is not the ledger's")?;
    Ok(entry)
}

fn capture_of(entry: &LedgerEntry, number: u32) -> Result<CaptureRequest, Violation> {
    let reference = Reference::parse(&entry.reference).ok_or_else(|| Violation("the ledger's reference is not ours".to_owned()))?;
    let external_payment_id = entry.external_payment_id.clone();
    Ok(CaptureRequest {
        key: key(OperationKind::Capture, number),
        reference,
        external_payment_id,
        amount: entry.amount,
        authorised_at: None,
    })
}

/// Authorises, captures and lets the gateway do it; returns the ledger's word.
async fn captured(world: &dyn GatewayUnderTest, number: u32) -> Result<LedgerEntry, Violation> {
    let entry = authorise(world, number).await?;
    done_or_received(world.gateway().capture(&capture_of(&entry, number)?).await)?;
    world.process();
    let reference = entry.reference;
    let entry = world.ledger().into_iter().find(|now| now.reference == reference);
    let entry = entry.ok_or_else(|| Violation("the payment left the ledger".to_owned()))?;
    ensure(entry.captured == entry.amount, "the capture did not take the amount")?;
    Ok(entry)
}
