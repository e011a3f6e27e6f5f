//! What a seed decides before anything runs: the processes, the messages, and the faults that come at planned moments.
//!
//! A plan is data, so that it can be printed, and made smaller.

use std::collections::BTreeSet;

use super::executor::Process;
use super::fault::Fault;
use super::random::Random;
use super::time::MS;

/// Which database the stores are modelled after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file per tenant with one writer; one process.
    Sqlite,
    /// Many writers at once and a sequence for all tenants; several processes.
    Postgres,
}

/// How messages go from a publisher to its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By calls.
    Push,
    /// Through the stream of a broker.
    Stream,
}

/// A promise of the world around the engine that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The inbox does not record what was handled.
    InboxForgets,
    /// The fence takes every number as settled at once.
    FenceSettlesAtOnce,
    /// Messages are read in the order of (transaction id, number) below the oldest running transaction.
    OrderByTransaction,
    /// A link says that messages are durable before they are.
    AnswersBeforeDelivery,
    /// A position is written whatever the claim's epoch is.
    EpochIgnored,
    /// Nobody is told that a key is held back.
    HeldKeyDoesNotHold,
    /// The consumer's transactions do not see each other's effects on held keys.
    HeldKeysReadCommitted,
    /// A reader knows its place in the stream by its number alone.
    ReaderGoesByNumber,
    /// A reader that begins anew leaves the tenants that were refused where they were.
    ReaderKeepsRefusedTenants,
    /// A pump knows by the number of the last message alone whether the stream forgot.
    PumpGoesByNumber,
}

/// A fault at a planned moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// A process ends, and starts again.
    Crash(Process, i64),
    /// A process stands still.
    Pause(Process, i64),
    /// Two processes do not reach each other.
    Cut(Process, Process, i64),
    /// The publisher's store (`true`) or the consumers' is not there.
    Outage(bool, i64),
    /// The broker loses so many of its newest messages.
    ForgetTail(usize),
    /// The broker loses everything.
    ForgetAll,
    /// The tenant of this number is suspended at the consumers.
    Suspend(usize, i64),
    /// The pump to the consumer of this number is set back so many rows.
    Redrive(usize, u64),
}

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// What the stores are like.
    pub database: Database,
    /// How messages travel.
    pub route: Route,
    /// Processes of the publishing module.
    pub publishers: usize,
    /// Processes of the consumers' module; zero if the publisher's host it as well.
    pub replicas: usize,
    /// Consumers; each takes every message that is of its types.
    pub consumers: usize,
    /// Tasks that publish, in each process.
    pub writers: usize,
    /// Transactions of each writer.
    pub transactions: usize,
    /// Tenants.
    pub tenants: usize,
    /// Keys of each tenant.
    pub keys: usize,
    /// How long faults happen, in microseconds.
    pub window: i64,
    /// Faults at planned moments.
    pub planned: Vec<(i64, Planned)>,
    /// Kinds of fault that do not happen.
    pub off: BTreeSet<Fault>,
    /// Single faults that do not happen: the kind, and which of its kind.
    pub left_out: BTreeSet<(Fault, u64)>,
    /// A tenant that stays suspended while the others drain.
    pub left_suspended: Option<usize>,
    /// What is broken on purpose.
    pub broken: Option<Broken>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let database = if random.chance(700) { Database::Postgres } else { Database::Sqlite };
        let route = if random.chance(600) { Route::Push } else { Route::Stream };
        let publishers = if database == Database::Postgres { 1 + random.below(3) } else { 1 };
        let replicas = if database == Database::Postgres { random.below(4) } else { random.below(2) };
        let tenants = 1 + random.below(3);
        let mut plan = Self {
            seed,
            database,
            route,
            publishers,
            replicas,
            consumers: 1 + random.below(2),
            writers: 1 + random.below(3),
            transactions: 6 + random.below(14),
            tenants,
            keys: 1 + random.below(4),
            window: random.between(8_000, 20_000) * MS,
            planned: Vec::new(),
            off: BTreeSet::new(),
            left_out: BTreeSet::new(),
            left_suspended: None,
            broken: None,
        };
        for fault in Fault::ALL {
            if random.chance(150) {
                plan.off.insert(*fault);
            }
        }
        if tenants > 1 && random.chance(300) {
            plan.left_suspended = Some(random.below(tenants));
        }
        plan.planned = plan.draw(&mut random);
        plan
    }

    /// The same plan with a broken world.
    #[must_use]
    pub fn broken(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self
    }

    /// Processes are numbered from one: the publisher's, then the consumers'. Zero is nature and the operator.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.publishers + self.replicas
    }

    pub(crate) fn publishing(&self) -> std::ops::RangeInclusive<Process> {
        1..=self.publishers
    }

    /// The processes that host the consumers.
    pub(crate) fn consuming(&self) -> std::ops::RangeInclusive<Process> {
        if self.replicas == 0 {
            1..=self.publishers
        } else {
            self.publishers + 1..=self.publishers + self.replicas
        }
    }

    fn draw(&self, random: &mut Random) -> Vec<(i64, Planned)> {
        let mut planned = Vec::new();
        for _ in 0..random.below(9) {
            let at = random.between(200 * MS, self.window);
            planned.push((at, self.draw_one(random)));
        }
        planned.sort_by_key(|(at, _)| *at);
        planned
    }

    fn draw_one(&self, random: &mut Random) -> Planned {
        let process = 1 + random.below(self.processes());
        let stream = self.route == Route::Stream;
        match random.below(10) {
            0 | 1 => Planned::Crash(process, random.between(50, 4000) * MS),
            2 | 3 => Planned::Pause(process, random.between(1000, 9000) * MS),
            4 => Planned::Cut(process, 1 + random.below(self.processes()), random.between(500, 5000) * MS),
            5 => Planned::Outage(random.chance(500), random.between(200, 3000) * MS),
            6 | 7 if stream => Planned::ForgetTail(1 + random.below(25)),
            8 if stream => Planned::ForgetAll,
            6 => Planned::Redrive(random.below(self.consumers), 1 + random.below(30) as u64),
            _ => Planned::Suspend(random.below(self.tenants), random.between(500, 6000) * MS),
        }
    }
}
