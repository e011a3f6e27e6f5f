//! One run of a plan, from start to verdict.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use super::check::{Promise, Violation};
use super::executor::Executor;
use super::fault::{Counts, Fault};
use super::operator::{Verdict, reign};
use super::plan::Plan;
use super::processes::boot;
use super::random::Random;
use super::world::World;

/// A run that takes more steps than this goes on for ever.
const MOST_STEPS: u64 = 3_000_000;

/// How much of a trace a report shows: what went wrong is near the beginning, and how it ended at the end.
const FIRST_LINES: usize = 400;
const LAST_LINES: usize = 40;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The promise that was not kept, if there was one.
    pub violation: Option<Violation>,
    /// A digest of everything that happened, in order: the same plan gives the same one.
    pub digest: String,
    /// How often each thing happened.
    pub counts: Counts,
    /// How often each fault could have happened, including those that the plan leaves out.
    pub ordinals: BTreeMap<Fault, u64>,
    /// What happened, line by line, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs a plan; `keep_trace` keeps what happened, line by line.
#[must_use]
pub fn run(plan: &Plan, keep_trace: bool) -> Outcome {
    let world = World::new(plan.clone(), keep_trace);
    let mut executor = Executor::new(world.time.clone(), Random::new(plan.seed, 3));
    let (over, verdict) = (Rc::new(Cell::new(false)), Verdict::default());
    for process in 1..=plan.processes() {
        let world = world.clone();
        executor.start(process, move |spawner| boot(&world, spawner));
    }
    {
        let (world, verdict, over) = (world.clone(), Rc::clone(&verdict), Rc::clone(&over));
        executor.start(0, move |spawner| {
            let work = reign(world.clone(), spawner.clone(), Rc::clone(&verdict), Rc::clone(&over));
            spawner.spawn(work);
        });
    }
    let steps = executor.run(&over, MOST_STEPS);
    let mut violation = verdict.borrow_mut().take();
    if steps.is_none() {
        let what = format!("the run did not end within {MOST_STEPS} steps");
        violation = Some(Violation { promise: Promise::Ends, what });
    }
    // Tasks know the world and the world knows tasks: the circle ends here.
    drop(executor);
    let mut counts = world.counts();
    counts.steps = steps.unwrap_or(MOST_STEPS);
    counts.published = (0..world.lanes()).map(|lane| world.outbox(lane).rows.len() as u64).sum();
    counts.applied = world.inbox().applied.len() as u64;
    let ordinals = world.ordinals();
    let mut trace = world.trace();
    Outcome { violation, digest: trace.digest(), counts, ordinals, trace: trace.take_lines() }
}

/// A failing run as a person reads it: the plan, what happened, and what is wrong with it.
#[must_use]
pub fn report(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = format!("{plan:#?}\n");
    let (first, rest) = outcome.trace.split_at(outcome.trace.len().min(FIRST_LINES));
    let (left_out, last) = rest.split_at(rest.len().saturating_sub(LAST_LINES));
    for line in first {
        let _ = writeln!(text, "{line}");
    }
    if !left_out.is_empty() {
        let _ = writeln!(text, "   ... {} lines ...", left_out.len());
    }
    for line in last {
        let _ = writeln!(text, "{line}");
    }
    match &outcome.violation {
        Some(violation) => {
            let _ = writeln!(text, "NOT KEPT: {violation}");
        }
        None => text.push_str("every promise was kept\n"),
    }
    text
}
