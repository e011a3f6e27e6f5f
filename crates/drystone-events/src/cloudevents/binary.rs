//! The binary form: attributes as headers, the data as the body.

use std::borrow::Cow;

use bytes::Bytes;

use super::attributes::{self, Attributes, Content, VERSION, Value, Written};
use super::{Codec, MAX_ATTRIBUTE_BYTES, Malformed, rules};
use crate::Envelope;

/// What every header of an attribute begins with.
const PREFIX: &str = "ce-";
/// What stands for `ce-datacontenttype` in messages that came by way of HTTP.
const CONTENT_TYPE: &str = "content-type";

/// An event as headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The headers: names in lower case, values percent-encoded.
    pub headers: Vec<(&'static str, String)>,
    /// The data.
    pub body: Bytes,
}

impl Codec {
    /// The binary form.
    ///
    /// # Errors
    /// If something in the envelope cannot be an attribute of a CloudEvent.
    pub fn to_binary(&self, envelope: &Envelope) -> Result<Binary, Malformed> {
        let Written { id, source, time, sequence } = Written::of(self, envelope)?;
        let mut headers = Vec::with_capacity(10);
        headers.push(("ce-id", id));
        headers.push(("ce-source", escaped(&source)));
        headers.push(("ce-specversion", VERSION.to_owned()));
        headers.push(("ce-type", escaped(&envelope.event_type)));
        headers.push(("ce-datacontenttype", attributes::content_type(&envelope.data).to_owned()));
        headers.push(("ce-time", time));
        headers.push(("ce-tenantid", envelope.tenant.as_str().to_owned()));
        headers.push(("ce-sequence", sequence));
        if !envelope.key.is_empty() {
            headers.push(("ce-partitionkey", escaped(&envelope.key)));
        }
        if let Some(trace) = &envelope.trace {
            headers.push(("ce-traceparent", escaped(trace)));
        }
        Ok(Binary { headers, body: envelope.data.bytes().clone() })
    }

    /// The event of headers and a body; headers that do not begin with `ce-` mean nothing here.
    ///
    /// # Errors
    /// If it breaks a rule of CloudEvents, or lacks what Drystone needs: `tenantid`.
    pub fn from_binary<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: Bytes,
    ) -> Result<Envelope, Malformed> {
        let mut attributes = Attributes::default();
        let mut content_type = None;
        for (header, value) in headers {
            if header.eq_ignore_ascii_case(CONTENT_TYPE) {
                content_type = Some(value);
            } else if header.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) {
                let name = header[PREFIX.len()..].to_ascii_lowercase();
                let value = unescaped(value).map_err(|why| Malformed::new(&name, why))?;
                attributes.set(&name, Value::Text(value))?;
            }
        }
        if let Some(value) = content_type.filter(|_| !attributes.has("datacontenttype")) {
            attributes.set("datacontenttype", Value::Text(Cow::Borrowed(value.trim())))?;
        }
        let content = if body.is_empty() { Content::None } else { Content::Bytes(body) };
        attributes.envelope(self, content)
    }
}

/// A value as a header: what is not printable ASCII, space, double quote and percent are percent-encoded.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'"' && byte != b'%';
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut header = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_plain(byte) {
            header.push(char::from(byte));
        } else {
            header.push('%');
            header.push(char::from(DIGITS[usize::from(byte >> 4)]));
            header.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    header
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The value of a header: out of its double quotes, if it has some, and percent-decoded once.
fn unescaped(header: &str) -> Result<Cow<'_, str>, &'static str> {
    let header = header.trim_matches([' ', '\t']);
    if header.len() > 3 * MAX_ATTRIBUTE_BYTES {
        return Err("is too long");
    }
    let text = match header.strip_prefix('"') {
        Some(rest) => Cow::Owned(unquoted(rest)?),
        None => Cow::Borrowed(header),
    };
    if text.contains('%') { rules::percent_decoded(&text).map(Cow::Owned) } else { Ok(text) }
}

/// What stands in double quotes (RFC 7230, section 3.2.6), given without the first one.
fn unquoted(rest: &str) -> Result<String, &'static str> {
    let mut text = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next() {
            Some('\\') => text.push(characters.next().ok_or("ends after a backslash")?),
            Some('"') => break,
            Some(character) => text.push(character),
            None => return Err("lacks its closing double quote"),
        }
    }
    if characters.next().is_some() { Err("goes on after its closing double quote") } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_the_http_binding_says() {
        assert_eq!(escaped("/plain/a-1~"), "/plain/a-1~");
        assert_eq!(escaped("20 € \"x\" 😀 100%"), "20%20%E2%82%AC%20%22x%22%20%F0%9F%98%80%20100%25");
        assert_eq!(escaped("\u{1}\u{7f}\u{a0}"), "%01%7F%C2%A0");
    }

    #[test]
    fn values_are_read_quoted_over_encoded_and_in_lower_case() {
        for (header, text) in [
            ("plain", "plain"),
            ("  plain\t", "plain"),
            ("%e2%82%AC", "€"),
            ("%41%62c", "Abc"),
            ("%2525", "%25"),
            ("\"two words\"", "two words"),
            (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
            (r#""%20""#, " "),
            ("a\"b", "a\"b"),
        ] {
            assert_eq!(unescaped(header).as_deref(), Ok(text), "{header}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        // An overlong form of a space; a surrogate; a byte alone.
        for header in ["%C0%A0", "%ED%A0%80", "%ff", "%2", "%", "%zz", "%+1", "\"open", "\"a\" b", "\"a\\"] {
            assert!(unescaped(header).is_err(), "{header}");
        }
    }
}
