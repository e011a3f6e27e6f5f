//! The link into a module's stream of a NATS server.
//!
//! All lanes of the module write to one stream, one batch after another, each message behind the last. So what is in the stream is in order, a relay that lost its claim is
//! refused, and a server that forgot is noticed: by the next message, and by looking now and then.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use drystone_call::{Error, Result, TenantId};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::Envelope;
use crate::engine::{Link, Mark};
use crate::failpoint::failpoint;
use crate::nats::{AppendFailure, NatsBroker, StreamWriter, Tail};

/// How often the stream's end is looked at when nothing is written.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// A way into a module's stream. Clones share the stream, and each knows how far its own messages have come.
#[derive(Clone)]
pub(crate) struct NatsLink {
    stream: Arc<Stream>,
    /// How often the stream had lost its end when this lane last made sure that it has its messages.
    losses: Option<u64>,
    /// The last message of this lane.
    mark: Option<Mark>,
}

struct Stream {
    module: String,
    writer: StreamWriter,
    /// Where the stream ends, as far as this process knows.
    tail: Mutex<Option<Tail>>,
    /// Where it was last seen to end, and how often that was before where it had ended.
    seen: std::sync::Mutex<(Option<Tail>, u64)>,
    /// Counts what every lane has to learn of.
    changed: watch::Sender<u64>,
}

impl Stream {
    /// Looks at the stream's end, and when it is not where it was seen before, lets every lane learn anew where it stands: also one that has nothing to write.
    async fn look(&self) -> Result<Tail> {
        let now = self.writer.tail().await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.0.replace(now.clone());
        if let Some(before) = before.filter(|before| before.mark != now.mark || now.last < before.last) {
            seen.1 += 1;
            tracing::warn!(target: "drystone::events", module = self.module, before = before.last, now = now.last,
                "the broker has lost messages that it had acknowledged: they are sent again");
            self.changed.send_modify(|count| *count += 1);
        }
        drop(seen);
        Ok(now)
    }

    fn losses(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Whether the stream has what a lane put into it last. If it has, it has everything before, for a stream loses its end and nothing else.
    async fn has(&self, mark: &Mark, tail: &Tail) -> Result<bool> {
        let (created, id) = mark.stream.split_once(' ').unwrap_or((&mark.stream, ""));
        if created != tail.mark || mark.last > tail.last {
            return Ok(false);
        }
        match Uuid::try_parse(id) {
            Ok(id) if mark.last > 0 => self.writer.holds(mark.last, id).await,
            _ => Ok(true),
        }
    }
}

/// What is remembered of a lane's last message: which stream it is in, where, and which it is.
fn mark_of(created: &str, last: u64, id: Option<Uuid>) -> Mark {
    let id = id.map_or_else(String::new, |id| id.to_string());
    Mark { stream: format!("{created} {id}"), last }
}

impl NatsLink {
    pub(crate) fn new(broker: &NatsBroker, module: &str, changed: watch::Sender<u64>) -> Self {
        let (tail, seen) = (Mutex::default(), std::sync::Mutex::default());
        let stream = Stream { module: module.to_owned(), writer: broker.writer(module), tail, seen, changed };
        Self { stream: Arc::new(stream), losses: None, mark: None }
    }

    /// Looks now and then whether the stream still has what it acknowledged.
    pub(crate) async fn watch(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Nobody writes meanwhile, so that the end does not move under the look.
            let mut known = self.stream.tail.lock().await;
            let Some(before) = known.clone() else { continue };
            let Ok(now) = self.stream.look().await else { continue };
            if now != before {
                *known = None;
            }
        }
    }
}

/// The stream is not what it was.
fn forgotten() -> Error {
    Error::aborted("the stream is not where it was: where it stands is learned anew")
}

impl Link for NatsLink {
    async fn resume(&mut self, mark: Option<&Mark>) -> Result<u64> {
        let mut known = self.stream.tail.lock().await;
        let tail = self.stream.look().await?;
        let (lost, mark) = match mark {
            Some(mark) if self.stream.has(mark, &tail).await? => (0, mark.clone()),
            // All that the lane has put into it, for how much of that is gone cannot be told.
            Some(mark) => (mark.last.max(1), mark_of(&tail.mark, 0, None)),
            None => (0, mark_of(&tail.mark, 0, None)),
        };
        (self.mark, self.losses) = (Some(mark), Some(self.stream.losses()));
        *known = Some(tail);
        Ok(lost)
    }

    async fn carry(&mut self, batch: &[Envelope]) -> Result<Vec<TenantId>> {
        let mut known = self.stream.tail.lock().await;
        // Another lane may have noticed a loss and filled the stream up again since.
        let is_sure = self.losses == Some(self.stream.losses());
        let Some(tail) = known.as_mut().filter(|_| is_sure) else { return Err(forgotten()) };
        match self.stream.writer.append(tail.last, batch).await {
            Ok(last) => {
                failpoint("stream.appended");
                tail.last = last;
                self.stream.seen.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(tail.clone());
                self.mark = Some(mark_of(&tail.mark, last, batch.last().map(|message| message.id)));
                Ok(Vec::new())
            }
            Err(error) => {
                // How far it came is learned with the next turn; what is sent twice does no harm.
                *known = None;
                Err(match error.why {
                    AppendFailure::WrongSequence { .. } | AppendFailure::NoStream => forgotten(),
                    AppendFailure::Refused(error) | AppendFailure::Unavailable(error) => error,
                })
            }
        }
    }

    fn mark(&self) -> Option<Mark> {
        self.mark.clone()
    }
}
