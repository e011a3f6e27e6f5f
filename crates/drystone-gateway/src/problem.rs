//! Answers: JSON, problem documents, and the headers that go with them.

use axum::body::Body;
use bytes::Bytes;
use drystone_call::{Context, Error, PlatformReason, Problem, headers::IDEMPOTENCY_REPLAYED};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// W3C Trace Context, level 2: which trace this request became.
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// A JSON document that was answered.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    respond(status, JSON, Body::from(body.into()))
}

/// A value that always serialises, as a JSON document.
pub(crate) fn json_of(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    json(status, serde_json::to_vec(value).unwrap_or_default())
}

/// A failure as an RFC 9457 document.
pub(crate) fn problem(error: &Error) -> Response<Body> {
    let body = serde_json::to_vec(&Problem::from(error)).unwrap_or_default();
    let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, PROBLEM_JSON, Body::from(body));
    if let Some(delay) = error.retry_delay() {
        let seconds = delay.as_millis().div_ceil(1000);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    response
}

fn respond(status: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Says of an answer which trace it belongs to, and whether it came from a record.
pub(crate) fn mark(headers: &mut HeaderMap, cx: &Context) {
    if let Ok(trace) = HeaderValue::try_from(cx.trace().to_string()) {
        headers.insert(TRACERESPONSE, trace);
    }
    if cx.replayed() {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// 500, for a module's own route that panicked.
pub(crate) fn panicked() -> Response<Body> {
    problem(&PlatformReason::HandlerPanicked.error("the route failed by a defect"))
}

/// 404.
pub(crate) fn no_route(method: &Method, path: &str) -> Response<Body> {
    problem(
        &PlatformReason::RouteUnknown
            .error(format!("nothing answers {method} {path}; /openapi.json lists the routes")),
    )
}

/// 405, or 204 to OPTIONS, with the header `Allow` if it is known here.
pub(crate) fn other_methods(method: &Method, path: &str, allow: Option<String>) -> Response<Body> {
    let mut response = if method == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        problem(
            &PlatformReason::MethodNotAllowed
                .error(format!("{path} does not answer {method}; the header Allow lists what it answers")),
        )
    };
    if let Some(Ok(allow)) = allow.map(HeaderValue::try_from) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}
