//! The payment methods that a gateway's component shows in a page, and a session that lists them.

use serde_json::Value;

use super::details::read_customer;
use super::order::read_own_order;
use crate::frontend_api::body;
use crate::frontend_api::reply::{self, ApiError, Reply};
use crate::frontend_api::{CallKind, FrontendContext, FrontendRequest};
use crate::gateway::{GatewayError, PageMethodsQuery};
use crate::ids::OrderId;
use crate::money::Money;

/// The path of the list, behind the gateway's name (Cleeng's media store SDK).
pub const METHODS_PATH: &str = "payment-methods";
/// The path of the session (jwplayer/ott-web-app).
pub const SESSIONS_PATH: &str = "sessions";

/// `POST /connectors/{gateway}/payment-methods`, or `.../sessions`. Without an order it is about details for renewals.
///
/// # Errors
/// Why the request is refused.
pub async fn answer(context: &FrontendContext, request: &FrontendRequest) -> Result<Reply, ApiError> {
    body::validate(context, request).await?;
    let query = read_query(context, request).await?;
    let gateway = context.flow_context.gateways.get(request.gateway).ok_or(reply::BAD_PATH)?;
    let answer = if request.kind == CallKind::Session {
        let return_url = request.body.get("returnUrl").and_then(Value::as_str).ok_or(reply::bad_request("returnUrl is missing"))?;
        gateway.open_page_session(&query, return_url).await
    } else {
        gateway.list_page_methods(&query).await
    };
    match answer {
        Ok(Some(data)) => Ok(Reply::ok(data)),
        Ok(None) => Err(reply::NO_PAGE_METHODS),
        Err(GatewayError::Malformed { code }) => {
            tracing::error!(gateway = %request.gateway, code, "the gateway calls a question about its payment methods wrong");
            Err(reply::GATEWAY_REFUSED_REQUEST)
        }
        Err(error) => {
            tracing::warn!(gateway = %request.gateway, error = %error, "the payment methods of a gateway cannot be read");
            Err(reply::GATEWAY_UNAVAILABLE)
        }
    }
}

async fn read_query(context: &FrontendContext, request: &FrontendRequest) -> Result<PageMethodsQuery, ApiError> {
    let token = request.token(context)?;
    if request.body.get("orderId").is_none_or(Value::is_null) {
        let customer = read_customer(context, &token).await?;
        let amount = Money::new(0, customer.currency);
        return Ok(PageMethodsQuery { amount, country: customer.country, customer: customer.id, renews: true });
    }
    let id: OrderId = body::read_id(request, "orderId", "orderId is no id")?;
    // Its payment method is chosen from what is listed here.
    let order = read_own_order(context, &token, &id).await?;
    Ok(PageMethodsQuery { amount: order.total, renews: order.renews(), country: order.country, customer: order.customer })
}
