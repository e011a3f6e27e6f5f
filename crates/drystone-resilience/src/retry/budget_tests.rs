//! The retry budget against a model that remembers every call. (Not beside the budget: that file is also compiled under loom.)

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use crate::{Budget, BudgetConfig};

#[derive(Clone, Debug)]
enum Step {
    Deposit,
    Withdraw,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Deposit),
        6 => Just(Step::Withdraw),
        1 => (0..1200_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn retries_are_a_share_of_the_calls_in_any_window(
        percent in 0..100_u32, floor in 0..6_u32, steps in steps(),
    ) {
        let config = BudgetConfig { ratio: f64::from(percent) / 100.0, floor, window: Duration::from_secs(1) };
        let budget = Budget::new(config);
        let start = Instant::now();
        // Ticks are counted from the first moment that the budget is told; the model's first call is this one.
        budget.deposit(start);
        let (mut time, mut calls, mut retries) = (0_u64, vec![0_u64], Vec::<u64>::new());
        for step in steps {
            let now = start + Duration::from_millis(time);
            let tick = time / 100;
            let inside = |list: &[u64]| list.iter().filter(|at| **at + 10 > tick).count() as u64;
            match step {
                Step::Wait(millis) => time += millis,
                Step::Deposit => {
                    budget.deposit(now);
                    calls.push(tick);
                }
                Step::Withdraw => {
                    let most = (inside(&calls) * u64::from(percent) / 100).max(u64::from(floor));
                    let expected = inside(&retries) < most;
                    prop_assert_eq!(budget.left(now) > 0, expected);
                    prop_assert_eq!(budget.withdraw(now), expected, "{} of {} at {} ms", inside(&retries), most, time);
                    if expected {
                        retries.push(tick);
                    }
                }
            }
        }
        // Over any stretch of time: the share of all calls, and the floor once a window.
        let most = calls.len() as u64 * u64::from(percent) / 100 + u64::from(floor) * (time / 900 + 1);
        prop_assert!(retries.len() as u64 <= most, "{} retries of {} calls", retries.len(), calls.len());
    }
}

#[test]
fn a_busy_caller_gets_its_share_and_an_idle_one_the_floor() {
    let (budget, now) = (Budget::new(BudgetConfig::default()), Instant::now());
    let withdrawn = |at| (0..1000).filter(|_| budget.withdraw(at)).count();
    assert_eq!(withdrawn(now), 10, "nothing was called");
    for _ in 0..1000 {
        budget.deposit(now);
    }
    assert_eq!(budget.left(now), 190, "what would be granted");
    assert_eq!(withdrawn(now), 190, "20 % of 1000, of which 10 are taken");
    let later = now + Duration::from_secs(10);
    assert_eq!(withdrawn(later), 10, "the window has passed");
}

#[test]
fn a_whole_retry_is_not_lost_to_rounding() {
    let (budget, now) = (Budget::new(BudgetConfig { floor: 0, ..BudgetConfig::default() }), Instant::now());
    for call in 1..=1000_u32 {
        budget.deposit(now);
        assert_eq!(budget.withdraw(now), call % 5 == 0, "after {call} calls");
    }
}
