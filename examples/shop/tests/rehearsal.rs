//! The shop rehearsed: its invariants hold under the faults of every seed, and a seed repeats to the bit.

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

#[test]
fn a_seed_repeats_to_the_bit() {
    for seed in 1..=SEEDS {
        let (first, second) = (rehearse(seed, Profile::Hostile), rehearse(seed, Profile::Hostile));
        let differs = first.trace.iter().zip(&second.trace).position(|(first, second)| first != second);
        if let Some(at) = differs {
            let from = at.saturating_sub(3);
            panic!(
                "seed {seed} differs at line {at}:\n{:#?}\n{:#?}",
                &first.trace[from..=at],
                &second.trace[from..=at]
            );
        }
        assert_eq!((first.trace.len(), first.digest), (second.trace.len(), second.digest), "seed {seed}");
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(rehearse(1, Profile::Hostile).digest, rehearse(2, Profile::Hostile).digest);
}

#[test]
fn another_process_repeats_it_too() {
    let seeds: Vec<String> = (1..=SEEDS).map(|seed| digest_of_process(seed)).collect();
    let here: Vec<String> =
        (1..=SEEDS).map(|seed| format!("{:016x}", rehearse(seed, Profile::Hostile).digest)).collect();
    assert_eq!(seeds, here);
}

/// The digest that the shop's binary prints for a seed.
fn digest_of_process(seed: u64) -> String {
    let mut shop = Command::new(env!("CARGO_BIN_EXE_shop"));
    let run =
        shop.args(["rehearse", "--trace", "--seed", &seed.to_string()]).output().expect("the binary runs");
    let printed = String::from_utf8_lossy(&run.stdout);
    let digest =
        printed.lines().find_map(|line| line.strip_prefix(&format!("seed {seed}: "))?.rsplit(' ').next());
    digest.unwrap_or_else(|| panic!("no digest in:\n{printed}")).to_owned()
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
