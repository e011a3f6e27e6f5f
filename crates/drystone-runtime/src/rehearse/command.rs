//! `rehearse`: many seeds, a few at a time, and what they have shown.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use clap::Args;
use drystone_call::Profile;

use super::report::{Failure, Rehearsed, Summary};
use super::run;
use crate::{App, StartError};

/// How many failing seeds are shown whole.
const SHOWN: usize = 3;

#[derive(Clone, Debug, Args)]
pub(crate) struct Rehearse {
    /// How many seeds
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    pub(crate) seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) first: u64,
    /// This seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "first"])]
    pub(crate) seed: Option<u64>,
    /// What goes wrong: absorbable, hostile, lan or wan
    #[arg(long, value_name = "PROFILE", default_value = "hostile")]
    pub(crate) profile: Profile,
    /// Print everything that happened, in order
    #[arg(long)]
    pub(crate) trace: bool,
    /// How many seeds at once [default: one a core]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// Rehearses the seeds and prints what they have shown.
pub(crate) fn rehearse(app: &App, what: &Rehearse) -> Result<(), StartError> {
    let (first, count) = what.seed.map_or((what.first, what.seeds), |seed| (seed, 1));
    let (began, mut summary) = (Instant::now(), Summary::default());
    in_order(app, what, first, count, |one| {
        if what.trace {
            one.trace.iter().for_each(|line| println!("{line}"));
            println!("seed {}: {} lines, digest {:016x}", one.seed, one.trace.len(), one.digest);
        }
        summary.add(one);
        if !one.is_well() && summary.failed.len() <= SHOWN {
            println!("{}\n", Failure { app: &app.name, rehearsed: one });
        }
    })?;
    println!("rehearsed {}, {}: {summary}", app.name, what.profile);
    println!("in {:.1} s", began.elapsed().as_secs_f64());
    if summary.failed.is_empty() {
        return Ok(());
    }
    let seeds: Vec<String> = summary.failed.iter().map(u64::to_string).collect();
    let problem =
        format!("{} of {} seeds break what must hold: {}", seeds.len(), summary.seeds, seeds.join(", "));
    Err(StartError::command("rehearse", problem))
}

/// Runs the seeds on several threads and shows them in their order.
fn in_order(
    app: &App,
    what: &Rehearse,
    first: u64,
    count: u64,
    mut show: impl FnMut(&Rehearsed),
) -> Result<(), StartError> {
    let jobs = what.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (next, (sender, done)) = (AtomicU64::new(0), mpsc::channel());
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            threads.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count
                        || sender
                            .send((at, run::one(app, first.wrapping_add(at), what.profile, what.trace)))
                            .is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut shown) = (BTreeMap::new(), 0);
        for (at, one) in done {
            waiting.insert(at, one?);
            while let Some(one) = waiting.remove(&shown) {
                show(&one);
                shown += 1;
            }
        }
        Ok(())
    })
}
