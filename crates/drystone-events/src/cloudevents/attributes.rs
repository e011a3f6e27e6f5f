//! What the three forms share: an envelope as attributes and data, and back.

use std::borrow::Cow;

use bytes::Bytes;
use drystone_call::{MAX_MESSAGE_BYTES, TenantId, TraceContext};
use serde::de::IgnoredAny;

use super::rules::{self, Media};
use super::{Codec, MAX_ATTRIBUTES, Malformed, shortened};
use crate::{Data, Envelope};

pub(super) const VERSION: &str = "1.0";
pub(super) const PROTOBUF: &str = "application/protobuf";
pub(super) const JSON: &str = "application/json";

/// The value of an attribute, as a form gives it.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// A text, or any other type in its canonical text.
    Text(Cow<'a, str>),
    /// A moment, in microseconds since 1970.
    Moment(i64),
    /// Any other type.
    Other,
}

/// The data, as a form gives them.
#[derive(Debug)]
pub(super) enum Content<'a> {
    /// There are none.
    None,
    /// Bytes of the type that `datacontenttype` names.
    Bytes(Bytes),
    /// A text of that type.
    Text(Bytes),
    /// A protobuf message, which names its own type.
    Message { type_url: &'a str, value: Bytes },
}

/// The attributes of an event that is being read.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    known: [Option<Value<'a>>; NAMES.len()],
    /// Names that mean nothing here, to see one that comes twice.
    others: Vec<String>,
}

/// The attributes that are read. `subject` and `dataschema` are checked and mean nothing here.
const NAMES: [&str; 12] = [
    "id",
    "source",
    "specversion",
    "type",
    "datacontenttype",
    "dataschema",
    "subject",
    "time",
    "tenantid",
    "partitionkey",
    "sequence",
    "traceparent",
];

impl<'a> Attributes<'a> {
    /// Takes an attribute.
    pub(super) fn set(&mut self, name: &str, value: Value<'a>) -> Result<(), Malformed> {
        rules::check_name(name)?;
        if let Value::Text(text) = &value {
            rules::check_text(name, text)?;
        }
        let known = NAMES.iter().position(|known| *known == name);
        let is_twice = match known {
            Some(at) => self.known[at].replace(value).is_some(),
            None => self.others.iter().any(|other| other == name),
        };
        if is_twice {
            return Err(Malformed::new(name, "comes twice"));
        }
        if known.is_none() {
            self.others.push(name.to_owned());
        }
        if self.others.len() > MAX_ATTRIBUTES - NAMES.len() {
            return Err(Malformed::new("event", format!("has more than {MAX_ATTRIBUTES} attributes")));
        }
        Ok(())
    }

    /// Whether an attribute is there.
    pub(super) fn has(&self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|at| self.known[at].is_some())
    }

    fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.known[at].take()
    }

    /// A text that may be missing, but not empty.
    fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) if text.is_empty() => Err(Malformed::new(name, "is empty")),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Malformed::new(name, "is not a text")),
        }
    }

    fn required(&mut self, name: &str) -> Result<Cow<'a, str>, Malformed> {
        self.text(name)?.ok_or_else(|| Malformed::new(name, "is missing: every event must have it"))
    }

    /// The envelope of the attributes and the data.
    pub(super) fn envelope(mut self, codec: &Codec, content: Content<'_>) -> Result<Envelope, Malformed> {
        let version = self.required("specversion")?;
        if version != VERSION {
            return Err(Malformed::new(
                "specversion",
                format!("{:?} is not known: use {VERSION}", shortened(&version)),
            ));
        }
        let given_source = self.required("source")?;
        rules::check_reference("source", &given_source)?;
        let source = codec.module_or_whole(&given_source)?;
        let id = codec.id(&source, &self.required("id")?)?;
        let event_type = self.required("type")?.into_owned();
        if let Some(schema) = self.text("dataschema")? {
            rules::check_uri("dataschema", &schema)?;
        }
        self.text("subject")?;
        let media = self.text("datacontenttype")?.map(|text| rules::media(&text)).transpose()?;
        Ok(Envelope {
            id,
            source,
            tenant: self.tenant()?,
            key: self.text("partitionkey")?.unwrap_or_default().into_owned(),
            seq: self.sequence(codec)?,
            time: self.time()?,
            trace: self.trace(),
            data: data(media, content, &event_type)?,
            event_type,
        })
    }

    fn tenant(&mut self) -> Result<TenantId, Malformed> {
        let name = self.text("tenantid")?;
        let name = name.ok_or_else(|| {
            Malformed::new("tenantid", "is missing: it names the tenant that the event belongs to")
        })?;
        TenantId::new(&name).map_err(|error| Malformed::new("tenantid", error.message()))
    }

    fn sequence(&mut self, codec: &Codec) -> Result<i64, Malformed> {
        let Some(text) = self.text("sequence")? else { return Ok(0) };
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if is_number => Ok(number),
            _ if codec.is_outside => Ok(0),
            _ => Err(Malformed::new(
                "sequence",
                format!("{:?} is not a number of up to {}", shortened(&text), i64::MAX),
            )),
        }
    }

    fn time(&mut self) -> Result<i64, Malformed> {
        match self.take("time") {
            None => Ok(0),
            Some(Value::Moment(micros)) => Ok(micros),
            Some(Value::Text(text)) => rules::time_of(&text),
            Some(Value::Other) => Err(Malformed::new("time", "is not a time")),
        }
    }

    /// What is no position in a trace is none: a new trace begins, as W3C Trace Context asks.
    fn trace(&mut self) -> Option<String> {
        match self.take("traceparent") {
            Some(Value::Text(text)) => TraceContext::parse(&text).map(|_| text.into_owned()),
            _ => None,
        }
    }
}

