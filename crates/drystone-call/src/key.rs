//! Idempotency keys: parsing them, and deriving the keys of onward calls.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{Error, PlatformReason};

/// The key under which a mutating call happens once.
///
/// 1 to 255 printable ASCII characters. The header form is the quoted string of RFC 8941 that
/// `draft-ietf-httpapi-idempotency-key-header` asks for; a bare token is accepted too.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// The key of this text.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_MALFORMED` if it is empty, longer than 255 bytes or not printable ASCII.
    pub fn new(text: &str) -> Result<Self, Error> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            return Ok(Self(text.into()));
        }
        Err(PlatformReason::KeyMalformed.error(
            "an idempotency key is 1 to 255 printable ASCII characters; a UUID in double quotes is usual",
        ))
    }

    /// The key of an `Idempotency-Key` header: a quoted string with RFC 8941 escapes, or a bare token.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_MALFORMED` if it is neither.
    pub fn from_header(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some(inner) = text.strip_prefix('"') else { return Self::new(text) };
        let malformed =
            || PlatformReason::KeyMalformed.error("the Idempotency-Key header's quotes do not match");
        let mut key = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        loop {
            match chars.next().ok_or_else(malformed)? {
                '"' => break,
                '\\' => match chars.next() {
                    Some(escaped @ ('"' | '\\')) => key.push(escaped),
                    _ => return Err(malformed()),
                },
                other => key.push(other),
            }
        }
        if chars.next().is_some() {
            return Err(malformed());
        }
        Self::new(&key)
    }

    /// The header form, quoted.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }

    /// The text of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of an onward call: a hash over the root, the method's path and the label.
pub(crate) fn derive(root: &[u8], path: &str, label: &str) -> IdempotencyKey {
    let digest = digest(&[root, path.as_bytes(), label.as_bytes()]);
    let mut hex = String::with_capacity(40);
    for byte in &digest[..20] {
        hex.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        hex.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
    }
    IdempotencyKey(hex.into())
}

/// SHA-256 over length-prefixed parts, so that no two lists of parts run together.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_quoted_strings_or_bare_tokens() {
        for (header, key) in
            [("\"8e03978e-40d5\"", "8e03978e-40d5"), (" abc ", "abc"), (r#""a\"b\\c""#, r#"a"b\c"#)]
        {
            let parsed = IdempotencyKey::from_header(header).unwrap();
            assert_eq!(parsed.as_str(), key);
            assert_eq!(IdempotencyKey::from_header(&parsed.to_header()).unwrap(), parsed);
        }
        for header in ["", "\"\"", "\"open", "\"a\"b", r#""a\x""#, "caf\u{e9}"] {
            let error = IdempotencyKey::from_header(header).unwrap_err();
            assert!(error.is(PlatformReason::KeyMalformed), "{header}: {error}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(derive(b"ab", "c", ""), derive(b"a", "bc", ""));
        assert_eq!(derive(b"k", "/a/B", ""), derive(b"k", "/a/B", ""));
    }
}
