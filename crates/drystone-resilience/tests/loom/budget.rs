//! The retry budget and the counts under it.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use tokio::time::Instant;

use self::retry_budget::{Budget, BudgetConfig};
use crate::explore;
use crate::rolling::Rolling;

#[path = "../../src/budget.rs"]
mod retry_budget;

/// Two that want the last retry: one gets it.
#[test]
fn the_last_retry_is_given_once() {
    let now = Instant::now();
    explore(move || {
        let config = BudgetConfig { ratio: 0.5, floor: 0, window: Duration::from_secs(10) };
        let budget = Arc::new(Budget::new(config));
        budget.deposit(now);
        let other = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                budget.deposit(now);
                budget.withdraw(now)
            })
        };
        let taken = [budget.withdraw(now), other.join().expect("joins")];
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{taken:?}");
    });
}

/// Two that count, one of them in a tick that takes over the word of an old one.
#[test]
fn no_count_is_lost_when_a_tick_begins() {
    explore(|| {
        let counts = Arc::new(Rolling::new());
        counts.add(5);
        let other = {
            let counts = Arc::clone(&counts);
            thread::spawn(move || counts.add(15))
        };
        counts.add(15);
        other.join().expect("joins");
        assert_eq!(counts.sum(15), 2);
    });
}

/// A count that comes a window too late does not take the word back.
#[test]
fn a_late_count_does_not_undo_a_newer_tick() {
    explore(|| {
        let counts = Arc::new(Rolling::new());
        let other = {
            let counts = Arc::clone(&counts);
            thread::spawn(move || counts.add(5))
        };
        counts.add(15);
        other.join().expect("joins");
        assert_eq!(counts.sum(15), 1);
    });
}
