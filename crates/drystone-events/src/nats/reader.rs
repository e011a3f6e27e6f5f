//! Reading a stream as an ordered log: from a number on, without acknowledgements, so that the position is the reader's own.
//!
//! The server's side is a pull consumer that acknowledges nothing and that nobody misses: it is made anew when the connection was, when the server has
//! forgotten it, when a message was lost on the way (its own numbers have a gap then), or when another position is asked for. Whenever it is made, the
//! stream's mark is looked at *after* it: a consumer of a stream that was replaced in between is gone with that stream, and gives nothing.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::{Message, StatusCode, Subscriber};
use drystone_call::Result;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::arrival::{Arrival, Place, arrival};
use super::connection::Connection;
use super::stream::Spec;
use crate::cloudevents::Codec;
use crate::failpoint::or_in_haste;

/// How long a read waits for a first message.
const LONG: Duration = or_in_haste(Duration::from_secs(2), Duration::from_millis(200));
/// How much longer than it should the server may take to say that there was none.
const GRACE: Duration = Duration::from_secs(2);
/// How long the server keeps a consumer that asks for nothing.
const IDLE: Duration = Duration::from_secs(60);
/// The most messages that a read gives. Twice as many may lie in the client, which must not throw any away.
const MOST: usize = 16_384;
/// How many bytes are asked for at once, and how many a read gives before it stops.
const BYTES: usize = 8 * 1024 * 1024;

/// What a read gives.
#[derive(Debug)]
pub struct Batch {
    /// Which stream it is: another one of the same name, made after the first was lost, has another.
    pub mark: String,
    /// Grows when reading begins anew, as after a connection that broke: what the stream had before may be something else by now.
    pub generation: u64,
    /// The messages, each with its number in the stream. It begins below the number that was asked for if the stream ends further below: the server has
    /// lost its end since.
    pub messages: Vec<(u64, Arrival)>,
}

/// The reader of one stream, for one consumer.
pub struct StreamReader {
    connection: Arc<Connection>,
    spec: Spec,
    /// The module whose stream it is; `None` if it is that of outside producers.
    module: Option<String>,
    codec: Codec,
    attached: Option<Attached>,
    generation: u64,
}

/// What stands at a number of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which stream it is, as in [`Batch::mark`].
    pub mark: String,
    /// The number of the oldest message that is still there.
    pub first: u64,
    /// When the message was stored, to the nanosecond; `None` if it is not there.
    pub time: Option<String>,
}

/// What was agreed with the server.
struct Attached {
    epoch: u64,
    mark: String,
    /// The number that is read next.
    next: u64,
    /// The consumer's own number of the last message.
    delivered: u64,
    consumer: Consumer<Config>,
    inbox: String,
    subscriber: Subscriber,
    /// How many messages were asked for and did not come yet.
    outstanding: usize,
    asked: Instant,
    /// Whether the last question got any answer but that a message is too large for it.
    is_too_large: bool,
}

/// What came.
enum Came {
    Message(Box<(Place, Message)>),
    /// The server gives no more for the last question.
    Done,
    /// Nothing, for as long as was waited.
    Nothing,
    /// What was agreed no longer holds.
    Detached,
    /// The server says that it does not hold, and why.
    Ended(String),
}

impl StreamReader {
    pub(super) fn new(connection: Arc<Connection>, spec: Spec, module: Option<String>, codec: Codec) -> Self {
        Self { connection, spec, module, codec, attached: None, generation: 0 }
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.spec.name
    }

    /// What stands at a number: whoever remembers it can tell later whether the stream still has it.
    ///
    /// # Errors
    /// As [`StreamReader::read`].
    pub async fn standing(&self, number: u64) -> Result<Standing> {
        let info = self.connection.ensure(&self.spec).await?;
        let entry = if number == 0 { None } else { self.connection.entry(&self.spec, number).await? };
        let time = entry.map(|entry| entry.time);
        Ok(Standing { mark: info.created, first: info.state.first_seq, time })
    }

    /// Messages from the number `from` on, `limit` at most and in order. Waits for the first for about two seconds, and gives none if none
    /// came. Dropping the future loses nothing: the next read asks again for what was not given.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the server does not answer; `FAILED_PRECONDITION` if there is a stream of that name for other subjects.
    pub async fn read(&mut self, from: u64, limit: usize) -> Result<Batch> {
        // Taken away while it is used: a future that is dropped leaves nothing that only it knows.
        let attached = match self.attached.take() {
            Some(attached)
                if attached.next == from.max(1) && self.connection.is_up() == Some(attached.epoch) =>
            {
                attached
            }
            _ => {
                self.generation += 1;
                self.attach(from).await?
            }
        };
        self.fill(attached, limit.clamp(1, MOST)).await
    }

