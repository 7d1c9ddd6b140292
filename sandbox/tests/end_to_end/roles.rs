//! The permissions of each function's role, against the calls that the function makes.

use std::collections::BTreeSet;

use connector::cleeng::{PaymentOperation, PaymentStatus};

use crate::deployment::{Deployment, QUARANTINE, event, sample_webhook};
use crate::page::CheckoutPage;
use crate::support::files::camel_case;
use crate::support::recording_proxy::RecordingProxy;
use crate::support::template::section;
use crate::support::upstreams::Upstreams;
use crate::{BILLING, NOTIFICATION, RECONCILIATION, WEBHOOKS, capture, clean_up, details, enabled, purchase, refund};

/// Called by Lambda's own poller, with the function's role (Lambda, "Using Lambda with Amazon SQS": execution role permissions).
const POLLER: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
/// Called by Lambda's own logging, with the function's role.
const LOGGING: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];
/// Called by X-Ray's, where it is switched on.
const TRACING: [&str; 2] = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"];

/// The actions of a function's role in the template, without those that others than the function call.
fn allowed_actions(function: &str) -> BTreeSet<String> {
    let role = &section("Resources")[&format!("{}Role", camel_case(function))];
    let others = |action: &String| [&POLLER[..], &LOGGING, &TRACING].concat().contains(&action.as_str());
    let actions = role.items("Action").into_iter().filter(|action| action != "sts:AssumeRole" && !others(action));
    actions.collect()
}

/// Lets a function do everything that it can do, and returns the actions of its calls.
async fn called_actions(function: &'static str) -> BTreeSet<String> {
    let peers =
        if [purchase::FUNCTION, details::FUNCTION].contains(&function) { Upstreams::start_now().await } else { Upstreams::start(0).await };
    if function == refund::FUNCTION {
        peers.seed_earlier_payment("1536331075", "123456788", "D2RGHBT7PGNG5S82", PaymentOperation::Recurring, PaymentStatus::Captured);
    }
    let mut deployment = Deployment::with_upstreams(&peers).await;
    let (moto, dynamodb) = (RecordingProxy::start(&deployment.aws.moto).await, RecordingProxy::start(&deployment.aws.dynamodb).await);
    if [BILLING[1], BILLING[2], NOTIFICATION, RECONCILIATION].contains(&function) {
        deployment.deploy(BILLING[0]).await;
        crate::billing::deliver_sample(&mut deployment, BILLING[0], 1).await;
    }
    if [NOTIFICATION, RECONCILIATION].contains(&function) {
        deployment.deploy(BILLING[1]).await;
        let message = deployment.accepted(BILLING[1], &sample_webhook(BILLING[1])).await;
        assert!(!deployment.deliver(BILLING[1], &message).await, "it waits for the gateway's word");
    }
    deployment.redirect_services(function, &moto.url, &dynamodb.url);
    deployment.deploy(function).await;
    if WEBHOOKS.contains(&function) {
        let mut forged = sample_webhook(function);
        forged.signature = "0".repeat(64);
        assert_eq!(deployment.post(function, &forged).await, 401);
        // The upstreams are away: the message is put off. Then they are back.
        deployment.restart_without_upstreams(function);
        let message = deployment.accepted(function, &sample_webhook(function)).await;
        assert!(!deployment.deliver(function, &message).await, "{function}");
        deployment.switch_upstreams(&peers);
        deployment.restart(function);
        deployment.deliver(function, &message).await;
    } else if function == NOTIFICATION {
        assert!(deployment.deliver_notifications(&peers, 2).await > 0);
        let sample = event(NOTIFICATION, "queue.json").to_string();
        let reference = sample.split_once("clg-").map(|(_, rest)| format!("clg-{}", &rest[..36])).unwrap();
        let early = peers.adyen.notification("CAPTURE", true, "0URS000000000001", "0URS000000000002", &reference);
        assert_eq!(deployment.notify("/gateways/adyen/notifications", &early).await.status.as_u16(), 200);
        let lying = deployment.receive_all(NOTIFICATION).await;
        assert!(!deployment.deliver(NOTIFICATION, &lying[0]).await, "it is put off");
    } else if function == RECONCILIATION {
        deployment.make_due().await;
        deployment.runtime.invoke(RECONCILIATION, &event(RECONCILIATION, "schedule.json")).await;
        let mut forged = sample_webhook(BILLING[0]);
        forged.signature = "0".repeat(64);
        assert_eq!(deployment.post(BILLING[0], &forged).await, 401);
        let kept = deployment.receive_all(QUARANTINE).await;
        assert!(!deployment.deliver(RECONCILIATION, &kept[0]).await, "it does not verify, and is put off");
    } else {
        let page = CheckoutPage::for_customer(function, &peers);
        page.start(&mut deployment).await;
    }
    moto.actions().union(&dynamodb.actions()).cloned().collect()
}

#[tokio::test]
async fn a_function_calls_exactly_what_its_role_allows() {
    if !enabled("a_function_calls_exactly_what_its_role_allows") {
        return;
    }
    let functions =
        [BILLING[0], BILLING[1], BILLING[2], clean_up::FUNCTION, refund::FUNCTION, capture::FUNCTION, NOTIFICATION, RECONCILIATION];
    for function in functions.into_iter().chain([purchase::FUNCTION, details::FUNCTION]) {
        let (called, allowed) = (called_actions(function).await, allowed_actions(function));
        let forbidden: Vec<_> = called.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "{function} calls what its role may not: {forbidden:?}");
        let unused: Vec<_> = allowed.difference(&called).filter(|action| !SELDOM_CALLED.contains(&action.as_str())).collect();
        assert!(unused.is_empty(), "{function} never calls {unused:?}");
    }
}

/// How many documents are read at once decides which of the first two is called. The third one lists a document apart that cannot be read
/// (`sandbox/tests/it/dynamodb_store.rs` has it). Secrets Manager makes the last one for the function, where the secret has a key of its own.
const SELDOM_CALLED: [&str; 4] = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem", "kms:Decrypt"];
