//! Calls that are known to have had no effect, and what may be said about them.

use std::time::Duration;

use connector::gateway::{GatewayError, Outcome, StoredToken};
use connector::money::Money;
use connector::secret::SecretString;

use super::{Answered, Checked, Make, authorise, authorised, capture_of, captured, describe, done, ensure, only_payment, payment};
use crate::peer::Fault;

/// Nothing was sent: an error, no effect, and the same key works afterwards.
///
/// # Errors
/// The broken rule; so for all checks.
pub async fn a_connection_that_never_came_about_is_an_error_without_effect(make: Make) -> Checked {
    let world = make();
    let request = payment(world.as_ref(), world.working_token(), 1);
    world.road().lay(Fault::NotSent, world.writes());
    let answered = world.gateway().authorise(&request).await;
    ensure(matches!(answered, Err(GatewayError::Unreachable(_))), format!("expected unreachable, got {}", describe(&answered)))?;
    ensure(authorised(world.as_ref()) == 0, "there is a payment")?;
    done(world.gateway().authorise(&request).await)?;
    only_payment(world.as_ref()).map(|_| ())
}

/// 429: an error with the gateway's own patience, no effect.
///
/// # Errors
/// The broken rule.
pub async fn throttling_is_an_error_that_says_how_long(make: Make) -> Checked {
    let world = make();
    let request = payment(world.as_ref(), world.working_token(), 1);
    world.throttle_next(17);
    let answered = world.gateway().authorise(&request).await;
    let expected: Answered = Err(GatewayError::Throttled { retry_after: Some(Duration::from_secs(17)) });
    ensure(answered.as_ref().err() == expected.as_ref().err(), format!("expected throttled, got {}", describe(&answered)))?;
    world.road().lay(Fault::StatusBefore(429), world.writes());
    let answered = world.gateway().authorise(&request).await;
    let silent: Answered = Err(GatewayError::Throttled { retry_after: None });
    ensure(answered.as_ref().err() == silent.as_ref().err(), format!("expected throttled, got {}", describe(&answered)))?;
    ensure(authorised(world.as_ref()) == 0, "there is a payment")?;
    done(world.gateway().authorise(&request).await).map(|_| ())
}

/// Reachable, refused, away, throttled: each is told, and the ledger stays empty.
///
/// # Errors
/// The broken rule.
pub async fn a_look_at_our_access_tells_what_calls_would_meet_and_changes_nothing(make: Make) -> Checked {
    let world = make();
    let gateway = world.gateway();
    ensure(gateway.check_access().await.is_ok(), "a good access is refused")?;
    for (fault, name) in
        [(Fault::NotSent, "a missing connection"), (Fault::TimeoutBefore, "silence"), (Fault::StatusBefore(500), "a server error")]
    {
        world.road().lay(fault, |_, _| true);
        let found = gateway.check_access().await;
        ensure(matches!(found, Err(GatewayError::Unreachable(_))), format!("{name} is not told as unreachable"))?;
        world.road().clear();
    }
    world.road().lay(Fault::StatusBefore(429), |_, _| true);
    ensure(matches!(gateway.check_access().await, Err(GatewayError::Throttled { .. })), "throttling is not told")?;
    world.road().clear();
    world.refuse_credentials();
    ensure(matches!(gateway.check_access().await, Err(GatewayError::Credentials { .. })), "refused credentials are not told")?;
    ensure(world.ledger().is_empty(), "a look left something in the ledger")
}