/// The data, by what the event says about them.
fn data(media: Option<Media>, content: Content<'_>, event_type: &str) -> Result<Data, Malformed> {
    let wrong = |why: String| Err(Malformed::new("data", why));
    let is_message = matches!(content, Content::Message { .. });
    let media = media.unwrap_or(if is_message { Media::Protobuf } else { Media::Json });
    let data = match (media, content) {
        // An event without data is the message without fields.
        (Media::Json, Content::None) => Data::Json(Bytes::from_static(b"{}")),
        (Media::Protobuf, Content::None) => Data::Protobuf(Bytes::new()),
        (Media::Json, Content::Bytes(bytes) | Content::Text(bytes)) => Data::Json(bytes),
        (Media::Protobuf, Content::Bytes(bytes)) => Data::Protobuf(bytes),
        (Media::Protobuf, Content::Text(_)) => {
            return wrong(format!("is a text, and datacontenttype says {PROTOBUF}"));
        }
        (Media::Json, Content::Message { .. }) => {
            return wrong("is a protobuf message, and datacontenttype says JSON".to_owned());
        }
        (Media::Protobuf, Content::Message { type_url, value }) => {
            if !type_url.strip_suffix(event_type).is_some_and(|start| start.ends_with('/')) {
                return wrong(format!(
                    "is a {:?}, and the event's type is {:?}",
                    shortened(type_url),
                    shortened(event_type)
                ));
            }
            Data::Protobuf(value)
        }
    };
    if data.bytes().len() > MAX_MESSAGE_BYTES {
        return wrong(format!("has {} bytes and may have {MAX_MESSAGE_BYTES}", data.bytes().len()));
    }
    if let Data::Json(bytes) = &data
        && let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes)
    {
        return wrong(format!("is not JSON: {error}"));
    }
    Ok(data)
}

/// An envelope's attributes, but for `specversion` and `datacontenttype`, each checked and in its canonical text.
pub(super) struct Written {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) time: String,
    pub(super) sequence: String,
}

impl Written {
    pub(super) fn of(codec: &Codec, envelope: &Envelope) -> Result<Self, Malformed> {
        let source = codec.source(&envelope.source);
        rules::check_reference("source", &source)?;
        rules::check_text("source", &source)?;
        if envelope.event_type.is_empty() {
            return Err(Malformed::new("type", "is empty"));
        }
        rules::check_text("type", &envelope.event_type)?;
        rules::check_text("partitionkey", &envelope.key)?;
        rules::check_text("traceparent", envelope.trace.as_deref().unwrap_or_default())?;
        let sequence = u64::try_from(envelope.seq).map_err(|_| Malformed::new("sequence", "is negative"))?;
        Ok(Self {
            id: envelope.id.to_string(),
            source,
            time: rules::time_text(envelope.time)?,
            sequence: format!("{sequence:020}"),
        })
    }
}

/// The `datacontenttype` of data.
pub(super) fn content_type(data: &Data) -> &'static str {
    match data {
        Data::Protobuf(_) => PROTOBUF,
        Data::Json(_) => JSON,
    }
}
