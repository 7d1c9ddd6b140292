//! An answer that speaks of something else than what was asked is not believed, whoever gives it.

use std::sync::Arc;
use std::time::Duration;

use connector::cleeng::PaymentStatus;
use connector::flow::Verdict;
use connector::http::Method;
use sandbox::peer::Fault;
use serde_json::{Value, json};

use crate::{assert_balanced, at_first_attempt, calls, settled, statuses};

type Change = fn(&mut Value);

#[tokio::test]
async fn nothing_is_asked_of_the_gateway_for_an_order_that_does_not_fit_its_event() {
    // The client turns most of it away as unreadable, so that the order is made once more; the flow is the second to look.
    const UNREADABLE: Verdict = Verdict::Later { after: None, reason: "cleeng_unknown" };
    let changes: [(Verdict, Change); 5] = [
        (UNREADABLE, |order| order["customerId"] = json!("99")),
        (Verdict::Parked("order_does_not_fit_event"), |order| order["offerId"] = json!("S999_US")),
        (UNREADABLE, |order| order["paymentMethodId"] = json!(98)),
        (UNREADABLE, |order| order["currency"] = json!("EUR")),
        (UNREADABLE, |order| order["totalPrice"] = json!("-9.99")),
    ];
    for (number, (expected, change)) in changes.into_iter().enumerate() {
        let (stage, cast) = at_first_attempt();
        let change = move |answer: &mut Value| change(if answer.get("order").is_some() { &mut answer["order"] } else { answer });
        stage.road.lay(Fault::Mutate(Arc::new(change)), |peer, request| {
            peer == "cleeng" && request.method == Method::POST && request.path.ends_with("/orders")
        });
        let verdict = stage.deliver(&stage.authorisation(&cast, 72)).await;
        assert_eq!(verdict, expected, "{number}");
        assert_eq!((calls(&stage), statuses(&stage)), ((0, 0, 0), vec![]), "{number}");
    }
}

#[tokio::test]
async fn a_gateway_that_speaks_of_another_amount_is_asked_again_and_its_money_held_once() {
    let (stage, cast) = at_first_attempt();
    let other = |answer: &mut Value| answer["amount"] = json!({ "currency": "USD", "value": 998 });
    stage.road.lay(Fault::Mutate(Arc::new(other)), |peer, request| peer == "adyen" && request.path.ends_with("/payments"));
    let event = stage.authorisation(&cast, 72);
    assert_eq!(stage.deliver(&event).await, Verdict::Later { after: None, reason: "gateway_unknown" });
    assert_eq!(statuses(&stage), []);
    stage.clock.advance(Duration::from_secs(100));
    assert_eq!(stage.deliver_until_settled(&event).await, settled("authorised"));
    assert_eq!((stage.adyen.authorisations(), statuses(&stage)), (1, vec![PaymentStatus::Authorised]));
    assert_balanced(&stage);
}
