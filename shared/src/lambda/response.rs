//! The responses of the HTTP handlers, and their form in the HTTP API (payload format 2.0).

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::{Value, json};

/// A response with this JSON.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    with_content_type(status, "application/json", body.to_string())
}

/// A response with this plain text.
pub(super) fn text_response(status: StatusCode, text: &str) -> Response<Body> {
    with_content_type(status, "text/plain", text.to_owned())
}

/// A refusal: a stable code, and a sentence that names the field and the fix.
pub(super) fn error_response(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    json_response(status, &json!({ "error": code, "message": message }))
}

fn with_content_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let response = with_header(response, CONTENT_TYPE, HeaderValue::from_static(content_type));
    with_header(response, CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// The response with this header.
pub(super) fn with_header(mut response: Response<Body>, name: HeaderName, value: impl Into<HeaderValue>) -> Response<Body> {
    response.headers_mut().insert(name, value.into());
    response
}

/// The response in the HTTP API's format (API Gateway, "Lambda function response for format 2.0").
pub(super) fn to_event(response: Response<Body>) -> Value {
    let (parts, body) = response.into_parts();
    let mut event = ApiGatewayV2httpResponse::default();
    event.status_code = parts.status.as_u16().into();
    event.headers = parts.headers;
    event.body = Some(body);
    // A response consists of texts alone, so that nothing in it cannot be written.
    serde_json::to_value(event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::header::ALLOW;

    use super::*;

    #[test]
    fn a_response_has_every_member_of_the_http_apis_format() {
        let response = error_response(StatusCode::METHOD_NOT_ALLOWED, "code", "a sentence");
        let expected = json!({
            "statusCode": 405,
            "headers": { "content-type": "application/json", "cache-control": "no-store", "allow": "POST" },
            "multiValueHeaders": {},
            // Local emulations of the HTTP API take no response without its list of cookies.
            "cookies": [],
            "body": "{\"error\":\"code\",\"message\":\"a sentence\"}",
            "isBase64Encoded": false
        });
        assert_eq!(to_event(with_header(response, ALLOW, HeaderValue::from_static("POST"))), expected);
    }

    #[test]
    fn a_plain_text_goes_out_as_it_is() {
        let event = to_event(text_response(StatusCode::OK, "[accepted]"));
        assert_eq!((&event["body"], &event["headers"]["content-type"]), (&json!("[accepted]"), &json!("text/plain")));
    }
}
