//! Requests to an adapter under test, and readers of its outcomes.

use connector::gateway::{
    CancelRequest, CancelTarget, CaptureRequest, Decline, FinalizeRequest, GatewayError, GatewayText, IdempotencyKey, MerchantInitiated,
    Operation, OperationKind, Outcome, PurchaseRequest, Reference, RefundRequest, StoredToken,
};
use connector::ids::{CustomerId, ExternalPaymentId};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::testkit::contract::GatewayUnderTest;
use serde_json::Value;

/// The customer whose details are stored.
pub(crate) const CUSTOMER: &str = "332332332";

pub(crate) fn token(text: &str) -> StoredToken {
    StoredToken(SecretString::new(text))
}

pub(crate) fn money(minor: i64, code: &str) -> Money {
    Money::new(minor, Currency::new(code).unwrap())
}

pub(crate) fn key(kind: OperationKind, attempt: &str) -> IdempotencyKey {
    IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("gateway"), kind, "obligation", attempt)
}

pub(crate) fn customer() -> CustomerId {
    CustomerId::new(CUSTOMER).unwrap()
}

pub(crate) fn id(text: &str) -> ExternalPaymentId {
    ExternalPaymentId::new(text).unwrap()
}

/// A payment without the customer.
pub(crate) fn payment(amount: Money, details: &str, attempt: &str) -> MerchantInitiated {
    let key = key(OperationKind::Authorise, attempt);
    MerchantInitiated { reference: Reference::from_key(&key), key, amount, token: token(details), customer: customer() }
}

pub(crate) fn capture(amount: Money, authorisation: &ExternalPaymentId, attempt: &str) -> CaptureRequest {
    CaptureRequest {
        key: key(OperationKind::Capture, attempt),
        reference: Reference::from_key(&key(OperationKind::Authorise, attempt)),
        external_payment_id: authorisation.clone(),
        amount,
        authorised_at: None,
    }
}

pub(crate) fn cancel(attempt: &str, target: CancelTarget) -> CancelRequest {
    let reference = Reference::from_key(&key(OperationKind::Authorise, attempt));
    CancelRequest { key: key(OperationKind::Cancel, attempt), reference, target }
}

pub(crate) fn refund(amount: Money, captured: Money, capture: &ExternalPaymentId, attempt: &str) -> RefundRequest {
    let key = key(OperationKind::Refund, attempt);
    RefundRequest { reference: Reference::from_key(&key), key, external_payment_id: capture.clone(), amount, captured }
}

/// A purchase with this payment data of the page.
pub(crate) fn purchase_with(payment_data: Value, amount: Money, attempt: &str) -> PurchaseRequest {
    let key = key(OperationKind::Purchase, attempt);
    PurchaseRequest {
        reference: Reference::from_key(&key),
        key,
        amount,
        customer: customer(),
        payment_data,
        store: true,
        return_url: "https://shop.test/back?orderId=1".to_owned(),
        cancel_url: Some("https://shop.test/cancelled".to_owned()),
        origin: Some("https://shop.test".to_owned()),
        customer_ip: None,
        customer_email: None,
    }
}

pub(crate) fn finalize(purchase: &PurchaseRequest, started: Option<&str>, details: Value) -> FinalizeRequest {
    FinalizeRequest {
        key: key(OperationKind::Purchase, &format!("finalize {details}")),
        reference: purchase.reference.clone(),
        amount: purchase.amount,
        customer: purchase.customer.clone(),
        external_payment_id: None,
        pending_id: started.map(str::to_owned),
        details,
    }
}

pub(crate) fn done(answered: Result<Outcome, GatewayError>) -> Operation {
    match answered {
        Ok(Outcome::Done(operation)) => operation,
        other => panic!("expected done, got {}", describe(&other)),
    }
}

pub(crate) fn received(answered: Result<Outcome, GatewayError>) -> Operation {
    match answered {
        Ok(Outcome::Received(operation)) => operation,
        other => panic!("expected received, got {}", describe(&other)),
    }
}

pub(crate) fn declined(answered: Result<Outcome, GatewayError>) -> Decline {
    match answered {
        Ok(Outcome::Declined(decline)) => decline,
        other => panic!("expected declined, got {}", describe(&other)),
    }
}

pub(crate) fn unknown(answered: Result<Outcome, GatewayError>) -> connector::gateway::UnknownCause {
    match answered {
        Ok(Outcome::Unknown(cause)) => cause,
        other => panic!("expected unknown, got {}", describe(&other)),
    }
}

/// The redirect of the customer, and the id of the pending payment.
pub(crate) fn action(answered: Result<Outcome, GatewayError>) -> (Value, Operation) {
    match answered {
        Ok(Outcome::ActionRequired(action, operation)) => (action.payload, operation),
        other => panic!("expected an action, got {}", describe(&other)),
    }
}

fn describe(answered: &Result<Outcome, GatewayError>) -> String {
    match answered {
        Ok(Outcome::Declined(decline)) => format!("declined ({decline})"),
        Ok(Outcome::Unknown(cause)) => format!("unknown ({cause})"),
        Ok(outcome) => outcome.as_str().to_owned(),
        Err(error) => format!("error ({error})"),
    }
}

/// Authorises and returns the id of the authorisation.
pub(crate) async fn authorise(world: &dyn GatewayUnderTest, attempt: &str) -> ExternalPaymentId {
    let request = payment(world.amount(), world.working_token().0.expose(), attempt);
    done(world.gateway().authorise(&request).await).external_payment_id.unwrap()
}

/// Authorises and captures; the id of the capture.
pub(crate) async fn captured(world: &dyn GatewayUnderTest, attempt: &str) -> ExternalPaymentId {
    let authorisation = authorise(world, attempt).await;
    done(world.gateway().capture(&capture(world.amount(), &authorisation, attempt)).await).external_payment_id.unwrap()
}

/// What is taken and kept in all, in minor units.
pub(crate) fn taken(world: &dyn GatewayUnderTest) -> i64 {
    world.ledger().iter().map(|entry| entry.captured.checked_sub(entry.refunded).unwrap().minor).sum()
}
