//! The rules of CloudEvents for names, texts, references, times and media types.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{MAX_ATTRIBUTE_BYTES, Malformed, shortened};

/// Whether a text is a module's name, which no source of an outside producer is left as.
pub(super) fn is_module_name(text: &str) -> bool {
    let known = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    known && text.len() <= 40 && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Checks the name of an attribute: lower-case letters and digits, and not `data`.
pub(super) fn check_name(name: &str) -> Result<(), Malformed> {
    let known = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !known || name.is_empty() || name.len() > 128 {
        return Err(Malformed::new(name, "is not an attribute's name: use a-z and 0-9"));
    }
    if name == "data" {
        Err(Malformed::new(name, "is not an attribute's name: it is reserved"))
    } else {
        Ok(())
    }
}

/// Checks a text that is to be an attribute's value, such as an event's key, before it is published.
///
/// # Errors
/// If it is longer than [`MAX_ATTRIBUTE_BYTES`] or has characters that CloudEvents do not allow: control characters and Unicode's noncharacters.
pub fn check_text(attribute: &str, text: &str) -> Result<(), Malformed> {
    if text.len() > MAX_ATTRIBUTE_BYTES {
        let why = format!("has {} bytes and may have {MAX_ATTRIBUTE_BYTES}", text.len());
        return Err(Malformed::new(attribute, why));
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(Malformed::new(
            attribute,
            format!("has the character U+{:04X}, which no attribute may have", u32::from(c)),
        )),
        None => Ok(()),
    }
}

fn is_allowed(c: char) -> bool {
    let code = u32::from(c);
    let is_noncharacter = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    !c.is_control() && !is_noncharacter
}

/// Checks a URI-reference (RFC 3986, section 4.1) that is not empty.
pub(super) fn check_reference(attribute: &str, text: &str) -> Result<(), Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(attribute, "is empty"));
    }
    if is_reference(text) {
        return Ok(());
    }
    Err(Malformed::new(attribute, format!("{:?} is not a URI-reference", shortened(text))))
}

/// Checks a URI: a reference that has a scheme.
pub(super) fn check_uri(attribute: &str, text: &str) -> Result<(), Malformed> {
    check_reference(attribute, text)?;
    if scheme_of(text).is_some_and(is_scheme) {
        return Ok(());
    }
    Err(Malformed::new(attribute, format!("{:?} is not an absolute URI", shortened(text))))
}

fn is_reference(text: &str) -> bool {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let rest = match scheme_of(rest) {
        Some(scheme) if !is_scheme(scheme) => return false,
        Some(scheme) => &rest[scheme.len() + 1..],
        None => rest,
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    is_authority(authority)
        && consists_of(path, b":@/")
        && consists_of(query, b":@/?")
        && consists_of(fragment, b":@/?")
}

/// What stands before the first colon, if that comes before every slash.
fn scheme_of(text: &str) -> Option<&str> {
    let end = text.find([':', '/', '?', '#'])?;
    text[end..].starts_with(':').then(|| &text[..end])
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn is_authority(text: &str) -> bool {
    let (user, place) = text.rsplit_once('@').unwrap_or(("", text));
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port),
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let is_port = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let host_is_good = if place.starts_with('[') { consists_of(host, b":") } else { consists_of(host, b"") };
    consists_of(user, b":") && host_is_good && port_is_good
}

/// Whether a text has unreserved characters, sub-delimiters, percent-encoded bytes and these alone.
fn consists_of(text: &str, others: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return false;
                }
                at += 2;
            }
            b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b) || others.contains(&b) => {}
            _ => return false,
        }
        at += 1;
    }
    true
}

/// A text as one segment of a path.
pub(super) fn as_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// A moment in RFC 3339, to the microsecond, in UTC.
pub(super) fn time_text(micros: i64) -> Result<String, Malformed> {
    let nanos = i128::from(micros) * 1000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .filter(|time| (0..=9999).contains(&time.year()));
    let time = time.ok_or_else(|| {
        Malformed::new("time", format!("{micros} microseconds since 1970 are outside the years 0 to 9999"))
    })?;
    let (date, clock) = (time.date(), time.time());
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        clock.microsecond()
    ))
}

/// The moment of a text, in microseconds since 1970; what is finer is cut off.
pub(super) fn time_of(text: &str) -> Result<i64, Malformed> {
    let wrong = || {
        Malformed::new(
            "time",
            format!("{:?} is not a time as in 2026-11-22T10:30:00Z (RFC 3339)", shortened(text)),
        )
    };
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).map_err(|_| wrong())
}

/// What a `datacontenttype` says about the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Protobuf,
    Json,
}

/// The media type of a `datacontenttype`.
pub(super) fn media(text: &str) -> Result<Media, Malformed> {
    let wrong = |why: &str| Malformed::new("datacontenttype", format!("{:?} {why}", shortened(text)));
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/').ok_or_else(|| wrong("is not a media type"))?;
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&b))
    };
    if !is_token(kind) || !is_token(subtype) {
        return Err(wrong("is not a media type"));
    }
    if essence == "application/protobuf" {
        return Ok(Media::Protobuf);
    }
    if subtype != "json" && !subtype.ends_with("+json") {
        return Err(wrong("cannot be taken: use application/protobuf or application/json"));
    }
    let charset = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut charset = charset.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    match charset.find(|(_, value)| !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")) {
        Some(_) => Err(wrong("cannot be taken: JSON is in UTF-8")),
        None => Ok(Media::Json),
    }
}

/// A text with its percent-encoded bytes decoded, once.
pub(crate) fn percent_decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) =
            rest.split_at_checked(2).ok_or("ends in the middle of a percent-encoded byte")?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        let byte = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.ok_or("has a percent sign without two hexadecimal digits after it")?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 when percent-decoded")
}
