//! What an error of the SDK says about the database: carried out, not carried out, or unknown. No text of the error leaves this file, because
//! an SDK error holds raw headers and bodies.

use std::error::Error;
use std::io::ErrorKind;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;

use crate::journal::store::StoreError;

type Raw = aws_sdk_dynamodb::config::http::HttpResponse;

/// What is known after one attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A condition did not hold. Not written.
    Condition,
    /// Another transaction was at the same documents. Not written by this attempt.
    Contention,
    /// Throttled or never connected. Not written; worth another attempt.
    NotDone,
    /// Refused for good. Not written.
    Refused(&'static str),
    /// Perhaps written.
    Unknown,
}

/// Sorts the failure of a read, which has no effect.
pub(super) fn of_read<E: ProvideErrorMetadata>(error: &SdkError<E, Raw>) -> StoreError {
    match sort(error) {
        Failure::Refused(why) => StoreError::Refused(why),
        _ => StoreError::Unavailable,
    }
}

/// Sorts the failure of a write.
pub(super) fn of_commit(error: &SdkError<TransactWriteItemsError, Raw>) -> Failure {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => of_reasons(cancelled.cancellation_reasons()),
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => Failure::Unknown,
        _ => sort(error),
    }
}

/// A cancelled transaction wrote nothing. A condition that failed outweighs everything else; what will pass outweighs what is wrong for good
/// only if nothing is wrong for good.
fn of_reasons(reasons: &[CancellationReason]) -> Failure {
    let codes: Vec<&str> = reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != "None").collect();
    let any = |wanted: &[&str]| codes.iter().any(|code| wanted.contains(code));
    if any(&["ConditionalCheckFailed"]) {
        Failure::Condition
    } else if any(&["ValidationError", "ItemCollectionSizeLimitExceeded"]) {
        Failure::Refused("validation")
    } else if any(&["TransactionConflict"]) {
        Failure::Contention
    } else {
        Failure::NotDone
    }
}

fn sort<E: ProvideErrorMetadata>(error: &SdkError<E, Raw>) -> Failure {
    match error {
        SdkError::ConstructionFailure(_) => Failure::Refused("request"),
        SdkError::DispatchFailure(dispatch) if dispatch.as_connector_error().is_some_and(|error| never_connected(error)) => {
            Failure::NotDone
        }
        SdkError::ServiceError(answer) => of_answer(answer.err().code(), answer.raw().status().as_u16()),
        _ => Failure::Unknown,
    }
}

fn of_answer(code: Option<&str>, status: u16) -> Failure {
    match code.unwrap_or_default() {
        "ProvisionedThroughputExceededException" | "RequestLimitExceeded" | "ThrottlingException" | "LimitExceededException" => {
            Failure::NotDone
        }
        "ResourceNotFoundException" => Failure::Refused("no such table"),
        "AccessDeniedException" => Failure::Refused("access denied"),
        "UnrecognizedClientException" | "ExpiredTokenException" | "InvalidSignatureException" | "MissingAuthenticationTokenException" => {
            Failure::Refused("credentials")
        }
        "ValidationException" => Failure::Refused("validation"),
        _ if status == 429 => Failure::NotDone,
        _ if (400..500).contains(&status) => Failure::Refused("request"),
        _ => Failure::Unknown,
    }
}

/// Whether no connection can have come about. A timeout does not say so: it may have struck after the request was sent.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect()
    }

    #[test]
    fn a_failed_condition_outweighs_every_other_reason() {
        assert_eq!(of_reasons(&reasons(&["None", "ThrottlingError", "ConditionalCheckFailed"])), Failure::Condition);
        assert_eq!(of_reasons(&reasons(&["TransactionConflict", "ConditionalCheckFailed"])), Failure::Condition);
    }

    #[test]
    fn a_cancelled_transaction_is_sorted_by_what_can_be_done_about_it() {
        assert_eq!(of_reasons(&reasons(&["None", "TransactionConflict"])), Failure::Contention);
        assert_eq!(of_reasons(&reasons(&["None", "ThrottlingError"])), Failure::NotDone);
        assert_eq!(of_reasons(&reasons(&["ProvisionedThroughputExceeded"])), Failure::NotDone);
        assert_eq!(of_reasons(&reasons(&["ValidationError", "TransactionConflict"])), Failure::Refused("validation"));
    }

    #[test]
    fn an_answer_of_the_server_side_leaves_the_outcome_unknown() {
        assert_eq!(of_answer(Some("InternalServerError"), 500), Failure::Unknown);
        assert_eq!(of_answer(None, 503), Failure::Unknown);
        assert_eq!(of_answer(Some("ThrottlingException"), 400), Failure::NotDone);
        assert_eq!(of_answer(Some("AccessDeniedException"), 400), Failure::Refused("access denied"));
        assert_eq!(of_answer(Some("ResourceNotFoundException"), 400), Failure::Refused("no such table"));
        assert_eq!(of_answer(Some("SomethingNew"), 400), Failure::Refused("request"));
        assert_eq!(of_answer(Some("ExpiredTokenException"), 400), Failure::Refused("credentials"));
        assert_eq!(of_answer(Some("ValidationException"), 400), Failure::Refused("validation"));
        assert_eq!(of_answer(None, 429), Failure::NotDone);
    }

    #[test]
    fn a_write_that_another_delivery_has_under_way_may_still_happen() {
        let raw = || Raw::new(400.try_into().unwrap(), "".into());
        let going_on = aws_sdk_dynamodb::types::error::TransactionInProgressException::builder().build();
        let going_on = TransactWriteItemsError::TransactionInProgressException(going_on);
        assert_eq!(of_commit(&SdkError::service_error(going_on, raw())), Failure::Unknown);
    }

    #[test]
    fn a_request_that_could_not_be_made_was_not_carried_out() {
        assert_eq!(of_commit(&SdkError::construction_failure("no table")), Failure::Refused("request"));
    }

    #[test]
    fn only_a_refused_or_unreachable_connection_is_certain_never_to_have_been() {
        assert!(never_connected(&std::io::Error::from(ErrorKind::ConnectionRefused)));
        assert!(never_connected(&std::io::Error::from(ErrorKind::NetworkUnreachable)));
        assert!(!never_connected(&std::io::Error::from(ErrorKind::ConnectionReset)));
        assert!(!never_connected(&std::io::Error::from(ErrorKind::TimedOut)));
        assert!(!never_connected(&std::fmt::Error));
    }
}
