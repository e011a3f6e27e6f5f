//! The reading half of a stream: a log that a consumer follows from a position of its own, kept in its own database.
//!
//! It is a pump from the stream to the consumer in the same process. Its place is the number of an entry and the entry's identity: when the number has another
//! identity or none, the broker forgot something and was written to again, and numbers mean nothing any more. Everything that is left is then read
//! anew, which the inbox makes harmless.

use std::sync::{Arc, Mutex, PoisonError};

use drystone_call::{Error, Result, TenantId};
use drystone_events::engine::{Claim, Link, Mark, Outbox, Progress, Scan};
use drystone_events::{Envelope, Push};

use super::executor::Process;
use super::fault::{Fault, Seen};
use super::plan::Broken;
use super::time::MS;
use super::world::{Side, World};

/// Where a reader stands.
type Place = Arc<Mutex<Option<Mark>>>;

fn get(place: &Place) -> Option<Mark> {
    place.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(place: &Place, mark: Option<Mark>) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = mark;
}

/// The stream as one consumer reads it in one process.
pub(crate) struct StreamLog {
    world: World,
    process: Process,
    place: Place,
}

/// Hands what was read to the consumer, and knows where the reader stands.
pub(crate) struct ReaderLink {
    push: Push,
    place: Place,
}

/// The two ends of a reader.
pub(crate) fn reader(world: &World, process: Process, push: Push) -> (StreamLog, ReaderLink) {
    let place = Place::default();
    (StreamLog { world: world.clone(), process, place: Arc::clone(&place) }, ReaderLink { push, place })
}

impl StreamLog {
    async fn travel(&self) -> Result<()> {
        let (world, process) = (&self.world, self.process);
        let delayed = world.happens(process, Fault::Delay);
        let takes = if delayed { world.between(20 * MS, 1000 * MS) } else { world.between(100, 2000) };
        world.time.sleep(takes).await;
        if world.network().is_cut(process, process) {
            world.count(process, Fault::Cut);
            return Err(Error::unavailable("the broker is not reached"));
        }
        Ok(())
    }

    /// Whether a place is still what it was.
    fn stands(&self, mark: Option<&Mark>) -> bool {
        let Some(mark) = mark else { return true };
        let stream = self.world.stream();
        if self.world.is_broken(Broken::ReaderGoesByNumber) {
            let same = mark.stream.split('/').next() == Some(stream.incarnation.to_string().as_str());
            return same && mark.last <= stream.last();
        }
        mark.last <= stream.last() && stream.identity(mark.last) == mark.stream
    }

    fn check(&self) -> Result<()> {
        if self.stands(get(&self.place).as_ref()) {
            Ok(())
        } else {
            Err(Error::unavailable("the stream is not what it was"))
        }
    }
}

impl Outbox for StreamLog {
    fn tenant(&self) -> Option<&TenantId> {
        None
    }

    async fn settled(&self) -> Result<i64> {
        self.travel().await?;
        self.check()?;
        Ok(self.world.stream().last().cast_signed())
    }

    async fn read(&self, scan: Scan<'_>) -> Result<Vec<Envelope>> {
        self.travel().await?;
        self.check()?;
        let stream = self.world.stream();
        let mut found = Vec::new();
        for number in scan.after.max(0).cast_unsigned() + 1..=scan.upto.max(0).cast_unsigned() {
            // What is gone between the two looks is noticed at the next.
            let Some(entry) = stream.entry(number) else {
                return Err(Error::unavailable("the stream is not what it was"));
            };
            let message = &entry.message;
            let wanted = scan.tenant.is_none_or(|tenant| message.tenant == *tenant)
                && scan.types.is_none_or(|types| types.contains(&message.event_type));
            if wanted && found.len() < scan.limit {
                found.push(Envelope { seq: number.cast_signed(), ..message.clone() });
            }
        }
        if scan.tenant.is_none() {
            let full = found.len() == scan.limit;
            let last = if full { found.last().map_or(scan.upto, |last| last.seq) } else { scan.upto };
            let last = last.cast_unsigned();
            set(&self.place, Some(Mark { stream: stream.identity(last), last }));
        }
        Ok(found)
    }

    async fn back(&self, position: i64, rows: u64) -> Result<i64> {
        Ok(position.saturating_sub_unsigned(rows).max(0))
    }

    async fn claim(&self, pump: &str) -> Result<Option<Claim>> {
        self.travel().await?;
        let (world, process) = (&self.world, self.process);
        let claimed = world
            .commit(process, Side::Consumer, || {
                let now = world.now();
                let Some(mut row) = world.inbox().pumps.claim(pump, process, now) else { return Ok(None) };
                if !self.stands(row.progress.mark.as_ref()) {
                    world.saw(process, Seen::ReadAnew);
                    // Tenants that were left behind begin anew in the same transaction: their positions count the old stream's entries.
                    row.progress = Progress::default();
                    world.inbox().pumps.begin_anew(pump, !world.is_broken(Broken::ReaderKeepsRefusedTenants));
                }
                let mut stalled = world.inbox().pumps.stalled_of(pump);
                if row.progress == Progress::default() {
                    stalled.iter_mut().for_each(|(_, position)| *position = 0);
                }
                Ok(Some(Claim { epoch: row.epoch, progress: row.progress, stalled }))
            })
            .await?;
        let Some(claim) = claimed else { return Ok(None) };
        set(&self.place, claim.progress.mark.clone());
        world.note(process, format_args!("reads {pump}: epoch {} at {:?}", claim.epoch, claim.progress));
        Ok(Some(claim))
    }

    async fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> Result<bool> {
        let (world, process) = (&self.world, self.process);
        world
            .commit(process, Side::Consumer, || {
                let any = world.is_broken(Broken::EpochIgnored);
                let moved = world.inbox().pumps.advance(pump, epoch, to, world.now(), any);
                world.note(process, format_args!("has read {pump} to {to:?} by epoch {epoch}: {moved}"));
                if !moved {
                    world.saw(process, Seen::StaleWrite);
                }
                Ok(moved)
            })
            .await
    }

    async fn stall(&self, pump: &str, epoch: i64, tenant: &TenantId, position: Option<i64>) -> Result<bool> {
        let (world, process) = (&self.world, self.process);
        world
            .commit(process, Side::Consumer, || {
                let stalled = world.inbox().pumps.stall(pump, epoch, tenant, position);
                if stalled && position.is_some() {
                    world.saw(process, Seen::Stalled);
                }
                world.note(process, format_args!("stalls {pump}@{tenant} at {position:?}: {stalled}"));
                Ok(stalled)
            })
            .await
    }
}

impl Link for ReaderLink {
    async fn resume(&mut self, _: Option<&Mark>) -> Result<u64> {
        Ok(0)
    }

    async fn carry(&mut self, batch: &[Envelope]) -> Result<Vec<TenantId>> {
        self.push.carry(batch).await
    }

    fn mark(&self) -> Option<Mark> {
        get(&self.place)
    }
}
