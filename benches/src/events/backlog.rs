//! A million events in an outbox, drained while new ones arrive: how much memory the engine takes meanwhile.
//!
//! The backlog is made by one process and drained by another, so that the memory is the engine's alone, with the two stores and a publisher.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::SETTINGS;
use super::world::{On, Place, TENANTS, World, Writes, server};
use crate::child::{self, Role};
use crate::cpu::megabytes;
use crate::recorder::Recorder;
use crate::report::Table;
use crate::suites::{Failure, Plan, directory};

/// How many events there are.
const EVENTS: usize = 1_000_000;
/// How long it is between two that arrive meanwhile.
const ARRIVAL: Duration = Duration::from_millis(2);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The file that says where the data is.
const PLACE: &str = "place.json";

/// What the child is told.
#[derive(Deserialize, Serialize)]
struct Told {
    url: Option<(String, String)>,
}

/// What the child says.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Said {
    arrived: u64,
    seconds: f64,
    start: f64,
    quarters: Vec<f64>,
    peak: f64,
    end: f64,
}

/// Drains a million on each database.
pub(crate) fn run(_: &Plan) -> Result<String, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut table = Table::new(&[
        "a million",
        "events/s",
        "arrived meanwhile",
        "RSS MB: at start",
        "at a quarter",
        "at half",
        "at three quarters",
        "peak",
        "at the end",
    ]);
    for on in On::ALL {
        let data = directory()?;
        let kept = runtime.block_on(async {
            let started = match on {
                On::Sqlite => None,
                On::Postgres => Some(server(data.path(), SETTINGS).await?),
            };
            let url =
                started.as_ref().map(|(_, database)| (database.url.clone(), database.owner_url.clone()));
            std::fs::write(data.path().join(PLACE), serde_json::to_vec(&Told { url })?)?;
            Ok::<_, Failure>(started)
        })?;
        act(Role::Fill, data.path())?;
        let said: Said = serde_json::from_slice(&act(Role::Backlog, data.path())?)?;
        drop(kept);
        let all = 1e6 + f64::from(u32::try_from(said.arrived)?);
        let mut cells = vec![format!("{:.0}", all / said.seconds), said.arrived.to_string()];
        let memory = std::iter::once(said.start).chain(said.quarters).chain([said.peak, said.end]);
        cells.extend(memory.map(|megabytes| format!("{megabytes:.1}")));
        table.row(on.name(), &cells);
    }
    Ok(table.into_text())
}

fn act(role: Role, data: &Path) -> Result<Vec<u8>, Failure> {
    let output = child::command(role, Recorder::Lean, data)?.stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{role:?} ended with {}", output.status).into())
    }
}

fn place(data: &Path) -> Result<Place, Failure> {
    let told: Told = serde_json::from_slice(&std::fs::read(data.join(PLACE))?)?;
    Ok(match told.url {
        None => Place::below(data),
        Some((url, owner_url)) => Place::Database { url, owner_url },
    })
}

/// Makes the backlog.
pub(crate) fn fill(data: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let world = Arc::new(World::open(&place(data)?, None).await?);
        world.fill(EVENTS, &TENANTS[..1]).await?;
        world.close().await
    })
}

/// Drains it, and prints what that took.
pub(crate) fn print(data: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let said = runtime.block_on(async {
        let world = Arc::new(World::open(&place(data)?, None).await?);
        let said = drain(&world).await?;
        let (packed, wanted) = (world.packed().await?, i64::try_from(EVENTS as u64 + said.arrived)?);
        if packed != wanted {
            return Err(format!("{packed} rows were written for {wanted} events").into());
        }
        Ok::<_, Failure>(said)
    })?;
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}

async fn drain(world: &Arc<World>) -> Result<Said, Failure> {
    let me = std::process::id();
    let resident = || megabytes(me, "status", "VmRSS");
    let mut said = Said { start: resident()?, ..Said::default() };
    let began = Instant::now();
    let engine = world.start(Writes::Queued, None).await?;
    let dry = Arc::new(AtomicBool::new(false));
    let arriving = tokio::spawn({
        let (world, dry) = (Arc::clone(world), Arc::clone(&dry));
        async move {
            let mut ticks = tokio::time::interval(ARRIVAL);
            let mut arrived = 0_u64;
            while !dry.load(Ordering::Relaxed) {
                ticks.tick().await;
                world.place(TENANTS[0]).await?;
                arrived += 1;
            }
            Ok::<u64, Failure>(arrived)
        }
    });
    let events = EVENTS as u64;
    while engine.applied() < events {
        let now = resident()?;
        said.peak = said.peak.max(now);
        if said.quarters.len() < 3 && engine.applied() >= events / 4 * (said.quarters.len() as u64 + 1) {
            said.quarters.push(now);
        }
        if arriving.is_finished() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    dry.store(true, Ordering::Relaxed);
    said.arrived = arriving.await??;
    engine.reaches(events + said.arrived).await?;
    said.seconds = began.elapsed().as_secs_f64();
    engine.stop().await?;
    said.end = resident()?;
    said.peak = said.peak.max(said.end);
    Ok(said)
}
