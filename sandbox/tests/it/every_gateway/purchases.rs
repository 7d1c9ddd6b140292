//! The customer at the checkout page: first purchases, free starts, storing of details, customers who leave.

use connector::checkout::expire_purchase;
use connector::checkout::order::order_key;
use connector::cleeng::PaymentStatus;
use connector::clock::Clock as _;
use connector::flow::Disposition;
use connector::gateway::GatewayName;
use connector::ids::ExternalPaymentId;
use connector::metrics::Metric;
use connector::reason::CompletionReason;
use sandbox::simulators::network::{Fault, ServerRequest};
use sandbox::simulators::simulated_gateway::{EnteredDetails, LedgerEntry};
use sandbox::testkit::fixtures::{OFFER, SHOP_ORIGIN, id};
use sandbox::testkit::harness::TestEnvironment;

use crate::every_gateway::scenarios::{
    Buyer, HOUR, approved_entries, assert_balanced, assert_paid_once, environment, is_paid, statuses, usd,
};

pub(crate) async fn a_purchase_is_paid_once_and_stores_details_that_renew(gateway: GatewayName) {
    for entry in [EnteredDetails::Frictionless, EnteredDetails::ActionRequired] {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        let paid = buyer.pay_until_final(&env, entry, 1).await;
        assert!(is_paid(&paid), "{}", paid.body);
        // A reload and a second click get the same answer.
        assert_eq!(buyer.start(&env, entry, 1).await, paid);
        env.run_until_idle().await;
        assert_paid_once(&env, &buyer, "paid");
    }
}

pub(crate) async fn a_refused_purchase_is_reported_and_other_details_pay(gateway: GatewayName) {
    let env = environment();
    let buyer = Buyer::new(&env, gateway);
    let refused = buyer.pay_until_final(&env, EnteredDetails::Declined, 1).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(statuses(&env), [PaymentStatus::Rejected]);
    assert!(is_paid(&buyer.pay_until_final(&env, EnteredDetails::Frictionless, 2).await));
    env.run_until_idle().await;
    assert_paid_once(&env, &buyer, "other details");
}

/// The customer approves at the bank and does not return.
async fn approve_and_leave(env: &TestEnvironment, buyer: &Buyer, number: u32) -> serde_json::Value {
    let reply = buyer.start(env, EnteredDetails::ActionRequired, number).await;
    buyer.complete_action(env, &reply).unwrap_or_else(|| panic!("nothing is asked of the customer: {}", reply.body))
}

pub(crate) async fn a_purchase_without_a_return_is_finished_by_notification(gateway: GatewayName) {
    let env = environment();
    let buyer = Buyer::new(&env, gateway);
    let back = approve_and_leave(&env, &buyer, 1).await;
    env.run_until_idle().await;
    assert_paid_once(&env, &buyer, "without the customer");
    // The customer returns after all.
    assert!(is_paid(&buyer.finalize(&env, &back).await));
    assert_paid_once(&env, &buyer, "after the return");
}

pub(crate) async fn a_return_during_the_notification_pays_once_at_every_interleaving(gateway: GatewayName) {
    for head_start in 0..25 {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        let back = approve_and_leave(&env, &buyer, 1).await;
        let customer = async {
            for _ in 0..head_start {
                tokio::task::yield_now().await;
            }
            buyer.finalize(&env, &back).await
        };
        let _ = tokio::join!(env.run_until_idle(), customer);
        env.clock.advance(HOUR / 10);
        env.run_until_idle().await;
        assert!(is_paid(&buyer.finalize(&env, &back).await), "{head_start}");
        assert_paid_once(&env, &buyer, &format!("head start {head_start}"));
    }
}

