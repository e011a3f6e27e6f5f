//! An order's transaction on the store, at 1 and at 64 writers, beside a group commit written by hand for the same rows.
//!
//! All writers work for one tenant, so all rows go to one file. Without a key the suite opens the transaction itself; with a key it
//! makes the whole call, for the key is claimed before the handler and recorded with its commit.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone::store::Store;
use drystone::{Running, micros};
use drystone_call::{Context, Home};
use tokio::task::JoinSet;

use crate::api::PricesClient;
use crate::by_hand::{GroupCommit, Order};
use crate::cpu::Meter;
use crate::prices::{self, MODULE, key, order_request, said};
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, directory};

const WRITERS: [usize; 2] = [1, 64];

/// What one writer does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The order's row, on the store.
    Row,
    /// The same, by hand.
    RowByHand,
    /// The order's row and the record of its key, by a call.
    Keyed,
    /// The same, by hand.
    KeyedByHand,
}

impl Work {
    const ALL: [Self; 4] = [Self::Row, Self::RowByHand, Self::Keyed, Self::KeyedByHand];

    fn name(self) -> &'static str {
        match self {
            Self::Row => "order row: store",
            Self::RowByHand => "order row: by hand",
            Self::Keyed => "order row and key: call and store",
            Self::KeyedByHand => "order row and key: by hand",
        }
    }

    fn yardstick(self) -> Self {
        match self {
            Self::Row | Self::RowByHand => Self::RowByHand,
            Self::Keyed | Self::KeyedByHand => Self::KeyedByHand,
        }
    }
}

/// Measures all kinds of work in turns.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let data = directory()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Rounds::default();
    runtime.block_on(async {
        let bench = Arc::new(Bench::start(data.path()).await?);
        for round in 0..=plan.rounds {
            for writers in WRITERS {
                for work in Work::ALL {
                    let meter = Meter::start(&[std::process::id()])?;
                    let orders = bench
                        .storm(work, writers, if round == 0 { plan.time / 4 } else { plan.time })
                        .await?;
                    let taken = meter.stop()?;
                    if round > 0 {
                        let name = work.name();
                        rounds.add(format!("rate {writers} {name}"), orders / taken.wall.as_secs_f64());
                        rounds
                            .add(format!("cpu {writers} {name}"), taken.cpu[0].as_secs_f64() * 1e6 / orders);
                    }
                }
            }
        }
        Ok::<(), Failure>(())
    })?;
    Ok(table(&rounds))
}

fn table(rounds: &Rounds) -> String {
    let mut table = Table::new(&["writers and work", "orders/s", "CPU µs", "rate beside by hand"]);
    for writers in WRITERS {
        for work in Work::ALL {
            let rate = |work: Work| format!("rate {writers} {}", work.name());
            let cells = [
                format!("{:.0}", rounds.median(&rate(work))),
                format!("{:.1}", rounds.median(&format!("cpu {writers} {}", work.name()))),
                format!("{:.0} %", 100.0 * rounds.ratio(&rate(work), &rate(work.yardstick()))),
            ];
            table.row(&format!("{writers}, {}", work.name()), &cells);
        }
    }
    table.into_text()
}

/// Both sides, opened.
pub(crate) struct Bench {
    running: Running,
    client: PricesClient,
    store: Store,
    by_hand: GroupCommit,
    home: Arc<Home>,
}

impl Bench {
    pub(crate) async fn start(data: &Path) -> Result<Self, Failure> {
        let running = prices::app(data).start().await?;
        let store = running.store(MODULE).ok_or("the module has a store")?.clone();
        Ok(Self {
            client: running.client().map_err(said)?,
            store,
            by_hand: GroupCommit::start(&data.join("by-hand.sqlite"))?,
            home: Home::of_system(MODULE),
            running,
        })
    }

    /// Writes with so many writers for a time, and says how many orders were kept.
    pub(crate) async fn storm(
        self: &Arc<Self>,
        work: Work,
        writers: usize,
        time: Duration,
    ) -> Result<f64, Failure> {
        let until = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let bench = Arc::clone(self);
            tasks.spawn(async move {
                let mut kept = 0.0;
                while Instant::now() < until {
                    bench.once(work).await?;
                    kept += 1.0;
                }
                Ok::<f64, Failure>(kept)
            });
        }
        let mut kept = 0.0;
        while let Some(task) = tasks.join_next().await {
            kept += task??;
        }
        Ok(kept)
    }

    async fn once(&self, work: Work) -> Result<(), Failure> {
        let id = self.home.new_id().to_string();
        match work {
            Work::Row => {
                let mut cx = self.context()?;
                prices::order(&self.store, &mut cx, order_request(id)).await.map(drop).map_err(said)
            }
            Work::Keyed => {
                let cx = self.context()?.with_key(key(&id)?);
                self.client.order(&cx, order_request(id)).await.map(drop).map_err(said)
            }
            Work::RowByHand => self.by_hand.keep(self.order(id, false)).await,
            Work::KeyedByHand => self.by_hand.keep(self.order(id, true)).await,
        }
    }

    fn context(&self) -> Result<Context, Failure> {
        let cx = self.running.context("demo", "user:bench").map_err(said)?;
        Ok(cx.with_timeout(Duration::from_secs(60)))
    }

    fn order(&self, id: String, keyed: bool) -> Order {
        let request = order_request(id);
        Order {
            keyed: keyed.then(|| (request.id.clone(), request.id.clone().into_bytes())),
            id: request.id,
            user: request.user_id,
            sku: request.sku,
            quantity: request.quantity,
            total: prices::UNIT * i64::from(request.quantity),
            created: micros(self.home.now()),
        }
    }
}
