//! Makes the context of a request from its headers.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::headers::{
    BAGGAGE, GRPC_TIMEOUT, IDEMPOTENCY_KEY, PRINCIPAL, TENANT, TRACEPARENT,
    parse_timeout as parse_grpc_timeout,
};
use drystone_call::{
    Baggage, Context, Error, Home, IdempotencyKey, Principal, Result, TenantId, TraceContext,
};
use http::{HeaderMap, HeaderName};

use crate::DevMode;

/// The time that the caller has, for callers that do not speak gRPC: `500ms`, `2s`, `1m`, or bare seconds.
pub(crate) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

/// The time left in a context whose caller set no limit. Every method has a shorter one of its own, which its channel applies.
const NO_LIMIT: Duration = Duration::from_secs(3600);

/// Makes contexts at the entrance: one for each request, from its headers.
///
/// In development mode, the only one so far, the caller's word is taken:
///
/// | header | meaning |
/// |---|---|
/// | `drystone-tenant` | the tenant; [`DevMode::default_tenant`] without it |
/// | `drystone-principal` | who acts; anonymous without it |
/// | `idempotency-key` | quoted (RFC 8941) or bare |
/// | `traceparent`, `baggage` | W3C; a new trace begins without the former |
/// | `request-timeout`, `grpc-timeout` | the caller's limit: it can shorten the method's own, never lengthen it |
#[derive(Clone, Debug)]
pub struct Mint {
    home: Arc<Home>,
    mode: Arc<DevMode>,
}

impl Mint {
    pub(crate) fn new(home: Arc<Home>, mode: DevMode) -> Self {
        Self { home, mode: Arc::new(mode) }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// The context of a request with these headers.
    ///
    /// Its deadline is the caller's limit if it set one; the limit of the method, two seconds unless the contract says otherwise,
    /// comes on top when the call is made.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, with a reason where there is one, for a header that is malformed.
    pub fn context(&self, headers: &HeaderMap) -> Result<Context> {
        let tenant = match text(headers, &TENANT)? {
            Some(name) => TenantId::new(name)?,
            None => self.mode.default_tenant.clone(),
        };
        let principal = text(headers, &PRINCIPAL)?.map_or(Ok(Principal::ANONYMOUS), Principal::new)?;
        let mut cx = Context::mint(Arc::clone(&self.home), tenant, principal)
            .with_timeout(caller_limit(headers)?.unwrap_or(NO_LIMIT));
        if let Some(baggage) = text(headers, &BAGGAGE)? {
            cx = cx.with_baggage(Baggage::parse(baggage)?);
        }
        // W3C Trace Context asks to begin a new trace, not to refuse, when the header is malformed.
        if let Some(trace) =
            headers.get(TRACEPARENT).and_then(|it| it.to_str().ok()).and_then(TraceContext::parse)
        {
            cx = cx.with_trace(trace.child());
        }
        if let Some(key) = text(headers, &IDEMPOTENCY_KEY)? {
            cx = cx.with_key(IdempotencyKey::from_header(key)?);
        }
        Ok(cx)
    }
}

/// The shorter of the limits that the caller set.
fn caller_limit(headers: &HeaderMap) -> Result<Option<Duration>> {
    let rest = text(headers, &REQUEST_TIMEOUT)?.map(parse_request_timeout).transpose()?;
    let grpc = text(headers, &GRPC_TIMEOUT)?.map(parse_grpc_timeout).transpose()?;
    Ok([rest, grpc].into_iter().flatten().min().map(|limit| limit.min(NO_LIMIT)))
}

fn parse_request_timeout(text: &str) -> Result<Duration> {
    let seconds = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds && let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    drystone_contract::parse_timeout(text).map_err(|_| {
        Error::invalid_argument(format!(
            "Request-Timeout {text:?} is not a time such as 500ms, 2s, 1m, or whole seconds"
        ))
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str();
    text.map(Some).map_err(|_| Error::invalid_argument(format!("the header {name} is not printable ASCII")))
}
