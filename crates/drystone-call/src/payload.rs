//! What a contract's message can do, behind one trait.

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{PlatformReason, Result};

/// The most bytes of one encoded request or response, equal in every runner.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// A contract's message: owned, with a binary form (protobuf) and a text form (canonical proto3 JSON).
///
/// Messages move between modules and are never shared; the binary form is deterministic, since maps are `BTreeMap`s.
pub trait Payload: Message + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Refuses a message over [`MAX_MESSAGE_BYTES`].
    ///
    /// # Errors
    /// `MESSAGE_TOO_LARGE`.
    fn check_size(&self, path: &str) -> Result<()> {
        check_size(self.encoded_len(), path)
    }

    /// The message of its binary form.
    ///
    /// # Errors
    /// `MESSAGE_TOO_LARGE` or `MESSAGE_MALFORMED`; the latter also for nesting over 100 levels.
    fn from_binary(bytes: Bytes, path: &str) -> Result<Self> {
        check_size(bytes.len(), path)?;
        Self::decode(bytes).map_err(|cause| {
            PlatformReason::MessageMalformed
                .error(format!("the bytes are not a message of {path}, or nest deeper than 100 levels"))
                .caused_by(cause)
        })
    }
}

impl<T: Message + Default + Serialize + DeserializeOwned + Send + Sync + 'static> Payload for T {}

/// Refuses `size` bytes over [`MAX_MESSAGE_BYTES`], for those who know a message's size before its bytes.
///
/// # Errors
/// `MESSAGE_TOO_LARGE`.
pub fn check_size(size: usize, path: &str) -> Result<()> {
    if size <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    Err(PlatformReason::MessageTooLarge
        .error(format!("a message of {path} has {size} bytes; the limit is {MAX_MESSAGE_BYTES}")))
}
