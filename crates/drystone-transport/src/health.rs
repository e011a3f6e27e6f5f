//! `grpc.health.v1.Health`, by hand: two messages of one field each.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/src/proto/grpc/health/v1/health.proto>. `Watch` is answered
//! with `UNIMPLEMENTED`, upon which clients poll `Check`, as the protocol says.

use bytes::Bytes;
use drystone_call::{Error, Reply, Result};
use prost::Message;

/// The path of the one method.
pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The name of the service that a check asks for; empty for the server as a whole.
pub(crate) fn service_of(body: Bytes) -> Result<String> {
    let request = HealthCheckRequest::decode(body).map_err(|cause| {
        Error::invalid_argument("the bytes are not a HealthCheckRequest").caused_by(cause)
    })?;
    Ok(request.service)
}

/// The answer to a check.
pub(crate) fn answer(ready: bool) -> Reply {
    let status = if ready { SERVING } else { NOT_SERVING };
    Reply { body: HealthCheckResponse { status }.encode_to_vec().into(), replayed: false }
}

/// The refusal of a check of something that is not served.
pub(crate) fn unknown(service: &str) -> Error {
    Error::not_found(format!("{service:?} is not served here"))
}

/// A check of one service.
pub(crate) fn request_for(service: &str) -> Bytes {
    HealthCheckRequest { service: service.to_owned() }.encode_to_vec().into()
}

/// Whether an answer to a check says that the service works.
pub(crate) fn is_serving(body: &[u8]) -> bool {
    HealthCheckResponse::decode(body).is_ok_and(|response| response.status == SERVING)
}
