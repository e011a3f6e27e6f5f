//! What arrived: an event, or what only looks like one.

use async_nats::Message;
use bytes::Bytes;

use crate::Envelope;
use crate::cloudevents::{Codec, Malformed};

/// What begins the media types of whole events.
const STRUCTURED: &str = "application/cloudevents";

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// An event.
    Event(Envelope),
    /// Something that is none: to be kept and looked at, for no attempt will ever succeed.
    Malformed(Box<Unreadable>),
}

/// A message that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The subject under which it was published.
    pub subject: String,
    /// Its headers, in no order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub bytes: Bytes,
    /// What is wrong with it.
    pub why: Malformed,
}

/// Where a message stands.
pub(super) struct Place {
    /// Its number in the stream.
    pub(super) stream: u64,
    /// Its number among what the consumer was given.
    pub(super) consumer: u64,
    /// How many of the stream's messages stand behind it.
    pub(super) pending: u64,
    /// When the server stored it, in microseconds since 1970.
    pub(super) time: i64,
}

impl Place {
    /// Reads the subject to which an acknowledgement would go, which says it. Its last words are, whatever the server's version puts
    /// before them or a newer one after them: deliveries, number in the stream, number of the consumer, nanoseconds since 1970, pending.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let words: Vec<&str> = message.reply.as_deref()?.strip_prefix("$JS.ACK.")?.split('.').collect();
        // Since 2.10 an account's domain and hash may stand before the stream's name.
        let numbers = words.get(if words.len() >= 9 { 4 } else { 2 }..)?;
        let [_, stream, consumer, nanos, pending, ..] = numbers else { return None };
        let time = nanos.parse::<i64>().ok()? / 1000;
        Some(Self {
            stream: stream.parse().ok()?,
            consumer: consumer.parse().ok()?,
            pending: pending.parse().ok()?,
            time,
        })
    }
}

/// What a message is. In the stream of a module it must be that module's event.
pub(super) fn arrival(codec: &Codec, module: Option<&str>, place: &Place, message: Message) -> Arrival {
    match event(codec, module, place, &message) {
        Ok(event) => Arrival::Event(event),
        Err(why) => Arrival::Malformed(Box::new(Unreadable {
            subject: message.subject.to_string(),
            headers: headers(&message).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            bytes: message.payload,
            why,
        })),
    }
}

fn event(
    codec: &Codec,
    module: Option<&str>,
    place: &Place,
    message: &Message,
) -> Result<Envelope, Malformed> {
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    let content_type =
        headers(message).find(|(name, _)| is(name, "content-type")).map(|(_, value)| value.trim());
    let is_whole = content_type
        .is_some_and(|value| value.get(..STRUCTURED.len()).is_some_and(|start| is(start, STRUCTURED)));
    let is_in_parts = headers(message).any(|(name, _)| name.get(..3).is_some_and(|start| is(start, "ce-")));
    let mut event = if is_whole || !is_in_parts {
        if let Some(media) = content_type.filter(|value| is_whole && !is_json(value)) {
            return Err(Malformed {
                attribute: "event".to_owned(),
                why: format!("{media:?} is not read: use application/cloudevents+json"),
            });
        }
        codec.from_json(&message.payload)?
    } else {
        codec.from_binary(headers(message), message.payload.clone())?
    };
    match module {
        Some(module) if module != event.source => {
            let why = format!("{:?} writes into the stream of {module}", event.source);
            return Err(Malformed { attribute: "source".to_owned(), why });
        }
        // Who gives no time gets that of the server.
        None if event.time == 0 => event.time = place.time,
        _ => {}
    }
    Ok(event)
}

fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(STRUCTURED) || essence.eq_ignore_ascii_case(crate::cloudevents::JSON)
}

fn headers(message: &Message) -> impl Iterator<Item = (&str, &str)> {
    let all = message.headers.iter().flat_map(|headers| headers.iter());
    all.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(reply: &str) -> Option<(u64, u64, u64, i64)> {
        let message = Message {
            subject: "s".into(),
            reply: Some(reply.into()),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        Place::of(&message).map(|place| (place.stream, place.consumer, place.pending, place.time))
    }

    #[test]
    fn the_place_is_read_in_the_form_of_every_version() {
        let expected = Some((22, 3, 7, 1_700_000_000_123_456));
        assert_eq!(place("$JS.ACK.STREAM.consumer.1.22.3.1700000000123456789.7"), expected);
        assert_eq!(place("$JS.ACK._.hash.STREAM.consumer.1.22.3.1700000000123456789.7"), expected);
        assert_eq!(place("$JS.ACK.hub.hash.STREAM.consumer.1.22.3.1700000000123456789.7.token"), expected);
        for reply in ["", "inbox", "$JS.ACK.STREAM.consumer.1.22.3", "$JS.ACK.STREAM.consumer.1.x.3.4.5"] {
            assert_eq!(place(reply), None, "{reply}");
        }
    }
}
