//! A broker's stream as the lane that a consumer's pump reads: a log with numbers, and a position in the consumer's own database.
//!
//! Nothing is acknowledged to the broker, so nothing rests on what it remembers. A stream that is another one than before (its incarnation has changed) is read
//! from its beginning, and one that has lost its end from there: the inbox leaves out what was there already.

use std::sync::Arc;

use drystone_call::{Context, Error, Home, Result, TenantId};
use drystone_store::{Dialect, Store, Tx};
use tokio::sync::Mutex;

use super::lane::{
    ADVANCE, ADVANCE_ALONE, CLAIM, CLAIM_LIVES, PumpRow, READ_PUMP, STALL, STALLED, progress, stalled_name,
};
use super::rows::{context, nobody};
use crate::Envelope;
use crate::engine::{Claim, Outbox, Progress, Scan};
use crate::failpoint::failpoint;
use crate::metrics::ConsumerMetrics;
use crate::nats::{Arrival, Batch, Standing, StreamReader};

/// How many messages are read from the stream at once.
const LIMIT: usize = 256;

/// A stream, read for one consumer.
pub(crate) struct StreamLane {
    store: Store,
    home: Arc<Home>,
    owner: Arc<str>,
    metrics: Arc<ConsumerMetrics>,
    state: Mutex<State>,
}

struct State {
    reader: StreamReader,
    /// Reads what a tenant that was refused has missed, beside the first.
    behind: StreamReader,
    /// The incarnation that positions count in.
    mark: Option<String>,
    epoch: i64,
    /// The reader's, when the claim was taken.
    generation: u64,
    /// The number behind which the next message stands.
    after: i64,
    /// What was read and is not handed on yet.
    peeked: Vec<Envelope>,
}

impl StreamLane {
    /// A stream read by two readers for a consumer whose module has this store.
    pub(crate) fn new(
        store: &Store,
        home: Arc<Home>,
        owner: Arc<str>,
        readers: [StreamReader; 2],
        metrics: Arc<ConsumerMetrics>,
    ) -> Self {
        let [reader, behind] = readers;
        let state =
            State { reader, behind, mark: None, epoch: 0, generation: 0, after: 0, peeked: Vec::new() };
        Self { store: store.shared(), home, owner, metrics, state: Mutex::new(state) }
    }

    fn context(&self) -> Result<Context> {
        context(&self.home, &nobody()?)
    }

    /// The messages of a batch, each with its number in the stream as its place.
    fn messages(&self, batch: Batch) -> Vec<Envelope> {
        let mut messages = Vec::with_capacity(batch.messages.len());
        for (number, arrival) in batch.messages {
            match arrival {
                Arrival::Event(message) => messages.push(Envelope { seq: number.cast_signed(), ..message }),
                Arrival::Malformed(unreadable) => {
                    self.metrics.malformed.add(1);
                    tracing::error!(target: "drystone::events", number, subject = unreadable.subject, why = %unreadable.why,
                        bytes = unreadable.bytes.len(), "a message that is no event was left out");
                }
            }
        }
        messages
    }

    async fn put(
        &self,
        tx: &mut Tx<'_>,
        pump: &str,
        epoch: i64,
        position: i64,
        mark: Option<&str>,
    ) -> Result<bool> {
        let changed = match tx.dialect() {
            Dialect::Sqlite => {
                tx.query(ADVANCE_ALONE).bind((pump, position, epoch, mark, None::<i64>)).execute().await?
            }
            Dialect::Postgres => {
                let lives = i64::try_from(CLAIM_LIVES.as_micros()).unwrap_or(i64::MAX);
                tx.query(ADVANCE).bind((pump, epoch, position, mark, None::<i64>, lives)).execute().await?
            }
        };
        Ok(changed == 1)
    }

