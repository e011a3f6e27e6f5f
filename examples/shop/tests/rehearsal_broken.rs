//! A rehearsal that finds nothing must be able to find something: the shop with a defect is caught, by the invariant that speaks of it.
//!
//! Needs the feature `defects`, which no ordinary build has.

use drystone::Profile;
use shop::rehearsal::{ANSWERS, STOCK, TOLD};

/// The seeds among which one must notice.
const SEEDS: u64 = 20;

/// Rehearses the shop with a defect until a seed notices, and gives the invariants that it breaks.
fn noticed(defect: &'static str) -> Vec<String> {
    let app = shop::app().broken(defect);
    for seed in 1..=SEEDS {
        let rehearsed = app.rehearse(seed, Profile::Hostile).expect("the shop starts");
        if !rehearsed.is_well() {
            println!("{defect}: seed {seed}: {:#?}", rehearsed.broken);
            return rehearsed.broken.into_iter().map(|broken| broken.invariant).collect();
        }
    }
    panic!("{SEEDS} seeds do not notice that {defect}");
}

fn assert_notices(defect: &'static str, invariants: &[&str]) {
    let broken = noticed(defect);
    let speaks = invariants.iter().any(|invariant| broken.iter().any(|broken| broken == invariant));
    assert!(speaks, "{defect}: noticed by {broken:?}, none of which is {invariants:?}");
}

#[test]
fn keys_that_are_ignored() {
    assert_notices("keys are ignored", &[STOCK, ANSWERS]);
}

#[test]
fn stock_that_is_not_released_when_the_payment_is_declined() {
    assert_notices("the stock of a declined payment is kept", &[STOCK]);
}

#[test]
fn a_relay_that_acknowledges_before_it_delivers() {
    assert_notices("ack-first", &[TOLD]);
}

#[test]
fn without_a_defect_nothing_is_noticed() {
    for seed in 1..=SEEDS / 4 {
        let rehearsed = shop::app().rehearse(seed, Profile::Hostile).expect("the shop starts");
        assert!(rehearsed.is_well(), "seed {seed}: {:#?}", rehearsed.broken);
    }
}
