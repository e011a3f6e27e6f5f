//! The shop rehearsed: its invariants hold under the faults of every seed, and a seed repeats to the bit.

use std::collections::BTreeMap;
use std::process::Command;

use drystone::{Profile, Rehearsed};

/// The seeds that the ordinary tests try; the build tries two hundred with `shop rehearse`.
const SEEDS: u64 = 20;

fn rehearse(seed: u64, profile: Profile) -> Rehearsed {
    shop::app().rehearse(seed, profile).unwrap_or_else(|error| panic!("seed {seed} does not start: {error}"))
}

fn assert_well(rehearsed: &Rehearsed) {
    let Rehearsed { seed, profile, broken, faults, .. } = rehearsed;
    assert!(rehearsed.is_well(), "{profile}, seed {seed}: {broken:#?}\n{faults}");
}

#[test]
fn the_invariants_hold_under_hostile_faults() {
    let mut injected = 0;
    for seed in 1..=SEEDS {
        let rehearsed = rehearse(seed, Profile::Hostile);
        assert_well(&rehearsed);
        injected += rehearsed.injected.len();
    }
    assert!(injected > 100 * SEEDS as usize / 2, "only {injected} faults");
}

#[test]
fn the_invariants_hold_under_faults_that_the_stack_absorbs() {
    for seed in 1..=SEEDS / 2 {
        let rehearsed = rehearse(seed, Profile::Absorbable);
        assert_well(&rehearsed);
        assert!(rehearsed.faults.counts().total() > 0, "seed {seed} had no faults");
    }
}

/// Rehearses the seeds twice each, on two threads.
fn all_twice() -> Vec<(Rehearsed, Rehearsed)> {
    let half = |first: u64| {
        move || -> Vec<_> {
            let twice = |seed| (rehearse(seed, Profile::Hostile), rehearse(seed, Profile::Hostile));
            (first..first + SEEDS / 2).map(twice).collect()
        }
    };
    std::thread::scope(|threads| {
        let (one, other) = (threads.spawn(half(1)), threads.spawn(half(1 + SEEDS / 2)));
        let (one, other) = (one.join().expect("seeds start"), other.join().expect("seeds start"));
        one.into_iter().chain(other).collect()
    })
}

#[test]
fn a_seed_repeats_to_the_bit_here_and_in_another_process() {
    let elsewhere = digests_of_process();
    for (first, second) in all_twice() {
        let seed = first.seed;
        let differs = first.trace.iter().zip(&second.trace).position(|(first, second)| first != second);
        if let Some(at) = differs {
            let from = at.saturating_sub(3);
            panic!(
                "seed {seed}, line {at}:\n{:#?}\n{:#?}",
                &first.trace[from..=at],
                &second.trace[from..=at]
            );
        }
        assert_eq!((first.trace.len(), first.digest), (second.trace.len(), second.digest), "seed {seed}");
        assert_eq!(elsewhere.get(&seed), Some(&format!("{:016x}", first.digest)), "seed {seed} elsewhere");
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(rehearse(1, Profile::Hostile).digest, rehearse(2, Profile::Hostile).digest);
}

/// The digests that the shop's binary prints, by seed.
fn digests_of_process() -> BTreeMap<u64, String> {
    let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"));
    let run =
        shop.args(["rehearse", "--trace", "--seeds", &SEEDS.to_string()]).output().expect("the binary runs");
    let printed = String::from_utf8_lossy(&run.stdout);
    let digest = |line: &str| {
        let (seed, rest) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some((seed.parse().ok()?, rest.split_once("digest ")?.1.to_owned()))
    };
    printed.lines().filter_map(digest).collect()
}

#[test]
fn the_command_says_what_it_has_done() {
    let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"));
    let run = shop.args(["rehearse", "--seeds", "3", "--first", "40"]).output().expect("the binary runs");
    let printed = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{printed}{}", String::from_utf8_lossy(&run.stderr));
    for said in ["rehearsed shop, hostile: 3 seeds, 3 well", "calls", "restarts", "lost silently", "in "] {
        assert!(printed.contains(said), "no {said:?} in:\n{printed}");
    }
}

#[test]
fn a_profile_that_is_not_there_is_refused_with_those_that_are() {
    let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"));
    let run = shop.args(["rehearse", "--profile", "mild"]).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("absorbable, hostile, lan, wan"), "{said}");
}
