//! What every gateway adapter has to keep, as checks that run against the adapter and its gateway's simulator. [`gateway_contract`](crate::gateway_contract) turns
//! them into tests, so a new adapter implements [`GatewayUnderTest`] and adds one line.
//!
//! The simulator's ledger is the truth. A check must never look at how an adapter works: only at what it returns and what the ledger says.

mod errors;
mod modifications;
mod mutations;
mod notifications;
mod payments;
mod purchases;

use connector::gateway::{
    CaptureRequest, DeclineClass, Gateway, GatewayError, GatewayName, GatewayText, IdempotencyKey, MerchantInitiated, Operation,
    OperationKind, Outcome, Reference, StoredToken,
};
use connector::http::Method;
use connector::ids::CustomerId;
use connector::money::Money;
use connector::secret::SecretString;
pub use errors::*;
pub use modifications::*;
pub use mutations::*;
pub use notifications::*;
pub use payments::*;
pub use purchases::*;

use crate::expect::expect_fixture;
use crate::simulators::network::{FaultyNetwork, ServerRequest};
use crate::simulators::simulated_gateway::SimulatedGateway;
pub use crate::simulators::simulated_gateway::{LedgerEntry, NotificationRequest};

/// Picks calls by peer name and request, for [`FaultyNetwork::inject`].
pub type RequestMatcher = fn(&str, &ServerRequest) -> bool;

/// Makes a fresh world: an adapter, its simulator, and nothing in the ledger.
pub type GatewayFactory = fn() -> Box<dyn GatewayUnderTest>;

/// One of the calls that an inquiry is made of.
#[derive(Clone, Copy, Debug)]
pub struct InquiryCall {
    /// Picks it.
    pub matcher: RequestMatcher,
    /// Whether it is made once reads have caught up, or before.
    pub after_catch_up: bool,
}

/// What every adapter under test consists of.
pub struct TestedParts<'a> {
    /// The adapter.
    pub gateway: &'a dyn Gateway,
    /// The simulator.
    pub simulator: &'a dyn SimulatedGateway,
    /// The network between the two.
    pub network: &'a FaultyNetwork,
    /// An amount that the gateway can express, of at least 4 minor units.
    pub amount: Money,
    /// The customer whose details are stored.
    pub customer: &'static str,
    /// Stored details that work, as the adapter writes them.
    pub working_token: String,
}

/// An adapter together with its simulator.
pub trait GatewayUnderTest: Send + Sync {
    /// What it consists of.
    fn parts(&self) -> TestedParts<'_>;
    /// The adapter.
    fn gateway(&self) -> &dyn Gateway {
        self.parts().gateway
    }
    /// The simulator.
    fn simulator(&self) -> &dyn SimulatedGateway {
        self.parts().simulator
    }
    /// The network between the two.
    fn network(&self) -> &FaultyNetwork {
        self.parts().network
    }
    /// Picks the calls that write. Reads in between, where a gateway needs them, are not picked.
    fn write_matcher(&self) -> RequestMatcher {
        |_, request| request.method == Method::POST
    }
    /// The customer whose details are stored.
    fn customer(&self) -> CustomerId {
        expect_fixture(CustomerId::new(self.parts().customer).ok())
    }
    /// An amount that the gateway can express, of at least 4 minor units.
    fn amount(&self) -> Money {
        self.parts().amount
    }
    /// Stored details that work.
    fn working_token(&self) -> StoredToken {
        StoredToken(SecretString::new(self.parts().working_token))
    }
    /// Stored details that always decline in this class; `None` if the gateway has no such decline.
    fn declining_token(&self, class: DeclineClass) -> Option<StoredToken>;
    /// Whether the gateway still has these details.
    fn has_stored_details(&self, token: &StoredToken) -> bool {
        self.simulator().has_stored_details(token.0.expose())
    }
    /// The ledger, oldest first, declined tries included or not.
    fn ledger(&self) -> Vec<LedgerEntry> {
        self.simulator().ledger()
    }
    /// Lets the gateway do what it has received.
    fn process(&self) {
        self.simulator().process();
    }
    /// Lets time pass until reads are consistent. Does nothing if reads always are.
    fn wait_for_consistent_reads(&self) {}
    /// The calls that an inquiry is made of; none where there is no inquiry.
    fn inquiry_calls(&self) -> Vec<InquiryCall> {
        Vec::new()
    }
    /// Takes the notifications since the last time.
    fn take_notifications(&self) -> Vec<NotificationRequest> {
        self.simulator().take_notifications()
    }
    /// A rightly signed notification of a kind that does not exist, about one of our payments.
    fn unknown_notification(&self) -> NotificationRequest;
    /// A rightly signed notification of a capture of a payment that another system made on the same account.
    fn foreign_notification(&self) -> NotificationRequest;
    /// The notification without its signature.
    fn without_signature(&self, notification: &NotificationRequest) -> NotificationRequest;
    /// The notification, changed in a field that the signature covers.
    fn with_forged_field(&self, notification: &NotificationRequest) -> NotificationRequest;
    /// The next call is answered with 429 and this `Retry-After` in seconds.
    fn throttle_next(&self, retry_after: u64);
    /// No credential of the adapter is taken any more.
    fn revoke_credentials(&self);
    /// Only the adapter's other credential is taken from now on; false where the gateway knows no second one.
    fn rotate_credentials(&self) -> bool;
    /// Texts that must never be seen: credentials, notification keys, tokens.
    fn secrets(&self) -> Vec<String>;
}