    /// Makes a consumer that begins at a number.
    async fn attach(&self, from: u64) -> Result<Attached> {
        let connection = &*self.connection;
        connection.ensure(&self.spec).await?;
        let epoch = connection.up().await?;
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            inactive_threshold: IDLE,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let consumer = connection.jetstream.create_consumer_on_stream(config, &self.spec.name);
        let consumer = tokio::select! {
            consumer = consumer => consumer,
            () = connection.lost(epoch) => return Err(connection.unavailable("went away")),
        };
        let consumer = consumer.map_err(|error| {
            connection
                .unavailable(format_args!("gives no consumer of {}: {error}", self.spec.name))
                .caused_by(error)
        })?;
        let info = connection.ensure(&self.spec).await?;
        let inbox = connection.client.new_inbox();
        let subscriber = connection.client.subscribe(inbox.clone()).await;
        let subscriber = subscriber.map_err(|error| connection.unavailable(error))?;
        connection.metrics.attached.add(1);
        Ok(Attached {
            epoch,
            mark: info.created,
            next: from.max(1),
            delivered: 0,
            consumer,
            inbox,
            subscriber,
            outstanding: 0,
            asked: Instant::now(),
            is_too_large: false,
        })
    }

    /// Collects messages until there are enough, or no more for now.
    async fn fill(&mut self, mut attached: Attached, limit: usize) -> Result<Batch> {
        let connection = Arc::clone(&self.connection);
        let until = Instant::now() + LONG;
        let mut batch =
            Batch { mark: attached.mark.clone(), generation: self.generation, messages: Vec::new() };
        let mut bytes = 0;
        while batch.messages.len() < limit && bytes < BYTES {
            if attached.outstanding == 0 {
                attached.ask(&connection, limit - batch.messages.len()).await?;
            }
            match attached.next(&connection, until).await {
                Came::Message(came) => {
                    let (place, message) = *came;
                    bytes += message.length;
                    let arrived = arrival(&self.codec, self.module.as_deref(), &place, message);
                    connection.metrics.read.add(1);
                    connection.metrics.malformed.add(u64::from(matches!(arrived, Arrival::Malformed(_))));
                    batch.messages.push((place.stream, arrived));
                    if place.pending == 0 {
                        break;
                    }
                }
                Came::Done if batch.messages.is_empty() && Instant::now() < until => {}
                Came::Done | Came::Nothing => break,
                // To be told so at once is no accident: who asks again at once would be told again.
                Came::Ended(why) if attached.delivered == 0 => {
                    let stream = &self.spec.name;
                    return Err(connection.unavailable(format_args!("does not let {stream} be read: {why}")));
                }
                // What came before it is good, and the next read attaches anew.
                Came::Ended(_) | Came::Detached => return Ok(batch),
            }
        }
        // So that the next messages are on their way while these are worked on.
        let is_asked = batch.messages.len() < limit
            || attached.outstanding > 0
            || attached.ask(&connection, limit).await.is_ok();
        self.attached = Some(attached).filter(|_| is_asked);
        Ok(batch)
    }
}

impl Attached {
    /// Asks for messages.
    async fn ask(&mut self, connection: &Connection, count: usize) -> Result<()> {
        let (batch, max_bytes) = if self.is_too_large { (1, 0) } else { (count, BYTES) };
        let question = BatchConfig { batch, max_bytes, expires: Some(LONG), ..BatchConfig::default() };
        let asked = tokio::select! {
            asked = self.consumer.request_batch(question, self.inbox.clone().into()) => asked,
            () = connection.lost(self.epoch) => return Err(connection.unavailable("went away")),
        };
        asked.map_err(|error| connection.unavailable(error))?;
        self.outstanding = batch;
        self.asked = Instant::now();
        Ok(())
    }

    /// The next message, or why there is none.
    async fn next(&mut self, connection: &Connection, until: Instant) -> Came {
        let message = tokio::select! {
            biased;
            message = self.subscriber.next() => message,
            () = connection.lost(self.epoch) => return Came::Detached,
            () = tokio::time::sleep_until(until) => {
                // The server ends every question; one that it does not end, it has forgotten.
                let is_forgotten = self.asked.elapsed() > LONG + GRACE;
                return if is_forgotten { Came::Detached } else { Came::Nothing };
            }
        };
        let Some(message) = message else { return Came::Detached };
        match message.status {
            None => self.place(message),
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.outstanding = 0;
                Came::Done
            }
            Some(StatusCode::REQUEST_TERMINATED)
                if message.description.as_deref().unwrap_or_default().contains("MaxBytes") =>
            {
                self.is_too_large = true;
                self.outstanding = 0;
                Came::Done
            }
            Some(status) => Came::Ended(message.description.unwrap_or_else(|| status.to_string())),
        }
    }

    fn place(&mut self, message: Message) -> Came {
        let Some(place) = Place::of(&message) else { return Came::Detached };
        // A gap in the consumer's own numbers: one was lost on the way.
        if place.consumer != self.delivered + 1 {
            return Came::Detached;
        }
        self.delivered = place.consumer;
        self.next = place.stream + 1;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.is_too_large = false;
        Came::Message(Box::new((place, message)))
    }
}

impl std::fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamReader").field("stream", &self.spec.name).finish_non_exhaustive()
    }
}
