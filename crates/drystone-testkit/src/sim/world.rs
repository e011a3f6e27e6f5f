//! What all parts of a simulation share: time, chance, the stores, the network, the broker, and the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drystone_call::{Code, Error, Result, TenantId};
use drystone_events::Clock;
use uuid::Uuid;

use super::executor::Process;
use super::fault::{Counts, Fault, Injector, Seen};
use super::inbox_db::InboxDb;
use super::network::Network;
use super::outbox_db::OutboxDb;
use super::plan::{Broken, Database, Plan};
use super::random::Random;
use super::stream::Stream;
use super::time::{MS, Signal, Time};
use super::trace::Trace;

/// The module that publishes.
pub(crate) const SOURCE: &str = "orders";

/// Whose store a statement goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Publisher,
    Consumer,
}

/// Everything outside the engine.
#[derive(Clone)]
pub(crate) struct World(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) time: Time,
    trace: Mutex<Trace>,
    injector: Mutex<Injector>,
    counts: Mutex<Counts>,
    rolls: Mutex<Random>,
    /// One for each tenant on SQLite, one for all on PostgreSQL.
    outboxes: Vec<Mutex<OutboxDb>>,
    inbox: Mutex<InboxDb>,
    network: Mutex<Network>,
    stream: Mutex<Stream>,
    state: Mutex<State>,
    /// For each process: something was published there.
    pub(crate) announced: BTreeMap<Process, Signal>,
}

/// Facts about the world that no database keeps.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) suspended: BTreeSet<TenantId>,
    pub(crate) out: BTreeSet<Side>,
    /// How often a handler was called with a message.
    pub(crate) tries: BTreeMap<(String, Uuid), u32>,
    /// Whether somebody has mended the handlers.
    pub(crate) fixed: bool,
    /// How many transactions each writer has begun.
    pub(crate) written: BTreeMap<(Process, usize), usize>,
    pub(crate) next_id: u64,
}

impl std::ops::Deref for World {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(plan: Plan, keep_trace: bool) -> Self {
        let lanes = if plan.database == Database::Sqlite { plan.tenants } else { 1 };
        let outboxes = (0..lanes).map(|_| Mutex::new(OutboxDb::new(plan.database))).collect();
        let announced = (0..=plan.processes()).map(|process| (process, Signal::default())).collect();
        Self(Arc::new(Shared {
            time: Time::default(),
            trace: Mutex::new(Trace::new(keep_trace)),
            injector: Mutex::new(Injector::new(plan.seed, plan.off.clone(), plan.left_out.clone())),
            counts: Mutex::default(),
            rolls: Mutex::new(Random::new(plan.seed, 2)),
            outboxes,
            inbox: Mutex::new(InboxDb::default()),
            network: Mutex::new(Network::new(plan.processes())),
            stream: Mutex::default(),
            state: Mutex::default(),
            announced,
            plan,
        }))
    }

    pub(crate) fn clock(&self) -> SimClock {
        SimClock(self.clone())
    }

    pub(crate) fn now(&self) -> i64 {
        self.time.now()
    }

    pub(crate) fn is_broken(&self, broken: Broken) -> bool {
        self.plan.broken == Some(broken)
    }

    pub(crate) fn tenant(&self, number: usize) -> TenantId {
        TenantId::new(&format!("t{number}")).expect("a letter and digits are a tenant's name")
    }

