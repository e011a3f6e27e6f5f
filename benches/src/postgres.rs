//! The order's transaction on PostgreSQL, at 16 and at 64 clients, beside plain SQL doing the same two inserts.
//!
//! One server, started for the suite, serves every side over its unix socket. Processor time is that of the clients, in this process, and of every
//! process of the server. Each thing that the platform adds (serializable isolation, the wall, the key) is also taken away alone.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_testkit::{Database, Postgres};
use tokio::task::JoinSet;

use crate::cpu::{Meter, Whose};
use crate::plain::{self, Plain, Trips};
use crate::report::Table;
use crate::sales::{How, Isolation, Sales};
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

const CLIENTS: [usize; 2] = [16, 64];
/// There are many sides.
const ROUNDS: usize = 11;
/// Connections for every side at once. What the server would do by itself now and then would meet one side and not the other.
const SETTINGS: &str = "-c max_connections=200 -c autovacuum=off";
/// What the report says of the server.
const SAID: &[&str] =
    &["fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "max_connections", "autovacuum"];
const TABLES: &str = include_str!("../migrations/sales/postgres/V0001__expand_sales.sql");

/// What one client does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Plain SQL, on a connection of the client's own or on as many as the store has.
    Plain { trips: Trips, own: bool },
    /// The store's transaction, on a tenant of the client's own or on one for all.
    Store { how: How, one_tenant: bool },
    /// The whole call under an idempotency key.
    Keyed,
}

const DEFAULT: How = How { isolation: Isolation::Serializable, walled: true, queued: true };

const QUEUED: &str = "store: outbox row queued";
const AWAITED: &str = "store: both rows awaited";
const READ_COMMITTED: &str = "store: read committed";
const NO_WALL: &str = "store: no row-level security";
const NEITHER: &str = "store: neither";
const ONE_TENANT: &str = "store: one tenant for all";
const KEYED: &str = "call with a key, and store";
const FOUR: [&str; 2] = ["plain: 4 round trips", "plain: 4 round trips, the store's connections"];
const FOUR_SERIALIZABLE: &str = "plain: 4 round trips, serializable, the store's connections";
const TWO: &str = "plain: 2 round trips, the store's connections";
const ONE: [&str; 2] = ["plain: one statement", "plain: one statement, the store's connections"];

/// The goal is judged by this one.
pub(crate) const GOAL: Work = Work::Store { how: DEFAULT, one_tenant: false };

const ALL: [(&str, Work); 13] = [
    (FOUR[0], Work::Plain { trips: Trips::Four, own: true }),
    (FOUR[1], Work::Plain { trips: Trips::Four, own: false }),
    (FOUR_SERIALIZABLE, Work::Plain { trips: Trips::FourSerializable, own: false }),
    (TWO, Work::Plain { trips: Trips::Two, own: false }),
    (ONE[0], Work::Plain { trips: Trips::One, own: true }),
    (ONE[1], Work::Plain { trips: Trips::One, own: false }),
    (QUEUED, GOAL),
    (AWAITED, Work::Store { how: How { queued: false, ..DEFAULT }, one_tenant: false }),
    (ONE_TENANT, Work::Store { how: DEFAULT, one_tenant: true }),
    (
        READ_COMMITTED,
        Work::Store { how: How { isolation: Isolation::ReadCommitted, ..DEFAULT }, one_tenant: false },
    ),
    (NO_WALL, Work::Store { how: How { walled: false, ..DEFAULT }, one_tenant: false }),
    (
        NEITHER,
        Work::Store {
            how: How { isolation: Isolation::ReadCommitted, walled: false, queued: true },
            one_tenant: false,
        },
    ),
    (KEYED, Work::Keyed),
];

