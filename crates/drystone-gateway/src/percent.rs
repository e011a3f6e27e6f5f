//! Percent-decoding as `google.api.http` asks for it, which is not quite what libraries offer.
//!
//! A variable of one segment is decoded whole. In a variable of several segments `%2F` stays as it is, so that a slash inside a
//! segment and a slash between segments remain two things.

use std::borrow::Cow;

/// What to do with the sequences that mean something else in different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decode {
    /// One segment of a path: everything is decoded.
    Segment,
    /// Several segments of a path: `%2F` stays.
    Segments,
    /// Name or value in a query: everything is decoded, and `+` is a blank.
    Query,
}

/// Decodes `text`; `None` if a `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
pub(crate) fn decode(text: &str, how: Decode) -> Option<Cow<'_, str>> {
    let special = |byte: &u8| *byte == b'%' || (how == Decode::Query && *byte == b'+');
    let Some(first) = text.as_bytes().iter().position(special) else { return Some(Cow::Borrowed(text)) };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text.as_bytes()[..first]);
    let mut rest = &text.as_bytes()[first..];
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'+' if how == Decode::Query => decoded.push(b' '),
            b'%' => {
                let [high, low, after @ ..] = rest else { return None };
                let value = hex(*high)? << 4 | hex(*low)?;
                if value == b'/' && how == Decode::Segments {
                    decoded.extend_from_slice(&[b'%', *high, *low]);
                } else {
                    decoded.push(value);
                }
                rest = after;
            }
            other => decoded.push(*other),
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_blanks_depend_on_the_place() {
        for (text, segment, segments, query) in [
            ("plain", "plain", "plain", "plain"),
            ("a%2Fb%2fc", "a/b/c", "a%2Fb%2fc", "a/b/c"),
            ("a+b%20c", "a+b c", "a+b c", "a b c"),
            ("%C3%A9%3A", "é:", "é:", "é:"),
            ("%2520", "%20", "%20", "%20"),
        ] {
            assert_eq!(decode(text, Decode::Segment).unwrap(), segment);
            assert_eq!(decode(text, Decode::Segments).unwrap(), segments);
            assert_eq!(decode(text, Decode::Query).unwrap(), query);
        }
    }

    #[test]
    fn what_is_no_encoding_is_refused() {
        for text in ["%", "%2", "%zz", "a%+1", "%ff", "%C3"] {
            assert_eq!(decode(text, Decode::Segment), None, "{text}");
        }
    }
}
