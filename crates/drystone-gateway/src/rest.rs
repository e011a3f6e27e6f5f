//! One REST request: body in, one JSON document together, call, answer out.

use std::collections::BTreeMap;

use axum::body::Body;
use bytes::Bytes;
use drystone_call::{
    Code, Context, DEFAULT_TIMEOUT, Error, JsonBody, MAX_MESSAGE_BYTES, PlatformReason, Result,
};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::percent::decode;
use crate::problem;
use crate::query;
use crate::route::{BodyPlan, PathVariable, Route};

/// Answers one request at a route; `path` is the request's without the custom verb.
pub(crate) async fn answer(
    route: &Route,
    cx: &Context,
    parts: &Parts,
    path: &str,
    body: Body,
) -> Response<Body> {
    let mut response = match call(route, cx, parts, path, body).await {
        Ok(json) => problem::json(StatusCode::OK, json),
        Err(error) => problem::problem(&error),
    };
    problem::mark(response.headers_mut(), cx);
    response
}

async fn call(route: &Route, cx: &Context, parts: &Parts, path: &str, body: Body) -> Result<Vec<u8>> {
    let body = read(route, cx, &parts.headers, body).await?;
    let request = request(route, path, parts.uri.query().unwrap_or_default(), body)?;
    let answer = route.channel.call_json(route.info.index, cx, request);
    let answer =
        answer.ok_or_else(|| Error::internal(format!("{} is not mounted", route.info.path)))?.await?;
    match &route.response_field {
        None => Ok(answer),
        Some((field, unset)) => only(field, unset, &answer),
    }
}

/// Reads the body within the call's limits of time and size.
async fn read(route: &Route, cx: &Context, headers: &HeaderMap, mut body: Body) -> Result<Bytes> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = body.size_hint().lower();
    let timeout = route.channel.timeout(route.info.index).unwrap_or(DEFAULT_TIMEOUT);
    let until = cx.deadline().min(Instant::now() + timeout);
    if announced > MAX_MESSAGE_BYTES as u64 {
        if !headers.contains_key(EXPECT) {
            let _ = tokio::time::timeout_at(until, discard(&mut body)).await;
        }
        return Err(too_large());
    }
    let read = Limited::new(body, MAX_MESSAGE_BYTES).collect();
    let read = tokio::time::timeout_at(until, read).await;
    let read =
        read.map_err(|_| Error::new(Code::DeadlineExceeded, "the request's body did not arrive in time"))?;
    let bytes = read
        .map_err(|cause| {
            if cause.is::<LengthLimitError>() {
                too_large()
            } else {
                Error::invalid_argument("the request's body broke off")
            }
        })?
        .to_bytes();
    if !bytes.is_empty() {
        check_media_type(headers)?;
    }
    Ok(bytes)
}

/// Reads a body to nowhere, up to a bound: a client that does not wait for a word before it sends would otherwise see its connection
/// break before it sees why.
async fn discard(body: &mut Body) {
    let mut left = 8 * MAX_MESSAGE_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(read) else { return };
        left = rest;
    }
}

fn too_large() -> Error {
    PlatformReason::MessageTooLarge
        .error(format!("the request's body is larger than the limit of {MAX_MESSAGE_BYTES} bytes"))
}

/// Refuses what is not declared to be JSON. A browser cannot send that type across origins without asking first, so this also keeps
/// foreign pages from writing to a gateway on the developer's own machine.
fn check_media_type(headers: &HeaderMap) -> Result<()> {
    let refuse = |what: &str| {
        Err(PlatformReason::MediaTypeNotSupported.error(format!("{what}; it must be application/json")))
    };
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return refuse("the body has a Content-Encoding");
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return refuse("the body has no Content-Type") };
    let Ok(value) = value.to_str() else { return refuse("the Content-Type is not printable ASCII") };
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let unicode = parameters.split(';').all(|parameter| match parameter.trim().split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => {
            charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if essence.trim().eq_ignore_ascii_case("application/json") && unicode {
        return Ok(());
    }
    refuse(&format!("a body of Content-Type {value:?} is not understood"))
}

/// Path, query and body as one document.
fn request(route: &Route, path: &str, query: &str, body: Bytes) -> Result<JsonBody> {
    if route.passes_text_through() && query.is_empty() && !body.is_empty() {
        return Ok(JsonBody::Text(body));
    }
    let mut document = match &route.body {
        BodyPlan::None if !body.is_empty() => {
            return Err(Error::invalid_argument(format!("{} {} takes no body", route.verb, route.template)));
        }
        BodyPlan::Whole if !body.is_empty() => parse(&body)?,
        _ => Map::new(),
    };
    if let BodyPlan::Field(field) = &route.body
        && !body.is_empty()
    {
        let entry = field.entry(&mut document).map_err(Error::invalid_argument)?;
        *entry = parse(&body)?;
    }
    for variable in &route.variables {
        bind(variable, path, &mut document)?;
    }
    if !query.is_empty() {
        query::fill(route, query, &mut document)?;
    }
    Ok(JsonBody::Value(Value::Object(document)))
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|cause| Error::invalid_argument(format!("the request's body does not fit: {cause}")))
}

/// Puts a variable's part of the path into the document.
fn bind(variable: &PathVariable, path: &str, document: &mut Map<String, Value>) -> Result<()> {
    let wrong = |problem: String| {
        Error::invalid_argument(format!("`{}` in the path does not fit: {problem}", variable.name))
            .violation(&variable.name, problem)
    };
    let text = decode(variable.text(path), variable.decode)
        .ok_or_else(|| wrong("it is not percent-encoded UTF-8".to_owned()))?;
    let value = crate::convert::from_text(&variable.path.field().kind(), &text).map_err(wrong)?;
    let entry = variable.path.entry(document).map_err(wrong)?;
    if !entry.is_null() && text_of(entry) != text_of(&value) {
        return Err(wrong(format!("the body says {entry}")));
    }
    *entry = value;
    Ok(())
}

/// A number and its text are one value in canonical JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One field of an answer, untouched.
fn only(field: &str, unset: &str, answer: &[u8]) -> Result<Vec<u8>> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(answer)?;
    Ok(fields.get(field).map_or(unset, |value| value.get()).as_bytes().to_vec())
}
