//! A thousand seeds, and those that once failed: every promise is kept in each.
//!
//! `DRYSTONE_SIM_SEEDS=n` runs another number of them, `DRYSTONE_SIM_SEED=x` that one alone, with its trace.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use drystone_testkit::sim::{Counts, Plan, report, run, shrink};

/// How many tests share the seeds, so that they run beside each other.
const CHUNKS: u64 = 8;
/// A chunk of so many seeds meets every kind of fault.
const ENOUGH: u64 = 100;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/seeds.txt")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// The seeds that once failed.
fn kept() -> Vec<u64> {
    let text = fs::read_to_string(file()).expect("the file of seeds is beside the tests");
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a seed is a number")).collect()
}

/// Keeps a seed that fails, so that it is run from now on.
fn keep(seed: u64, promise: &str) {
    if !kept().contains(&seed) {
        let mut file =
            fs::OpenOptions::new().append(true).open(file()).expect("the file of seeds can be written");
        writeln!(file, "{seed} # {promise}").expect("the file of seeds can be written");
    }
}

/// Runs one seed. If a promise is not kept, the seed is kept, and the smallest plan in which it fails is printed.
fn check(seed: u64) -> Counts {
    let plan = Plan::of(seed);
    let outcome = run(&plan, false);
    let Some(violation) = &outcome.violation else { return outcome.counts };
    keep(seed, &format!("{:?}", violation.promise));
    let small = shrink(&plan);
    let text = report(&small, &run(&small, true));
    panic!(
        "seed {seed}: {violation}\n\nthe smallest plan in which this fails:\n{text}\n\
         replay the whole of it with\n    DRYSTONE_SIM_SEED={seed} cargo nextest run -p drystone-events --test simulation one_seed --no-capture"
    );
}

fn chunk(at: u64) {
    if number("DRYSTONE_SIM_SEED").is_some() {
        return;
    }
    let each = number("DRYSTONE_SIM_SEEDS").unwrap_or(1000).div_ceil(CHUNKS);
    let (began, mut counts) = (Instant::now(), Counts::default());
    for seed in at * each..(at + 1) * each {
        counts.add(&check(seed));
    }
    println!("{each} seeds at {:.0} per second: {counts:#?}", each as f64 / began.elapsed().as_secs_f64());
    assert!(
        each < ENOUGH || counts.missing().is_empty(),
        "never seen in {each} seeds: {:?}",
        counts.missing()
    );
}

/// The seeds that once failed.
#[test]
fn seeds_that_once_failed() {
    for seed in kept() {
        check(seed);
    }
}

/// The seed that is asked for, with its trace.
#[test]
fn one_seed() {
    let Some(seed) = number("DRYSTONE_SIM_SEED") else { return };
    let plan = Plan::of(seed);
    println!("{}", report(&plan, &run(&plan, true)));
    check(seed);
}

macro_rules! chunks {
    ($($name:ident $at:literal,)*) => {
        $(#[test]
        fn $name() {
            chunk($at);
        })*
    };
}

chunks! {
    seeds_0 0, seeds_1 1, seeds_2 2, seeds_3 3, seeds_4 4, seeds_5 5, seeds_6 6, seeds_7 7,
}
