//! Calls that are known to have had no effect, and what their errors may contain.

use std::time::Duration;

use connector::gateway::{GatewayError, Outcome, StoredToken};
use connector::money::Money;
use connector::secret::SecretString;

use crate::simulators::network::Fault;
use crate::testkit::contract::{
    CallResult, ContractResult, GatewayFactory, authorise, authorise_and_capture, authorised_count, capture_request, describe, ensure,
    expect_done, expect_only_payment, payment_request, report_skipped,
};

/// Nothing was sent: an error, no effect, and the same key works afterwards.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_connection_that_fails_is_an_error_without_effect(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let request = payment_request(world.as_ref(), world.working_token(), 1);
    world.network().inject(Fault::NotSent, world.write_matcher());
    let answered = world.gateway().authorise(&request).await;
    ensure(matches!(answered, Err(GatewayError::Unreachable(_))), format!("expected unreachable, got {}", describe(&answered)))?;
    ensure(authorised_count(world.as_ref()) == 0, "there is a payment")?;
    expect_done("authorise", world.gateway().authorise(&request).await)?;
    expect_only_payment(world.as_ref()).map(|_| ())
}

/// 429: an error with the gateway's `Retry-After`, no effect.
///
/// # Errors
/// The broken rule.
pub async fn throttling_is_an_error_that_says_how_long(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let request = payment_request(world.as_ref(), world.working_token(), 1);
    world.throttle_next(17);
    let answered = world.gateway().authorise(&request).await;
    let expected: CallResult = Err(GatewayError::Throttled { retry_after: Some(Duration::from_secs(17)) });
    ensure(answered.as_ref().err() == expected.as_ref().err(), format!("expected throttled, got {}", describe(&answered)))?;
    world.network().inject(Fault::StatusBefore(429), world.write_matcher());
    let answered = world.gateway().authorise(&request).await;
    let silent: CallResult = Err(GatewayError::Throttled { retry_after: None });
    ensure(answered.as_ref().err() == silent.as_ref().err(), format!("expected throttled, got {}", describe(&answered)))?;
    ensure(authorised_count(world.as_ref()) == 0, "there is a payment")?;
    expect_done("authorise", world.gateway().authorise(&request).await).map(|_| ())
}

/// Reachable, refused, unreachable, throttled: each is reported, and the ledger stays empty.
///
/// # Errors
/// The broken rule.
pub async fn checking_access_reports_what_calls_would_meet_and_changes_nothing(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let gateway = world.gateway();
    ensure(gateway.check_access().await.is_ok(), "a good access is refused")?;
    for (fault, name) in
        [(Fault::NotSent, "a missing connection"), (Fault::TimeoutBefore, "silence"), (Fault::StatusBefore(500), "a server error")]
    {
        world.network().inject(fault, |_, _| true);
        let found = gateway.check_access().await;
        ensure(matches!(found, Err(GatewayError::Unreachable(_))), format!("{name} is not reported as unreachable"))?;
        world.network().clear_faults();
    }
    world.network().inject(Fault::StatusBefore(429), |_, _| true);
    ensure(matches!(gateway.check_access().await, Err(GatewayError::Throttled { .. })), "throttling is not reported")?;
    world.network().clear_faults();
    world.revoke_credentials();
    ensure(matches!(gateway.check_access().await, Err(GatewayError::Credentials { .. })), "refused credentials are not reported")?;
    ensure(world.ledger().is_empty(), "checking access left something in the ledger")
}

/// 401 for every credential: an error that is no decline.
///
/// # Errors
/// The broken rule.
pub async fn refused_credentials_are_an_error_without_effect(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let entry = authorise(world.as_ref(), 1).await?;
    world.revoke_credentials();
    let request = payment_request(world.as_ref(), world.working_token(), 2);
    for answered in [
        world.gateway().authorise(&request).await,
        world.gateway().charge(&request).await,
        world.gateway().capture(&capture_request(&entry, 1)?).await,
    ] {
        ensure(matches!(answered, Err(GatewayError::Credentials { .. })), format!("expected credentials, got {}", describe(&answered)))?;
    }
    world.process();
    ensure(authorised_count(world.as_ref()) == 1, "a payment was made without credentials")?;
    ensure(expect_only_payment(world.as_ref())?.captured.is_zero(), "a capture was made without credentials")
}