/// A broken rule, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContractFailure(pub String);

impl ContractFailure {
    /// The same with the gateway and the check in front.
    #[must_use]
    pub fn of_check(self, check: &str, factory: GatewayFactory) -> Self {
        self.within(&format!("{}: {check}", factory().gateway().name()))
    }

    /// The same with the scenario in front.
    fn within(self, scenario: &str) -> Self {
        Self(format!("{scenario}: {}", self.0))
    }
}

/// What a check comes to.
pub type ContractResult = Result<(), ContractFailure>;

/// Turns every check into a test of the adapter that `$make` (a [`GatewayFactory`]) builds.
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
            an_inquiry_reports_the_truth_or_nothing,
            a_connection_that_fails_is_an_error_without_effect, throttling_is_an_error_that_says_how_long,
            refused_credentials_are_an_error_without_effect, checking_access_reports_what_calls_would_meet_and_changes_nothing,
            rotated_credentials_keep_working, a_foreign_token_is_refused_before_any_call,
            amounts_below_zero_are_refused_before_any_call, no_error_contains_a_secret,
            a_capture_is_taken_once_under_its_key, a_capture_whose_answer_was_lost_is_taken_once, a_cancel_releases_the_hold,
            a_payment_is_cancelled_by_reference_alone, a_cancel_after_the_capture_refunds_nothing,
            refunds_are_made_in_parts_and_each_once, a_refund_above_the_capture_is_refused, deleting_details_twice_is_done_twice,
            a_mutated_answer_never_makes_a_wrong_authorisation, a_mutated_answer_never_makes_a_wrong_charge,
            a_mutated_decline_never_makes_a_payment, a_mutated_answer_never_makes_a_wrong_capture,
            a_mutated_answer_never_makes_a_wrong_cancel, a_mutated_answer_never_makes_a_wrong_refund,
            a_mutated_answer_never_makes_a_wrong_inquiry, a_mutated_answer_never_makes_a_wrong_start,
            a_mutated_answer_never_makes_a_wrong_finish, stored_details_in_the_data_of_a_page_never_reach_the_gateway,
            notifications_report_the_result_of_each_operation, a_repeated_notification_has_the_same_dedupe_key,
            a_forged_or_broken_notification_is_refused, what_is_not_ours_is_ignored_and_what_is_unknown_is_said_so,
        }
    };
    (@tests $make:path: $($check:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                let outcome = $crate::testkit::contract::$check($make).await;
                assert_eq!(outcome.map_err(|failure| failure.of_check(stringify!($check), $make)), Ok(()));
            }
        )*
    };
}

/// What an adapter answered.
type CallResult = Result<Outcome, GatewayError>;

fn ensure(holds: bool, otherwise: impl Into<String>) -> ContractResult {
    if holds { Ok(()) } else { Err(ContractFailure(otherwise.into())) }
}

