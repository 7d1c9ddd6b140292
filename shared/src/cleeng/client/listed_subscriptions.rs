//! What Cleeng says about the subscriptions of a payment method, for the checks of a deployment (`GET
//! /3.1/subscriptions?paymentMethodId`; Cleeng, "List subscriptions"). Changes nothing.

use super::request::{ApiRequest, path_segment};
use super::{CoreApi, PAGE_SIZE, read};
use crate::cleeng::{CleengError, Subscription};
use crate::clock::Timestamp;
use crate::ids::{PaymentMethodId, PublisherId};

/// A subscription as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSubscription {
    /// The subscription.
    pub subscription: Subscription,
    /// Whose it is; `None` if Cleeng does not report it.
    pub publisher: Option<PublisherId>,
    /// When Cleeng sends its next payment event; `None` if Cleeng does not report it.
    pub next_payment_at: Option<Timestamp>,
}

impl CoreApi {
    /// The first page of a payment method's subscriptions, at most a hundred. An empty page says nothing about whether the method exists.
    ///
    /// # Errors
    /// [`CleengError`].
    pub async fn listed_subscriptions(&self, method: &PaymentMethodId) -> Result<Vec<ListedSubscription>, CleengError> {
        let path = format!("/subscriptions?paymentMethodId={}&limit={PAGE_SIZE}", path_segment(method)?);
        let answer = self.client.send(&ApiRequest::get(path)).await?;
        let listed = read::listed_subscriptions(&read::body(&answer)?)?;
        // A Cleeng that ignores the filter shows others' too.
        Ok(listed.into_iter().filter(|one| one.subscription.payment_method.as_ref().is_none_or(|told| told == method)).collect())
    }
}
