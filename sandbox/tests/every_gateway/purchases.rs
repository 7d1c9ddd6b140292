//! The customer at the page: first purchases, free starts, storing of details, customers who leave.

use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::Verdict;
use connector::gateway::GatewayName;
use connector::purchase::expire_purchase;
use connector::purchase::order::order_key;
use sandbox::house::{Entry, LedgerEntry};
use sandbox::stage::{OFFER, ORIGIN, Stage, id};

use crate::scenes::{Buyer, HOUR, agreed, assert_balanced, assert_paid_once, is_paid, stage, statuses, usd};

pub(crate) async fn a_purchase_is_paid_once_and_stores_details_that_renew(gateway: GatewayName) {
    for entry in [Entry::Good, Entry::Asked] {
        let stage = stage();
        let buyer = Buyer::new(&stage, gateway);
        let paid = buyer.pay(&stage, entry, 1).await;
        assert!(is_paid(&paid), "{}", paid.body);
        // A reload and a second click get the same answer.
        assert_eq!(buyer.start(&stage, entry, 1).await, paid);
        stage.run_until_quiet().await;
        assert_paid_once(&stage, &buyer, "paid");
    }
}

pub(crate) async fn a_refused_purchase_is_told_and_other_details_pay(gateway: GatewayName) {
    let stage = stage();
    let buyer = Buyer::new(&stage, gateway);
    let refused = buyer.pay(&stage, Entry::Refused, 1).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(statuses(&stage), [PaymentStatus::Rejected]);
    assert!(is_paid(&buyer.pay(&stage, Entry::Good, 2).await));
    stage.run_until_quiet().await;
    assert_paid_once(&stage, &buyer, "other details");
}

/// The customer agrees at his bank and is not seen again.
async fn agrees_and_leaves(stage: &Stage, buyer: &Buyer, number: u32) -> serde_json::Value {
    let reply = buyer.start(stage, Entry::Asked, number).await;
    buyer.does(stage, &reply).unwrap_or_else(|| panic!("nothing is asked of the customer: {}", reply.body))
}

pub(crate) async fn a_customer_who_never_comes_back_is_finished_by_the_gateways_word(gateway: GatewayName) {
    let stage = stage();
    let buyer = Buyer::new(&stage, gateway);
    let back = agrees_and_leaves(&stage, &buyer, 1).await;
    stage.run_until_quiet().await;
    assert_paid_once(&stage, &buyer, "without him");
    // He comes back after all.
    assert!(is_paid(&buyer.finalize(&stage, &back).await));
    assert_paid_once(&stage, &buyer, "and he is back");
}

pub(crate) async fn a_customer_who_comes_back_while_the_gateway_tells_pays_once_wherever_they_meet(gateway: GatewayName) {
    for head_start in 0..25 {
        let stage = stage();
        let buyer = Buyer::new(&stage, gateway);
        let back = agrees_and_leaves(&stage, &buyer, 1).await;
        let customer = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            buyer.finalize(&stage, &back).await
        };
        let _ = tokio::join!(stage.run_until_quiet(), customer);
        stage.clock.advance(HOUR / 10);
        stage.run_until_quiet().await;
        assert!(is_paid(&buyer.finalize(&stage, &back).await), "{head_start}");
        assert_paid_once(&stage, &buyer, &format!("head start {head_start}"));
    }
}

pub(crate) async fn a_customer_who_is_sent_away_pays_once_whether_he_comes_back_or_not(gateway: GatewayName) {
    for comes_back in [true, false] {
        let stage = stage();
        let buyer = Buyer::new(&stage, gateway);
        let told = buyer.start_away(&stage, Entry::Asked, 1).await;
        if told.status == 422 {
            // What this gateway asks of the customer is no redirect.
            assert!(told.body["code"].as_str().unwrap().ends_with("0004") && agreed(&stage, gateway).is_empty(), "{}", told.body);
            return;
        }
        let page = told.body["responseData"]["redirectUrl"].as_str().unwrap_or_else(|| panic!("{}", told.body));
        let back = stage.guest(gateway).house.leave(page, true).unwrap();
        if comes_back {
            stage.follow(&back).await;
        }
        stage.run_until_quiet().await;
        assert_paid_once(&stage, &buyer, "sent away");
        for _ in 0..2 {
            assert_eq!(stage.follow(&back).await.location, Some(format!("{ORIGIN}/thankyou")), "comes back: {comes_back}");
        }
        stage.run_until_quiet().await;
        assert_paid_once(&stage, &buyer, "and back");
    }
}

