//! The engine's outbox on the publisher's simulated database, behind the real fence.

use std::sync::{Arc, Mutex, PoisonError};

use drystone_call::{Result, TenantId};
use drystone_events::engine::{Claim, Outbox, Progress, Scan};
use drystone_events::{Envelope, Fence, Look};

use super::executor::Process;
use super::fault::Seen;
use super::outbox_db::OutboxDb;
use super::plan::{Broken, Database};
use super::publisher::OutboxTx;
use super::time::{MS, Signal};
use super::world::{Side, World};

/// For the reader that orders by transaction id: how many numbers one id spans.
const SPAN: i64 = 1 << 24;

/// What is settled, as one process knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled(Arc<Mutex<Fence>>);

impl Settled {
    fn with<T>(&self, work: impl FnOnce(&mut Fence) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks once, in one transaction and three statements, as the relay on PostgreSQL does.
    async fn look(&self, world: &World, process: Process) -> Result<i64> {
        let tx = OutboxTx::begin(world, process, 0, false).await?;
        let high = world.outbox(0).high();
        if self.with(|fence| fence.wants(high)) {
            let next = tx.write().await?;
            self.with(|fence| fence.look(Look { high, next }));
        }
        if self.with(|fence| fence.pending().is_some()) {
            world.statement(process, Side::Publisher).await?;
            let xmin = world.outbox(0).xmin();
            if !self.with(|fence| fence.observe(xmin)) {
                world.saw(process, Seen::FenceWaited);
            }
        }
        tx.commit().await?;
        Ok(high)
    }

    /// Looks until the process ends, and wakes the pumps when more is settled.
    pub(crate) async fn keep(self, world: World, process: Process, moved: Vec<Signal>) {
        let mut seen = 0;
        loop {
            let looked = self.look(&world, process).await;
            let (settled, pending) = self.with(|fence| (fence.settled(), fence.pending().is_some()));
            if settled != seen || world.is_broken(Broken::FenceSettlesAtOnce) {
                seen = settled;
                moved.iter().for_each(Signal::raise);
            }
            let wait = match looked {
                Ok(high) if !pending && self.with(|fence| fence.wants(high)) => MS,
                Ok(_) if pending => 40 * MS,
                Ok(_) | Err(_) => 400 * MS,
            };
            let until = world.now() + wait;
            match world.announced.get(&process) {
                Some(announced) => drop(announced.wait(&world.time, until).await),
                None => world.time.sleep_until(until).await,
            }
        }
    }
}

/// One lane, as one process sees it.
#[derive(Clone)]
pub(crate) struct SimOutbox {
    world: World,
    process: Process,
    lane: usize,
    tenant: Option<TenantId>,
    settled: Settled,
}

impl SimOutbox {
    pub(crate) fn new(world: &World, process: Process, lane: usize, settled: &Settled) -> Self {
        let tenant = (world.plan.database == Database::Sqlite).then(|| world.tenant(lane));
        Self { world: world.clone(), process, lane, tenant, settled: settled.clone() }
    }

    async fn statement(&self) -> Result<()> {
        self.world.statement(self.process, Side::Publisher).await
    }

    fn by_transaction(&self) -> bool {
        self.world.is_broken(Broken::OrderByTransaction)
    }

    fn pick(&self, db: &OutboxDb, scan: Scan<'_>) -> Vec<Envelope> {
        let wanted = |message: &Envelope| {
            scan.tenant.is_none_or(|tenant| message.tenant == *tenant)
                && scan.types.is_none_or(|types| types.contains(&message.event_type))
        };
        if self.by_transaction() {
            let mut rows: Vec<Envelope> = db
                .rows
                .values()
                .map(|row| Envelope { seq: row.xid * SPAN + row.message.seq, ..row.message.clone() })
                .filter(|message| message.seq > scan.after && message.seq <= scan.upto && wanted(message))
                .collect();
            rows.sort_by_key(|message| message.seq);
            rows.truncate(scan.limit);
            return rows;
        }
        let rows = db.rows.range(scan.after + 1..=scan.upto).map(|(_, row)| &row.message);
        rows.filter(|message| wanted(message)).take(scan.limit).cloned().collect()
    }
}

impl Outbox for SimOutbox {
    fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    async fn settled(&self) -> Result<i64> {
        if self.world.plan.database == Database::Sqlite {
            self.statement().await?;
            return Ok(self.world.outbox(self.lane).newest());
        }
        if self.by_transaction() {
            self.statement().await?;
            return Ok(self.world.outbox(self.lane).xmin() * SPAN - 1);
        }
        if self.world.is_broken(Broken::FenceSettlesAtOnce) {
            self.statement().await?;
            return Ok(self.world.outbox(self.lane).newest());
        }
        Ok(self.settled.with(|fence| fence.settled()))
    }

    async fn read(&self, scan: Scan<'_>) -> Result<Vec<Envelope>> {
        self.statement().await?;
        if scan.upto <= scan.after {
            return Ok(Vec::new());
        }
        let db = self.world.outbox(self.lane);
        Ok(self.pick(&db, scan))
    }

    async fn back(&self, position: i64, rows: u64) -> Result<i64> {
        self.statement().await?;
        Ok(self.world.outbox(self.lane).back(position, rows))
    }

    async fn claim(&self, pump: &str) -> Result<Option<Claim>> {
        let (world, process, lane) = (&self.world, self.process, self.lane);
        if self.tenant.is_some() {
            self.statement().await?;
            let row = world.outbox(lane).pumps.read(pump);
            return Ok(Some(Claim { epoch: row.epoch, progress: row.progress, stalled: Vec::new() }));
        }
        world
            .commit(process, Side::Publisher, || {
                let now = world.now();
                let mut db = world.outbox(lane);
                let Some(row) = db.pumps.claim(pump, process, now) else { return Ok(None) };
                let stalled = db.pumps.stalled_of(pump);
                drop(db);
                world.note(
                    process,
                    format_args!("claims {pump}/{lane}: epoch {} at {:?}", row.epoch, row.progress),
                );
                Ok(Some(Claim { epoch: row.epoch, progress: row.progress, stalled }))
            })
            .await
    }

    async fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> Result<bool> {
        let (world, process, lane) = (&self.world, self.process, self.lane);
        world
            .commit(process, Side::Publisher, || {
                let any = world.is_broken(Broken::EpochIgnored);
                let moved = world.outbox(lane).pumps.advance(pump, epoch, to, world.now(), any);
                world.note(
                    process,
                    format_args!("advances {pump}/{lane} to {to:?} by epoch {epoch}: {moved}"),
                );
                if !moved {
                    world.saw(process, Seen::StaleWrite);
                }
                Ok(moved)
            })
            .await
    }

    async fn stall(&self, pump: &str, epoch: i64, tenant: &TenantId, position: Option<i64>) -> Result<bool> {
        let (world, process, lane) = (&self.world, self.process, self.lane);
        if self.tenant.is_some() {
            return Ok(true);
        }
        world
            .commit(process, Side::Publisher, || {
                let stalled = world.outbox(lane).pumps.stall(pump, epoch, tenant, position);
                if stalled && position.is_some() {
                    world.saw(process, Seen::Stalled);
                }
                world.note(process, format_args!("stalls {pump}@{tenant} at {position:?}: {stalled}"));
                Ok(stalled)
            })
            .await
    }
}
