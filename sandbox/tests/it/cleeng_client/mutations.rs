//! Each response with each of its fields removed or changed: the result is correct, or an error, and never something else.

use std::sync::{Arc, Mutex};

use connector::cleeng::{Cleeng, CleengError, NewPaymentStatus, PaymentStatus, SubscriptionStatus, UnknownAnswer};
use sandbox::simulators::network::Fault;
use serde_json::{Value, json};

use crate::cleeng_client::harness::{CleengHarness, rejected};

#[derive(Clone, Debug)]
enum PathSegment {
    Member(String),
    Item(usize),
}

/// The paths of everything in an answer.
fn paths(value: &Value, here: &[PathSegment], found: &mut Vec<Vec<PathSegment>>) {
    let children: Vec<(PathSegment, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (PathSegment::Member(name.clone()), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (PathSegment::Item(index), value)).collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        let path: Vec<PathSegment> = here.iter().cloned().chain([step]).collect();
        found.push(path.clone());
        paths(child, &path, found);
    }
}

/// Removes what is at the path, or puts something else there.
fn change(body: &mut Value, path: &[PathSegment], replacement: Option<&Value>) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(body, |value, step| match step {
        PathSegment::Member(name) => value.get_mut(name),
        PathSegment::Item(index) => value.get_mut(index),
    });
    match (parent, last, replacement) {
        (Some(Value::Object(members)), PathSegment::Member(name), Some(value)) => {
            members.insert(name.clone(), value.clone());
        }
        (Some(Value::Object(members)), PathSegment::Member(name), None) => {
            members.remove(name);
        }
        (Some(Value::Array(items)), PathSegment::Item(index), Some(value)) => items[*index] = value.clone(),
        (Some(Value::Array(items)), PathSegment::Item(index), None) => {
            items.remove(*index);
        }
        _ => {}
    }
}

/// Things that are no id, no amount, no date, no currency and no status.
fn replacements() -> Vec<Option<Value>> {
    let values = [json!(null), json!(true), json!(false), json!({}), json!([]), json!(""), json!("no id"), json!(-1), json!([{ "id": 5 }])];
    let numbers = ["1.2345", "1e2", "0.001"].map(|text| serde_json::from_str(text).unwrap());
    [None].into_iter().chain(values.into_iter().chain(numbers).map(Some)).collect()
}

/// All mutations of the answer that `call` gets.
async fn mutations<F: AsyncFn()>(harness: &CleengHarness, call: F) -> Vec<(String, Fault)> {
    let seen = Arc::new(Mutex::new(Value::Null));
    let keep = Arc::clone(&seen);
    harness.network.inject(Fault::Mutate(Arc::new(move |body| *keep.lock().unwrap() = body.clone())), |_, _| true);
    call().await;
    let mut all = Vec::new();
    paths(&seen.lock().unwrap(), &[], &mut all);
    assert!(all.len() > 5, "an answer was seen");
    let both = all.into_iter().flat_map(|path| replacements().into_iter().map(move |replacement| (path.clone(), replacement)));
    both.map(|(path, replacement)| {
        let name = format!("{path:?} = {replacement:?}");
        (name, Fault::Mutate(Arc::new(move |body| change(body, &path, replacement.as_ref()))))
    })
    .collect()
}

fn is_unreadable<T>(result: &Result<T, CleengError>) -> bool {
    matches!(result, Err(CleengError::AmountUnreadable | CleengError::Unknown(UnknownAnswer::Unreadable(_))))
}

#[tokio::test]
async fn a_changed_order_is_refused_or_the_truth() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let truth = api.create_order(&harness.new_order()).await.unwrap();
    let mut refused = 0;
    for (name, fault) in mutations(&harness, async || drop(api.order(&truth.id).await)).await {
        harness.network.inject(fault, |_, _| true);
        let result = api.order(&truth.id).await;
        if let Ok(order) = &result {
            assert_eq!((&order.id, order.total), (&truth.id, truth.total), "{name}");
            assert!(order.customer.is_none() || order.customer == truth.customer, "{name}");
            assert!(order.payment_method.is_none() || order.payment_method == truth.payment_method, "{name}");
            assert!(order.expires_at.is_none() || order.expires_at == truth.expires_at, "{name}");
        } else {
            assert!(is_unreadable(&result), "{name}");
            refused += 1;
        }
    }
    assert!(refused > 40, "{refused}");
}