    /// The store of a lane, in the state of this moment.
    pub(crate) fn outbox(&self, lane: usize) -> MutexGuard<'_, OutboxDb> {
        let mut db = lock(&self.outboxes[lane]);
        db.settle_sessions(self.time.now());
        db
    }

    pub(crate) fn lanes(&self) -> usize {
        self.outboxes.len()
    }

    pub(crate) fn lane_of(&self, tenant: usize) -> usize {
        if self.outboxes.len() == 1 { 0 } else { tenant }
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, InboxDb> {
        lock(&self.inbox)
    }

    pub(crate) fn network(&self) -> MutexGuard<'_, Network> {
        lock(&self.network)
    }

    /// The broker's stream, in the state of this moment.
    pub(crate) fn stream(&self) -> MutexGuard<'_, Stream> {
        let mut stream = lock(&self.stream);
        stream.take_late(self.time.now());
        stream
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    pub(crate) fn note(&self, process: Process, what: fmt::Arguments<'_>) {
        let now = self.time.now();
        lock(&self.trace).note(now, process, what);
    }

    pub(crate) fn heal(&self) {
        lock(&self.injector).heal();
    }

    pub(crate) fn ordinals(&self) -> BTreeMap<Fault, u64> {
        lock(&self.injector).ordinals()
    }

    /// Whether a fault happens here, by chance.
    pub(crate) fn happens(&self, process: Process, fault: Fault) -> bool {
        let happens = lock(&self.injector).happens(fault);
        if happens {
            self.count(process, fault);
        }
        happens
    }

    /// Counts a fault that happened.
    pub(crate) fn count(&self, process: Process, fault: Fault) {
        *lock(&self.counts).faults.entry(fault).or_default() += 1;
        self.note(process, format_args!("FAULT {fault:?}"));
    }

    pub(crate) fn saw(&self, process: Process, seen: Seen) {
        *lock(&self.counts).seen.entry(seen).or_default() += 1;
        self.note(process, format_args!("{seen:?}"));
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    pub(crate) fn roll(&self) -> u64 {
        lock(&self.rolls).next()
    }

    pub(crate) fn between(&self, low: i64, high: i64) -> i64 {
        lock(&self.rolls).between(low, high)
    }

    pub(crate) fn new_id(&self) -> Uuid {
        let mut state = self.state();
        state.next_id += 1;
        Uuid::from_u128(u128::from(state.next_id))
    }

    /// Time passes, as it does on the way to a store and back.
    async fn travel(&self) {
        let micros = self.between(50, 900);
        self.time.sleep(micros).await;
    }

    /// A statement on its way to a store.
    pub(crate) async fn statement(&self, process: Process, side: Side) -> Result<()> {
        self.travel().await;
        // Processes that crash or stand still do so at any await; an outage is met by those that arrive.
        if process != 0 && self.state().out.contains(&side) {
            return Err(Error::unavailable("the store is not there"));
        }
        Ok(())
    }

    /// A commit: nothing before it is durable, everything after it is, and the client may learn neither.
    pub(crate) async fn commit<T>(
        &self,
        process: Process,
        side: Side,
        effect: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.statement(process, side).await?;
        if self.happens(process, Fault::Aborted) {
            return Err(Error::aborted("a serialization failure"));
        }
        if self.happens(process, Fault::UnknownRefused) {
            return Err(Error::new(Code::Unknown, "the connection broke in a commit"));
        }
        let crash = process != 0 && self.happens(process, Fault::CrashAtCommit);
        if crash && self.roll().is_multiple_of(2) {
            self.crash(process).await;
        }
        let done = effect()?;
        if crash {
            self.crash(process).await;
        }
        self.travel().await;
        if self.happens(process, Fault::UnknownCommitted) {
            return Err(Error::new(Code::Unknown, "the connection broke in a commit"));
        }
        Ok(done)
    }

    /// The process ends here: what stands behind this await never happens.
    async fn crash(&self, process: Process) {
        let down = self.between(20 * MS, 2000 * MS);
        self.time.kill(process, down);
        std::future::pending::<()>().await;
    }

    /// Ends a process as a planned fault.
    pub(crate) fn kill(&self, process: Process, down: i64) {
        self.time.kill(process, down);
    }
}

/// The engine's view of time and chance.
#[derive(Clone)]
pub(crate) struct SimClock(World);

impl Clock for SimClock {
    fn now(&self) -> i64 {
        self.0.now()
    }

    async fn sleep(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.0.time.sleep(micros).await;
    }

    fn roll(&self) -> u64 {
        self.0.roll()
    }
}