/// While the gateway takes the other credential only, payments go on.
///
/// # Errors
/// The broken rule.
pub async fn rotated_credentials_keep_working(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    authorise(world.as_ref(), 1).await?;
    if !world.rotate_credentials() {
        report_skipped(world.gateway().name(), "a second credential");
    } else {
        authorise(world.as_ref(), 2).await?;
        authorise(world.as_ref(), 3).await?;
        ensure(authorised_count(world.as_ref()) == 3, "the ledger has not three payments")?;
    }
    Ok(())
}

/// A token that is not of this gateway's form is no reason to call it.
///
/// # Errors
/// The broken rule.
pub async fn a_foreign_token_is_refused_before_any_call(factory: GatewayFactory) -> ContractResult {
    for text in ["", " ", "a:b:c:d:e", "../../etc", "{\"id\":1}", "tok\nen", "tök"] {
        let world = factory();
        let request = payment_request(world.as_ref(), StoredToken(SecretString::new(text)), 1);
        for answered in [world.gateway().authorise(&request).await, world.gateway().charge(&request).await] {
            ensure(answered.as_ref().err() == Some(&GatewayError::BadToken), format!("{text:?}: got {}", describe(&answered)))?;
        }
        ensure(world.network().calls().is_empty(), format!("{text:?}: the gateway was called"))?;
    }
    Ok(())
}

/// No gateway has negative amounts.
///
/// # Errors
/// The broken rule.
pub async fn amounts_below_zero_are_refused_before_any_call(factory: GatewayFactory) -> ContractResult {
    let world = factory();
    let mut request = payment_request(world.as_ref(), world.working_token(), 1);
    request.amount = Money::new(-1, request.amount.currency);
    for answered in [world.gateway().authorise(&request).await, world.gateway().charge(&request).await] {
        ensure(answered.is_err(), format!("expected an error, got {}", describe(&answered)))?;
    }
    ensure(world.network().calls().is_empty(), "the gateway was called")
}

/// Error texts contain no credential and no token.
///
/// # Errors
/// The broken rule.
pub async fn no_error_contains_a_secret(factory: GatewayFactory) -> ContractResult {
    let mut said = String::new();
    let mut secrets = Vec::new();
    for fault in [
        Fault::NotSent,
        Fault::TimeoutAfter,
        Fault::StatusAfter(500),
        Fault::StatusBefore(401),
        Fault::StatusBefore(403),
        Fault::StatusBefore(422),
        Fault::StatusBefore(429),
    ] {
        let world = factory();
        let token = world.working_token();
        secrets.extend(world.secrets());
        secrets.push(token.0.expose().to_owned());
        world.network().inject(fault.clone(), world.write_matcher());
        world.network().inject(fault, world.write_matcher());
        append_text(&mut said, &world.gateway().authorise(&payment_request(world.as_ref(), token, 1)).await);
    }
    let world = factory();
    secrets.extend(world.secrets());
    let entry = authorise_and_capture(world.as_ref(), 1).await?;
    world.revoke_credentials();
    append_text(&mut said, &world.gateway().capture(&capture_request(&entry, 2)?).await);
    let bad = StoredToken(SecretString::new("a-secret that is no token"));
    append_text(&mut said, &world.gateway().authorise(&payment_request(world.as_ref(), bad, 3)).await);
    secrets.push("a-secret".to_owned());
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        ensure(!said.contains(secret.as_str()), "an error contains a secret")?;
    }
    Ok(())
}

fn append_text(said: &mut String, answered: &CallResult) {
    said.push_str(&describe(answered));
    match answered {
        Err(error) => said.push_str(&format!("{error} {error:?} {error:#?}")),
        Ok(Outcome::Unknown(cause)) => said.push_str(&format!("{cause} {cause:?}")),
        Ok(Outcome::Declined(decline)) => said.push_str(&format!("{decline} {decline:?}")),
        Ok(_) => {}
    }
}
