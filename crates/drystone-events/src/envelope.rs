//! An event on its way: the facts that the platform keeps about it, beside the event itself.

use bytes::Bytes;
use drystone_call::TenantId;
use uuid::Uuid;

/// One published event, as it stands in an outbox, travels, and arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The message's id, a version 7 UUID: what tells two messages apart, never what orders them.
    pub id: Uuid,
    /// The module that published it, or the name of an outside producer.
    pub source: String,
    /// The stable name of its type, such as `shop.orders.v1.OrderPlaced`.
    pub event_type: String,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// What orders it: messages of one source, tenant and key arrive in the order of publishing.
    pub key: String,
    /// Its place among the messages of its source; greater is later. Zero where an outside producer gave none.
    pub seq: i64,
    /// When it was published, in microseconds since 1970.
    pub time: i64,
    /// The position in the trace that published it (W3C `traceparent`), if there was one.
    pub trace: Option<String>,
    /// The event.
    pub data: Data,
}

/// The event itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Encoded as protobuf: what Drystone publishes.
    Protobuf(Bytes),
    /// As canonical proto3 JSON: what outside producers may send.
    Json(Bytes),
}

impl Data {
    /// The bytes, however they are encoded.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Protobuf(bytes) | Self::Json(bytes) => bytes,
        }
    }
}
