//! Events as CloudEvents 1.0: the form in which they cross the border of a process, for readers and writers in any language.
//!
//! One [`Codec`] reads and writes the three forms: binary (headers and a body, for NATS), structured JSON, and protobuf (for the push between processes).
//!
//! | attribute | what it carries |
//! |---|---|
//! | `id` | the message's id |
//! | `source` | `/<application>/<module>`, or an outside producer's source |
//! | `type` | the stable name of the event's type |
//! | `datacontenttype` | `application/protobuf`, or JSON from outside producers |
//! | `time` | when it was published, to the microsecond |
//! | `tenantid` | the tenant |
//! | `partitionkey` | what orders it |
//! | `sequence` | its place among its source's messages, 20 digits |
//! | `traceparent` | the trace that published it |
//!
//! Sources: CloudEvents 1.0.2 with its JSON and protobuf formats, the HTTP binding's percent-encoding, and the NATS binding of 1.0.3, the
//! first that knows headers. What the specification requires is required here, and a [`Malformed`] names the attribute that breaks it; attributes that mean nothing
//! to Drystone must keep the rules of names and types, and are then ignored.
//!
//! A CloudEvent is known by source *and* id, a message in an inbox by its id alone. So the ids of outside producers are not taken as they are: a
//! codec made by [`Codec::outside`] makes a UUID of source and id, the same for the same pair.

mod attributes;
mod binary;
mod json;
mod proto;
mod rules;

use std::fmt;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub use binary::Binary;
pub use json::JSON;
pub use proto::{Any, AttributeValue, CloudEvent, CloudEventBatch, EventData, TypedValue, UtcTime};
pub use rules::check_text;
pub(crate) use rules::percent_decoded;

/// The longest value of an attribute, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 4096;
/// The most attributes that an event may have.
pub const MAX_ATTRIBUTES: usize = 64;

/// Why something is no CloudEvent that Drystone can take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a CloudEvent that can be taken: {attribute}: {why}")]
pub struct Malformed {
    /// The attribute that is wrong, or `data`, or `event` for the whole.
    pub attribute: String,
    /// What is wrong with it.
    pub why: String,
}

impl Malformed {
    pub(crate) fn new(attribute: &str, why: impl Into<String>) -> Self {
        Self { attribute: shortened(attribute), why: why.into() }
    }
}

/// What outsiders wrote, short enough for a log.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Reads and writes the events of one application.
#[derive(Clone)]
pub struct Codec {
    /// What begins the source of the application's own modules.
    prefix: String,
    is_outside: bool,
}

impl Codec {
    /// For what the application's processes write to each other.
    #[must_use]
    pub fn new(application: &str) -> Self {
        Self { prefix: format!("/{}/", rules::as_segment(application)), is_outside: false }
    }

    /// For what producers outside the application write to it: a source of the application's own is refused, an id is made of source and id, and
    /// a `sequence` that is no number counts as none.
    #[must_use]
    pub fn outside(application: &str) -> Self {
        Self { is_outside: true, ..Self::new(application) }
    }

    /// The `source` of an envelope's source.
    fn source(&self, source: &str) -> String {
        if rules::is_module_name(source) { format!("{}{source}", self.prefix) } else { source.to_owned() }
    }

    /// The envelope's source of a `source`: a module's name for the application's own, the whole text for others.
    fn module_or_whole(&self, source: &str) -> Result<String, Malformed> {
        if let Some(module) = source.strip_prefix(&self.prefix).filter(|rest| rules::is_module_name(rest)) {
            if self.is_outside {
                let why = format!(
                    "{source} is a module of this application: outside producers have a source of their own"
                );
                return Err(Malformed::new("source", why));
            }
            return Ok(module.to_owned());
        }
        // The same reference, in words that no module's name has.
        if rules::is_module_name(source) { Ok(format!("./{source}")) } else { Ok(source.to_owned()) }
    }

    /// The message's id.
    fn id(&self, source: &str, id: &str) -> Result<Uuid, Malformed> {
        if self.is_outside {
            return Ok(id_of_pair(source, id));
        }
        let parsed = Uuid::try_parse(id).ok().filter(|uuid| is_text_of(*uuid, id));
        match parsed {
            Some(uuid) => Ok(uuid),
            None if rules::is_module_name(source) => {
                Err(Malformed::new("id", format!("{:?} is not a UUID, as ids of modules are", shortened(id))))
            }
            None => Ok(id_of_pair(source, id)),
        }
    }
}

/// Whether a text is a UUID's one form: other forms of the same would be other ids of CloudEvents.
fn is_text_of(uuid: Uuid, text: &str) -> bool {
    uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text
}

/// A UUID made of source and id: the same for the same pair, and distinct from every id that somebody drew.
fn id_of_pair(source: &str, id: &str) -> Uuid {
    let mut hash = Sha256::new();
    // The length keeps one pair from being another's with the border moved.
    hash.update((source.len() as u64).to_be_bytes());
    hash.update(source);
    hash.update(id);
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("prefix", &self.prefix).field("is_outside", &self.is_outside).finish()
    }
}
