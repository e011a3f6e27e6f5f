//! The structured form: one JSON object.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drystone_call::MAX_MESSAGE_BYTES;
use serde::de::{MapAccess, Visitor};
use serde::{Deserializer as _, Serialize};
use serde_json::value::RawValue;

use super::attributes::{self, Attributes, Content, VERSION, Value, Written};
use super::{Codec, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTES, Malformed, shortened};
use crate::{Data, Envelope};

/// The media type of the form.
pub const JSON: &str = "application/cloudevents+json";
/// The longest document that is read: the longest message in base64, and room for its attributes.
const MAX_BYTES: usize = MAX_MESSAGE_BYTES / 3 * 4 + MAX_ATTRIBUTES * MAX_ATTRIBUTE_BYTES;

/// The document, in the order in which it is written.
#[derive(Serialize)]
struct Document<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    datacontenttype: &'a str,
    time: &'a str,
    tenantid: &'a str,
    sequence: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    partitionkey: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl Codec {
    /// The structured form: protobuf stands in `data_base64`, JSON as it is in `data`.
    ///
    /// # Errors
    /// If something in the envelope cannot be an attribute of a CloudEvent, or its JSON is none.
    pub fn to_json(&self, envelope: &Envelope) -> Result<Vec<u8>, Malformed> {
        let written = Written::of(self, envelope)?;
        let (data, data_base64) = match &envelope.data {
            Data::Protobuf(bytes) => (None, Some(STANDARD.encode(bytes))),
            Data::Json(bytes) => (Some(raw(bytes)?), None),
        };
        let document = Document {
            specversion: VERSION,
            id: &written.id,
            source: &written.source,
            r#type: &envelope.event_type,
            datacontenttype: attributes::content_type(&envelope.data),
            time: &written.time,
            tenantid: envelope.tenant.as_str(),
            sequence: &written.sequence,
            partitionkey: &envelope.key,
            traceparent: envelope.trace.as_deref(),
            data,
            data_base64,
        };
        serde_json::to_vec(&document).map_err(|error| Malformed::new("event", error.to_string()))
    }

    /// The event of a JSON object.
    ///
    /// # Errors
    /// If it breaks a rule of CloudEvents or of its JSON format, or lacks what Drystone needs: `tenantid`.
    pub fn from_json(&self, document: &[u8]) -> Result<Envelope, Malformed> {
        if document.len() > MAX_BYTES {
            return Err(Malformed::new(
                "event",
                format!("has {} bytes and may have {MAX_BYTES}", document.len()),
            ));
        }
        let mut reader = serde_json::Deserializer::from_slice(document);
        let read = reader.deserialize_map(Members).and_then(|members| reader.end().map(|()| members));
        let members =
            read.map_err(|error| Malformed::new("event", format!("is not a JSON object: {error}")))?;
        let (mut attributes, mut content) = (Attributes::default(), Content::None);
        for (name, raw) in &members {
            match &**name {
                "data" | "data_base64" if !matches!(content, Content::None) => {
                    return Err(Malformed::new(name, "is there and so are other data"));
                }
                "data" => content = Content::Text(Bytes::copy_from_slice(raw.get().as_bytes())),
                "data_base64" => content = base64(raw)?,
                name => {
                    if let Some(value) = value(name, raw.get())? {
                        attributes.set(name, value)?;
                    }
                }
            }
        }
        attributes.envelope(self, content)
    }
}

/// JSON that can stand inside other JSON.
fn raw(bytes: &[u8]) -> Result<&RawValue, Malformed> {
    serde_json::from_slice(bytes).map_err(|error| Malformed::new("data", format!("is not JSON: {error}")))
}

/// The value of an attribute; `None` if it is `null`, which means that there is none.
fn value<'a>(name: &str, raw: &'a str) -> Result<Option<Value<'a>>, Malformed> {
    match raw.as_bytes().first() {
        Some(b'"') => Ok(Some(Value::Text(text(name, raw)?))),
        Some(b'n') => Ok(None),
        Some(b't' | b'f') => Ok(Some(Value::Other)),
        Some(b'-' | b'0'..=b'9') if raw.parse::<i32>().is_ok() => Ok(Some(Value::Other)),
        _ => {
            let why = format!(
                "{} is no value of an attribute: use a text, a whole number of 32 bits, or a truth value",
                shortened(raw)
            );
            Err(Malformed::new(name, why))
        }
    }
}

fn text<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, Malformed> {
    let inside = &raw[1..raw.len() - 1];
    if !inside.contains('\\') {
        return Ok(Cow::Borrowed(inside));
    }
    serde_json::from_str(raw)
        .map(Cow::Owned)
        .map_err(|error| Malformed::new(name, format!("is not a text: {error}")))
}

fn base64(raw: &RawValue) -> Result<Content<'static>, Malformed> {
    let wrong = || Malformed::new("data_base64", "is not a text in base64");
    if raw.get() == "null" {
        return Ok(Content::None);
    }
    let text = serde_json::from_str::<Cow<'_, str>>(raw.get()).map_err(|_| wrong())?;
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| wrong())?;
    Ok(Content::Bytes(bytes.into()))
}

/// Collects the members of an object as they stand, so that one that comes twice is seen.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() > MAX_ATTRIBUTES {
                return Err(serde::de::Error::custom("it has too many members"));
            }
            members.push((name, map.next_value::<&'de RawValue>()?));
        }
        Ok(members)
    }
}
