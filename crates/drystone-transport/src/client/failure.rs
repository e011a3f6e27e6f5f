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
