//! The protobuf form: the messages of CloudEvents' own `io.cloudevents.v1`, written by hand so that nothing has to be generated.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

use super::attributes::{self, Attributes, Content, VERSION, Value, Written};
use super::{Codec, Malformed};
use crate::{Data, Envelope};

/// What precedes the name of a message in its type's URL.
const TYPE_URL: &str = "type.googleapis.com/";

/// An event: `io.cloudevents.v1.CloudEvent`.
#[derive(Clone, PartialEq, Message)]
pub struct CloudEvent {
    /// The attribute `id`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The attribute `source`.
    #[prost(string, tag = "2")]
    pub source: String,
    /// The attribute `specversion`.
    #[prost(string, tag = "3")]
    pub spec_version: String,
    /// The attribute `type`.
    #[prost(string, tag = "4")]
    pub event_type: String,
    /// All other attributes.
    #[prost(btree_map = "string, message", tag = "5")]
    pub attributes: BTreeMap<String, AttributeValue>,
    /// The data.
    #[prost(oneof = "EventData", tags = "6, 7, 8")]
    pub data: Option<EventData>,
}

/// The data of an event.
#[derive(Clone, PartialEq, Oneof)]
pub enum EventData {
    /// Bytes.
    #[prost(bytes = "bytes", tag = "6")]
    Binary(Bytes),
    /// A text.
    #[prost(string, tag = "7")]
    Text(String),
    /// A protobuf message.
    #[prost(message, tag = "8")]
    Proto(Any),
}

/// A message with the name of its type: `google.protobuf.Any`, whose bytes are shared rather than copied.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// Ends in the full name of the type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// The value of an attribute: `io.cloudevents.v1.CloudEvent.CloudEventAttributeValue`.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeValue {
    /// The value; one without is no value.
    #[prost(oneof = "TypedValue", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<TypedValue>,
}

/// A value of one of CloudEvents' types.
#[derive(Clone, PartialEq, Oneof)]
pub enum TypedValue {
    /// A truth value.
    #[prost(bool, tag = "1")]
    Boolean(bool),
    /// A whole number.
    #[prost(int32, tag = "2")]
    Integer(i32),
    /// A text.
    #[prost(string, tag = "3")]
    String(String),
    /// Bytes.
    #[prost(bytes = "bytes", tag = "4")]
    Bytes(Bytes),
    /// An absolute URI.
    #[prost(string, tag = "5")]
    Uri(String),
    /// A URI-reference.
    #[prost(string, tag = "6")]
    UriRef(String),
    /// A moment.
    #[prost(message, tag = "7")]
    Timestamp(UtcTime),
}

/// A moment: `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UtcTime {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds after that.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Several events: `io.cloudevents.v1.CloudEventBatch`.
#[derive(Clone, PartialEq, Message)]
pub struct CloudEventBatch {
    /// The events.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<CloudEvent>,
}

impl Codec {
    /// The protobuf form: protobuf stands in it as a message that names its type, JSON as a text.
    ///
    /// # Errors
    /// If something in the envelope cannot be an attribute of a CloudEvent, or its JSON is not UTF-8.
    pub fn to_proto(&self, envelope: &Envelope) -> Result<CloudEvent, Malformed> {
        let written = Written::of(self, envelope)?;
        let data = match &envelope.data {
            Data::Protobuf(value) => {
                let type_url = format!("{TYPE_URL}{}", envelope.event_type);
                EventData::Proto(Any { type_url, value: value.clone() })
            }
            Data::Json(bytes) => EventData::Text(
                String::from_utf8(bytes.to_vec())
                    .map_err(|_| Malformed::new("data", "is not JSON: it is not UTF-8"))?,
            ),
        };
        let moment = UtcTime {
            seconds: envelope.time.div_euclid(1_000_000),
            nanos: i32::try_from(envelope.time.rem_euclid(1_000_000) * 1000)
                .map_err(|_| Malformed::new("time", "is none"))?,
        };
        let text = |text: &str| TypedValue::String(text.to_owned());
        let mut values = vec![
            ("datacontenttype", text(attributes::content_type(&envelope.data))),
            ("time", TypedValue::Timestamp(moment)),
            ("tenantid", text(envelope.tenant.as_str())),
            ("sequence", text(&written.sequence)),
        ];
        if !envelope.key.is_empty() {
            values.push(("partitionkey", text(&envelope.key)));
        }
        values.extend(envelope.trace.as_deref().map(|trace| ("traceparent", text(trace))));
        let named =
            |(name, value): (&str, TypedValue)| (name.to_owned(), AttributeValue { value: Some(value) });
        Ok(CloudEvent {
            id: written.id,
            source: written.source,
            spec_version: VERSION.to_owned(),
            event_type: envelope.event_type.clone(),
            attributes: values.into_iter().map(named).collect(),
            data: Some(data),
        })
    }

    /// The event of a protobuf message.
    ///
    /// # Errors
    /// If it breaks a rule of CloudEvents, or lacks what Drystone needs: `tenantid`.
    pub fn from_proto(&self, event: CloudEvent) -> Result<Envelope, Malformed> {
        let mut attributes = Attributes::default();
        let CloudEvent { id, source, spec_version, event_type, attributes: values, data } = event;
        for (name, text) in
            [("id", id), ("source", source), ("specversion", spec_version), ("type", event_type)]
        {
            // A field that was not set is empty.
            if !text.is_empty() {
                attributes.set(name, Value::Text(Cow::Owned(text)))?;
            }
        }
        for (name, value) in values {
            if matches!(name.as_str(), "id" | "source" | "specversion" | "type") {
                return Err(Malformed::new(&name, "has a field of its own and stands among the others"));
            }
            if let Some(value) = value.value {
                attributes.set(&name, read(&name, value)?)?;
            }
        }
        let type_url;
        let content = match data {
            None => Content::None,
            Some(EventData::Binary(bytes)) => Content::Bytes(bytes),
            Some(EventData::Text(text)) => Content::Text(text.into()),
            Some(EventData::Proto(any)) => {
                type_url = any.type_url;
                Content::Message { type_url: &type_url, value: any.value }
            }
        };
        attributes.envelope(self, content)
    }
}

fn read(name: &str, value: TypedValue) -> Result<Value<'static>, Malformed> {
    match value {
        TypedValue::String(text) | TypedValue::Uri(text) | TypedValue::UriRef(text) => {
            Ok(Value::Text(Cow::Owned(text)))
        }
        TypedValue::Timestamp(moment) => {
            micros(moment).map(Value::Moment).ok_or_else(|| Malformed::new(name, "is no moment"))
        }
        TypedValue::Boolean(_) | TypedValue::Integer(_) | TypedValue::Bytes(_) => Ok(Value::Other),
    }
}

fn micros(moment: UtcTime) -> Option<i64> {
    let nanos = Some(moment.nanos).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
    moment.seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos) / 1000)
}
