//! Properties: a poison message holds back its key only and replay keeps the order; the fence never settles what may still appear.

use std::collections::{BTreeMap, BTreeSet};

use drystone_events::{Fence, Look};
use drystone_testkit::sim::{Fault, Plan, Seen, run};
use proptest::prelude::*;

/// What makes a message poison, and what operators do about it.
const POISON: [Fault; 8] = [
    Fault::Fails,
    Fault::FailsUntilFixed,
    Fault::Undecodable,
    Fault::Aborts,
    Fault::AbortsUntilFixed,
    Fault::Slow,
    Fault::Replay,
    Fault::Drop,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise 7. The checker demands at the first end that each key whose first held message is well has nothing held, and at the second, after mending and
    /// replaying, that every message but the dropped ones is applied in the order of publishing.
    #[test]
    fn a_poison_message_holds_back_its_key_only(
        seed in any::<u64>(),
        tenants in 1_usize..4,
        keys in 1_usize..6,
        transactions in 2_usize..24,
        writers in 1_usize..4,
        kinds in prop::sample::subsequence(POISON.to_vec(), 1..=POISON.len()),
    ) {
        let mut plan = Plan::of(seed);
        plan.planned.clear();
        plan.off = Fault::ALL.iter().copied().filter(|fault| !kinds.contains(fault)).collect();
        (plan.tenants, plan.keys, plan.transactions, plan.writers) = (tenants, keys, transactions, writers);
        plan.left_suspended = None;
        let outcome = run(&plan, false);
        prop_assert_eq!(outcome.violation, None);
    }
}

/// Keys are in fact parked, and messages put behind them, in what the property above runs.
#[test]
fn poison_parks_keys() {
    let mut plan = Plan::of(5);
    plan.planned.clear();
    plan.off = Fault::ALL.iter().copied().filter(|fault| !POISON.contains(fault)).collect();
    (plan.transactions, plan.writers, plan.keys) = (40, 3, 2);
    let outcome = run(&plan, false);
    assert_eq!(outcome.violation, None);
    for seen in [Seen::Parked, Seen::Waiting] {
        assert!(outcome.counts.seen.contains_key(&seen), "{seen:?}: {:?}", outcome.counts);
    }
}

/// A handler that meets a conflict each time it runs is poison like any other: it holds back its own key, is parked in the end, and no other message waits for it.
#[test]
fn a_handler_that_never_stops_conflicting_holds_back_its_key_only() {
    let mut parked = 0;
    for seed in 0..20 {
        let mut plan = Plan::of(seed);
        plan.planned.clear();
        plan.off = Fault::ALL.iter().copied().filter(|fault| *fault != Fault::AbortsUntilFixed).collect();
        (plan.transactions, plan.writers, plan.keys, plan.left_suspended) = (20, 2, 2, None);
        let outcome = run(&plan, false);
        assert_eq!(outcome.violation, None, "seed {seed}");
        parked += outcome.counts.seen.get(&Seen::Parked).copied().unwrap_or(0);
    }
    assert!(parked > 0);
}

/// A step of a database with a sequence, or of a fence that looks at it. A look is two steps, and anything may come between.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A transaction takes its id.
    Begin,
    /// The n-th open transaction takes a number.
    Publish(usize),
    /// The n-th open transaction ends; it commits or not.
    End(usize, bool),
    High,
    Next,
    Observe,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        4 => any::<usize>().prop_map(Step::Publish),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(at, commits)| Step::End(at, commits)),
        2 => Just(Step::High),
        2 => Just(Step::Next),
        2 => Just(Step::Observe),
    ]
}

/// What the fence is about, written down as plainly as it can be.
#[derive(Default)]
struct Database {
    next_xid: i64,
    last_number: i64,
    open: BTreeMap<i64, BTreeSet<i64>>,
    visible: BTreeSet<i64>,
    /// The greatest number that was read in a look that has no id yet.
    high: Option<i64>,
}

impl Database {
    fn nth(&self, at: usize) -> Option<i64> {
        (!self.open.is_empty()).then(|| self.open.keys().copied().nth(at % self.open.len())).flatten()
    }

    fn xmin(&self) -> i64 {
        self.open.keys().next().copied().unwrap_or(self.next_xid)
    }

    fn take(&mut self, step: Step, fence: &mut Fence) {
        match step {
            Step::Begin => {
                self.open.insert(self.next_xid, BTreeSet::new());
                self.next_xid += 1;
            }
            Step::Publish(at) => {
                if let Some(numbers) = self.nth(at).and_then(|xid| self.open.get_mut(&xid)) {
                    self.last_number += 1;
                    numbers.insert(self.last_number);
                }
            }
            Step::End(at, commits) => {
                let numbers = self.nth(at).and_then(|xid| self.open.remove(&xid)).unwrap_or_default();
                if commits {
                    self.visible.extend(numbers);
                }
            }
            Step::High => self.high = Some(self.last_number),
            Step::Next => {
                if let Some(high) = self.high.take().filter(|high| fence.wants(*high)) {
                    fence.look(Look { high, next: self.next_xid });
                    self.next_xid += 1;
                }
            }
            Step::Observe => drop(fence.observe(self.xmin())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: nothing that is settled can still appear, what is settled stays so, and when all is over all is settled.
    #[test]
    fn nothing_appears_behind_the_fence(steps in prop::collection::vec(step(), 0..120)) {
        let (mut database, mut fence) = (Database { next_xid: 100, ..Database::default() }, Fence::new());
        let mut read = BTreeSet::new();
        for step in steps {
            let before = fence.settled();
            database.take(step, &mut fence);
            let settled = fence.settled();
            prop_assert!(settled >= before);
            let open = database.open.values().flatten().copied().min();
            prop_assert!(open.is_none_or(|number| number > settled), "{open:?} may appear, and {settled} is settled");
            // A reader that follows the fence reads each number once and misses none.
            read.extend(database.visible.iter().copied().filter(|number| (before + 1..=settled).contains(number)));
            prop_assert!(database.visible.range(..=settled).eq(read.iter()));
        }
        for xid in database.open.keys().copied().collect::<Vec<_>>() {
            database.take(Step::End(0, true), &mut fence);
            prop_assert!(!database.open.contains_key(&xid));
        }
        for _ in 0..2 {
            for step in [Step::Observe, Step::High, Step::Next, Step::Observe] {
                database.take(step, &mut fence);
            }
        }
        prop_assert_eq!(fence.settled(), database.last_number);
        prop_assert_eq!(fence.pending(), None);
    }
}
