//! What is left of payment details that were replaced.

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use sandbox::house::LedgerEntry;
use sandbox::stage::Stage;

use crate::scenes::{HOUR, agreed, assert_balanced, changed_details, stage, statuses};

pub(crate) async fn what_is_held_with_old_details_is_released_and_the_new_ones_renew(gateway: GatewayName) {
    let stage = stage();
    let (cast, _, event) = changed_details(&stage, gateway).await;
    assert_eq!(stage.play(&event).await, Verdict::Settled("deactivated"));
    assert!(agreed(&stage, gateway).iter().all(LedgerEntry::released));
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled]);
    stage.clock.advance_to(cast.due.before(48 * HOUR));
    assert_eq!(stage.play(&stage.authorisation(&cast, 48)).await, Verdict::Settled("authorised"));
    stage.clock.advance_to(cast.due);
    assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
    assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
    assert_balanced(&stage, "renewed");
}

pub(crate) async fn old_details_are_deleted_at_both_sides_where_that_is_set(gateway: GatewayName) {
    let stage = Stage::new(|rules| rules.delete_deactivated_details = true);
    let (cast, old, event) = changed_details(&stage, gateway).await;
    let house = &stage.guest(gateway).house;
    assert!(house.is_stored(&old));
    assert_eq!(stage.play(&event).await, Verdict::Settled("deactivated"));
    assert!(!house.is_stored(&old) && house.is_stored(&cast.token));
    assert!(agreed(&stage, gateway).iter().all(LedgerEntry::released));
    assert_balanced(&stage, "deleted");
}

pub(crate) async fn a_customer_moves_to_any_other_gateway_in_the_middle_of_an_authorised_period(gateway: GatewayName) {
    let others: Vec<GatewayName> = GatewayName::ALL.iter().copied().filter(|other| *other != gateway).collect();
    assert!(!others.is_empty());
    for other in others {
        let stage = Stage::new(|rules| rules.delete_deactivated_details = true);
        let mut cast = stage.subscriber(stage.guest(gateway).method);
        stage.clock.advance_to(cast.due.before(72 * HOUR));
        assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
        let old = cast.token.clone();
        stage.change_card(&mut cast, stage.guest(other).method);
        for announced in stage.cleeng.due_webhooks() {
            stage.play(&announced).await;
        }
        assert!(agreed(&stage, gateway).iter().all(LedgerEntry::released), "something is held at {gateway}");
        assert!(!stage.guest(gateway).house.is_stored(&old));
        stage.clock.advance_to(cast.due.before(48 * HOUR));
        assert_eq!(stage.play(&stage.authorisation(&cast, 48)).await, Verdict::Settled("authorised"));
        stage.clock.advance_to(cast.due);
        assert_eq!(stage.play(&stage.capture(&cast)).await, Verdict::Settled("captured"));
        assert_eq!(statuses(&stage), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
        assert_eq!((agreed(&stage, gateway).len(), agreed(&stage, other).len()), (1, 1), "one at each");
        assert_balanced(&stage, &format!("from {gateway} to {other}"));
    }
}
