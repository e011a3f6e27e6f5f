//! Writing to a module's stream: in order, once, and by one writer at a time.
//!
//! The first message of a batch says after which number it must stand (`Nats-Expected-Last-Sequence`), and each of the others also behind which message
//! (`Nats-Expected-Last-Msg-Id`). So a batch can be on its way as a whole: if one of it is lost or refused, so are all behind it. The number alone
//! would not do. A batch of five from a writer that believes the stream to be empty, when another has put three there: its fourth
//! says "after number 3", and would be taken.
//!
//! The ids are of one attempt (`Nats-Msg-Id`): none is ever sent twice. An id of the event itself would wake the server's own deduplication: a message that
//! it has seen within its window is acknowledged and not stored, and the chain behind it breaks. The inbox does that work, for longer. For the same reason streams
//! are made with a short window: it is the time for which the server keeps every id in memory.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    HeaderMap, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID,
};
use async_nats::{HeaderName, HeaderValue, Message, StatusCode, Subject, Subscriber};
use drystone_call::{Code, Error, Result};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::connection::Connection;
use super::stream::{Answer, Spec, is_word};
use crate::Envelope;
use crate::cloudevents::{Binary, Codec};

/// How long the server may take to acknowledge the next message.
const PATIENCE: Duration = Duration::from_secs(10);
/// The server's codes for a message that does not stand where it says.
const WRONG_SEQUENCE: u64 = 10071;
const WRONG_MESSAGE: u64 = 10070;

/// Where a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Which stream it is: another one of the same name, made after the first was lost, has another.
    pub mark: String,
    /// The number of its last message; zero if it never had one.
    pub last: u64,
}

/// Why not all of a batch was appended.
#[derive(Debug, thiserror::Error)]
#[error("{stored} messages are in the stream for certain, and then: {why}")]
pub struct AppendError {
    /// So many from the batch's beginning are in the stream. If the server went away, there may be more.
    pub stored: usize,
    /// What met the next one.
    #[source]
    pub why: AppendFailure,
}

/// What kept a message from being appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendFailure {
    /// The stream does not end where the writer believes: somebody else writes, or the server forgot.
    #[error("the stream ends at {last}")]
    WrongSequence {
        /// Where it ends.
        last: u64,
    },
    /// There is no stream; [`StreamWriter::tail`] makes one.
    #[error("there is no stream")]
    NoStream,
    /// The message cannot be one of this stream, however often it is sent.
    #[error("the message cannot be sent: {}", .0.message())]
    Refused(Error),
    /// Nobody knows what became of it.
    #[error("{}", .0.message())]
    Unavailable(Error),
}

/// The writer of one module's stream.
pub struct StreamWriter {
    connection: Arc<Connection>,
    spec: Spec,
    /// What every subject begins with.
    prefix: String,
    codec: Codec,
    /// What the ids of its messages begin with: no other writer has it.
    name: String,
    acknowledgements: Mutex<Acknowledgements>,
}

/// Where the server's acknowledgements arrive.
#[derive(Default)]
struct Acknowledgements {
    subscriber: Option<Subscriber>,
    inbox: String,
    /// The number of the batch: acknowledgements of an earlier one may still come.
    batch: u64,
}

/// A message, ready to be sent.
struct Outgoing {
    subject: Subject,
    headers: HeaderMap,
    body: bytes::Bytes,
}

/// What the server says about one message.
#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

impl StreamWriter {
    pub(super) fn new(connection: Arc<Connection>, spec: Spec, codec: Codec) -> Self {
        let prefix = spec.subjects.trim_end_matches('>').to_owned();
        Self {
            connection,
            spec,
            prefix,
            codec,
            name: Uuid::new_v4().simple().to_string(),
            acknowledgements: Mutex::default(),
        }
    }

    /// Where the stream ends. Makes it if it is not there.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the server does not answer; `FAILED_PRECONDITION` if there is a stream of that name for other subjects.
    pub async fn tail(&self) -> Result<Tail> {
        let info = self.connection.ensure(&self.spec).await?;
        Ok(Tail { mark: info.created, last: info.state.last_seq })
    }

