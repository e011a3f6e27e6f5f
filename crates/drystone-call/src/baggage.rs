//! W3C Baggage: facts that travel with a call, in every runner and under one limit.

use std::sync::Arc;

use crate::{Error, PlatformReason};

/// The most bytes of baggage, header form, that travel with a call.
pub const MAX_BAGGAGE_BYTES: usize = 8192;

/// Key and value pairs that travel with a call, kept in the form of the `baggage` header.
///
/// Source: W3C Baggage, <https://www.w3.org/TR/baggage/>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage(Option<Arc<str>>);

impl Baggage {
    /// The baggage of a header.
    ///
    /// # Errors
    /// `MESSAGE_TOO_LARGE` over [`MAX_BAGGAGE_BYTES`]; `INVALID_ARGUMENT` if it is not a list of `key=value`.
    pub fn parse(header: &str) -> Result<Self, Error> {
        if header.len() > MAX_BAGGAGE_BYTES {
            return Err(PlatformReason::MessageTooLarge
                .error(format!("baggage of {} bytes; the limit is {MAX_BAGGAGE_BYTES}", header.len())));
        }
        if header.trim().is_empty() {
            return Ok(Self::default());
        }
        let well_formed = header.split(',').all(|member| {
            let pair = member.split(';').next().unwrap_or_default();
            pair.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty())
        });
        if !well_formed || !header.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            return Err(Error::invalid_argument(
                "baggage is a list of key=value in printable ASCII, parted by commas",
            ));
        }
        Ok(Self(Some(header.into())))
    }

    /// The value of a key, as it stands in the header.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref()?.split(',').find_map(|member| {
            let (name, value) = member.split(';').next()?.split_once('=')?;
            (name.trim() == key).then(|| value.trim())
        })
    }

    /// The header form; empty if there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
