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
use crate::nats::{Arrival, Batch, StreamReader};

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
        let state = State { reader, behind, mark: None, epoch: 0, after: 0, peeked: Vec::new() };
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

    async fn put(&self, tx: &mut Tx<'_>, pump: &str, epoch: i64, position: i64, mark: Option<&str>) -> Result<bool> {
        let changed = match tx.dialect() {
            Dialect::Sqlite => tx.query(ADVANCE_ALONE).bind((pump, position, epoch, mark, None::<i64>)).execute().await?,
            Dialect::Postgres => {
                let lives = i64::try_from(CLAIM_LIVES.as_micros()).unwrap_or(i64::MAX);
                tx.query(ADVANCE).bind((pump, epoch, position, mark, None::<i64>, lives)).execute().await?
            }
        };
        Ok(changed == 1)
    }
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
            if state.mark.as_deref() != Some(&*batch.mark) || first.is_some_and(|first| first < from) {
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
            messages.retain(|message| message.seq > scan.after && message.seq <= scan.upto && wanted(message));
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
            found.extend(self.messages(batch).into_iter().filter(|message| message.seq <= scan.upto && wanted(message)));
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
        let batch = state.reader.read(position.cast_unsigned() + 1, LIMIT).await?;
        let first = batch.messages.first().map(|(number, _)| number.cast_signed());
        if mark.as_deref() != Some(&*batch.mark) {
            position = 0;
            stalled.iter_mut().for_each(|(_, position)| *position = 0);
        } else if let Some(first) = first.filter(|first| *first <= position) {
            position = first - 1;
            stalled.iter_mut().for_each(|(_, position)| *position = first.min(*position));
        }
        // What was read may stand elsewhere in the stream than what is wanted now.
        state.peeked = Vec::new();
        (state.after, state.epoch, state.mark) = (position, epoch, Some(batch.mark));
        Ok(Some(Claim { epoch, progress: progress(position, None, None), stalled }))
    }

    async fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> Result<bool> {
        let mark = self.state.lock().await.mark.clone();
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let stored = self.put(&mut tx, pump, epoch, to.position, mark.as_deref()).await?;
        tx.commit().await?;
        failpoint("stream.advanced");
        Ok(stored)
    }

    async fn stall(&self, pump: &str, epoch: i64, tenant: &TenantId, position: Option<i64>) -> Result<bool> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let (_, newest, ..): PumpRow = tx.query(READ_PUMP).bind((pump,)).optional().await?.unwrap_or_default();
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