/// Measures every side in turns.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let plan = plan.at_most(ROUNDS);
    let data = directory()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Rounds::default();
    let (said, connections) = runtime.block_on(async {
        let bench = Arc::new(Bench::start(data.path()).await?);
        for round in 0..=plan.rounds {
            for clients in CLIENTS {
                for (name, work) in ALL {
                    let time = if round == 0 { plan.time / 4 } else { plan.time };
                    let measured = bench.measure(work, clients, time).await?;
                    if round > 0 {
                        measured.add(&mut rounds, &format!("{clients} {name}"));
                    }
                }
            }
        }
        Ok::<_, Failure>((bench.said().await?, bench.connections))
    })?;
    Ok(format!("{}\n{}\n", report(&rounds, &said, connections), plan.said()))
}

/// One stretch of time.
struct Measured {
    rate: f64,
    client: f64,
    server: f64,
    again: f64,
}

impl Measured {
    fn add(&self, rounds: &mut Rounds, name: &str) {
        rounds.add(format!("rate {name}"), self.rate);
        rounds.add(format!("client {name}"), self.client);
        rounds.add(format!("server {name}"), self.server);
        rounds.add(format!("cpu {name}"), self.client + self.server);
        rounds.add(format!("again {name}"), self.again);
    }
}

/// The server with every side connected to it.
pub(crate) struct Bench {
    owner: tokio_postgres::Client,
    sales: Sales,
    /// As many connections as clients.
    own: [Plain; CLIENTS.len()],
    pooled: Plain,
    connections: usize,
    /// The last to go.
    server: Postgres,
}

impl Bench {
    /// Starts the server with its data below a directory, and connects every side.
    pub(crate) async fn start(data: &Path) -> Result<Self, Failure> {
        let below = data.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            let server = Postgres::start_durable(&below, SETTINGS)?;
            let database = server.database()?;
            Ok::<(Postgres, Database), std::io::Error>((server, database))
        });
        let (server, database) = started.await??;
        let owner = plain::connect(&database.owner_url.parse()?).await?;
        plain::create(&owner, TABLES).await?;
        let connections = Sales::connections(&database);
        let plain = async |connections| Plain::connect(&database.owner_url, connections).await;
        Ok(Self {
            own: [plain(CLIENTS[0]).await?, plain(CLIENTS[1]).await?],
            pooled: plain(connections).await?,
            sales: Sales::open(&database).await?,
            connections,
            owner,
            server,
        })
    }

    /// The server's first process.
    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        Ok(self.server.pid()?)
    }

    async fn measure(
        self: &Arc<Self>,
        work: Work,
        clients: usize,
        time: Duration,
    ) -> Result<Measured, Failure> {
        let conflicts = self.sales.conflicts();
        let meter = Meter::of(&[Whose::Process(std::process::id()), Whose::Family(self.pid()?)])?;
        let (orders, again) = self.storm(work, clients, time).await?;
        let taken = meter.stop()?;
        let again = if work == Work::Keyed { self.sales.conflicts() - conflicts } else { again };
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / orders;
        Ok(Measured {
            rate: orders / taken.wall.as_secs_f64(),
            client: each(taken.cpu[0]),
            server: each(taken.cpu[1]),
            again: 1000.0 * float(again)? / orders,
        })
    }

    /// Works with so many clients for a time, and says how many orders were kept and how often one was begun again.
    pub(crate) async fn storm(
        self: &Arc<Self>,
        work: Work,
        clients: usize,
        time: Duration,
    ) -> Result<(f64, u64), Failure> {
        let until = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let bench = Arc::clone(self);
            tasks.spawn(async move {
                let one = matches!(work, Work::Store { one_tenant: true, .. });
                let tenant = if one { "demo".to_owned() } else { format!("tenant-{client}") };
                let (mut kept, mut again) = (0, 0);
                while Instant::now() < until {
                    again += bench.once(work, clients, &tenant).await?;
                    kept += 1;
                }
                Ok::<(u64, u64), Failure>((kept, again))
            });
        }
        let (mut kept, mut again) = (0, 0);
        while let Some(task) = tasks.join_next().await {
            let (more, repeated) = task??;
            (kept, again) = (kept + more, again + repeated);
        }
        Ok((float(kept)?, again))
    }

    async fn once(&self, work: Work, clients: usize, tenant: &str) -> Result<u64, Failure> {
        let order = self.sales.order(tenant);
        match work {
            Work::Plain { trips, own } => {
                let own = own.then(|| CLIENTS.iter().position(|known| *known == clients)).flatten();
                own.map_or(&self.pooled, |at| &self.own[at]).keep(trips, &order).await
            }
            Work::Store { how, .. } => self.sales.keep(how, &order).await,
            Work::Keyed => self.sales.call(&order).await.map(|()| 0),
        }
    }

    /// What the server says of itself.
    async fn said(&self) -> Result<String, Failure> {
        let mut said = Vec::new();
        for name in ["server_version"].iter().chain(SAID) {
            let value: String = self.owner.query_one("select current_setting($1)", &[name]).await?.get(0);
            said.push(format!("{name} {value}"));
        }
        Ok(said.join(", "))
    }
}

