//! The body of a unary request or response.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};

/// The bytes before a message: a flag, which is zero for a message that is not compressed, and the length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Up to this size the message is copied behind its prefix, so that both leave in one frame; above it the copy
/// costs more than a second frame.
const COPIED_BYTES: usize = 16 * 1024;

/// The body of a gRPC request or response with at most one message.
#[derive(Debug, Default)]
pub struct GrpcBody {
    head: Option<Bytes>,
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl GrpcBody {
    /// A body without a message, for a response that is all status.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// A body of one message.
    pub(crate) fn of(message: Bytes) -> Self {
        // A message's size was checked against MAX_MESSAGE_BYTES before it was encoded.
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let copied = message.len() <= COPIED_BYTES;
        let mut head = BytesMut::with_capacity(PREFIX_BYTES + if copied { message.len() } else { 0 });
        head.put_u8(0);
        head.put_u32(length);
        if copied {
            head.extend_from_slice(&message);
        }
        Self { head: Some(head.freeze()), message: (!copied).then_some(message), trailers: None }
    }

    /// The same body with trailers.
    pub(crate) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self
    }
}

impl Body for GrpcBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.head.take().or_else(|| self.message.take());
        let frame = data.map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.message.is_none() && self.trailers.is_none()
    }
}
