//! Why a request has no answer, and whether the peer can have seen it.

use std::error::Error as StdError;

use drystone_call::Error;

/// A request without an answer of a handler, or with a refusal.
pub(super) struct Failure {
    /// What the caller is told.
    pub(super) error: Error,
    /// Whether the peer may have acted on the request.
    pub(super) reached: Reached,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// No connection could be made.
    Nowhere,
    /// A connection that was about to end: HTTP/2 guarantees that the peer has not processed it.
    NotProcessed,
    /// The peer, as far as anyone can tell.
    Peer,
}

impl Failure {
    /// A failure after the request was handed over.
    pub(super) fn of_peer(error: Error) -> Self {
        Self { error, reached: Reached::Peer }
    }

    /// Whether the request may be sent again, whatever the method: it had no effect.
    pub(super) fn had_no_effect(&self) -> bool {
        self.reached != Reached::Peer
    }
}

/// Whether HTTP/2 says that the peer has not processed the request (RFC 9113, section 8.7): it reset the stream with `REFUSED_STREAM`,
/// or said with GOAWAY that it would look at no stream of so high a number. h2 gives the error of a GOAWAY to such streams alone; those below
/// the number go on, and end with another error if the connection does.
pub(super) fn was_not_processed(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || refused)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    /// The end of a connection on which streams up to this number are processed.
    fn go_away(last: u8) -> Vec<u8> {
        [[0, 0, 8, 7, 0, 0, 0, 0, 0].as_slice(), &[0, 0, 0, last], &[0, 0, 0, 0]].concat()
    }

    fn reset(reason: h2::Reason) -> Vec<u8> {
        [[0, 0, 4, 3, 0, 0, 0, 0, 1].as_slice(), &u32::from(reason).to_be_bytes()].concat()
    }

    /// The error of a request to a peer that waits for it, says these frames, and closes the connection.
    async fn answered_with(frames: Vec<u8>) -> hyper::Error {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let peer = tokio::spawn(async move {
            far.write_all(&SETTINGS).await.unwrap();
            let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
            // Its HEADERS frame, on stream 1, has the type 1.
            while !seen.windows(6).any(|part| part[0] == 1 && part[2..] == [0, 0, 0, 1]) {
                let read = far.read(&mut buffer).await.unwrap();
                seen.extend_from_slice(&buffer[..read]);
            }
            far.write_all(&frames).await.unwrap();
        });
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("https://echo/").body(Full::<Bytes>::default()).unwrap();
        let error = sender.send_request(request).await.unwrap_err();
        peer.await.unwrap();
        error
    }

    #[tokio::test]
    async fn what_http2_says_was_not_processed_had_no_effect_and_nothing_else() {
        let unsent =
            [("a GOAWAY before it", go_away(0)), ("a refused stream", reset(h2::Reason::REFUSED_STREAM))];
        for (what, frames) in unsent {
            let error = answered_with(frames).await;
            assert!(was_not_processed(&error), "{what}: {error:?}");
        }
        let open = [
            ("a GOAWAY behind it", go_away(1)),
            ("a cancelled stream", reset(h2::Reason::CANCEL)),
            ("a broken stream", reset(h2::Reason::INTERNAL_ERROR)),
            ("the end of the connection", Vec::new()),
        ];
        for (what, frames) in open {
            let error = answered_with(frames).await;
            assert!(!was_not_processed(&error), "{what}: {error:?}");
        }
    }
}