pub(crate) async fn a_purchase_that_is_replaced_is_never_reported(gateway: GatewayName) {
    let stage = stage();
    let buyer = Buyer::new(&stage, gateway);
    let first = buyer.start(&stage, Entry::Asked, 1).await;
    assert!(is_paid(&buyer.pay(&stage, Entry::Good, 2).await));
    // The customer goes back to the first tab and agrees there as well.
    let back = buyer.does(&stage, &first).unwrap();
    let told = buyer.finalize(&stage, &back).await;
    assert!(is_paid(&told), "{}", told.body);
    stage.run_until_quiet().await;
    assert_paid_once(&stage, &buyer, "replaced");
}

pub(crate) async fn an_order_that_lapses_while_the_customer_is_away_holds_nothing(gateway: GatewayName) {
    for agrees in [false, true] {
        let stage = stage();
        let buyer = Buyer::new(&stage, gateway);
        let reply = buyer.start(&stage, Entry::Asked, 1).await;
        let expires = stage.cleeng.orders().into_iter().find(|order| order.id == buyer.order).unwrap().expires;
        stage.clock.advance_to(expires.after(HOUR));
        let mut verdict = expire_purchase(&stage.world, &order_key(&buyer.order), &stage.delivery()).await;
        for _ in 0..20 {
            let Verdict::Later { after, .. } = verdict else { break };
            stage.clock.advance(after.unwrap_or(HOUR / 30));
            verdict = expire_purchase(&stage.world, &order_key(&buyer.order), &stage.delivery()).await;
        }
        assert!(matches!(verdict, Verdict::Settled(_)), "{verdict:?}");
        if agrees {
            buyer.does(&stage, &reply).unwrap();
        }
        stage.run_until_quiet().await;
        let kept: Vec<_> = agreed(&stage, gateway).into_iter().filter(LedgerEntry::holds_money).collect();
        assert_eq!((kept, statuses(&stage)), (vec![], vec![]), "agrees: {agrees}, at {}", stage.clock.now());
        assert_balanced(&stage, "lapsed");
    }
}

pub(crate) async fn a_free_start_stores_details_without_a_charge(gateway: GatewayName) {
    let stage = stage();
    let buyer = Buyer::new(&stage, gateway);
    stage.cleeng.reprice(&buyer.order, usd(0), true);
    let started = buyer.pay(&stage, Entry::Good, 1).await;
    assert!(is_paid(&started), "{}", started.body);
    stage.run_until_quiet().await;
    assert_eq!((agreed(&stage, gateway), statuses(&stage)), (vec![], vec![PaymentStatus::Captured]));
    let details = stage.cleeng.payments()[0].details.clone().unwrap();
    assert!(stage.guest(gateway).house.is_stored(&stage.cleeng.details(&details).unwrap().token));
    assert_balanced(&stage, "free");
}

pub(crate) async fn details_are_stored_without_a_charge_and_renew(gateway: GatewayName) {
    for entry in [Entry::Good, Entry::Asked] {
        let stage = stage();
        let method = stage.guest(gateway).method;
        let mut cast = stage.subscriber(method);
        let customer = cast.subscriber.customer.clone();
        let order = stage.cleeng.new_order(&customer, &id(OFFER), &id(method)).unwrap();
        let buyer = Buyer { gateway, customer: customer.clone(), order, token: stage.cleeng.customer_token(&customer) };
        let stored = buyer.store_patiently(&stage, entry, 1).await;
        let told = &stored.body["responseData"]["paymentDetails"];
        assert_eq!((stored.status.as_u16(), &told["active"]), (200, &true.into()), "{}", stored.body);
        assert!(!stored.body.to_string().contains(&cast.token));
        stage.run_until_quiet().await;
        assert_eq!(agreed(&stage, gateway), []);
        // The next renewal goes through the new details.
        cast.subscriber.details = id(&told["id"].as_str().map_or_else(|| told["id"].to_string(), str::to_owned));
        stage.clock.advance_to(cast.due.before(72 * HOUR));
        assert_eq!(stage.play(&stage.authorisation(&cast, 72)).await, Verdict::Settled("authorised"));
        assert_eq!(agreed(&stage, gateway).len(), 1);
        assert_balanced(&stage, "renewed");
    }
}