pub(crate) async fn a_redirected_customer_pays_once_with_or_without_a_return(gateway: GatewayName) {
    for comes_back in [true, false] {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        let told = buyer.start_redirect(&env, EnteredDetails::ActionRequired, 1).await;
        if told.status == 422 {
            // What this gateway asks of the customer is no redirect.
            assert!(told.body["code"].as_str().unwrap().ends_with("0004") && approved_entries(&env, gateway).is_empty(), "{}", told.body);
            return;
        }
        let page = told.body["responseData"]["redirectUrl"].as_str().unwrap_or_else(|| panic!("{}", told.body));
        let back = env.gateway(gateway).simulator.complete_redirect(page, true).unwrap();
        if comes_back {
            env.follow_redirect(&back).await;
        }
        env.run_until_idle().await;
        assert_paid_once(&env, &buyer, "sent away");
        for _ in 0..2 {
            let location = env.follow_redirect(&back).await.location.unwrap();
            assert!(location.starts_with(&format!("{SHOP_ORIGIN}/thankyou?externalPaymentId=")), "comes back: {comes_back}: {location}");
        }
        env.run_until_idle().await;
        assert_paid_once(&env, &buyer, "and back");
    }
}

pub(crate) async fn a_purchase_that_is_replaced_is_never_reported(gateway: GatewayName) {
    let env = environment();
    let buyer = Buyer::new(&env, gateway);
    let first = buyer.start(&env, EnteredDetails::ActionRequired, 1).await;
    assert!(is_paid(&buyer.pay_until_final(&env, EnteredDetails::Frictionless, 2).await));
    // The customer goes back to the first tab and agrees there as well.
    let back = buyer.complete_action(&env, &first).unwrap();
    let told = buyer.finalize(&env, &back).await;
    assert!(is_paid(&told), "{}", told.body);
    env.run_until_idle().await;
    assert_paid_once(&env, &buyer, "replaced");
}

pub(crate) async fn an_order_that_lapses_during_the_redirect_holds_nothing(gateway: GatewayName) {
    for agrees in [false, true] {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        let reply = buyer.start(&env, EnteredDetails::ActionRequired, 1).await;
        let expires = env.cleeng.orders().into_iter().find(|order| order.id == buyer.order).unwrap().expires;
        env.clock.advance_to(expires.after(HOUR));
        let mut disposition = expire_purchase(&env.flow_context, &order_key(&buyer.order), &env.delivery_received_now()).await;
        for _ in 0..20 {
            let Disposition::Retry { after, .. } = disposition else { break };
            env.clock.advance(after.unwrap_or(HOUR / 30));
            disposition = expire_purchase(&env.flow_context, &order_key(&buyer.order), &env.delivery_received_now()).await;
        }
        assert!(matches!(disposition, Disposition::Completed(_)), "{disposition:?}");
        if agrees {
            buyer.complete_action(&env, &reply).unwrap();
        }
        env.run_until_idle().await;
        let kept: Vec<_> = approved_entries(&env, gateway).into_iter().filter(LedgerEntry::holds_money).collect();
        assert_eq!((kept, statuses(&env)), (vec![], vec![]), "agrees: {agrees}, at {}", env.clock.now());
        assert_balanced(&env, "lapsed");
    }
}

pub(crate) async fn a_free_start_stores_details_without_a_charge(gateway: GatewayName) {
    let env = environment();
    let buyer = Buyer::new(&env, gateway);
    env.cleeng.change_order_price(&buyer.order, usd(0), true);
    let started = buyer.pay_until_final(&env, EnteredDetails::Frictionless, 1).await;
    assert!(is_paid(&started), "{}", started.body);
    env.run_until_idle().await;
    assert_eq!((approved_entries(&env, gateway), statuses(&env)), (vec![], vec![PaymentStatus::Captured]));
    let details = env.cleeng.payments()[0].details.clone().unwrap();
    assert!(env.gateway(gateway).simulator.has_stored_details(&env.cleeng.details(&details).unwrap().token));
    assert_balanced(&env, "free");
}

