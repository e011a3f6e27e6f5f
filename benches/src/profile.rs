//! Steady work for a profiler to look at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls;
use crate::events;
use crate::events::world::On;
use crate::postgres;
use crate::recorder::Recorder;
use crate::rest;
use crate::suites::{Failure, directory};
use crate::transactions::{self, Work};

/// How long it lasts.
const TIME: Duration = Duration::from_secs(20);

/// Does nothing but `what`: `perf record -g` this program, or for `rest` the server whose id it prints.
pub(crate) fn run(what: &str) -> Result<(), Failure> {
    let data = directory()?;
    match what {
        "calls" => {
            Recorder::Lean.install()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let bench = calls::Bench::start(data.path()).await?;
                let began = Instant::now();
                while began.elapsed() < TIME {
                    bench.direct().await?;
                }
                bench.stop().await;
                Ok(())
            })
        }
        "rest" => {
            let server = rest::platform(Recorder::Lean, data.path())?;
            println!("{}", server.pid());
            rest::load(&server, TIME).map(drop)
        }
        "transactions" => {
            Recorder::Lean.install()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                let bench = Arc::new(transactions::Bench::start(data.path()).await?);
                bench.storm(Work::Keyed, 64, TIME).await.map(drop)
            })
        }
        "postgres" => {
            Recorder::Lean.install()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                let bench = Arc::new(postgres::Bench::start(data.path()).await?);
                println!("{}", bench.pid()?);
                bench.storm(postgres::GOAL, 64, TIME).await.map(drop)
            })
        }
        "events" | "events-postgres" => {
            Recorder::Lean.install()?;
            let (on, count) = if what == "events" { (On::Sqlite, 600_000) } else { (On::Postgres, 200_000) };
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async { events::Bench::start(data.path()).await?.profile(on, count).await })
        }
        _ => {
            Err(format!("{what:?} is not calls, rest, transactions, postgres, events or events-postgres")
                .into())
        }
    }
}