fn float(count: u64) -> Result<f64, Failure> {
    Ok(u32::try_from(count)?.into())
}

/// The better of two, by its rate.
fn best(rounds: &Rounds, clients: usize, of: [&'static str; 2]) -> &'static str {
    let rate = |name: &str| rounds.median(&format!("rate {clients} {name}"));
    if rate(of[0]) >= rate(of[1]) { of[0] } else { of[1] }
}

fn report(rounds: &Rounds, said: &str, connections: usize) -> String {
    let mut all = Table::new(&[
        "clients and work",
        "orders/s",
        "CPU µs: client",
        "server",
        "together",
        "rate beside 4 round trips",
        "beside one statement",
        "begun again per 1000",
    ]);
    let mut alone = Table::new(&["clients and difference", "rate", "CPU µs"]);
    for clients in CLIENTS {
        let (four, one) = (best(rounds, clients, FOUR), best(rounds, clients, ONE));
        let median = |kind: &str, name: &str| rounds.median(&format!("{kind} {clients} {name}"));
        let beside = |name: &str, base: &str| {
            rounds.ratio(&format!("rate {clients} {name}"), &format!("rate {clients} {base}"))
        };
        for (name, _) in ALL {
            let cells = [
                format!("{:.0}", median("rate", name)),
                format!("{:.0}", median("client", name)),
                format!("{:.0}", median("server", name)),
                format!("{:.0}", median("cpu", name)),
                format!("{:.0} %", 100.0 * beside(name, four)),
                format!("{:.0} %", 100.0 * beside(name, one)),
                format!("{:.1}", median("again", name)),
            ];
            all.row(&format!("{clients}, {name}"), &cells);
        }
        for (what, name, base) in COSTS {
            let cpu = rounds.difference(&format!("cpu {clients} {name}"), &format!("cpu {clients} {base}"));
            let cells = [format!("{:+.0} %", 100.0 * (beside(name, base) - 1.0)), format!("{cpu:+.0}")];
            alone.row(&format!("{clients}, {what}"), &cells);
        }
    }
    format!(
        "{}\nEach thing alone, everything else the same:\n\n{}\nThe store's connections: {connections}. Server: {said}.\n",
        all.into_text(),
        alone.into_text()
    )
}

/// What costs what: a name, the side that has it and the side that lacks it.
const COSTS: [(&str, &str, &str); 7] = [
    ("serializable instead of read committed", QUEUED, READ_COMMITTED),
    ("the same, without row-level security", NO_WALL, NEITHER),
    ("the same, plain SQL", FOUR_SERIALIZABLE, FOUR[1]),
    ("row-level security", QUEUED, NO_WALL),
    ("one tenant instead of one a client", ONE_TENANT, QUEUED),
    ("both rows awaited", AWAITED, QUEUED),
    ("the whole call with a key", KEYED, QUEUED),
];