    /// Stores that everything is to be read again, by the tenants that were refused too; `false` if the claim is no longer the newest.
    async fn begin_anew(&self, pump: &str, epoch: i64, mark: &str) -> Result<bool> {
        const ANEW: &str =
            "update drystone_pumps set position = 0 where substr(name, 1, length($1) + 1) = $1 || '@'";
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let nothing = format!("{mark} ");
        if !self.put(&mut tx, pump, epoch, 0, Some(&nothing)).await? {
            return Ok(false);
        }
        tx.query(ANEW).bind((pump,)).execute().await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What is stored with a position: which stream it counts in, and which message stood there.
fn stored(standing: &Standing) -> String {
    format!("{} {}", standing.mark, standing.time.as_deref().unwrap_or_default())
}

/// Whether a position still counts: the same message stands there, or nothing can stand there any more because its time is over. A stream that has lost its end and
/// grown again has another message there.
fn is_as_stored(standing: &Standing, position: i64, stored: Option<&str>) -> bool {
    let Some((mark, time)) = stored.and_then(|stored| stored.split_once(' ')) else { return position == 0 };
    let is_over = position.cast_unsigned() < standing.first;
    mark == standing.mark && (position == 0 || is_over || standing.time.as_deref() == Some(time))
}

/// Positions count in another stream now.
fn moved() -> Error {
    Error::aborted("the stream is another one than before, or has lost its end: it is read again from there")
}

impl Outbox for StreamLane {
    fn tenant(&self) -> Option<&TenantId> {
        None
    }

    /// Waits for messages, a few seconds at most.
    async fn settled(&self) -> Result<i64> {
        let mut state = self.state.lock().await;
        if state.peeked.is_empty() {
            let from = state.after.cast_unsigned() + 1;
            let batch = state.reader.read(from, LIMIT).await?;
            failpoint("stream.read");
            let first = batch.messages.first().map(|(number, _)| *number);
            // After a connection that broke, what was read behind the stored position may be something else by now.
            let is_same = state.mark.as_deref() == Some(&*batch.mark) && state.generation == batch.generation;
            if !is_same || first.is_some_and(|first| first < from) {
                state.mark = None;
                return Err(moved());
            }
            let last = batch.messages.last().map(|(number, _)| number.cast_signed());
            state.peeked = self.messages(batch);
            state.after = last.unwrap_or(state.after);
        }
        Ok(state.after)
    }

    async fn read(&self, scan: Scan<'_>) -> Result<Vec<Envelope>> {
        let mut state = self.state.lock().await;
        let wanted = |message: &Envelope| {
            scan.types.is_none_or(|types| types.contains(&message.event_type))
                && scan.tenant.is_none_or(|tenant| *tenant == message.tenant)
        };
        if scan.tenant.is_none() {
            let mut messages = std::mem::take(&mut state.peeked);
            messages
                .retain(|message| message.seq > scan.after && message.seq <= scan.upto && wanted(message));
            state.peeked = messages.split_off(messages.len().min(scan.limit));
            return Ok(messages);
        }
        let (mut after, mut found) = (scan.after, Vec::new());
        while after < scan.upto && found.len() < scan.limit {
            let batch = state.behind.read(after.cast_unsigned() + 1, LIMIT).await?;
            if state.mark.as_deref() != Some(&*batch.mark) {
                state.mark = None;
                return Err(moved());
            }
            let Some((last, _)) = batch.messages.last() else { break };
            after = last.cast_signed();
            found.extend(
                self.messages(batch)
                    .into_iter()
                    .filter(|message| message.seq <= scan.upto && wanted(message)),
            );
        }
        found.truncate(scan.limit);
        Ok(found)
    }

    async fn back(&self, position: i64, rows: u64) -> Result<i64> {
        Ok(position.saturating_sub_unsigned(rows).max(0))
    }

    async fn claim(&self, pump: &str) -> Result<Option<Claim>> {
        let mut state = self.state.lock().await;
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let lives = i64::try_from(CLAIM_LIVES.as_micros()).unwrap_or(i64::MAX);
        let row: Option<PumpRow> = match tx.dialect() {
            Dialect::Sqlite => Some(tx.query(READ_PUMP).bind((pump,)).optional().await?.unwrap_or_default()),
            Dialect::Postgres => tx.query(CLAIM).bind((pump, &*self.owner, lives)).optional().await?,
        };
        let Some((mut position, epoch, mark, _)) = row else { return Ok(None) };
        let stalled: Vec<(String, i64)> = tx.query(STALLED).bind((pump,)).all().await?;
        let mut stalled = stalled
            .into_iter()
            .map(|(tenant, position)| Ok((TenantId::new(&tenant)?, position)))
            .collect::<Result<Vec<_>>>()?;
        tx.commit().await?;
        let standing = state.reader.standing(position.cast_unsigned()).await?;
        if !is_as_stored(&standing, position, mark.as_deref()) {
            position = 0;
            stalled.iter_mut().for_each(|(_, position)| *position = 0);
            if !self.begin_anew(pump, epoch, &standing.mark).await? {
                return Ok(None);
            }
        }
        let batch = state.reader.read(position.cast_unsigned() + 1, LIMIT).await?;
        if batch.mark != standing.mark
            || batch.messages.first().is_some_and(|(first, _)| first.cast_signed() <= position)
        {
            return Err(moved());
        }
        state.generation = batch.generation;
        state.after = batch.messages.last().map_or(position, |(number, _)| number.cast_signed());
        (state.epoch, state.mark) = (epoch, Some(standing.mark));
        state.peeked = self.messages(batch);
        Ok(Some(Claim { epoch, progress: progress(position, None, None), stalled }))
    }

    async fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> Result<bool> {
        let standing = {
            let state = self.state.lock().await;
            let standing = state.reader.standing(to.position.cast_unsigned()).await?;
            if state.mark.as_deref() != Some(&*standing.mark) {
                return Err(moved());
            }
            standing
        };
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let stored = self.put(&mut tx, pump, epoch, to.position, Some(&stored(&standing))).await?;
        tx.commit().await?;
        failpoint("stream.advanced");
        Ok(stored)
    }

    async fn stall(&self, pump: &str, epoch: i64, tenant: &TenantId, position: Option<i64>) -> Result<bool> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let (_, newest, ..): PumpRow =
            tx.query(READ_PUMP).bind((pump,)).optional().await?.unwrap_or_default();
        if newest != epoch {
            return Ok(false);
        }
        let name = stalled_name(pump, tenant.as_str());
        match position {
            Some(position) => tx.query(STALL).bind((name, position)).execute().await?,
            None => tx.query("delete from drystone_pumps where name = $1").bind((name,)).execute().await?,
        };
        tx.commit().await?;
        Ok(true)
    }
}
