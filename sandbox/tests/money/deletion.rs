//! Deleting deactivated details: only where it is set, only when nothing is held, and never a token that others use.

use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::cleeng::webhook::Topic;
use connector::flow::Verdict;
use connector::http::Method;
use connector::ids::PaymentDetailsId;
use connector::metrics::Metric;
use sandbox::cleeng::SentWebhook;
use sandbox::peer::PeerRequest;
use sandbox::stage::{Cast, METHOD, Stage, id};

use crate::faults::FAULTS;
use crate::world::{assert_balanced, die_everywhere, parked, purchase_of_others, settled, statuses};

fn deleting() -> Stage {
    Stage::new(|rules| rules.delete_deactivated_details = true)
}

struct Old {
    details: PaymentDetailsId,
    stored: String,
    event: SentWebhook,
}

/// A subscriber who was authorised with one card and then took another; `same_token` is the same card entered again.
async fn replaced(stage: &Stage, same_token: bool) -> (Cast, Old) {
    let mut cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    let (details, stored) = (cast.subscriber.details.clone(), cast.stored.clone());
    if same_token {
        let token = stage.cleeng.details(&details).unwrap().token;
        cast.subscriber.details = stage.cleeng.change_details(&cast.subscriber, &id(METHOD), &token).unwrap();
    } else {
        stage.change_card(&mut cast, METHOD);
    }
    let due = stage.cleeng.due_webhooks();
    let event = due.into_iter().find(|webhook| webhook.topic == Topic::PaymentDetailsDeactivated).unwrap();
    (cast, Old { details, stored, event })
}

fn assert_deleted(stage: &Stage, old: &Old) {
    stage.adyen.process();
    assert!(!stage.adyen.has_method(&old.stored));
    assert!(stage.cleeng.details(&old.details).is_none());
    assert_eq!(statuses(stage), [PaymentStatus::Cancelled]);
    assert_balanced(stage);
}

fn deletions(stage: &Stage) -> (usize, usize) {
    (stage.road.reached("adyen", &Method::DELETE, ""), stage.road.reached("cleeng", &Method::DELETE, ""))
}

#[tokio::test]
async fn nothing_is_deleted_unless_it_is_set() {
    let stage = Stage::default();
    let (_, old) = replaced(&stage, false).await;
    assert_eq!(stage.deliver(&old.event).await, settled("deactivated"));
    assert_eq!(deletions(&stage), (0, 0));
    assert!(stage.adyen.has_method(&old.stored) && stage.cleeng.details(&old.details).is_some());
}

#[tokio::test]
async fn token_and_details_are_deleted_after_everything_is_released() {
    let stage = deleting();
    let (cast, old) = replaced(&stage, false).await;
    let before = stage.road.calls().len();
    // The gateway has taken the cancel and not said yet what became of it.
    assert_eq!(stage.deliver(&old.event).await, Verdict::Later { after: None, reason: "cancel_not_final" });
    assert_eq!(deletions(&stage), (0, 0));
    for _ in 0..3 {
        assert_eq!(stage.play(&old.event).await, settled("deactivated"));
    }
    assert_deleted(&stage, &old);
    assert_eq!(deletions(&stage), (1, 1));
    let calls: Vec<_> = stage.road.calls().into_iter().skip(before).filter(|call| call.method != Method::GET).take(4).collect();
    let order: Vec<_> = calls.iter().map(|call| (call.peer, call.method.as_str())).collect();
    assert_eq!(order, [("adyen", "POST"), ("cleeng", "PATCH"), ("adyen", "DELETE"), ("cleeng", "DELETE")]);
    assert!(stage.adyen.has_method(&cast.stored), "the new card stays");
}

#[tokio::test]
async fn a_token_that_other_active_details_use_stays_at_the_gateway() {
    let stage = deleting();
    let (cast, old) = replaced(&stage, true).await;
    stage.clock.advance_to(cast.due.before(Duration::from_secs(48 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 48)).await, settled("authorised"));
    assert_eq!(stage.deliver(&old.event).await, settled("deactivated"));
    assert_eq!(stage.metrics.count(Metric::Warning, "token_still_used"), 1);
    assert_eq!(deletions(&stage), (0, 1));
    assert!(stage.adyen.has_method(&old.stored) && stage.cleeng.details(&old.details).is_none());
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.deliver_until_settled(&stage.capture(&cast)).await, settled("captured"));
    assert_balanced(&stage);
}

#[tokio::test]
async fn a_token_that_the_journal_has_never_seen_is_not_deleted() {
    let stage = deleting();
    let mut cast = stage.subscriber(METHOD);
    let (details, stored) = (cast.subscriber.details.clone(), cast.stored.clone());
    stage.change_card(&mut cast, METHOD);
    let event = stage.cleeng.due_webhooks().remove(0);
    assert_eq!(stage.deliver(&event).await, settled("deactivated"));
    assert_eq!(stage.metrics.count(Metric::Warning, "token_use_unknown"), 1);
    assert_eq!(deletions(&stage), (0, 0));
    assert!(stage.adyen.has_method(&stored) && stage.cleeng.details(&details).is_some());
}

