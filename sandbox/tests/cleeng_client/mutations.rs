//! Each answer with each of its fields taken away or changed: the truth comes out, or an error, and never something else.

use std::sync::{Arc, Mutex};

use connector::cleeng::{Cleeng, CleengError, NewPaymentStatus, PaymentStatus, SubscriptionStatus, UnknownAnswer};
use sandbox::peer::Fault;
use serde_json::{Value, json};

use crate::world::{World, rejected};

#[derive(Clone, Debug)]
enum Step {
    Member(String),
    Item(usize),
}

/// The paths of everything in an answer.
fn paths(value: &Value, here: &[Step], found: &mut Vec<Vec<Step>>) {
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (Step::Member(name.clone()), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (Step::Item(index), value)).collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        let path: Vec<Step> = here.iter().cloned().chain([step]).collect();
        found.push(path.clone());
        paths(child, &path, found);
    }
}

/// Removes what is at the path, or puts something else there.
fn change(body: &mut Value, path: &[Step], replacement: Option<&Value>) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(body, |value, step| match step {
        Step::Member(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    });
    match (parent, last, replacement) {
        (Some(Value::Object(members)), Step::Member(name), Some(value)) => {
            members.insert(name.clone(), value.clone());
        }
        (Some(Value::Object(members)), Step::Member(name), None) => {
            members.remove(name);
        }
        (Some(Value::Array(items)), Step::Item(index), Some(value)) => items[*index] = value.clone(),
        (Some(Value::Array(items)), Step::Item(index), None) => {
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
async fn mutations<F: AsyncFn()>(world: &World, call: F) -> Vec<(String, Fault)> {
    let seen = Arc::new(Mutex::new(Value::Null));
    let keep = Arc::clone(&seen);
    world.road.lay(Fault::Mutate(Arc::new(move |body| *keep.lock().unwrap() = body.clone())), |_, _| true);
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

fn unreadable<T>(result: &Result<T, CleengError>) -> bool {
    matches!(result, Err(CleengError::Unknown(UnknownAnswer::Unreadable(_))))
}

#[tokio::test]
async fn a_changed_order_is_refused_or_the_truth() {
    let world = World::at_renewal();
    let api = world.api();
    let truth = api.create_order(&world.new_order()).await.unwrap();
    let mut refused = 0;
    for (name, fault) in mutations(&world, async || drop(api.order(&truth.id).await)).await {
        world.road.lay(fault, |_, _| true);
        let result = api.order(&truth.id).await;
        if let Ok(order) = &result {
            assert_eq!((&order.id, order.total), (&truth.id, truth.total), "{name}");
            assert!(order.customer.is_none() || order.customer == truth.customer, "{name}");
            assert!(order.payment_method.is_none() || order.payment_method == truth.payment_method, "{name}");
            assert!(order.expires_at.is_none() || order.expires_at == truth.expires_at, "{name}");
        } else {
            assert!(unreadable(&result), "{name}");
            refused += 1;
        }
    }
    assert!(refused > 40, "{refused}");
}

#[tokio::test]
async fn a_changed_new_order_is_refused_or_the_truth() {
    let world = World::at_renewal();
    let api = world.api();
    for (name, fault) in mutations(&world, async || drop(api.create_order(&world.new_order()).await)).await {
        world.road.lay(fault, |_, _| true);
        let result = api.create_order(&world.new_order()).await;
        let made = world.cleeng.orders().pop().unwrap();
        match &result {
            Ok(order) => assert_eq!((&order.id, order.total), (&made.id, made.total), "{name}"),
            Err(_) => assert!(unreadable(&result), "{name}"),
        }
    }
}

#[tokio::test]
async fn a_changed_subscription_is_refused_or_the_truth() {
    let world = World::at_renewal();
    world.pay(NewPaymentStatus::Captured, "PSP1").await;
    let (api, id) = (world.api(), world.subscriber.subscription.clone());
    let truth = api.subscription(&id).await.unwrap();
    for (name, fault) in mutations(&world, async || drop(api.subscription(&id).await)).await {
        world.road.lay(fault, |_, _| true);
        let result = api.subscription(&id).await;
        if let Ok(subscription) = &result {
            assert_eq!((&subscription.id, subscription.paid_until), (&truth.id, truth.paid_until), "{name}");
            assert!(matches!(subscription.status, SubscriptionStatus::Active | SubscriptionStatus::Other(_)), "{name}");
            assert!(subscription.payment_method.is_none() || subscription.payment_method == truth.payment_method, "{name}");
            assert!(subscription.payment_details.is_none() || subscription.payment_details == truth.payment_details, "{name}");
            assert!(subscription.cycle.is_none() || subscription.cycle == truth.cycle, "{name}");
        } else {
            assert!(unreadable(&result), "{name}");
        }
    }
}

#[tokio::test]
async fn a_changed_payment_is_refused_or_the_truth() {
    let world = World::at_renewal();
    let api = world.api();
    let order = api.create_order(&world.new_order()).await.unwrap();
    // A refused payment leaves its order open, so that it can be reported again and again.
    let payment = world.new_payment(&order, rejected(), "PSP1");
    for (name, fault) in mutations(&world, async || drop(api.create_payment(&payment).await)).await {
        world.road.lay(fault, |_, _| true);
        let result = api.create_payment(&payment).await;
        let made = world.cleeng.payments().pop().unwrap();
        if let Ok(told) = &result {
            assert_eq!((&told.id, &told.status), (&made.id, &made.status), "{name}");
            assert!(told.total.is_none() || told.total == Some(made.total), "{name}");
        } else {
            assert!(unreadable(&result), "{name}");
        }
    }
}

#[tokio::test]
async fn a_changed_authorised_list_is_refused_or_the_truth_and_never_empty() {
    let world = World::at_renewal();
    let payment = world.pay(NewPaymentStatus::Authorised, "PSP1").await;
    let (api, details) = (world.api(), world.subscriber.details.clone());
    for (name, fault) in mutations(&world, async || drop(api.authorised_payments(&details).await)).await {
        world.road.clear();
        world.road.lay(fault.clone(), |_, _| true);
        world.road.lay(fault, |_, _| true);
        let result = api.authorised_payments(&details).await;
        if let Ok(list) = &result {
            assert_eq!(list.iter().map(|told| &told.id).collect::<Vec<_>>(), [&payment.id], "{name}");
            assert!(matches!(list[0].status, PaymentStatus::Authorised | PaymentStatus::Other(_)), "{name}");
            assert!(list[0].order.is_none() || list[0].order == payment.order, "{name}");
        } else {
            assert!(unreadable(&result), "{name}");
        }
    }
}
