//! Authorise and charge.

use connector::gateway::{DeclineClass, InquiryRequest, OperationKind, Outcome, UnknownCause};

use crate::simulators::network::Fault;
use crate::testkit::contract::{
    ContractResult, GatewayFactory, GatewayUnderTest, authorise, authorised_count, describe, ensure, expect_charged, expect_done,
    expect_only_payment, expect_unknown, is_charged, payment_request, report_skipped,
};

/// `Done` with the ledger's id and amount; a hold and no more.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn authorising_is_done_and_takes_no_money(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let operation = expect_done("authorise", world.gateway().authorise(&payment_request(world.as_ref(), world.working_token(), 1)).await)?;
    world.process();
    let entry = expect_only_payment(world.as_ref())?;
    ensure(operation.external_payment_id == Some(entry.external_payment_id), "the id is not the ledger's")?;
    ensure(operation.amount.is_none_or(|amount| amount == world.amount()), "the amount is not the order's")?;
    ensure(entry.amount == world.amount(), "the ledger has another amount than the order")?;
    ensure(entry.captured.is_zero(), "an authorisation took money")
}

/// `Done` means that the money is taken; if the gateway's charges settle later, it is taken once the gateway has processed it.
///
/// # Errors
/// The broken rule.
pub async fn charging_takes_the_money_once(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let request = payment_request(world.as_ref(), world.working_token(), 1);
    let first = expect_charged(world.as_ref(), world.gateway().charge(&request).await)?;
    let second = expect_charged(world.as_ref(), world.gateway().charge(&request).await)?;
    world.process();
    let entry = expect_only_payment(world.as_ref())?;
    ensure(entry.amount == world.amount() && is_charged(world.as_ref(), &entry), "the charge did not take exactly the amount")?;
    ensure(first.external_payment_id.as_ref() == Some(&entry.external_payment_id), "the id is not the ledger's")?;
    ensure(first.external_payment_id == second.external_payment_id, "the second answer names another payment")
}

/// Twice the same key: one payment, and the same answer.
///
/// # Errors
/// The broken rule.
pub async fn the_same_key_twice_is_one_authorisation(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let request = payment_request(world.as_ref(), world.working_token(), 1);
    let first = expect_done("authorise", world.gateway().authorise(&request).await)?;
    let second = expect_done("authorise", world.gateway().authorise(&request).await)?;
    expect_only_payment(world.as_ref())?;
    ensure(first.external_payment_id == second.external_payment_id, "the second answer names another payment")?;
    ensure(first.amount == second.amount, "the second answer has another amount")
}

/// Another attempt is another payment.
///
/// # Errors
/// The broken rule.
pub async fn another_key_is_another_authorisation(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let first = authorise(world.as_ref(), 1).await?;
    let second = authorise(world.as_ref(), 2).await?;
    ensure(first.external_payment_id != second.external_payment_id, "two payments have one id")
}

/// A decline is `Declined` in its class, the same under the same key, and holds nothing. At least a soft and a hard one must exist.
///
/// # Errors
/// The broken rule.
pub async fn declines_have_their_class_and_no_effect(factory: GatewayFactory) -> ContractResult {
    for (number, class) in (1_u32..).zip(DeclineClass::ALL.iter().copied()) {
        let world = factory();
        let Some(token) = world.declining_token(class) else {
            ensure(!matches!(class, DeclineClass::Soft | DeclineClass::Hard), "a gateway must know soft and hard declines")?;
            report_skipped(world.gateway().name(), &format!("declines of class {}", class.as_str()));
            continue;
        };
        let request = payment_request(world.as_ref(), token, number);
        for _ in 0..2 {
            let answered = world.gateway().authorise(&request).await;
            let fits = matches!(&answered, Ok(Outcome::Declined(decline)) if decline.class == class && !decline.code.is_empty());
            ensure(fits, format!("expected a decline of class {}, got {}", class.as_str(), describe(&answered)))?;
        }
        let charged = world.gateway().charge(&payment_request(world.as_ref(), request.token.clone(), 100)).await;
        ensure(matches!(charged, Ok(Outcome::Declined(_))), format!("expected a declined charge, got {}", describe(&charged)))?;
        world.process();
        ensure(authorised_count(world.as_ref()) == 0, "a declined payment is authorised in the ledger")?;
    }
    Ok(())
}

/// The fault, then the same key: unknown first, then done; one payment in all.
async fn same_key_settles(factory: GatewayFactory, (name, fault): (&str, Fault), expected: fn(&UnknownCause) -> bool) -> ContractResult {
    for charging in [false, true] {
        let operation = if charging { "charge" } else { "authorise" };
        let settled = same_key_settles_one(factory(), operation, fault.clone(), expected).await;
        settled.map_err(|failure| failure.within(&format!("{operation} with {name}")))?;
    }
    Ok(())
}

