//! Errors as gRPC status with `google.rpc` details, and back without loss.
//!
//! The messages are declared here by hand, field number by field number from `google/rpc/status.proto` and
//! `google/rpc/error_details.proto`, so that a contract crate needs neither a generator run nor tonic for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::error::{Inner, ReasonInfo};
use crate::{Code, Error, FieldViolation};

/// The most bytes of an encoded `google.rpc.Status` that leave a module.
///
/// HTTP/2 peers commonly refuse header blocks over 16 KiB, and the status travels there in base64.
pub const MAX_STATUS_BYTES: usize = 8 * 1024;

/// Longest message that survives when the whole does not fit.
const MAX_MESSAGE_BYTES: usize = 2 * 1024;

/// The metadata key that carries a reason's HTTP status in `ErrorInfo`.
const HTTP_STATUS: &str = "http_status";

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

#[derive(Clone, PartialEq, Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}

impl Error {
    /// The error as an encoded `google.rpc.Status`, the form of `grpc-status-details-bin`.
    #[must_use]
    pub fn to_status_bytes(&self) -> Bytes {
        let inner = self.inner();
        let mut details = Vec::new();
        if let Some(info) = error_info(inner) {
            details.push(any("ErrorInfo", &info));
        }
        if !inner.violations.is_empty() {
            let field_violations = inner
                .violations
                .iter()
                .map(|v| Violation { field: v.field.clone(), description: v.description.clone() })
                .collect();
            details.push(any("BadRequest", &BadRequest { field_violations }));
        }
        if let Some(delay) = inner.retry_after {
            let retry_delay = Some(RpcDuration {
                seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
            });
            details.push(any("RetryInfo", &RetryInfo { retry_delay }));
        }
        RpcStatus { code: inner.code.number(), message: inner.message.clone(), details }
            .encode_to_vec()
            .into()
    }

    /// The error of an encoded `google.rpc.Status`.
    ///
    /// Details of unknown types are passed over. Bytes that are not a status give an [`Code::Unknown`] error.
    #[must_use]
    pub fn from_status_bytes(bytes: &[u8]) -> Self {
        let Ok(status) = RpcStatus::decode(bytes) else {
            return Self::new(Code::Unknown, "the callee's status could not be decoded");
        };
        let mut error = Self::new(Code::from_number(status.code), status.message);
        for detail in status.details {
            read_detail(error.inner_mut(), &detail);
        }
        error
    }

    /// The error as its callers may see it: without cause, and cut to [`MAX_STATUS_BYTES`].
    ///
    /// Applied at the client boundary in every runner.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let inner = self.inner_mut();
        inner.cause = None;
        // The common case needs no encoding: nothing in it can be near the limit.
        if inner.violations.is_empty()
            && inner.metadata.is_empty()
            && inner.message.len() <= MAX_MESSAGE_BYTES
        {
            return self;
        }
        while self.to_status_bytes().len() > MAX_STATUS_BYTES {
            let inner = self.inner_mut();
            if inner.message.len() > MAX_MESSAGE_BYTES {
                let end = inner.message.floor_char_boundary(MAX_MESSAGE_BYTES - '…'.len_utf8());
                inner.message.truncate(end);
                inner.message.push('…');
            } else if inner.violations.pop().is_none() && inner.metadata.pop_last().is_none() {
                break;
            }
        }
        self
    }
}

fn error_info(inner: &Inner) -> Option<ErrorInfo> {
    let mut info = match &inner.reason {
        Some(reason) => ErrorInfo {
            reason: reason.name.to_string(),
            domain: reason.domain.to_string(),
            metadata: BTreeMap::from([(HTTP_STATUS.to_owned(), reason.http.to_string())]),
        },
        None if inner.metadata.is_empty() => return None,
        None => ErrorInfo::default(),
    };
    info.metadata.extend(inner.metadata.clone());
    Some(info)
}

fn read_detail(inner: &mut Inner, detail: &Any) {
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    let value = detail.value.as_slice();
    match name {
        "google.rpc.ErrorInfo" => {
            let Ok(mut info) = ErrorInfo::decode(value) else { return };
            let http = info.metadata.remove(HTTP_STATUS).and_then(|text| text.parse().ok());
            if !info.reason.is_empty() {
                inner.reason = Some(ReasonInfo {
                    domain: Cow::Owned(info.domain),
                    name: Cow::Owned(info.reason),
                    http: http.unwrap_or(inner.code.http()),
                });
            }
            inner.metadata = info.metadata;
        }
        "google.rpc.BadRequest" => {
            let Ok(bad) = BadRequest::decode(value) else { return };
            inner.violations = bad
                .field_violations
                .into_iter()
                .map(|v| FieldViolation { field: v.field, description: v.description })
                .collect();
        }
        "google.rpc.RetryInfo" => {
            let Ok(RetryInfo { retry_delay: Some(delay) }) = RetryInfo::decode(value) else { return };
            let seconds = u64::try_from(delay.seconds).unwrap_or(0);
            inner.retry_after =
                Some(Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999)));
        }
        _ => {}
    }
}
