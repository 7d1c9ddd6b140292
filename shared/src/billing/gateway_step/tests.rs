use super::*;
use crate::gateway::{CancelTarget, GatewayText};
use crate::money::Currency;
use crate::secret::SecretString;

fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::new("EUR").unwrap())
}

fn external() -> ExternalPaymentId {
    ExternalPaymentId::new("AUTH1").unwrap()
}

fn named(operation: OperationKind) -> (IdempotencyKey, Reference) {
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), operation, "period#1#2", "1");
    let reference = Reference::from_key(&key);
    (key, reference)
}

fn authorise() -> Call {
    let (key, reference) = named(OperationKind::Authorise);
    let (token, customer) = (crate::gateway::StoredToken(SecretString::new("t")), crate::ids::CustomerId::new("7").unwrap());
    Call::Authorise(MerchantInitiated { key, reference, amount: eur(999), token, customer })
}

fn capture() -> Call {
    let (key, reference) = named(OperationKind::Capture);
    Call::Capture(CaptureRequest { key, reference, external_payment_id: external(), amount: eur(999), authorised_at: None })
}

fn refund() -> Call {
    let (key, reference) = named(OperationKind::Refund);
    Call::Refund(RefundRequest { key, reference, external_payment_id: external(), amount: eur(999), captured: eur(5_000) })
}

fn cancel() -> Call {
    let (key, reference) = named(OperationKind::Cancel);
    Call::Cancel(CancelRequest { key, reference, target: CancelTarget::Payment(external()) })
}

fn says(amount: Option<Money>, id: Option<ExternalPaymentId>) -> Operation {
    Operation { amount, external_payment_id: id, ..Operation::default() }
}

#[test]
fn an_answer_about_another_amount_is_not_believed() {
    for call in [authorise(), capture(), refund()] {
        for (amount, believed) in [(Some(eur(999)), true), (None, true), (Some(eur(998)), false), (Some(eur(9_990)), false)] {
            assert_eq!(fits(&call, &says(amount, Some(external()))), believed, "{} {amount:?}", call.operation().as_str());
        }
        let other = Money::new(999, Currency::new("USD").unwrap());
        assert!(!fits(&call, &says(Some(other), Some(external()))), "{}", call.operation().as_str());
    }
    assert!(fits(&cancel(), &says(Some(eur(1)), None)), "a cancel asks for no amount");
}

#[test]
fn an_answer_to_what_makes_a_payment_has_to_name_it() {
    assert!(!fits(&authorise(), &says(Some(eur(999)), None)));
    for call in [capture(), refund(), cancel()] {
        assert!(fits(&call, &says(None, None)), "{}", call.operation().as_str());
    }
}
