//! The link into a module's stream of a NATS server.
//!
//! All lanes of the module write to one stream, one batch after another, each message behind the last. So what is in the stream is in order, a relay that lost its claim is
//! refused, and a server that forgot is noticed: by the next message, and by looking now and then.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Error, Result, TenantId};
use tokio::sync::{Mutex, watch};

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
    mark: Option<Mark>,
}

struct Stream {
    writer: StreamWriter,
    /// Where the stream ends, as far as this process knows.
    tail: Mutex<Option<Tail>>,
}

impl NatsLink {
    pub(crate) fn new(broker: &NatsBroker, module: &str) -> Self {
        let stream = Stream { writer: broker.writer(module), tail: Mutex::default() };
        Self { stream: Arc::new(stream), mark: None }
    }

    /// Looks now and then whether the stream still has what it acknowledged, and counts in `changed` when it has not: every lane then learns anew where it stands,
    /// also one that has nothing to write.
    pub(crate) async fn watch(self, module: String, changed: watch::Sender<u64>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut known = self.stream.tail.lock().await;
            let Some(before) = known.clone() else { continue };
            let Ok(now) = self.stream.writer.tail().await else { continue };
            if now.mark != before.mark || now.last < before.last {
                tracing::warn!(target: "drystone::events", module, before = before.last, now = now.last,
                    "the broker has lost messages that it had acknowledged");
                *known = None;
                changed.send_modify(|count| *count += 1);
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
        let tail = self.stream.writer.tail().await?;
        let lost = match mark {
            None => 0,
            Some(mark) if mark.stream == tail.mark => mark.last.saturating_sub(tail.last),
            Some(mark) => mark.last,
        };
        self.mark = Some(Mark { stream: tail.mark.clone(), last: tail.last });
        *known = Some(tail);
        Ok(lost)
    }

    async fn carry(&mut self, batch: &[Envelope]) -> Result<Vec<TenantId>> {
        let mut known = self.stream.tail.lock().await;
        let mine = self.mark.as_ref();
        let is_same = |tail: &&mut Tail| mine.is_some_and(|mark| mark.stream == tail.mark && mark.last <= tail.last);
        let Some(tail) = known.as_mut().filter(is_same) else { return Err(forgotten()) };
        match self.stream.writer.append(tail.last, batch).await {
            Ok(last) => {
                failpoint("stream.appended");
                tail.last = last;
                self.mark = Some(Mark { stream: tail.mark.clone(), last });
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
