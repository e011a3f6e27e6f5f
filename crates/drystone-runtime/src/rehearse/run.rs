//! One seed: a thread, a runtime on paused time, a directory, and the application in it.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Injected, Profile, seed_chance_of_thread};
use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::time::timeout;

use super::AnyRehearsal;
use super::rehearser::Rehearser;
use super::report::{Broken, Rehearsed};
use super::trace::{Trace, digest};
use crate::{App, StartError};

/// A run that takes longer than this, of its own time, does not end.
const LONGEST: Duration = Duration::from_hours(2);

/// What one run is made of.
pub(super) struct Site {
    pub(super) app: App,
    pub(super) rehearsal: Arc<dyn AnyRehearsal>,
    pub(super) data: PathBuf,
    pub(super) seed: u64,
    pub(super) profile: Profile,
    /// Whether the trace is to end with what the stores hold.
    pub(super) whole_trace: bool,
}

/// Rehearses one seed on a thread of its own, whose chance repeats.
pub(super) fn one(
    app: &App,
    seed: u64,
    profile: Profile,
    whole_trace: bool,
) -> Result<Rehearsed, StartError> {
    let rehearsal = app.rehearsal.clone().ok_or_else(|| {
        let problem = "the application has no rehearsal: give it one with `App::rehearsal`";
        StartError::command("rehearse", problem)
    })?;
    let name = format!("seed-{seed}");
    std::thread::scope(|threads| {
        let run = || on_this_thread(app, rehearsal, (seed, profile, whole_trace));
        let thread = std::thread::Builder::new().name(name).spawn_scoped(threads, run);
        let thread = thread.map_err(|error| StartError::part("the thread of a seed", error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn on_this_thread(
    app: &App,
    rehearsal: Arc<dyn AnyRehearsal>,
    (seed, profile, whole_trace): (u64, Profile, bool),
) -> Result<Rehearsed, StartError> {
    #[cfg(feature = "defects")]
    drystone_call::defects::break_thread(app.defect);
    seed_chance_of_thread(seed);
    let data = TempDir::new().map_err(|error| StartError::part("the directory of a seed", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|error| StartError::part("the async runtime", error))?;
    let site = Site { app: app.clone(), rehearsal, data: data.path().to_owned(), seed, profile, whole_trace };
    runtime.block_on(run(site))
}

async fn run(site: Site) -> Result<Rehearsed, StartError> {
    let (seed, profile, whole_trace) = (site.seed, site.profile, site.whole_trace);
    let rehearsal = Arc::clone(&site.rehearsal);
    let rehearser = Rehearser::new(site, Arc::new(Trace::new()));
    rehearser.start().await?;
    let work = AssertUnwindSafe(timeout(LONGEST, rehearsal.run(&rehearser))).catch_unwind();
    let mut broken = match work.await {
        Ok(Ok(broken)) => broken,
        Ok(Err(_)) => vec![in_general(
            "the workload comes to its end",
            "it did not within two hours of its own time".to_owned(),
        )],
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            vec![in_general("nothing panics", said.unwrap_or_default())]
        }
    };
    broken.extend(
        rehearser
            .unsettled
            .take()
            .into_iter()
            .map(|said| in_general("every call is answered in the end", said)),
    );
    if whole_trace {
        rehearser.write_down_stores().await;
    }
    let injected: Vec<Injected> = rehearser.faults.borrow().iter().flat_map(|faults| faults.log()).collect();
    let faults = rehearser.report();
    rehearser.stop().await;
    let trace = rehearser.trace.take();
    let digest = digest(&trace);
    Ok(Rehearsed {
        seed,
        profile,
        broken,
        faults,
        injected,
        restarts: rehearser.restarts.get(),
        trace,
        digest,
    })
}

/// What must hold of every application.
pub(super) fn in_general(invariant: &str, said: String) -> Broken {
    Broken { invariant: invariant.to_owned(), said }
}
