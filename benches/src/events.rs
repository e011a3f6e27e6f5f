//! Events, from publishing to what their handler wrote: the rate with as many publishers as it bears, a backlog that is drained, and the latency when
//! little happens, on SQLite and on PostgreSQL, with the embedded broker in one process and by way of NATS.
//!
//! Beside the drain stands what takes rows from a table without an outbox's promises: a queue by `SKIP LOCKED`, and a loop on SQLite. Processor time is
//! that of this process, publishers included where there are any, and of every process of the servers.

pub(crate) mod backlog;
mod queue;
pub(crate) mod world;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_testkit::{Nats, Postgres};
use tokio::task::JoinSet;

use crate::cpu::{Meter, Taken, Whose};
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};
use queue::{Loop, SkipLocked};
use world::{Engine, Noted, On, Place, TENANTS, World, Writes, server};

/// What the server would do by itself now and then would meet one side and not the other.
pub(crate) const SETTINGS: &str = "-c max_connections=100 -c autovacuum=off -c max_wal_size=8GB";
/// How many publish at once.
const PUBLISHERS: usize = 64;
/// How many events a drain begins with.
const BACKLOG: usize = 100_000;
/// A drain takes seconds.
const DRAINS: usize = 5;
/// How many events are published a second where the latency is looked at,
const CALM: f64 = 200.0;
/// and for how many times the length of a round.
const CALM_ROUNDS: u32 = 8;

/// Measures each database in turn.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let data = directory()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let plan = plan.at_most(2 * DRAINS + 1);
    let mut rounds = Rounds::default();
    runtime.block_on(async {
        let mut bench = Bench::start(data.path()).await?;
        for round in 0..=plan.rounds {
            for by in By::ALL {
                let time = if round == 0 { plan.time / 4 } else { plan.time };
                let stormed = bench.storm(by, time).await?;
                let calm = bench.calm(by, if round == 0 { time } else { time * CALM_ROUNDS / 4 }).await?;
                if round > 0 {
                    stormed.add(&mut rounds, by);
                    calm.add(&mut rounds, &format!("calm {}", by.name()));
                }
            }
        }
        for round in 0..=plan.rounds.min(DRAINS) {
            for (name, side) in SIDES {
                let count = if round == 0 { BACKLOG / 10 } else { BACKLOG };
                let taken = bench.drain(side, count).await?;
                if round > 0 {
                    add_taken(&mut rounds, &format!("drain {name}"), &taken, count);
                }
            }
        }
        Ok::<_, Failure>(())
    })?;
    Ok(report(&rounds, &plan))
}

/// A database and a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct By {
    on: On,
    nats: bool,
}

impl By {
    const SQLITE: Self = Self { on: On::Sqlite, nats: false };
    const POSTGRES: Self = Self { on: On::Postgres, nats: false };
    const ALL: [Self; 4] = [
        Self::SQLITE,
        Self { nats: true, ..Self::SQLITE },
        Self::POSTGRES,
        Self { nats: true, ..Self::POSTGRES },
    ];

    fn name(self) -> String {
        format!("{}, {}", self.on.name(), if self.nats { "NATS" } else { "embedded" })
    }
}

/// What is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Events { by: By, writes: Writes, tenants: usize },
    Loop,
    SkipLocked { apply: bool },
}

const SQLITE: &str = "SQLite: events, row queued";
const SQLITE_LOOP: &str = "SQLite: loop by hand, a hundred at a time";
const POSTGRES: &str = "PostgreSQL: events, row queued";
const SKIP_LOCKED: &str = "PostgreSQL: `SKIP LOCKED` by hand, with the row";

const fn events(by: By, writes: Writes, tenants: usize) -> Side {
    Side::Events { by, writes, tenants }
}

