//! What an error of the SDK says about the database: carried out, not carried out, or unknown. No text of the error leaves this file,
//! because an SDK error holds raw headers and bodies.

use std::error::Error;
use std::io::ErrorKind;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;

use crate::journal::store::StoreError;

type RawResponse = aws_sdk_dynamodb::config::http::HttpResponse;

/// What is known after one attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFailure {
    /// A condition did not hold. Not written.
    Condition,
    /// Another transaction was using the same documents. Not written by this attempt.
    Contention,
    /// Throttled or never connected. Not written; worth another attempt.
    NotApplied,
    /// Refused for good. Not written.
    Refused(&'static str),
    /// Perhaps written.
    Unknown,
}

/// Sorts the failure of a read, which has no effect.
pub(super) fn classify_read<E: ProvideErrorMetadata>(error: &SdkError<E, RawResponse>) -> StoreError {
    match classify(error) {
        RequestFailure::Refused(why) => StoreError::Refused(why),
        _ => StoreError::Unavailable,
    }
}

/// Sorts the failure of a write.
pub(super) fn classify_commit(error: &SdkError<TransactWriteItemsError, RawResponse>) -> RequestFailure {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => classify_reasons(cancelled.cancellation_reasons()),
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => RequestFailure::Unknown,
        _ => classify(error),
    }
}

/// A cancelled transaction wrote nothing. A failed condition outweighs everything else. A transient reason counts only if no reason is
/// permanent.
fn classify_reasons(reasons: &[CancellationReason]) -> RequestFailure {
    let codes: Vec<&str> = reasons.iter().filter_map(CancellationReason::code).filter(|code| *code != "None").collect();
    let any = |wanted: &[&str]| codes.iter().any(|code| wanted.contains(code));
    if any(&["ConditionalCheckFailed"]) {
        RequestFailure::Condition
    } else if any(&["ValidationError", "ItemCollectionSizeLimitExceeded"]) {
        RequestFailure::Refused("validation")
    } else if any(&["TransactionConflict"]) {
        RequestFailure::Contention
    } else {
        RequestFailure::NotApplied
    }
}

fn classify<E: ProvideErrorMetadata>(error: &SdkError<E, RawResponse>) -> RequestFailure {
    match error {
        SdkError::ConstructionFailure(_) => RequestFailure::Refused("request"),
        SdkError::DispatchFailure(dispatch) if dispatch.as_connector_error().is_some_and(|error| never_connected(error)) => {
            RequestFailure::NotApplied
        }
        SdkError::ServiceError(answer) => classify_response(answer.err().code(), answer.raw().status().as_u16()),
        _ => RequestFailure::Unknown,
    }
}

fn classify_response(code: Option<&str>, status: u16) -> RequestFailure {
    match code.unwrap_or_default() {
        "ProvisionedThroughputExceededException" | "RequestLimitExceeded" | "ThrottlingException" | "LimitExceededException" => {
            RequestFailure::NotApplied
        }
        "ResourceNotFoundException" => RequestFailure::Refused("no such table"),
        "AccessDeniedException" => RequestFailure::Refused("access denied"),
        "UnrecognizedClientException" | "ExpiredTokenException" | "InvalidSignatureException" | "MissingAuthenticationTokenException" => {
            RequestFailure::Refused("credentials")
        }
        "ValidationException" => RequestFailure::Refused("validation"),
        _ if status == 429 => RequestFailure::NotApplied,
        _ if (400..500).contains(&status) => RequestFailure::Refused("request"),
        _ => RequestFailure::Unknown,
    }
}

/// Whether no connection can have been established. A timeout does not prove that: it may have occurred after the request was sent.
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
        assert_eq!(classify_reasons(&reasons(&["None", "ThrottlingError", "ConditionalCheckFailed"])), RequestFailure::Condition);
        assert_eq!(classify_reasons(&reasons(&["TransactionConflict", "ConditionalCheckFailed"])), RequestFailure::Condition);
    }

    #[test]
    fn a_cancelled_transaction_is_sorted_by_what_can_be_done_about_it() {
        assert_eq!(classify_reasons(&reasons(&["None", "TransactionConflict"])), RequestFailure::Contention);
        assert_eq!(classify_reasons(&reasons(&["None", "ThrottlingError"])), RequestFailure::NotApplied);
        assert_eq!(classify_reasons(&reasons(&["ProvisionedThroughputExceeded"])), RequestFailure::NotApplied);
        assert_eq!(classify_reasons(&reasons(&["ValidationError", "TransactionConflict"])), RequestFailure::Refused("validation"));
    }

    #[test]
    fn an_answer_of_the_server_side_leaves_the_outcome_unknown() {
        assert_eq!(classify_response(Some("InternalServerError"), 500), RequestFailure::Unknown);
        assert_eq!(classify_response(None, 503), RequestFailure::Unknown);
        assert_eq!(classify_response(Some("ThrottlingException"), 400), RequestFailure::NotApplied);
        assert_eq!(classify_response(Some("AccessDeniedException"), 400), RequestFailure::Refused("access denied"));
        assert_eq!(classify_response(Some("ResourceNotFoundException"), 400), RequestFailure::Refused("no such table"));
        assert_eq!(classify_response(Some("SomethingNew"), 400), RequestFailure::Refused("request"));
        assert_eq!(classify_response(Some("ExpiredTokenException"), 400), RequestFailure::Refused("credentials"));
        assert_eq!(classify_response(Some("ValidationException"), 400), RequestFailure::Refused("validation"));
        assert_eq!(classify_response(None, 429), RequestFailure::NotApplied);
    }

    #[test]
    fn a_write_that_another_delivery_has_under_way_may_still_happen() {
        let raw = || RawResponse::new(400.try_into().unwrap(), "".into());
        let in_progress = aws_sdk_dynamodb::types::error::TransactionInProgressException::builder().build();
        let in_progress = TransactWriteItemsError::TransactionInProgressException(in_progress);
        assert_eq!(classify_commit(&SdkError::service_error(in_progress, raw())), RequestFailure::Unknown);
    }

    #[test]
    fn a_request_that_could_not_be_made_was_not_carried_out() {
        assert_eq!(classify_commit(&SdkError::construction_failure("no table")), RequestFailure::Refused("request"));
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