async fn same_key_settles_one(
    world: Box<dyn GatewayUnderTest>,
    operation: &str,
    fault: Fault,
    expected: fn(&UnknownCause) -> bool,
) -> ContractResult {
    let charging = operation == "charge";
    let request = payment_request(world.as_ref(), world.working_token(), 1);
    world.network().inject(fault, world.write_matcher());
    let first = if charging { world.gateway().charge(&request).await } else { world.gateway().authorise(&request).await };
    expect_unknown(operation, &first)?;
    let cause = matches!(&first, Ok(Outcome::Unknown(cause)) if expected(cause));
    ensure(cause, format!("the cause is another one: {}", describe(&first)))?;
    let done = if charging {
        expect_charged(world.as_ref(), world.gateway().charge(&request).await)?
    } else {
        expect_done(operation, world.gateway().authorise(&request).await)?
    };
    world.process();
    let entry = expect_only_payment(world.as_ref())?;
    ensure(done.external_payment_id.as_ref() == Some(&entry.external_payment_id), "the id is not the ledger's")?;
    ensure(!charging || is_charged(world.as_ref(), &entry), "the money was not taken exactly once")
}

/// Timeout after the effect.
///
/// # Errors
/// The broken rule.
pub async fn an_answer_lost_after_the_effect_is_unknown_and_the_same_key_finds_the_payment(factory: GatewayFactory) -> ContractResult {
    same_key_settles(factory, ("a timeout after the effect", Fault::TimeoutAfter), |cause| matches!(cause, UnknownCause::NoAnswer(_))).await
}

/// Timeout before the effect.
///
/// # Errors
/// The broken rule.
pub async fn a_call_lost_before_the_effect_is_unknown_and_the_same_key_does_it_once(factory: GatewayFactory) -> ContractResult {
    same_key_settles(factory, ("a timeout before the effect", Fault::TimeoutBefore), |cause| matches!(cause, UnknownCause::NoAnswer(_)))
        .await
}

/// Status 5xx although it happened.
///
/// # Errors
/// The broken rule.
pub async fn a_server_error_after_the_effect_is_unknown_and_the_same_key_finds_the_payment(factory: GatewayFactory) -> ContractResult {
    for status in [500, 502, 503, 504] {
        same_key_settles(factory, (&format!("status {status} after the effect"), Fault::StatusAfter(status)), |cause| {
            matches!(cause, UnknownCause::ServerError(_))
        })
        .await?;
    }
    Ok(())
}

/// A success without a readable body, and statuses that no gateway documents.
///
/// # Errors
/// The broken rule.
pub async fn a_garbled_answer_is_unknown_and_the_same_key_finds_the_payment(factory: GatewayFactory) -> ContractResult {
    for status in [200, 201, 204, 302, 400, 404, 409, 418, 422] {
        same_key_settles(factory, (&format!("status {status} after the effect"), Fault::StatusAfter(status)), |cause| {
            matches!(cause, UnknownCause::Unreadable)
        })
        .await?;
    }
    Ok(())
}

/// What an inquiry says of a payment that happened, and of one that did not, is the ledger's word, or nothing. Nothing means that the same call
/// under the same key is right; a gateway that can be asked finds what happened once its reads have caught up.
///
/// # Errors
/// The broken rule.
pub async fn an_inquiry_reports_the_truth_or_nothing(factory: GatewayFactory) -> ContractResult {
    for (happens, caught_up) in [(true, false), (true, true), (false, false), (false, true)] {
        let world = factory();
        let able = world.gateway().capabilities().inquiry;
        let request = payment_request(world.as_ref(), world.working_token(), 1);
        world.network().inject(if happens { Fault::TimeoutAfter } else { Fault::TimeoutBefore }, world.write_matcher());
        expect_unknown("authorise", &world.gateway().authorise(&request).await)?;
        let inquiry = InquiryRequest {
            operation: OperationKind::Authorise,
            key: request.key.clone(),
            reference: request.reference.clone(),
            external_payment_id: None,
            operation_ref: None,
            amount: Some(request.amount),
        };
        if caught_up {
            world.wait_for_consistent_reads();
        }
        match world.gateway().inquire(&inquiry).await {
            Ok(None) => {
                ensure(!(able && happens && caught_up), "a gateway that can be asked does not find what happened")?;
                let operation = expect_done("authorise", world.gateway().authorise(&request).await)?;
                let entry = expect_only_payment(world.as_ref())?;
                ensure(operation.external_payment_id == Some(entry.external_payment_id), "the id is not the ledger's")?;
            }
            Ok(Some(Outcome::Done(operation))) => {
                ensure(able && happens, "an inquiry says done about what did not happen, or without being able to")?;
                let entry = expect_only_payment(world.as_ref())?;
                ensure(operation.external_payment_id == Some(entry.external_payment_id), "the id is not the ledger's")?;
            }
            Ok(Some(Outcome::Unknown(_))) => ensure(able && !(happens && caught_up), "an inquiry does not find what happened")?,
            answered => {
                let answered = answered.map(|outcome| outcome.unwrap_or(Outcome::Unknown(UnknownCause::Unreadable)));
                ensure(!happens, format!("an inquiry denies what happened: {}", describe(&answered)))?;
            }
        }
    }
    Ok(())
}
