//! Answers and errors as gRPC responses, and back without loss.
//!
//! The error travels whole in `grpc-status-details-bin`; `grpc-status` and `grpc-message` say the same in short to
//! clients that read no details.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use drystone_call::headers::{IDEMPOTENCY_REPLAYED, RETRY_PUSHBACK};
use drystone_call::{Code, Error, Reply, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::body::GrpcBody;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The media type of gRPC with protobuf messages.
pub(crate) const GRPC_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The most bytes of `grpc-message`. The whole message is in the details; with them, in base64, the headers stay
/// below the 16 KiB that HTTP/2 peers commonly accept.
const MAX_GRPC_MESSAGE: usize = 3 * 1024;

/// Binary metadata is base64 without padding; a reader accepts both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The response of a call.
pub(crate) fn answer(outcome: Result<Reply>) -> Response<GrpcBody> {
    match outcome {
        Ok(reply) => {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            response(GrpcBody::of(reply.body).with_trailers(trailers), reply.replayed)
        }
        Err(error) => refusal(error.bounded()),
    }
}

/// A response that is all status: its headers are its trailers.
fn refusal(error: Error) -> Response<GrpcBody> {
    let mut response = response(GrpcBody::empty(), error.is_replayed());
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(error.code().number()));
    if let Ok(value) = HeaderValue::from_str(&percent_encode(error.message())) {
        headers.insert(GRPC_MESSAGE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&BASE64.encode(error.to_status_bytes())) {
        headers.insert(GRPC_DETAILS, value);
    }
    if error.is_final() {
        headers.insert(RETRY_PUSHBACK, HeaderValue::from_static("-1"));
    }
    if error.code() == Code::Unimplemented {
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    response
}

fn response(body: GrpcBody, replayed: bool) -> Response<GrpcBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// What a response's headers or trailers say of the outcome; `None` if they say nothing.
pub(crate) fn status_of(headers: &HeaderMap) -> Option<Result<()>> {
    let status =
        headers.get(GRPC_STATUS)?.to_str().ok().and_then(|text| text.parse::<i32>().ok()).unwrap_or(-1);
    if status == 0 {
        return Some(Ok(()));
    }
    let error = read_status(status, headers);
    // What is negative, or cannot be read, asks not to try again (gRPC proposal A6); how long to wait otherwise is in the details.
    let pushback = headers.get(RETRY_PUSHBACK).map(|value| value.to_str().unwrap_or_default().parse::<i64>());
    Some(Err(match pushback {
        Some(Ok(0..)) | None => error,
        Some(_) => error.mark_final(),
    }))
}

fn read_status(status: i32, headers: &HeaderMap) -> Error {
    let details = headers.get(GRPC_DETAILS).and_then(|value| BASE64.decode(value.as_bytes()).ok());
    match details {
        Some(details) => Error::from_status_bytes(&details),
        None => {
            let message =
                headers.get(GRPC_MESSAGE).map(|value| percent_decode(value.as_bytes())).unwrap_or_default();
            Error::new(Code::from_number(status), message)
        }
    }
}

/// The error of a response that is not gRPC's, by the mapping that gRPC documents (`http-grpc-status-mapping.md`).
pub(crate) fn read_error(status: StatusCode, path: &str) -> Error {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Error::new(code, format!("{path} was answered with HTTP status {} and no gRPC status", status.as_u16()))
}

/// Percent-encodes what gRPC wants encoded: all but printable ASCII, and the percent sign.
fn percent_encode(message: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(message.len());
    for ch in message.chars() {
        let mut utf8 = [0; 4];
        let utf8 = ch.encode_utf8(&mut utf8);
        if text.len() + 3 * utf8.len() > MAX_GRPC_MESSAGE {
            break;
        }
        for byte in utf8.bytes() {
            if (b' '..=b'~').contains(&byte) && byte != b'%' {
                text.push(char::from(byte));
            } else {
                text.push('%');
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    text
}

/// Reads percent-encoded text; what is not an escape stands for itself, as gRPC asks.
fn percent_decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escape = if *first == b'%' { tail.get(..2).and_then(hex_byte) } else { None };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(*digits.first()?)?, digit(*digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    fn travelled(error: Error) -> Error {
        let response = answer(Err(error));
        status_of(response.headers()).unwrap().unwrap_err()
    }

    #[test]
    fn an_error_travels_without_loss() {
        let sent = || {
            drystone_call::PlatformReason::KeyReused
                .error("100 % größer\n")
                .violation("items[0].sku", "is empty")
                .with("limit", "3")
                .retry_after(Duration::from_millis(1500))
        };
        let got = travelled(sent());
        assert_eq!(got.to_string(), sent().to_string());
        assert_eq!(got.reason_info(), sent().reason_info());
        assert_eq!(got.violations(), sent().violations());
        assert_eq!(got.metadata(), sent().metadata());
        assert_eq!(got.retry_delay(), sent().retry_delay());
        assert_eq!(got.http_status(), 422);
    }

    #[test]
    fn a_foreign_status_without_details_is_read() {
        let mut headers = HeaderMap::new();
        assert!(status_of(&headers).is_none());
        headers.insert(GRPC_STATUS, HeaderValue::from_static("5"));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static("no %C3%A4 100%"));
        let error = status_of(&headers).unwrap().unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::NotFound, "no ä 100%"));
        headers.insert(GRPC_STATUS, HeaderValue::from_static("x"));
        assert_eq!(status_of(&headers).unwrap().unwrap_err().code(), Code::Unknown);
    }

    #[test]
    fn a_long_message_fits_the_headers_and_arrives_whole() {
        let long = "ä".repeat(3000);
        let response = answer(Err(Error::internal(long.clone())));
        let size: usize =
            response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(size < 16 * 1024, "{size}");
        assert_eq!(status_of(response.headers()).unwrap().unwrap_err().message(), long);
    }

    #[test]
    fn a_replay_is_marked_beside_the_status() {
        let replayed = answer(Ok(Reply { body: Bytes::new(), replayed: true }));
        assert_eq!(replayed.headers()[IDEMPOTENCY_REPLAYED], "true");
        let refused = answer(Err(Error::not_found("x").mark_replayed()));
        assert_eq!(refused.headers()[IDEMPOTENCY_REPLAYED], "true");
        assert!(answer(Err(Error::not_found("x"))).headers().get(IDEMPOTENCY_REPLAYED).is_none());
    }

    #[test]
    fn percent_encoding_round_trips() {
        for text in ["", "plain text ~", "100 %", "a\r\nb", "größe 🪨", "%41"] {
            let encoded = percent_encode(text);
            assert!(encoded.bytes().all(|b| (b' '..=b'~').contains(&b)), "{encoded}");
            assert_eq!(percent_decode(encoded.as_bytes()), text);
        }
        assert_eq!(percent_decode(b"%4"), "%4");
        assert_eq!(percent_decode(b"%zz%41"), "%zzA");
    }
}
