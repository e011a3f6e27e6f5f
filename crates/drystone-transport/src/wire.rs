//! gRPC on HTTP/2, the part that both ends and both servers share.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>. Unary calls only: one message each way.

mod body;
mod message;
mod status;

pub use body::GrpcBody;
pub(crate) use message::{ReadError, read_message, read_request};
pub(crate) use status::{GRPC_CONTENT_TYPE, answer, read_error, status_of};
