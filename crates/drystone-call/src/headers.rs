//! The context of a call as HTTP headers, which are gRPC metadata, and back.
//!
//! | header | content |
//! |---|---|
//! | `grpc-timeout` | time left (gRPC over HTTP/2) |
//! | `traceparent` | W3C Trace Context |
//! | `baggage` | W3C Baggage |
//! | `idempotency-key` | RFC 8941 string |
//! | `drystone-tenant`, `drystone-principal` | who is asking |
//! | `drystone-wrote` | how many microseconds ago the principal's last write was acknowledged, if lately |
//! | `drystone-attempt` | the number of the attempt, from 1 |
//! | `drystone-caller` | the calling module, checked against the certificate of its process |

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::context::Who;
use crate::home::Home;
use crate::{
    Baggage, Context, DEFAULT_TIMEOUT, Error, IdempotencyKey, Principal, Result, TenantId, TraceContext,
};

/// The tenant's name.
pub const TENANT: HeaderName = HeaderName::from_static("drystone-tenant");
/// The principal.
pub const PRINCIPAL: HeaderName = HeaderName::from_static("drystone-principal");
/// The calling module.
pub const CALLER: HeaderName = HeaderName::from_static("drystone-caller");
/// The idempotency key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Set to `true` on an answer that came from the record.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Baggage.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// How many microseconds ago a write of this principal was acknowledged: a read must not share the answer of an older one.
pub const WROTE: HeaderName = HeaderName::from_static("drystone-wrote");
/// Set to -1 on an answer after which the call should not be sent again (gRPC proposal A6, "server pushback").
pub const RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// The number of the attempt of a call, from 1; all of them have the same `traceparent`.
pub const ATTEMPT: HeaderName = HeaderName::from_static("drystone-attempt");
/// The time left.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

impl Context {
    /// The headers with which this context travels.
    #[must_use]
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        let mut set = |name, text: &str| {
            // Every part of a context is checked to be printable ASCII when it is made.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(TENANT, self.tenant().as_str());
        if *self.principal() != Principal::ANONYMOUS {
            set(PRINCIPAL, self.principal().as_str());
        }
        if let Some(from) = self.calling_module() {
            set(CALLER, from);
        }
        if let Some(key) = self.key() {
            set(IDEMPOTENCY_KEY, &key.to_header());
        }
        if !self.baggage().is_empty() {
            set(BAGGAGE, self.baggage().as_str());
        }
        set(TRACEPARENT, &self.trace().to_string());
        set(GRPC_TIMEOUT, &timeout_text(self.time_left()));
        headers
    }

    /// The context of a call that arrived with these headers, to be served at `home`.
    ///
    /// The caller's word is taken: who may say it is decided before, by certificate or by the gateway.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, with a reason where there is one, for a header that is missing or malformed.
    pub fn from_headers(headers: &HeaderMap, home: &Arc<Home>) -> Result<Self> {
        let tenant = text(headers, &TENANT)?.ok_or_else(|| {
            Error::invalid_argument("the call names no tenant: set the header drystone-tenant")
        })?;
        let who = Who {
            tenant: TenantId::new(tenant)?,
            principal: Principal::new(text(headers, &PRINCIPAL)?.unwrap_or_default())?,
            baggage: text(headers, &BAGGAGE)?.map(Baggage::parse).transpose()?.unwrap_or_default(),
        };
        let key = text(headers, &IDEMPOTENCY_KEY)?.map(IdempotencyKey::from_header).transpose()?;
        let trace = text(headers, &TRACEPARENT).ok().flatten().and_then(TraceContext::parse);
        let timeout =
            text(headers, &GRPC_TIMEOUT)?.map(parse_timeout).transpose()?.unwrap_or(DEFAULT_TIMEOUT);
        let from = text(headers, &CALLER)?.map(Arc::from);
        Ok(Self::arrived(who, Arc::clone(home), from, timeout, trace.unwrap_or_else(TraceContext::root), key))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value
        .to_str()
        .map(Some)
        .map_err(|_| Error::invalid_argument(format!("the header {name} is not printable ASCII")))
}

/// The `grpc-timeout` form of a time: microseconds while they fit the eight digits that gRPC allows, else milliseconds.
///
/// Rounded up, so that time left never becomes none.
fn timeout_text(left: Duration) -> String {
    let micros = left.as_nanos().div_ceil(1000);
    if micros < 100_000_000 {
        format!("{micros}u")
    } else {
        format!("{}m", micros.div_ceil(1000).min(99_999_999))
    }
}

/// Reads a `grpc-timeout`: up to eight digits and a unit of `H M S m u n`.
///
/// # Errors
/// `INVALID_ARGUMENT` if it is not one.
pub fn parse_timeout(text: &str) -> Result<Duration> {
    let malformed = || {
        Error::invalid_argument(format!("grpc-timeout {text:?} is not up to 8 digits and one of H M S m u n"))
    };
    let unit = text.chars().last().ok_or_else(malformed)?;
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: u64 = digits.parse().map_err(|_| malformed())?;
    Ok(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return Err(malformed()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_round_trip_and_are_bounded() {
        for (time, text) in [
            (Duration::ZERO, "0u"),
            (Duration::from_nanos(1), "1u"),
            (Duration::from_millis(1500), "1500000u"),
            (Duration::from_secs(3600), "3600000m"),
        ] {
            assert_eq!(timeout_text(time), text);
            assert!(parse_timeout(text).unwrap() >= time);
        }
        for text in ["", "5", "u", "123456789u", "1x", "-1S", "1é"] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_context_travels_without_loss() {
        let home = Home::of_system("orders");
        let sent = Context::mint(
            Arc::clone(&home),
            TenantId::new("acme").unwrap(),
            Principal::new("user:ada").unwrap(),
        )
        .with_key(IdempotencyKey::new("k \"1\"").unwrap())
        .with_baggage(Baggage::parse("region=eu,plan=free").unwrap());
        let got = Context::from_headers(&sent.to_headers(), &home).unwrap();
        assert_eq!(got.tenant(), sent.tenant());
        assert_eq!(got.principal(), sent.principal());
        assert_eq!(got.key(), sent.key());
        assert_eq!(got.baggage().get("plan"), Some("free"));
        assert_eq!(got.trace(), sent.trace());
        assert_eq!(got.deadline(), sent.deadline());
    }
}
