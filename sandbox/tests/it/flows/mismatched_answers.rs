//! A response about another payment than the requested one has no effect, from every server.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Disposition;
use connector::http::Method;
use connector::reason::{ParkReason, RetryReason};
use sandbox::simulators::network::Fault;
use serde_json::{Value, json};

use crate::flows::{assert_balanced, at_first_attempt, call_counts, completed, statuses};

type AnswerEdit = fn(&mut Value);

#[tokio::test]
async fn the_gateway_is_not_called_for_an_order_that_does_not_match_its_event() {
    // The client turns most of it away as unreadable, so that the order is made once more; the flow is the second to look.
    const UNREADABLE: Disposition = Disposition::Retry { after: None, reason: RetryReason::CleengUnknown };
    let changes: [(Disposition, AnswerEdit); 5] = [
        (UNREADABLE, |order| order["customerId"] = json!("99")),
        (Disposition::Parked(ParkReason::OrderMismatch), |order| order["offerId"] = json!("S999_US")),
        (UNREADABLE, |order| order["paymentMethodId"] = json!(98)),
        (UNREADABLE, |order| order["currency"] = json!("EUR")),
        (Disposition::Parked(ParkReason::OrderAmountUnreadable), |order| order["totalPrice"] = json!("-9.99")),
    ];
    for (number, (expected, change)) in changes.into_iter().enumerate() {
        let (env, subscriber) = at_first_attempt();
        let change = move |answer: &mut Value| change(if answer.get("order").is_some() { &mut answer["order"] } else { answer });
        env.network.inject(Fault::Mutate(Arc::new(change)), |peer, request| {
            peer == "cleeng" && request.method == Method::POST && request.path.ends_with("/orders")
        });
        let disposition = env.deliver(&env.authorisation_event(&subscriber, 72)).await;
        assert_eq!(disposition, expected, "{number}");
        assert_eq!((call_counts(&env), statuses(&env)), ((0, 0, 0), vec![]), "{number}");
    }
}

#[tokio::test]
async fn an_answer_with_another_amount_is_queried_again_and_authorised_once() {
    let (env, subscriber) = at_first_attempt();
    let other = |answer: &mut Value| answer["amount"] = json!({ "currency": "USD", "value": 998 });
    env.network.inject(Fault::Mutate(Arc::new(other)), |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    let event = env.authorisation_event(&subscriber, 72);
    assert_eq!(env.deliver(&event).await, Disposition::Retry { after: None, reason: RetryReason::GatewayUnknown });
    assert_eq!(statuses(&env), []);
    env.clock.advance(Duration::from_secs(100));
    assert_eq!(env.deliver_until_settled(&event).await, completed("authorised"));
    assert_eq!((env.adyen.authorisations(), statuses(&env)), (1, vec![PaymentStatus::Authorised]));
    assert_balanced(&env);
}
