//! Clean-up after payment details were replaced.

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::reason::CompletionReason;
use sandbox::simulators::simulated_gateway::LedgerEntry;
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{HOUR, approved_entries, assert_balanced, changed_details, environment, statuses};

pub(crate) async fn authorisations_with_replaced_details_are_released_and_the_new_details_renew(gateway: GatewayName) {
    let env = environment();
    let (subscriber, _, event) = changed_details(&env, gateway).await;
    assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Deactivated));
    assert!(approved_entries(&env, gateway).iter().all(LedgerEntry::is_released));
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled]);
    env.clock.advance_to(subscriber.due.before(48 * HOUR));
    assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, Disposition::Completed(CompletionReason::Authorised));
    env.clock.advance_to(subscriber.due);
    assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
    assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
    assert_balanced(&env, "renewed");
}

pub(crate) async fn replaced_details_are_deleted_at_both_sides_if_enabled(gateway: GatewayName) {
    let env = TestEnvironment::new(|rules| rules.delete_deactivated_details = true);
    let (subscriber, old, event) = changed_details(&env, gateway).await;
    let simulator = &env.gateway(gateway).simulator;
    assert!(simulator.has_stored_details(&old));
    assert_eq!(env.run_event(&event).await, Disposition::Completed(CompletionReason::Deactivated));
    assert!(!simulator.has_stored_details(&old) && simulator.has_stored_details(&subscriber.token));
    assert!(approved_entries(&env, gateway).iter().all(LedgerEntry::is_released));
    assert_balanced(&env, "deleted");
}

pub(crate) async fn a_customer_moves_to_any_other_gateway_in_the_middle_of_an_authorised_period(gateway: GatewayName) {
    let others: Vec<GatewayName> = GatewayName::ALL.iter().copied().filter(|other| *other != gateway).collect();
    assert!(!others.is_empty());
    for other in others {
        let env = TestEnvironment::new(|rules| rules.delete_deactivated_details = true);
        let mut subscriber = env.subscriber(env.gateway(gateway).method);
        env.clock.advance_to(subscriber.due.before(72 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
        let old = subscriber.token.clone();
        env.change_card(&mut subscriber, env.gateway(other).method);
        for announced in env.cleeng.due_webhooks() {
            env.run_event(&announced).await;
        }
        assert!(approved_entries(&env, gateway).iter().all(LedgerEntry::is_released), "something is held at {gateway}");
        assert!(!env.gateway(gateway).simulator.has_stored_details(&old));
        env.clock.advance_to(subscriber.due.before(48 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 48)).await, Disposition::Completed(CompletionReason::Authorised));
        env.clock.advance_to(subscriber.due);
        assert_eq!(env.run_event(&env.capture_event(&subscriber)).await, Disposition::Completed(CompletionReason::Captured));
        assert_eq!(statuses(&env), [PaymentStatus::Cancelled, PaymentStatus::Captured]);
        assert_eq!((approved_entries(&env, gateway).len(), approved_entries(&env, other).len()), (1, 1), "one at each");
        assert_balanced(&env, &format!("from {gateway} to {other}"));
    }
}