const SIDES: [(&str, Side); 11] = [
    (SQLITE, events(By::ALL[0], Writes::Queued, 1)),
    ("SQLite: events, row awaited", events(By::ALL[0], Writes::Awaited, 1)),
    ("SQLite: events of 16 tenants, row queued", events(By::ALL[0], Writes::Queued, 16)),
    ("SQLite: events by way of NATS, row queued", events(By::ALL[1], Writes::Queued, 1)),
    (SQLITE_LOOP, Side::Loop),
    (POSTGRES, events(By::ALL[2], Writes::Queued, 1)),
    ("PostgreSQL: events, row awaited", events(By::ALL[2], Writes::Awaited, 1)),
    ("PostgreSQL: events of 16 tenants, row queued", events(By::ALL[2], Writes::Queued, 16)),
    ("PostgreSQL: events by way of NATS, row queued", events(By::ALL[3], Writes::Queued, 1)),
    (SKIP_LOCKED, Side::SkipLocked { apply: true }),
    ("PostgreSQL: `SKIP LOCKED` by hand, no row", Side::SkipLocked { apply: false }),
];

/// Both databases, with the two modules for each broker, and the yardsticks.
pub(crate) struct Bench {
    worlds: Vec<(By, Arc<World>)>,
    by_hand: Loop,
    skip_locked: SkipLocked,
    server: Postgres,
    nats: Arc<Nats>,
}

impl Bench {
    pub(crate) async fn start(data: &Path) -> Result<Self, Failure> {
        let (server, database) = server(data, SETTINGS).await?;
        let nats = Arc::new(tokio::task::spawn_blocking(Nats::start).await??);
        let mut worlds = Vec::new();
        for by in By::ALL {
            let place = match by.on {
                On::Sqlite => Place::below(&data.join(by.name())),
                On::Postgres => Place::of(&server.database()?),
            };
            worlds.push((by, Arc::new(World::open(&place, by.nats.then(|| nats.url())).await?)));
        }
        let by_hand = Loop::open(&data.join("by-hand.sqlite"))?;
        Ok(Self { worlds, by_hand, skip_locked: SkipLocked::open(&database.owner_url).await?, server, nats })
    }

    fn world(&self, by: By) -> Result<&Arc<World>, Failure> {
        let found = self.worlds.iter().find(|(known, _)| *known == by);
        found.map(|(_, world)| world).ok_or_else(|| "each is opened".into())
    }

    fn meter(&self) -> Result<Meter, Failure> {
        let nats = self.nats.pid().ok_or("NATS runs")?;
        Meter::of(&[
            Whose::Process(std::process::id()),
            Whose::Family(self.server.pid()?),
            Whose::Process(nats),
        ])
    }

    /// Publishes as fast as it goes, waits until everything is applied, and counts that time too.
    async fn storm(&self, by: By, time: Duration) -> Result<Stormed, Failure> {
        let (world, noted) = (self.world(by)?, Arc::new(Noted::default()));
        let engine = world.start(Writes::Queued, Some(&noted)).await?;
        let meter = self.meter()?;
        let until = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for _ in 0..PUBLISHERS {
            let world = Arc::clone(world);
            tasks.spawn(async move {
                let mut placed = Vec::new();
                while Instant::now() < until {
                    placed.push((world.place(TENANTS[0]).await?, Instant::now()));
                }
                Ok::<_, Failure>(placed)
            });
        }
        let mut placed = Vec::new();
        while let Some(task) = tasks.join_next().await {
            placed.extend(task??);
        }
        let behind = placed.len() as u64 - engine.applied().min(placed.len() as u64);
        engine.reaches(placed.len() as u64).await?;
        let taken = meter.stop()?;
        engine.stop().await?;
        let latency = Latency::of(&placed, &noted.take())?;
        Ok(Stormed { taken, events: placed.len(), behind, latency })
    }