    /// Whether the message of a number is still the one with this id, or has reached the end of its time. A stream that has lost its end and grown again has
    /// another one there.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the server does not answer.
    pub async fn holds(&self, number: u64, id: Uuid) -> Result<bool> {
        match self.connection.entry(&self.spec, number).await? {
            Some(entry) => Ok(entry.says(&id.to_string())),
            None => Ok(number < self.connection.ensure(&self.spec).await?.state.first_seq),
        }
    }

    /// Appends a batch behind the message of number `after`, and gives the number of its last message.
    ///
    /// # Errors
    /// [`AppendError`], which says how much of it is there. Dropping the future leaves that open.
    pub async fn append(&self, after: u64, batch: &[Envelope]) -> Result<u64, AppendError> {
        let (outgoing, unfit) = self.prepare(after, batch);
        let sent = outgoing.len();
        let stored = if sent > 0 { self.send(after, outgoing).await } else { Ok(()) };
        if let Err(error) = stored {
            self.connection.metrics.written.add(error.stored as u64);
            return Err(error);
        }
        self.connection.metrics.written.add(sent as u64);
        match unfit {
            Some(error) => Err(AppendError { stored: sent, why: AppendFailure::Refused(error) }),
            None => Ok(after + sent as u64),
        }
    }

    /// The messages of a batch, up to the first that cannot be one.
    fn prepare(&self, after: u64, batch: &[Envelope]) -> (Vec<Outgoing>, Option<Error>) {
        let mut outgoing = Vec::with_capacity(batch.len());
        for (envelope, before) in batch.iter().zip(after..) {
            match self.outgoing(envelope, before) {
                Ok(message) => outgoing.push(message),
                Err(error) => return (outgoing, Some(error)),
            }
        }
        (outgoing, None)
    }

    fn outgoing(&self, envelope: &Envelope, before: u64) -> Result<Outgoing> {
        let words = envelope.event_type.split('.');
        if !words.clone().all(is_word) {
            return Err(Error::invalid_argument(format!(
                "{:?} is not the name of a type",
                envelope.event_type
            )));
        }
        let binary = self.codec.to_binary(envelope);
        let Binary { headers: pairs, body } =
            binary.map_err(|why| Error::invalid_argument(why.to_string()))?;
        let mut headers = HeaderMap::new();
        let mut size = body.len();
        for (name, value) in pairs {
            size += name.len() + value.len() + 4;
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(before));
        // What else stands in the message's head: the ids, and the names of three headers.
        size += 256;
        let most = self.connection.client.max_payload();
        if size > most {
            return Err(Error::new(
                Code::ResourceExhausted,
                format!(
                    "the event {} has {size} bytes with its attributes, and the server takes {most}: raise its max_payload",
                    envelope.id
                ),
            ));
        }
        let subject = format!("{}{}.{}", self.prefix, envelope.tenant, envelope.event_type).into();
        Ok(Outgoing { subject, headers, body })
    }