#[tokio::test]
async fn a_changed_new_order_is_refused_or_the_truth() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    for (name, fault) in mutations(&harness, async || drop(api.create_order(&harness.new_order()).await)).await {
        harness.network.inject(fault, |_, _| true);
        let result = api.create_order(&harness.new_order()).await;
        let made = harness.cleeng.orders().pop().unwrap();
        match &result {
            Ok(order) => assert_eq!((&order.id, order.total), (&made.id, made.total), "{name}"),
            Err(_) => assert!(is_unreadable(&result), "{name}"),
        }
    }
}

#[tokio::test]
async fn a_changed_subscription_is_refused_or_the_truth() {
    let harness = CleengHarness::at_renewal();
    harness.pay(NewPaymentStatus::Captured, "PSP1").await;
    let (api, id) = (harness.api(), harness.subscriber.subscription.clone());
    let truth = api.subscription(&id).await.unwrap();
    for (name, fault) in mutations(&harness, async || drop(api.subscription(&id).await)).await {
        harness.network.inject(fault, |_, _| true);
        let result = api.subscription(&id).await;
        if let Ok(subscription) = &result {
            assert_eq!((&subscription.id, subscription.paid_until), (&truth.id, truth.paid_until), "{name}");
            assert!(matches!(subscription.status, SubscriptionStatus::Active | SubscriptionStatus::Other(_)), "{name}");
            assert!(subscription.payment_method.is_none() || subscription.payment_method == truth.payment_method, "{name}");
            assert!(subscription.payment_details.is_none() || subscription.payment_details == truth.payment_details, "{name}");
            assert!(subscription.cycle.is_none() || subscription.cycle == truth.cycle, "{name}");
        } else {
            assert!(is_unreadable(&result), "{name}");
        }
    }
}

#[tokio::test]
async fn a_changed_payment_is_refused_or_the_truth() {
    let harness = CleengHarness::at_renewal();
    let api = harness.api();
    let order = api.create_order(&harness.new_order()).await.unwrap();
    // A refused payment leaves its order open, so that it can be reported again and again.
    let payment = harness.new_payment(&order, rejected(), "PSP1");
    for (name, fault) in mutations(&harness, async || drop(api.create_payment(&payment).await)).await {
        harness.network.inject(fault, |_, _| true);
        let result = api.create_payment(&payment).await;
        let made = harness.cleeng.payments().pop().unwrap();
        if let Ok(told) = &result {
            assert_eq!((&told.id, &told.status), (&made.id, &made.status), "{name}");
            assert!(told.total.is_none() || told.total == Some(made.total), "{name}");
        } else {
            assert!(is_unreadable(&result), "{name}");
        }
    }
}

#[tokio::test]
async fn a_changed_authorised_list_is_refused_or_the_truth_and_never_empty() {
    let harness = CleengHarness::at_renewal();
    let payment = harness.pay(NewPaymentStatus::Authorised, "PSP1").await;
    let (api, details) = (harness.api(), harness.subscriber.details.clone());
    for (name, fault) in mutations(&harness, async || drop(api.authorised_payments(&details).await)).await {
        harness.network.clear_faults();
        harness.network.inject(fault.clone(), |_, _| true);
        harness.network.inject(fault, |_, _| true);
        let result = api.authorised_payments(&details).await;
        if let Ok(list) = &result {
            assert_eq!(list.iter().map(|told| &told.id).collect::<Vec<_>>(), [&payment.id], "{name}");
            assert!(matches!(list[0].status, PaymentStatus::Authorised | PaymentStatus::Other(_)), "{name}");
            assert!(list[0].order.is_none() || list[0].order == payment.order, "{name}");
        } else {
            assert!(is_unreadable(&result), "{name}");
        }
    }
}
