//! What a clean-up concludes from what became of each payment, and of the token.

use std::time::Duration;

use connector::billing::deleted::deactivation_key;
use connector::billing::head::Head;
use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::{DeactivationEvent, Topic};
use connector::flow::Verdict;
use connector::gateway::{Decline, DeclineClass, Operation, Outcome, Reference};
use connector::http::Method;
use connector::journal::payment::PaymentState;
use connector::journal::store::Key;
use connector::metrics::Metric;
use connector::parked::{Decision, Order, Plan};
use sandbox::cleeng::SentWebhook;
use sandbox::peer::{Fault, PeerRequest};
use sandbox::stage::{Cast, METHOD, Stage, id};

use crate::deactivation::changed_card;
use crate::hooked::answering;
use crate::world::{parked, read, read_payment, settled, statuses, usd};

fn deleting() -> Stage {
    Stage::new(|rules| rules.delete_deactivated_details = true)
}

async fn held(stage: &Stage, cast: &Cast) -> Reference {
    let head: Head = read(stage, &Head::key(&cast.subscriber.subscription)).await.unwrap();
    head.live.unwrap().reference
}

#[tokio::test]
async fn money_that_is_taken_already_is_taken_in_the_journal_too_and_told_of_at_every_look() {
    let stage = Stage::default();
    let (cast, event) = changed_card(&stage, METHOD).await;
    let reference = held(&stage, &cast).await;
    let captured = Outcome::Declined(Decline::new(DeclineClass::Hard, "already_captured"));
    let (stage, _) = answering(stage, Some(Ok(captured)), None);
    for looks in 1..=2 {
        assert_eq!(stage.deliver(&event).await, settled("deactivated"));
        assert_eq!(stage.metrics.count(Metric::Warning, "already_captured"), looks, "Cleeng still lists it");
    }
    let record = read_payment(&stage, &reference).await;
    assert_eq!((record.state, record.captured), (PaymentState::Captured, usd(999)), "so that it can be given back");
}

#[tokio::test]
async fn what_a_gateway_releases_at_once_is_final_and_keeps_nothing_from_being_deleted() {
    let (cast, event, stage) = {
        let stage = deleting();
        let (cast, event) = changed_card(&stage, METHOD).await;
        (cast, event, stage)
    };
    let reference = held(&stage, &cast).await;
    let (stage, _) = answering(stage, Some(Ok(Outcome::Done(Operation::default()))), None);
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!(read_payment(&stage, &reference).await.state, PaymentState::Cancelled);
    assert_eq!(stage.road.reached("cleeng", &Method::DELETE, ""), 1);
}

async fn decide(stage: &Stage, key: &Key, decision: Decision) {
    let order = Order { decision, by: "N. N.".to_owned(), note: "looked at both sides".to_owned(), no_money_moved: false };
    Plan::make(&stage.world.store, key, &order, stage.now()).await.unwrap().carry_out().await.unwrap();
}

fn clean_up(stage: &Stage, event: &SentWebhook) -> Key {
    deactivation_key(&DeactivationEvent::read(stage.verified(event).get()).unwrap().details)
}

#[tokio::test]
async fn a_release_that_is_with_an_operator_keeps_the_clean_up_with_him_until_he_has_done_it() {
    let stage = Stage::default();
    let (cast, event) = changed_card(&stage, METHOD).await;
    let reference = held(&stage, &cast).await;
    stage.road.lay(Fault::StatusBefore(422), |peer, request| peer == "cleeng" && request.path.ends_with("/cancel"));
    assert_eq!(stage.deliver(&event).await, parked("authorisation_not_released"));
    decide(&stage, &clean_up(&stage, &event), Decision::Retry).await;
    assert_eq!(stage.deliver(&event).await, parked("authorisation_not_released"), "nobody has looked at the payment");
    decide(&stage, &Key::new("release", &[reference.as_str()]), Decision::Done).await;
    decide(&stage, &clean_up(&stage, &event), Decision::Retry).await;
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!(stage.road.reached("adyen", &Method::POST, "/cancels"), 1);
}

fn is_deletion(peer: &str, request: &PeerRequest) -> bool {
    peer == "adyen" && request.method == Method::DELETE
}

#[tokio::test]
async fn a_token_whose_deletion_is_unknown_for_a_day_is_for_an_operator_and_its_details_stay() {
    for (late, verdict, deleted) in [(0, settled("deactivated"), 1), (1, parked("token_deletion_unknown"), 0)] {
        let stage = deleting();
        let (_, event) = changed_card(&stage, METHOD).await;
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { reason: "cancel_not_final", .. }));
        stage.road.lay(Fault::TimeoutBefore, is_deletion);
        stage.hear_gateways().await;
        assert!(matches!(stage.deliver(&event).await, Verdict::Later { reason: "gateway_unknown", .. }));
        stage.clock.advance(stage.world.rules.unknown_deadline + Duration::from_secs(late));
        assert_eq!(stage.deliver(&event).await, verdict, "{late}");
        assert_eq!(stage.road.reached("cleeng", &Method::DELETE, ""), deleted, "{late}");
    }
}

/// The announcement of details that were replaced just now.
fn announced(stage: &Stage) -> SentWebhook {
    let due = stage.cleeng.due_webhooks();
    due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap()
}

#[tokio::test]
async fn details_that_were_cleaned_up_without_being_deleted_do_not_use_their_token_any_more() {
    let stage = Stage::default();
    let mut cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3_600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    // The same card entered again: other details with the same token.
    let (stored, token) = (cast.stored.clone(), stage.cleeng.details(&cast.subscriber.details).unwrap().token);
    cast.subscriber.details = stage.cleeng.change_details(&cast.subscriber, &id(METHOD), &token).unwrap();
    assert_eq!(stage.play(&announced(&stage)).await, settled("deactivated"));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    assert!(stage.adyen.has_method(&stored));
    // From now on details are deleted.
    let mut world = stage.world.clone();
    let mut rules = (*world.rules).clone();
    rules.delete_deactivated_details = true;
    world.rules = std::sync::Arc::new(rules);
    let stage = Stage { world, ..stage };
    stage.change_card(&mut cast, METHOD);
    assert_eq!(stage.play(&announced(&stage)).await, settled("deactivated"));
    assert!(!stage.adyen.has_method(&stored), "the first ones do not count");
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Cancelled]);
}
