//! The publisher's token, the list of broken rules, and routes.

use connector::clock::Clock;
use connector::ids::{Id, InvalidId, OrderId, PaymentDetailsId, PaymentId, SubscriptionId};
use serde_json::json;

use crate::simulators::cleeng::request_context::{HandlerResult, Rejection, RequestContext};
use crate::simulators::cleeng::{CleengSimulator, State, Violation, mediastore};
use crate::simulators::network::{Fault, PathParameters, Route, ServerRequest, ServerResponse, SimulatedServer, find_route};

impl SimulatedServer for CleengSimulator {
    fn name(&self) -> &'static str {
        "cleeng"
    }

    fn handle(&self, request: &ServerRequest) -> ServerResponse {
        let now = self.clock.now();
        let mut state = self.lock();
        if request.path.starts_with("/mediastore/") {
            return mediastore::handle(&mut state, request, now);
        }
        if request.header("x-publisher-token") != Some(state.publisher.token.as_str()) {
            return error_response(401, "Access denied");
        }
        state.response_count = state.response_count.saturating_add(1);
        let State { database, quirks, response_count, .. } = &mut *state;
        let mut context = RequestContext { database, quirks, now, request, ids_as_numbers: *response_count % 2 == 0 };
        match route(&mut context) {
            Ok(answer) => answer,
            Err(Rejection::Status(status)) => error_response(status, "Not possible"),
            Err(Rejection::ContractViolation(status, rule)) => {
                let request = format!("{} {}", request.method, request.path);
                state.database.violations.push(Violation { at: now, rule, request });
                error_response(status, rule)
            }
        }
    }
}

/// A refusal of Cleeng's own, which does nothing: for tests of what follows one.
#[must_use]
pub fn refusal(status: u16) -> Fault {
    Fault::AnswerBefore(error_response(status, "Not possible"))
}

/// Cleeng's errors have a text and no code (Cleeng, "How to understand and resolve common API errors").
fn error_response(status: u16, text: &str) -> ServerResponse {
    ServerResponse::json(status, &json!({ "success": false, "message": text }))
}

type Endpoint = fn(&mut RequestContext<'_>, PathParameters<'_>) -> HandlerResult;

const ROUTES: [Route<Endpoint>; 17] = [
    ("POST /3.1/orders", |context, _| context.create_order()),
    ("GET /3.1/orders/{id}", |context, [id, _]| context.get_order(&known(OrderId::new(id))?)),
    ("POST /3.1/payments", |context, _| context.create_payment()),
    ("GET /3.1/payments/{id}", |context, [id, _]| {
        refused_by_quirk(context.quirks.get_payment)?;
        context.get_payment(&known(PaymentId::new(id))?)
    }),
    ("PATCH /3.1/payments/{id}", |context, [id, _]| context.update_payment(&known(PaymentId::new(id))?)),
    ("PATCH /3.1/payments/{id}/cancel", |context, [id, _]| context.cancel_payment(&known(PaymentId::new(id))?)),
    ("GET /3.1/payment_details/{id}/authorised_payments", |context, [id, _]| {
        refused_by_quirk(context.quirks.list_by_get)?;
        context.authorised_payments(&known(PaymentDetailsId::new(id))?)
    }),
    ("POST /3.1/payment_details/{id}/authorised_payments", |context, [id, _]| {
        refused_by_quirk(context.quirks.list_by_post)?;
        context.authorised_payments(&known(PaymentDetailsId::new(id))?)
    }),
    ("POST /3.1/payment_details", |context, _| context.create_details()),
    ("GET /3.1/payment_details/{id}", |context, [id, _]| context.get_details(&known(PaymentDetailsId::new(id))?)),
    ("DELETE /3.1/payment_details/{id}", |context, [id, _]| context.delete_details(&known(PaymentDetailsId::new(id))?)),
    ("GET /3.1/webhook_subscriptions", |context, _| context.list_webhooks()),
    ("PUT /3.1/webhook_subscriptions/{topic}", |context, [topic, _]| context.replace_webhooks(topic)),
    ("GET /3.1/subscriptions", |context, _| context.list_subscriptions()),
    ("GET /3.1/subscriptions/{id}", |context, [id, _]| context.get_subscription(&known(SubscriptionId::new(id))?)),
    ("PATCH /3.1/subscriptions/{id}", |context, [id, _]| context.patch_subscription(&known(SubscriptionId::new(id))?)),
    ("POST /3.1/subscriptions/{id}/terminate", |context, [id, _]| context.terminate(&known(SubscriptionId::new(id))?)),
];

fn route(context: &mut RequestContext<'_>) -> HandlerResult {
    let request = context.request;
    let (endpoint, parameters) = find_route(&ROUTES, &request.method, &request.path).ok_or(Rejection::Status(404))?;
    endpoint(context, parameters)
}

/// The status in place of an answer, where the quirks have one.
fn refused_by_quirk(status: Option<u16>) -> Result<(), Rejection> {
    status.map_or(Ok(()), |status| Err(Rejection::Status(status)))
}

fn known<T>(id: Result<Id<T>, InvalidId>) -> Result<Id<T>, Rejection> {
    id.map_err(|_| Rejection::Status(404))
}