/// 401 for every credential: an error that is no decline.
///
/// # Errors
/// The broken rule.
pub async fn refused_credentials_are_an_error_without_effect(make: Make) -> Checked {
    let world = make();
    let entry = authorise(world.as_ref(), 1).await?;
    world.refuse_credentials();
    let request = payment(world.as_ref(), world.working_token(), 2);
    for answered in [
        world.gateway().authorise(&request).await,
        world.gateway().charge(&request).await,
        world.gateway().capture(&capture_of(&entry, 1)?).await,
    ] {
        ensure(matches!(answered, Err(GatewayError::Credentials { .. })), format!("expected credentials, got {}", describe(&answered)))?;
    }
    world.process();
    ensure(authorised(world.as_ref()) == 1, "a payment was made without credentials")?;
    ensure(only_payment(world.as_ref())?.captured.is_zero(), "a capture was made without credentials")
}

/// While the gateway takes the other credential only, payments go on.
///
/// # Errors
/// The broken rule.
pub async fn rotated_credentials_go_on_working(make: Make) -> Checked {
    let world = make();
    authorise(world.as_ref(), 1).await?;
    if world.rotate_credentials() {
        authorise(world.as_ref(), 2).await?;
        authorise(world.as_ref(), 3).await?;
        ensure(authorised(world.as_ref()) == 3, "the ledger has not three payments")?;
    }
    Ok(())
}

/// A token that is not of this gateway's form is no reason to call it.
///
/// # Errors
/// The broken rule.
pub async fn a_foreign_token_is_refused_before_any_call(make: Make) -> Checked {
    for text in ["", " ", "a:b:c:d:e", "../../etc", "{\"id\":1}", "tok\nen", "tök"] {
        let world = make();
        let request = payment(world.as_ref(), StoredToken(SecretString::new(text)), 1);
        for answered in [world.gateway().authorise(&request).await, world.gateway().charge(&request).await] {
            ensure(answered.as_ref().err() == Some(&GatewayError::BadToken), format!("{text:?}: got {}", describe(&answered)))?;
        }
        ensure(world.road().calls().is_empty(), format!("{text:?}: the gateway was called"))?;
    }
    Ok(())
}

/// No gateway has negative amounts.
///
/// # Errors
/// The broken rule.
pub async fn amounts_below_zero_are_refused_before_any_call(make: Make) -> Checked {
    let world = make();
    let mut request = payment(world.as_ref(), world.working_token(), 1);
    request.amount = Money::new(-1, request.amount.currency);
    for answered in [world.gateway().authorise(&request).await, world.gateway().charge(&request).await] {
        ensure(answered.is_err(), format!("expected an error, got {}", describe(&answered)))?;
    }
    ensure(world.road().calls().is_empty(), "the gateway was called")
}

/// Whatever goes wrong, what is told about it holds no credential and no token.
///
/// # Errors
/// The broken rule.
pub async fn no_secret_is_ever_told(make: Make) -> Checked {
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
        let world = make();
        let token = world.working_token();
        secrets.extend(world.secrets());
        secrets.push(token.0.expose().to_owned());
        world.road().lay(fault.clone(), world.writes());
        world.road().lay(fault, world.writes());
        say(&mut said, &world.gateway().authorise(&payment(world.as_ref(), token, 1)).await);
    }
    let world = make();
    secrets.extend(world.secrets());
    let entry = captured(world.as_ref(), 1).await?;
    world.refuse_credentials();
    say(&mut said, &world.gateway().capture(&capture_of(&entry, 2)?).await);
    let bad = StoredToken(SecretString::new("a-secret that is no token"));
    say(&mut said, &world.gateway().authorise(&payment(world.as_ref(), bad, 3)).await);
    secrets.push("a-secret".to_owned());
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        ensure(!said.contains(secret.as_str()), "an error tells a secret")?;
    }
    Ok(())
}

fn say(said: &mut String, answered: &Answered) {
    said.push_str(&describe(answered));
    match answered {
        Err(error) => said.push_str(&format!("{error} {error:?} {error:#?}")),
        Ok(Outcome::Unknown(cause)) => said.push_str(&format!("{cause} {cause:?}")),
        Ok(Outcome::Declined(decline)) => said.push_str(&format!("{decline} {decline:?}")),
        Ok(_) => {}
    }
}
