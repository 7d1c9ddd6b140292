//! A customer's browser: the sample calls of `events/`, with a token that Cleeng has signed.

use std::time::Duration;

use connector::clock::{Clock as _, SystemClock};
use sandbox::testkit::fixtures::id;
use serde_json::{Value, json};

use crate::deployment::{Deployment, event};
use crate::support::process::wait_for;
use crate::support::upstreams::Upstreams;

/// A card of Adyen's test list that asks for authentication at the bank.
pub(crate) const REDIRECTING: &str = "test_4917610000000000";
/// One that is authenticated within the page: a fingerprint of the device, then a challenge.
pub(crate) const NATIVE: &str = "test_5201281505129736";

/// An answer to a page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PageResponse {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl PageResponse {
    /// Status and code of a refusal.
    pub(crate) fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or("none"))
    }

    /// What the customer brings back from the redirect that this answer asks for.
    pub(crate) fn redirect_result(&self) -> &str {
        let action = &self.body["responseData"]["action"];
        assert_eq!((self.status, &action["type"]), (200, &json!("redirect")), "{}", self.body);
        action["url"].as_str().unwrap().split("result=").nth(1).unwrap()
    }
}

/// A request of a page.
struct PageRequest {
    path: String,
    headers: [(&'static str, String); 4],
    body: String,
}

/// The page of one function, used by the customer of the sample events.
pub(crate) struct CheckoutPage {
    function: &'static str,
    token: String,
}

impl CheckoutPage {
    /// The customer is logged in.
    pub(crate) fn for_customer(function: &'static str, peers: &Upstreams) -> Self {
        let tomorrow = SystemClock.now().after(Duration::from_secs(86_400));
        Self { function, token: peers.cleeng.customer_token_until(&id("123321123"), tomorrow) }
    }

    /// The same with the token of the sample event, which no Cleeng has signed.
    pub(crate) fn with_unsigned_token(function: &'static str) -> Self {
        let event = event(function, "http.json");
        let bearer = event["headers"]["authorization"].as_str().unwrap();
        Self { function, token: bearer.strip_prefix("Bearer ").unwrap().to_owned() }
    }

    /// The header with the customer's token.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Makes the sample call of this file, with a changed body.
    pub(crate) async fn call(&self, deployment: &mut Deployment, file: &str, change: impl FnOnce(&mut Value)) -> PageResponse {
        let PageRequest { path, headers, body } = self.prepare(file, change);
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = deployment.runtime.post(self.function, &path, &headers, &body).await;
        PageResponse { status: answer.status.as_u16(), body: answer.json().unwrap_or(Value::Null) }
    }

    /// The customer presses the button, and the function crashes of it.
    pub(crate) async fn start_and_kill(&self, deployment: &mut Deployment) {
        let PageRequest { path, headers, body } = self.prepare("http.json", |_| {});
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        deployment.runtime.post_until_killed(self.function, &path, &headers, &body).await;
    }

    /// Asks again as a page does, until something else than "not yet" or "not now" comes.
    pub(crate) async fn start_until_final(&self, deployment: &mut Deployment) -> PageResponse {
        let deployment = tokio::sync::Mutex::new(deployment);
        wait_for("the page to be told", || async {
            let told = self.start(&mut **deployment.lock().await).await;
            (!matches!(told.status, 202 | 503)).then_some(told)
        })
        .await
    }

    fn prepare(&self, file: &str, change: impl FnOnce(&mut Value)) -> PageRequest {
        let event = event(self.function, file);
        let mut body: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
        change(&mut body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("origin", text(&event["headers"]["origin"])),
            ("prefer", "respond-async".to_owned()),
            ("authorization", self.bearer()),
        ];
        PageRequest { path: text(&event["rawPath"]), headers, body: body.to_string() }
    }

    /// The customer presses the button.
    pub(crate) async fn start(&self, deployment: &mut Deployment) -> PageResponse {
        self.call(deployment, "http.json", |_| {}).await
    }

    /// The same with another card.
    pub(crate) async fn start_with(&self, deployment: &mut Deployment, name: &str, value: &str) -> PageResponse {
        self.call(deployment, "http.json", |body| body["paymentMethod"][name] = json!(value)).await
    }

    /// The customer returns from the bank.
    pub(crate) async fn finalize(&self, deployment: &mut Deployment, redirect_result: &str) -> PageResponse {
        self.call(deployment, "finalize.json", |body| body["details"]["redirectResult"] = json!(redirect_result)).await
    }

    /// The customer's browser has done what this answer asks for.
    pub(crate) async fn authenticate(&self, deployment: &mut Deployment, asked: &PageResponse) -> PageResponse {
        let result = &asked.body["responseData"]["action"]["token"];
        self.call(deployment, "finalize.json", |body| body["details"] = json!({ "threeDSResult": result })).await
    }
}
