//! A broker's stream: numbered entries, appended only behind the one that the writer believes to be the last, and forgotten at will.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use drystone_call::{Error, Result, TenantId};
use drystone_events::Envelope;
use drystone_events::engine::{Link, Mark};

use super::executor::Process;
use super::fault::{Fault, Seen};
use super::plan::Broken;
use super::time::MS;
use super::world::World;

/// How long a writer waits for an acknowledgement.
const PATIENCE: i64 = 1000 * MS;

/// A message in the stream.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When it was appended, as the broker says: no two entries have the same.
    pub(crate) stamp: u64,
    pub(crate) message: Envelope,
}

/// An append that arrives when its writer has given up.
#[derive(Debug)]
struct Append {
    stream: u64,
    after: u64,
    batch: Vec<Envelope>,
}

/// The stream. Entry number n is at index n - 1.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) incarnation: u64,
    pub(crate) entries: Vec<Entry>,
    next_stamp: u64,
    late: BTreeMap<(i64, u64), Append>,
}

impl Stream {
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry of this number, counted from one.
    pub(crate) fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// Which stream it is, and which entry is its number `number`: two streams, or one that forgot it in between, say another.
    pub(crate) fn identity(&self, number: u64) -> String {
        let stamp = self.entry(number).map_or(0, |entry| entry.stamp);
        format!("{}/{stamp}", self.incarnation)
    }

    /// Appends messages one by one, each only behind the last; says how many.
    fn append(&mut self, after: u64, batch: &[Envelope]) -> usize {
        if after != self.last() {
            return 0;
        }
        for message in batch {
            self.next_stamp += 1;
            self.entries.push(Entry { stamp: self.next_stamp, message: message.clone() });
        }
        batch.len()
    }

    /// An append is on its way, and will arrive at a moment.
    fn put_off(&mut self, at: (i64, u64), after: u64, batch: &[Envelope]) {
        let append = Append { stream: self.incarnation, after, batch: batch.to_vec() };
        self.late.insert(at, append);
    }

    /// Takes in what arrives now.
    pub(crate) fn take_late(&mut self, now: i64) {
        while let Some(first) = self.late.first_entry()
            && first.key().0 <= now
        {
            let Append { stream, after, batch } = first.remove();
            if stream == self.incarnation {
                self.append(after, &batch);
            }
        }
    }

    pub(crate) fn forget_tail(&mut self, count: usize) {
        let keep = self.entries.len().saturating_sub(count);
        self.entries.truncate(keep);
    }

    pub(crate) fn forget_all(&mut self) {
        self.entries.clear();
        self.incarnation += 1;
    }
}

/// Whether the two marks' streams are the same one; the stamp of the entry is behind the stroke.
fn incarnation(mark: &Mark) -> &str {
    mark.stream.split('/').next().unwrap_or_default()
}

/// The writing half: appends a pump's messages in a chain. A clone knows the same place.
#[derive(Clone)]
pub(crate) struct StreamLink {
    world: World,
    process: Process,
    mark: Arc<Mutex<Option<Mark>>>,
}

impl StreamLink {
    pub(crate) fn new(world: &World, process: Process) -> Self {
        Self { world: world.clone(), process, mark: Arc::default() }
    }

    fn set(&self, mark: Mark) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
    }

    /// Whether the stream has forgotten what was acknowledged here: a pump with nothing to send would not find out.
    pub(crate) async fn is_forgotten(&self) -> bool {
        let Some(mark) = self.mark() else { return false };
        self.travel().await.is_ok() && self.lost(&mark) > 0
    }

    /// The way to the broker and back.
    async fn travel(&self) -> Result<()> {
        let (world, process) = (&self.world, self.process);
        let delayed = world.happens(process, Fault::Delay);
        let takes = if delayed { world.between(20 * MS, PATIENCE) } else { world.between(100, 2000) };
        world.time.sleep(takes).await;
        if world.network().is_cut(process, process) {
            world.count(process, Fault::Cut);
            return Err(Error::unavailable("the broker is not reached"));
        }
        Ok(())
    }

    /// How many entries that were acknowledged the stream may not have any more.
    ///
    /// The number of the last entry tells how many are missing only while nobody else appends: lanes that share a stream fill it up again for each other.
    fn lost(&self, mark: &Mark) -> u64 {
        let stream = self.world.stream();
        if incarnation(mark) != stream.incarnation.to_string() {
            return mark.last;
        }
        let missing = mark.last.saturating_sub(stream.last());
        let alone = self.world.lanes() == 1 && missing > 0;
        if alone
            || stream.identity(mark.last) == mark.stream
            || self.world.is_broken(Broken::PumpGoesByNumber)
        {
            return missing;
        }
        mark.last
    }

    fn tail(&self) -> Mark {
        let stream = self.world.stream();
        Mark { stream: stream.identity(stream.last()), last: stream.last() }
    }

    /// Sends a batch; says how far it got.
    async fn send(&self, after: u64, batch: &[Envelope]) -> Result<usize> {
        let (world, process) = (&self.world, self.process);
        if world.happens(process, Fault::LoseRequest) {
            world.time.sleep(PATIENCE).await;
            return Err(Error::unavailable("no acknowledgement came"));
        }
        if world.happens(process, Fault::Late) {
            let at = world.now() + PATIENCE + world.between(0, 2000 * MS);
            let number = world.roll();
            world.stream().put_off((at, number), after, batch);
            world.time.sleep(PATIENCE).await;
            return Err(Error::unavailable("no acknowledgement came"));
        }
        self.travel().await?;
        // A connection may break between two messages of a batch.
        let upto = if world.happens(process, Fault::LoseReply) {
            usize::try_from(world.between(0, batch.len() as i64)).unwrap_or(0)
        } else {
            batch.len()
        };
        let appended = world.stream().append(after, &batch[..upto]);
        self.travel().await?;
        if upto < batch.len() { Err(Error::unavailable("the connection broke")) } else { Ok(appended) }
    }
}

impl Link for StreamLink {
    async fn resume(&mut self, mark: Option<&Mark>) -> Result<u64> {
        self.travel().await?;
        let lost = mark.map_or(0, |mark| self.lost(mark));
        if lost > 0 {
            self.world.saw(self.process, Seen::WentBack);
        }
        self.set(self.tail());
        Ok(lost)
    }

    async fn carry(&mut self, batch: &[Envelope]) -> Result<Vec<TenantId>> {
        let after = self.mark().map_or(0, |mark| mark.last);
        self.world.note(self.process, format_args!("appends {} after {after}", batch.len()));
        if self.world.is_broken(Broken::AnswersBeforeDelivery) {
            let sent = self.send(after, batch).await;
            drop(sent);
            self.set(self.tail());
            return Ok(Vec::new());
        }
        let appended = self.send(after, batch).await?;
        if appended < batch.len() {
            self.world.saw(self.process, Seen::ChainBroken);
            return Err(Error::unavailable("the stream has another last message"));
        }
        let last = after + batch.len() as u64;
        let stream = self.world.stream().identity(last);
        self.set(Mark { stream, last });
        Ok(Vec::new())
    }

    fn mark(&self) -> Option<Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
