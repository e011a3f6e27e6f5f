//! Makes a failing plan smaller, as long as the same promise fails: fewer faults, fewer messages, fewer processes.

use super::check::Promise;
use super::fault::Fault;
use super::plan::Plan;
use super::run::run;
use super::time::MS;

/// How many runs a search may take.
const MOST_RUNS: usize = 1500;

/// One of a plan's sizes.
type Size = fn(&mut Plan) -> &mut usize;

/// A search for a smaller plan.
struct Search {
    plan: Plan,
    promise: Promise,
    runs: usize,
}

/// The smallest plan that is found in which the same promise fails; the plan itself if it keeps its promises.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let Some(violation) = run(plan, false).violation else { return plan.clone() };
    let mut search = Search { plan: plan.clone(), promise: violation.promise, runs: 0 };
    loop {
        let before = search.runs;
        let smaller = search.kinds() | search.planned() | search.sizes() | search.single_faults();
        if !smaller || search.runs >= MOST_RUNS || search.runs == before {
            return search.plan;
        }
    }
}

impl Search {
    /// Takes a plan over if the same promise fails in it.
    fn accept(&mut self, plan: Plan) -> bool {
        if self.runs >= MOST_RUNS {
            return false;
        }
        self.runs += 1;
        let fails = run(&plan, false).violation.is_some_and(|violation| violation.promise == self.promise);
        if fails {
            self.plan = plan;
        }
        fails
    }

    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.accept(plan)
    }

    /// Whole kinds of fault.
    fn kinds(&mut self) -> bool {
        let mut smaller = false;
        for fault in Fault::ALL {
            if !self.plan.off.contains(fault) {
                smaller |= self.change(|plan| plan.off.extend([*fault]));
            }
        }
        smaller
    }

    /// Planned faults, one by one.
    fn planned(&mut self) -> bool {
        let mut smaller = false;
        let mut at = 0;
        while at < self.plan.planned.len() {
            let one = at..=at;
            if self.change(|plan| drop(plan.planned.drain(one))) {
                smaller = true;
            } else {
                at += 1;
            }
        }
        if self.plan.left_suspended.is_some() {
            smaller |= self.change(|plan| plan.left_suspended = None);
        }
        smaller
    }

    /// Processes, tenants, keys, messages, time.
    fn sizes(&mut self) -> bool {
        let sizes: [(Size, usize); 7] = [
            (|plan| &mut plan.consumers, 1),
            (|plan| &mut plan.replicas, 0),
            (|plan| &mut plan.publishers, 1),
            (|plan| &mut plan.writers, 1),
            (|plan| &mut plan.tenants, 1),
            (|plan| &mut plan.keys, 1),
            (|plan| &mut plan.transactions, 1),
        ];
        let mut smaller = false;
        for (size, least) in sizes {
            while *size(&mut self.plan) > least {
                let half = (*size(&mut self.plan) / 2).max(least);
                if !self.change(|plan| *size(plan) = half) && !self.change(|plan| *size(plan) -= 1) {
                    break;
                }
                smaller = true;
            }
        }
        let window = self.plan.window / 2;
        if window > 1000 * MS {
            smaller |= self.change(|plan| plan.window = window);
        }
        smaller
    }

    /// Faults by chance, one by one.
    fn single_faults(&mut self) -> bool {
        let mut smaller = false;
        for (fault, count) in run(&self.plan, false).ordinals {
            for number in 1..=count {
                if !self.plan.off.contains(&fault) && !self.plan.left_out.contains(&(fault, number)) {
                    smaller |= self.change(|plan| plan.left_out.extend([(fault, number)]));
                }
            }
        }
        smaller
    }
}