    /// Publishes now and then, and says how long each event took.
    async fn calm(&self, by: By, time: Duration) -> Result<Latency, Failure> {
        let (world, noted) = (self.world(by)?, Arc::new(Noted::default()));
        let engine = world.start(Writes::Queued, Some(&noted)).await?;
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / CALM));
        let until = Instant::now() + time;
        let mut tasks = JoinSet::new();
        while Instant::now() < until {
            ticks.tick().await;
            let world = Arc::clone(world);
            tasks.spawn(async move { Ok::<_, Failure>((world.place(TENANTS[0]).await?, Instant::now())) });
        }
        let mut placed = Vec::new();
        while let Some(task) = tasks.join_next().await {
            placed.push(task??);
        }
        engine.reaches(placed.len() as u64).await?;
        engine.stop().await?;
        Latency::of(&placed, &noted.take())
    }

    /// Makes a backlog and drains it; making it does not count.
    async fn drain(&mut self, side: Side, count: usize) -> Result<Taken, Failure> {
        match side {
            Side::Events { by, writes, tenants } => {
                let world = Arc::clone(self.world(by)?);
                world.fill(count, &TENANTS[..tenants]).await?;
                let meter = self.meter()?;
                let engine = world.start(writes, None).await?;
                engine.reaches(count as u64).await?;
                let taken = meter.stop()?;
                engine.stop().await?;
                Ok(taken)
            }
            Side::Loop => {
                self.by_hand.fill(count)?;
                let meter = self.meter()?;
                all(count, tokio::task::block_in_place(|| self.by_hand.drain())?)?;
                meter.stop()
            }
            Side::SkipLocked { apply } => {
                self.skip_locked.fill(count).await?;
                let meter = self.meter()?;
                all(count, self.skip_locked.drain(apply).await?)?;
                meter.stop()
            }
        }
    }

    /// Drains a backlog for a profiler to look at, which is told when it begins.
    pub(crate) async fn profile(&self, on: On, count: usize) -> Result<(), Failure> {
        let world = self.world(By { on, nats: false })?;
        world.fill(count, &TENANTS[..1]).await?;
        println!("draining; this is {}, the server {}", std::process::id(), self.server.pid()?);
        let began = Instant::now();
        let engine: Engine = world.start(Writes::Queued, None).await?;
        engine.reaches(count as u64).await?;
        println!("drained {count} in {:?}", began.elapsed());
        engine.stop().await
    }
}

fn all(count: usize, drained: usize) -> Result<(), Failure> {
    if drained == count { Ok(()) } else { Err(format!("{drained} of {count} rows were taken").into()) }
}

struct Stormed {
    taken: Taken,
    events: usize,
    behind: u64,
    latency: Latency,
}

impl Stormed {
    fn add(&self, rounds: &mut Rounds, by: By) {
        let name = format!("storm {}", by.name());
        add_taken(rounds, &name, &self.taken, self.events);
        rounds.add(format!("behind {name}"), float(self.behind));
        self.latency.add(rounds, &name);
    }
}

fn add_taken(rounds: &mut Rounds, name: &str, taken: &Taken, events: usize) {
    let events = float(events as u64);
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events;
    rounds.add(format!("rate {name}"), events / taken.wall.as_secs_f64());
    rounds.add(format!("process {name}"), each(taken.cpu[0]));
    rounds.add(format!("servers {name}"), each(taken.cpu[1] + taken.cpu[2]));
    rounds.add(format!("cpu {name}"), each(taken.cpu.iter().sum()));
}

/// Milliseconds from the publisher's acknowledgement to the commit of the handler.
struct Latency {
    p50: f64,
    p99: f64,
}

impl Latency {
    fn of(placed: &[(String, Instant)], applied: &[(String, Instant)]) -> Result<Self, Failure> {
        let applied: HashMap<&str, Instant> = applied.iter().map(|(order, at)| (&**order, *at)).collect();
        let mut all = Vec::with_capacity(placed.len());
        for (order, at) in placed {
            let missing =
                || format!("of {} events {} were noted, and not {order}", placed.len(), applied.len());
            let applied = applied.get(&**order).ok_or_else(missing)?;
            // It may be applied before the publisher has looked at the clock.
            all.push(applied.saturating_duration_since(*at).as_secs_f64() * 1e3);
        }
        all.sort_by(f64::total_cmp);
        let at = |percent: usize| all.get(all.len() * percent / 100).copied().unwrap_or(f64::NAN);
        Ok(Self { p50: at(50), p99: at(99) })
    }