    /// Sends messages and waits for what becomes of each.
    async fn send(&self, after: u64, outgoing: Vec<Outgoing>) -> Result<(), AppendError> {
        let none = |error| AppendError { stored: 0, why: AppendFailure::Unavailable(error) };
        let mut acknowledgements = self.acknowledgements.lock().await;
        // A message for a server that is not there would be sent when it is back, and nobody would wait for what becomes of it.
        let Some(epoch) = self.connection.is_up() else {
            return Err(none(self.connection.unavailable("is not reached")));
        };
        let (count, client) = (outgoing.len(), &self.connection.client);
        let lost = self.connection.lost(epoch);
        tokio::pin!(lost);
        let publish = async {
            let inbox = acknowledgements.begin(client).await?;
            for (mut message, at) in outgoing.into_iter().zip(0_usize..) {
                let id =
                    |at: usize| HeaderValue::from(format!("{}.{}.{at}", self.name, acknowledgements.batch));
                message.headers.insert(NATS_MESSAGE_ID, id(at));
                if at > 0 {
                    message.headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, id(at - 1));
                }
                let reply = format!("{inbox}.{at}");
                client
                    .publish_with_reply_and_headers(message.subject, reply, message.headers, message.body)
                    .await?;
            }
            Ok::<_, async_nats::Error>(())
        };
        let published = tokio::select! {
            published = publish => published,
            () = &mut lost => return Err(none(self.connection.unavailable("went away"))),
        };
        if let Err(error) = published {
            return Err(none(self.connection.unavailable(error)));
        }
        self.settle(after, count, &mut acknowledgements, lost).await
    }

    /// Waits for what becomes of each message.
    async fn settle(
        &self,
        after: u64,
        count: usize,
        acknowledgements: &mut Acknowledgements,
        mut lost: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), AppendError> {
        let (mut stored, mut failure, mut next) = (0, None, 0);
        while next < count {
            let answer = tokio::select! {
                answer = tokio::time::timeout(PATIENCE, acknowledgements.next()) => answer.map_err(|_| "does not acknowledge"),
                () = &mut lost => Err("went away"),
            };
            let (at, message) = match answer {
                Ok(answer) => answer,
                Err(what) => {
                    let why = AppendFailure::Unavailable(self.connection.unavailable(what));
                    return Err(AppendError { stored, why: failure.unwrap_or(why) });
                }
            };
            match self.outcome(&message, after + at as u64) {
                Ok(seq) if failure.is_none() && at == next && seq == after + at as u64 + 1 => stored += 1,
                // Stored behind one that was not: where the stream ends now is all that it tells.
                Ok(seq) => failure = Some(AppendFailure::WrongSequence { last: seq }),
                // The first refused one says why; behind one that was lost on the way, that is the next.
                Err(why) => drop(failure.get_or_insert(why)),
            }
            next = at + 1;
        }
        match failure {
            None => Ok(()),
            Some(why) => {
                self.connection.metrics.refused.add((count - stored) as u64);
                Err(AppendError { stored, why })
            }
        }
    }

    /// What the server says became of a message.
    fn outcome(&self, message: &Message, expected: u64) -> Result<u64, AppendFailure> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(AppendFailure::NoStream);
        }
        let unavailable = |what: String| AppendFailure::Unavailable(self.connection.unavailable(what));
        match serde_json::from_slice(&message.payload) {
            Ok(Answer::Given(Stored { seq })) => Ok(seq),
            Ok(Answer::Refused { error }) if error.err_code == WRONG_SEQUENCE => {
                let last = error.description.rsplit(' ').next().and_then(|number| number.parse().ok());
                Err(AppendFailure::WrongSequence { last: last.unwrap_or_default() })
            }
            // The number was right, but somebody else's message has it.
            Ok(Answer::Refused { error }) if error.err_code == WRONG_MESSAGE => {
                Err(AppendFailure::WrongSequence { last: expected })
            }
            Ok(Answer::Refused { error }) => {
                Err(unavailable(format!("refuses a message: {}", error.description)))
            }
            Err(error) => Err(unavailable(format!("acknowledges in words that are not known: {error}"))),
        }
    }
}

impl Acknowledgements {
    /// Begins a batch and gives its inbox.
    async fn begin(&mut self, client: &async_nats::Client) -> Result<String, async_nats::Error> {
        if self.subscriber.is_none() {
            self.inbox = client.new_inbox();
            self.subscriber = Some(client.subscribe(format!("{}.*.*", self.inbox)).await?);
        }
        self.batch += 1;
        Ok(format!("{}.{}", self.inbox, self.batch))
    }

    /// The next acknowledgement of the batch, with the place of its message. They come in the order of the messages.
    async fn next(&mut self) -> (usize, Message) {
        loop {
            let next = match &mut self.subscriber {
                Some(subscriber) => subscriber.next().await,
                None => None,
            };
            // The client is gone: who waits is told by the connection's end.
            let Some(message) = next else { std::future::pending().await };
            let words = message
                .subject
                .strip_prefix(self.inbox.as_str())
                .and_then(|words| words[1..].split_once('.'));
            if let Some((batch, at)) = words
                && batch.parse() == Ok(self.batch)
                && let Ok(at) = at.parse()
            {
                return (at, message);
            }
        }
    }
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter").field("stream", &self.spec.name).finish_non_exhaustive()
    }
}
