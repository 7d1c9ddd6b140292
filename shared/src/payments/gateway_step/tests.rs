use super::*;
use crate::gateway::{CancelRequest, CancelTarget, CaptureRequest, GatewayText, MerchantInitiated, RefundRequest};
use crate::money::{Currency, Money};
use crate::secret::SecretString;

fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::new("EUR").unwrap())
}

fn external() -> ExternalPaymentId {
    ExternalPaymentId::new("AUTH1").unwrap()
}

fn key_and_reference(operation: OperationKind) -> (IdempotencyKey, Reference) {
    let key = IdempotencyKey::derive(&SecretString::new("salt"), GatewayText("adyen"), operation, "period#1#2", "1");
    let reference = Reference::from_key(&key);
    (key, reference)
}

fn authorise() -> Authorise {
    let (key, reference) = key_and_reference(OperationKind::Authorise);
    let (token, customer) = (crate::gateway::StoredToken(SecretString::new("t")), crate::ids::CustomerId::new("7").unwrap());
    Authorise(MerchantInitiated { key, reference, amount: eur(999), token, customer })
}

fn capture() -> CaptureRequest {
    let (key, reference) = key_and_reference(OperationKind::Capture);
    CaptureRequest { key, reference, external_payment_id: external(), amount: eur(999), authorised_at: None }
}

fn refund() -> RefundRequest {
    let (key, reference) = key_and_reference(OperationKind::Refund);
    RefundRequest { key, reference, external_payment_id: external(), amount: eur(999), captured: eur(5_000) }
}

fn cancel() -> CancelRequest {
    let (key, reference) = key_and_reference(OperationKind::Cancel);
    CancelRequest { key, reference, target: CancelTarget::Payment(external()) }
}

fn operation(amount: Option<Money>, id: Option<ExternalPaymentId>) -> Operation {
    Operation { amount, external_payment_id: id, ..Operation::default() }
}

fn believes_only_its_own_amount(call: &impl GatewayCall) {
    let operation_kind = call.inquiry().operation.as_str();
    for (amount, believed) in [(Some(eur(999)), true), (None, true), (Some(eur(998)), false), (Some(eur(9_990)), false)] {
        assert_eq!(answer_matches(call, &operation(amount, Some(external()))), believed, "{operation_kind} {amount:?}");
    }
    let other = Money::new(999, Currency::new("USD").unwrap());
    assert!(!answer_matches(call, &operation(Some(other), Some(external()))), "{operation_kind}");
}

#[test]
fn an_answer_about_another_amount_is_not_believed() {
    believes_only_its_own_amount(&authorise());
    believes_only_its_own_amount(&capture());
    believes_only_its_own_amount(&refund());
    assert!(answer_matches(&cancel(), &operation(Some(eur(1)), None)), "a cancel asks for no amount");
}

#[test]
fn an_answer_to_what_makes_a_payment_has_to_name_it() {
    let unnamed = operation(None, None);
    assert!(!answer_matches(&authorise(), &operation(Some(eur(999)), None)));
    assert!(answer_matches(&capture(), &unnamed) && answer_matches(&refund(), &unnamed) && answer_matches(&cancel(), &unnamed));
}