pub(crate) async fn details_are_stored_without_a_charge_and_renew(gateway: GatewayName) {
    for entry in [EnteredDetails::Frictionless, EnteredDetails::ActionRequired] {
        let env = environment();
        let method = env.gateway(gateway).method;
        let mut subscriber = env.subscriber(method);
        let customer = subscriber.ids.customer.clone();
        let order = env.cleeng.new_order(&customer, &id(OFFER), &id(method)).unwrap();
        let buyer = Buyer { gateway, customer: customer.clone(), order, token: env.cleeng.customer_token(&customer) };
        let stored = buyer.store_until_final(&env, entry, 1).await;
        let told = &stored.body["responseData"]["paymentDetails"];
        assert_eq!((stored.status.as_u16(), &told["active"]), (200, &true.into()), "{}", stored.body);
        assert!(!stored.body.to_string().contains(&subscriber.token));
        env.run_until_idle().await;
        assert_eq!(approved_entries(&env, gateway), []);
        // The next renewal goes through the new details.
        subscriber.ids.details = id(&told["id"].as_str().map_or_else(|| told["id"].to_string(), str::to_owned));
        env.clock.advance_to(subscriber.due.before(72 * HOUR));
        assert_eq!(env.run_event(&env.authorisation_event(&subscriber, 72)).await, Disposition::Completed(CompletionReason::Authorised));
        assert_eq!(approved_entries(&env, gateway).len(), 1);
        assert_balanced(&env, "renewed");
    }
}

/// The order is paid by another connector; a front end has kept its id.
pub(crate) async fn an_order_that_cleeng_refuses_is_given_back_and_not_paid_again(gateway: GatewayName) {
    for entry in [EnteredDetails::Frictionless, EnteredDetails::ActionRequired] {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        assert!(env.cleeng.pay_order_elsewhere(&buyer.order, &ExternalPaymentId::new("elsewhere").unwrap()));
        let refused = buyer.pay_until_final(&env, entry, 1).await;
        assert_eq!((refused.status.as_u16(), refused.body["code"].as_str()), (409, Some("ORDER0010")), "{}", refused.body);
        // Another click charges nothing.
        assert_eq!(buyer.start(&env, EnteredDetails::Frictionless, 2).await.body["code"], "ORDER0010");
        env.clock.advance(HOUR / 6);
        env.run_reconciliation().await;
        env.run_until_idle().await;
        let entries = approved_entries(&env, gateway);
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!((entries[0].captured, entries[0].refunded), (usd(999), usd(999)));
        assert_eq!((statuses(&env), env.metrics.count(Metric::Alarm, "paid_order_refused")), (vec![], 1));
        assert_balanced(&env, "given back");
    }
}

/// The answer to the first report is lost: Cleeng then refuses the second, because the first has paid the order.
pub(crate) async fn an_order_that_an_earlier_report_may_have_paid_is_compared(gateway: GatewayName) {
    let is_report = |peer: &str, request: &ServerRequest| peer == "cleeng" && request.path == "/3.1/payments";
    let is_list = |_: &str, request: &ServerRequest| request.path == "/3.1/subscriptions";
    for shows_in_time in [true, false] {
        let env = environment();
        let buyer = Buyer::new(&env, gateway);
        env.network.inject(Fault::TimeoutAfter, is_report);
        // The list is late by one look: the report seems not to have arrived, and is made again.
        env.network.inject(Fault::Mutate(std::sync::Arc::new(|body| body["data"] = serde_json::json!([]))), is_list);
        if !shows_in_time {
            let hide =
                |body: &mut serde_json::Value| drop(body["data"][0].as_object_mut().and_then(|s| s.remove("latestPaymentExternalId")));
            env.network.inject(Fault::Mutate(std::sync::Arc::new(hide)), is_list);
        }
        let last = buyer.pay_until_final(&env, EnteredDetails::Frictionless, 1).await;
        assert_eq!(is_paid(&last), shows_in_time, "{}", last.body);
        assert!(shows_in_time || last.body["code"] == "ORDER0009", "{}", last.body);
        let kept: Vec<_> = approved_entries(&env, gateway).into_iter().filter(LedgerEntry::holds_money).collect();
        assert_eq!((kept.len(), kept[0].refunded, statuses(&env)), (1, usd(0), vec![PaymentStatus::Captured]));
    }
}