/// An answer in words, without anything that could be a secret.
fn describe(answered: &CallResult) -> String {
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
fn payment_request(world: &dyn GatewayUnderTest, token: StoredToken, number: u32) -> MerchantInitiated {
    let key = key(OperationKind::Authorise, number);
    MerchantInitiated { reference: Reference::from_key(&key), key, amount: world.amount(), token, customer: world.customer() }
}

fn unexpected(operation: &str, expected: &str, answered: &CallResult) -> ContractFailure {
    ContractFailure(format!("{operation}: expected {expected}, got {}", describe(answered)))
}

fn expect_done(operation: &str, answered: CallResult) -> Result<Operation, ContractFailure> {
    match answered {
        Ok(Outcome::Done(done)) => Ok(done),
        other => Err(unexpected(operation, "done", &other)),
    }
}

fn expect_done_or_received(operation: &str, answered: CallResult) -> Result<Operation, ContractFailure> {
    match answered {
        Ok(Outcome::Done(known) | Outcome::Received(known)) => Ok(known),
        other => Err(unexpected(operation, "done or received", &other)),
    }
}

/// The result of a charge: done; or received, if the gateway's charges settle later.
fn expect_charged(world: &dyn GatewayUnderTest, answered: CallResult) -> Result<Operation, ContractFailure> {
    if world.gateway().capabilities().charges_settle_later {
        expect_done_or_received("charge", answered)
    } else {
        expect_done("charge", answered)
    }
}

/// Whether a charge took the money, as far as the gateway takes it without a capture of its own.
fn is_charged(world: &dyn GatewayUnderTest, entry: &LedgerEntry) -> bool {
    let captured = if world.gateway().capabilities().takes_by_capture { 0 } else { entry.amount.minor };
    entry.authorised && entry.captured.minor == captured
}

fn expect_unknown(operation: &str, answered: &CallResult) -> ContractResult {
    if matches!(answered, Ok(Outcome::Unknown(_))) { Ok(()) } else { Err(unexpected(operation, "unknown", answered)) }
}

/// Says in the test's output what a check leaves out because the gateway has no such thing.
#[expect(clippy::print_stderr, reason = "the output of a test")]
pub fn report_skipped(gateway: GatewayName, what: &str) {
    eprintln!("skipped at {gateway}: {what}");
}

/// How often the gateway was asked to release an authorisation.
fn release_count(world: &dyn GatewayUnderTest) -> usize {
    world.network().calls().iter().filter(|call| world.simulator().is_release(&call.method, &call.path)).count()
}

fn authorised_count(world: &dyn GatewayUnderTest) -> usize {
    world.ledger().iter().filter(|entry| entry.authorised).count()
}

/// The ledger's only authorised payment.
fn expect_only_payment(world: &dyn GatewayUnderTest) -> Result<LedgerEntry, ContractFailure> {
    let mut entries: Vec<_> = world.ledger().into_iter().filter(|entry| entry.authorised).collect();
    match (entries.pop(), entries.len()) {
        (Some(entry), 0) => Ok(entry),
        (_, others) => Err(ContractFailure(format!("expected one authorised payment in the ledger; besides the last there are {others}"))),
    }
}

/// Authorises a payment and returns the ledger's entry.
async fn authorise(world: &dyn GatewayUnderTest, number: u32) -> Result<LedgerEntry, ContractFailure> {
    let operation = expect_done("authorise", world.gateway().authorise(&payment_request(world, world.working_token(), number)).await)?;
    let reference = Reference::from_key(&key(OperationKind::Authorise, number));
    let entry = world.ledger().into_iter().find(|entry| entry.reference == reference.as_str());
    let entry = entry.ok_or_else(|| ContractFailure("the ledger has no payment of this reference".to_owned()))?;
    ensure(operation.external_payment_id.as_ref() == Some(&entry.external_payment_id), "the id is not the ledger's")?;
    Ok(entry)
}

fn capture_request(entry: &LedgerEntry, number: u32) -> Result<CaptureRequest, ContractFailure> {
    let reference = Reference::parse(&entry.reference).ok_or_else(|| ContractFailure("the ledger's reference is not ours".to_owned()))?;
    let external_payment_id = entry.external_payment_id.clone();
    Ok(CaptureRequest {
        key: key(OperationKind::Capture, number),
        reference,
        external_payment_id,
        amount: entry.amount,
        authorised_at: None,
    })
}

/// Authorises, captures and lets the gateway do it; returns the ledger's entry.
async fn authorise_and_capture(world: &dyn GatewayUnderTest, number: u32) -> Result<LedgerEntry, ContractFailure> {
    let entry = authorise(world, number).await?;
    expect_done_or_received("capture", world.gateway().capture(&capture_request(&entry, number)?).await)?;
    world.process();
    let reference = entry.reference;
    let entry = world.ledger().into_iter().find(|now| now.reference == reference);
    let entry = entry.ok_or_else(|| ContractFailure("the payment left the ledger".to_owned()))?;
    ensure(entry.captured == entry.amount, "the capture did not take the amount")?;
    Ok(entry)
}