#[tokio::test]
async fn details_that_are_used_again_after_the_announcement_are_not_deleted() {
    let stage = deleting();
    let mut cast = stage.subscriber(METHOD);
    let announced = stage.cleeng.deactivation_event(&cast.subscriber.details).unwrap();
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    assert_eq!(stage.deliver(&stage.authorisation(&cast, 72)).await, settled("authorised"));
    assert_eq!(stage.deliver(&announced).await, Verdict::Later { after: None, reason: "cancel_not_final" });
    stage.hear_gateways().await;
    assert_eq!(stage.deliver(&announced).await, settled("deactivated"));
    assert_eq!(stage.metrics.count(Metric::Warning, "details_active_again"), 1);
    assert_eq!(deletions(&stage), (0, 0));
    cast.stored.clear();
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_in_a_deletion_leaves_nothing_behind() {
    let scene = async || {
        let stage = deleting();
        let (_, old) = replaced(&stage, false).await;
        (stage, old)
    };
    let act = async |stage: &Stage, old: &Old| {
        stage.play(&old.event).await;
    };
    let afterwards = async |stage: &Stage, old: &Old, context: &str| {
        assert_eq!(stage.play(&old.event).await, settled("deactivated"), "{context}");
        assert_deleted(stage, old);
    };
    let deaths = die_everywhere(scene, act, afterwards).await;
    assert!(deaths >= 2 * 11, "{deaths}: the list, four outside writes and the journal's, each before and after");
}

#[tokio::test]
async fn whatever_happens_to_a_deletion_it_is_done_in_the_end() {
    let calls: [fn(&str, &PeerRequest) -> bool; 2] = [
        |peer, request| peer == "adyen" && request.method == Method::DELETE,
        |peer, request| peer == "cleeng" && request.method == Method::DELETE,
    ];
    for call in calls {
        for fault in FAULTS {
            let stage = deleting();
            let (_, old) = replaced(&stage, false).await;
            stage.road.lay(fault, call);
            assert_eq!(stage.play(&old.event).await, settled("deactivated"));
            assert!(!stage.road.has_faults());
            assert_deleted(&stage, &old);
        }
    }
}

#[tokio::test]
async fn nothing_is_deleted_when_the_gateway_refuses_to_give_the_hold_free_or_never_says() {
    for refuses in [true, false] {
        let stage = deleting();
        let (_, old) = replaced(&stage, false).await;
        if refuses {
            stage.adyen.fail_next_modification("Refused");
            assert_eq!(stage.play(&old.event).await, parked("authorisation_not_released"));
        } else {
            let mut verdict = stage.deliver(&old.event).await;
            for _ in 0..200 {
                let Verdict::Later { .. } = verdict else { break };
                stage.clock.advance(Duration::from_secs(900));
                verdict = stage.deliver(&old.event).await;
            }
            assert_eq!(verdict, parked("cancel_not_final"));
        }
        assert_eq!(deletions(&stage), (0, 0));
        assert!(stage.adyen.has_method(&old.stored) && stage.cleeng.details(&old.details).is_some());
    }
}

#[tokio::test]
async fn nothing_is_deleted_while_a_capture_is_on_its_way() {
    let stage = deleting();
    let mut cast = stage.subscriber(METHOD);
    stage.clock.advance_to(cast.due.before(Duration::from_secs(72 * 3600)));
    stage.deliver(&stage.authorisation(&cast, 72)).await;
    stage.clock.advance_to(cast.due);
    let (capture, details) = (stage.capture(&cast), cast.subscriber.details.clone());
    stage.change_card(&mut cast, METHOD);
    let gone = stage.cleeng.deactivation_event(&details).unwrap();
    assert!(matches!(stage.deliver(&capture).await, Verdict::Later { .. }));
    assert_eq!(stage.deliver(&gone).await, Verdict::Later { after: None, reason: "capture_in_flight" });
    assert_eq!(deletions(&stage), (0, 0));
    assert_eq!(stage.deliver_until_settled(&capture).await, settled("captured"));
    assert_eq!(stage.deliver(&gone).await, settled("deactivated"));
    assert_eq!(deletions(&stage), (1, 1));
    assert_eq!(statuses(&stage), [PaymentStatus::Captured]);
}

#[tokio::test]
async fn nothing_is_deleted_while_something_is_held_that_nobody_could_release() {
    let stage = deleting();
    let (cast, old) = replaced(&stage, false).await;
    let old_cast = Cast { subscriber: sandbox::cleeng::Subscriber { details: old.details.clone(), ..cast.subscriber.clone() }, ..cast };
    purchase_of_others(&stage, &old_cast, PaymentStatus::Authorised, 0).await;
    let nameless = |body: &mut serde_json::Value| {
        body["data"][1].as_object_mut().unwrap().remove("externalPaymentId");
    };
    stage.road.lay(sandbox::peer::Fault::Mutate(std::sync::Arc::new(nameless)), |peer, request| {
        peer == "cleeng" && request.path.ends_with("/authorised_payments")
    });
    assert_eq!(stage.deliver(&old.event).await, Verdict::Parked("authorisation_not_released"));
    assert_eq!(deletions(&stage), (0, 0));
}
