//! Reads the one message of a unary request or response.

use std::fmt::Display;

use bytes::{Buf as _, Bytes, BytesMut};
use drystone_call::{Code, Error, PlatformReason, check_size};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::body::PREFIX_BYTES;

/// A body that was read to its end.
pub(crate) struct Received {
    /// The message; none if the body was empty.
    pub(crate) message: Option<Bytes>,
    /// The trailers, if there were any.
    pub(crate) trailers: Option<HeaderMap>,
}

/// Why a body could not be read.
pub(crate) enum ReadError {
    /// It is not one message that this end accepts.
    Refused(Error),
    /// The stream broke.
    Broken(String),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Reads a body to its end.
///
/// The size is judged as soon as the prefix is there, so that a large message is refused before it is received.
pub(crate) async fn read_message<B>(mut body: B, path: &str) -> Result<Received, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut collected = Collected::default();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| ReadError::Broken(cause.to_string()))?;
        match frame.into_data() {
            Ok(data) => collected.push(data, path)?,
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok(Received { message: collected.finish(path)?, trailers })
}

/// Reads the message of a request within the call's time; an empty body is an empty message.
///
/// # Errors
/// What [`read_message`] refuses, `DEADLINE_EXCEEDED`, or `CANCELLED` if the caller went away.
pub(crate) async fn read_request<B>(body: B, deadline: Instant, path: &str) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let received = tokio::time::timeout_at(deadline, read_message(body, path)).await.map_err(|_| {
        Error::new(
            Code::DeadlineExceeded,
            format!("the request of {path} did not arrive within its deadline"),
        )
    })?;
    match received {
        Ok(received) => Ok(received.message.unwrap_or_default()),
        Err(ReadError::Refused(error)) => Err(error),
        Err(ReadError::Broken(cause)) => {
            Err(Error::new(Code::Cancelled, format!("the request of {path} was cut: {cause}")))
        }
    }
}

/// The bytes so far. A message that came in one frame, as nearly all do, is never copied.
#[derive(Default)]
struct Collected {
    first: Bytes,
    rest: BytesMut,
}

impl Collected {
    fn push(&mut self, data: Bytes, path: &str) -> Result<(), Error> {
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
        } else {
            let first = std::mem::take(&mut self.first);
            self.rest.extend_from_slice(&first);
            self.rest.extend_from_slice(&data);
        }
        let Some(expected) = expected_bytes(self.bytes(), path)? else { return Ok(()) };
        let got = self.bytes().len();
        if got > expected {
            return Err(Error::new(
                Code::Unimplemented,
                format!("{path} takes one message and was sent {} bytes more", got - expected),
            ));
        }
        self.rest.reserve(if self.rest.is_empty() { 0 } else { expected - got });
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() { &self.first } else { &self.rest }
    }

    fn finish(self, path: &str) -> Result<Option<Bytes>, Error> {
        let got = self.bytes().len();
        if got == 0 {
            return Ok(None);
        }
        if expected_bytes(self.bytes(), path)? != Some(got) {
            return Err(PlatformReason::MessageMalformed
                .error(format!("the stream of {path} ended after {got} bytes, inside its message")));
        }
        let mut whole = if self.rest.is_empty() { self.first } else { self.rest.freeze() };
        whole.advance(PREFIX_BYTES);
        Ok(Some(whole))
    }
}

/// The bytes of prefix and message together, once the prefix is there.
fn expected_bytes(bytes: &[u8], path: &str) -> Result<Option<usize>, Error> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [flag, length @ ..] = *prefix;
    if flag != 0 {
        return Err(Error::new(
            Code::Unimplemented,
            format!("a message of {path} is compressed: send it with grpc-encoding identity"),
        ));
    }
    let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    check_size(size, path)?;
    Ok(Some(PREFIX_BYTES + size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GrpcBody;
    use drystone_call::MAX_MESSAGE_BYTES;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;

    const PATH: &str = "/a.B/C";

    async fn read(chunks: Vec<Vec<u8>>) -> Result<Option<Bytes>, Error> {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))));
        match read_message(StreamBody::new(stream::iter(frames)), PATH).await {
            Ok(received) => Ok(received.message),
            Err(ReadError::Refused(error)) => Err(error),
            Err(ReadError::Broken(text)) => panic!("{text}"),
        }
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[0][..], &length.to_be_bytes(), message].concat()
    }

    #[tokio::test]
    async fn a_message_is_read_however_it_is_cut() {
        let whole = framed(b"hello");
        for first in 0..whole.len() {
            for second in first..whole.len() {
                let chunks =
                    vec![whole[..first].to_vec(), whole[first..second].to_vec(), whole[second..].to_vec()];
                assert_eq!(read(chunks).await.unwrap().unwrap(), "hello", "{first} {second}");
            }
        }
        assert_eq!(read(vec![framed(b"")]).await.unwrap().unwrap(), "");
        assert_eq!(read(vec![]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_written_is_read() {
        for size in [0, 1, 16 * 1024, 16 * 1024 + 1, MAX_MESSAGE_BYTES] {
            let message = Bytes::from(vec![7; size]);
            let Ok(received) = read_message(GrpcBody::of(message.clone()), PATH).await else {
                panic!("{size}")
            };
            assert_eq!(received.message, Some(message));
        }
    }

    #[tokio::test]
    async fn a_large_message_is_refused_by_its_prefix_as_everywhere() {
        let size = MAX_MESSAGE_BYTES + 1;
        let prefix = [&[0][..], &u32::try_from(size).unwrap().to_be_bytes()].concat();
        let refused = read(vec![prefix]).await.unwrap_err();
        let expected = check_size(size, PATH).unwrap_err();
        assert!(refused.is(PlatformReason::MessageTooLarge));
        assert_eq!(refused.to_string(), expected.to_string());
    }

    #[tokio::test]
    async fn cut_compressed_and_second_messages_are_refused() {
        let cut = read(vec![framed(b"hello")[..8].to_vec()]).await.unwrap_err();
        assert!(cut.is(PlatformReason::MessageMalformed), "{cut}");
        let mut compressed = framed(b"hello");
        compressed[0] = 1;
        assert_eq!(read(vec![compressed]).await.unwrap_err().code(), Code::Unimplemented);
        let two = [framed(b"a"), framed(b"b")].concat();
        assert_eq!(read(vec![two]).await.unwrap_err().code(), Code::Unimplemented);
    }
}
