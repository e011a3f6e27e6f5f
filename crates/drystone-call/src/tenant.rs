//! Who is asking: the tenant and the principal.

use std::fmt;
use std::sync::Arc;

use crate::{Error, PlatformReason};

/// The name of a tenant: 1 to 63 characters of `a-z`, `0-9`, `-` and `_`, beginning with a letter or digit.
///
/// The alphabet is one that no file system, SQL dialect or URL gives a meaning to, so that a name can be a file's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The tenant of this name.
    ///
    /// # Errors
    /// `TENANT_MALFORMED` if the text is not a tenant's name.
    pub fn new(name: &str) -> Result<Self, Error> {
        let first_is_word = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let all_known = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if first_is_word && all_known && name.len() <= 63 {
            return Ok(Self(name.into()));
        }
        Err(PlatformReason::TenantMalformed.error(format!(
            "{:?} is not a tenant's name: use 1 to 63 characters of a-z, 0-9, '-' and '_', beginning with a letter or digit",
            name.chars().take(80).collect::<String>()
        )))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

/// Who acts: `anonymous`, or a kind and a name such as `user:ada` or `module:orders`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal(Option<Arc<str>>);

impl Principal {
    /// Nobody known.
    pub const ANONYMOUS: Self = Self(None);

    /// The principal of a text such as `user:ada`; empty text and `anonymous` are [`Principal::ANONYMOUS`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the text is longer than 256 bytes or has characters outside printable ASCII.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text == "anonymous" {
            return Ok(Self::ANONYMOUS);
        }
        if text.len() <= 256 && text.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
            return Ok(Self(Some(text.into())));
        }
        Err(Error::invalid_argument(
            "a principal is 1 to 256 printable ASCII characters without blanks, as in user:ada",
        ))
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("anonymous")
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({})", self.as_str())
    }
}