    fn add(&self, rounds: &mut Rounds, name: &str) {
        rounds.add(format!("p50 {name}"), self.p50);
        rounds.add(format!("p99 {name}"), self.p99);
    }
}

fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::NAN, f64::from)
}

fn report(rounds: &Rounds, plan: &Plan) -> String {
    let mut storm = Table::new(&[
        "64 publishers",
        "applied/s",
        "CPU µs: process",
        "servers",
        "behind at the end",
        "p50 ms",
        "p99 ms",
    ]);
    let mut calm = Table::new(&["200 a second", "p50 ms", "p99 ms"]);
    let mut drain =
        Table::new(&["drained", "events/s", "CPU µs: process", "servers", "together", "rate beside by hand"]);
    let median = |what: &str, name: &str| rounds.median(&format!("{what} {name}"));
    for by in By::ALL {
        let name = format!("storm {}", by.name());
        let cells = [
            format!("{:.0}", median("rate", &name)),
            format!("{:.0}", median("process", &name)),
            format!("{:.0}", median("servers", &name)),
            format!("{:.0}", median("behind", &name)),
            format!("{:.1}", median("p50", &name)),
            format!("{:.1}", median("p99", &name)),
        ];
        storm.row(&by.name(), &cells);
        let name = format!("calm {}", by.name());
        calm.row(
            &by.name(),
            &[format!("{:.1}", median("p50", &name)), format!("{:.1}", median("p99", &name))],
        );
    }
    for (side, _) in SIDES {
        let name = format!("drain {side}");
        let by_hand = if side.starts_with("SQLite") { SQLITE_LOOP } else { SKIP_LOCKED };
        let cells = [
            format!("{:.0}", median("rate", &name)),
            format!("{:.1}", median("process", &name)),
            format!("{:.1}", median("servers", &name)),
            format!("{:.1}", median("cpu", &name)),
            format!(
                "{:.0} %",
                100.0 * rounds.ratio(&format!("rate {name}"), &format!("rate drain {by_hand}"))
            ),
        ];
        drain.row(side, &cells);
    }
    let goal = |name: &str, goal: f64| {
        let rate = median("rate", &format!("drain {name}"));
        let (verdict, on) =
            (if rate >= goal { "met" } else { "missed" }, name.split(':').next().unwrap_or(name));
        format!("{on}: {rate:.0} of {goal:.0} events/s, goal {verdict}.")
    };
    format!(
        "{}\n{}\n{}\n{} {}\n\nDrains of {BACKLOG} events, medians of {}; the rest: {}\n",
        storm.into_text(),
        calm.into_text(),
        drain.into_text(),
        goal(SQLITE, 20_000.0),
        goal(POSTGRES, 10_000.0),
        plan.rounds.min(DRAINS),
        plan.said()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_taken_by_message_and_an_early_one_is_zero() {
        let (now, one) = (Instant::now(), Duration::from_millis(1));
        let order = |name: &str, at| (name.to_owned(), at);
        let latency = Latency::of(
            &[order("a", now), order("b", now + 2 * one)],
            &[order("b", now + one), order("a", now + 5 * one)],
        );
        let latency = latency.unwrap();
        assert!((latency.p99 - 5.0).abs() < 1e-9, "{}", latency.p99);
        let early = Latency::of(&[order("b", now + one)], &[order("b", now)]).unwrap();
        assert!(early.p50.abs() < 1e-9, "{}", early.p50);
        assert!(Latency::of(&[order("a", now)], &[]).is_err());
    }
}
