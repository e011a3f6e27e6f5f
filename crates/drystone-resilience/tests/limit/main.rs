//! The adaptive limit on callees of many kinds, in simulated time.

mod system;

use std::time::Duration;

use drystone_resilience::{AdaptiveLimit, LimitConfig};
use proptest::prelude::*;
use system::{Spread, System, Work, run};
use tokio::time::Instant;

/// A callee with so many workers, each taking so many milliseconds, offered twice what it can do.
fn workers(seed: u64, count: usize, ms: f64, spread: Spread) -> System {
    System::new(seed, Work::Workers { count, seconds: ms / 1e3, spread }, 2.0 * count as f64 / ms * 1e3)
}

/// The limit comes to between 1.1 and 2.6 times the workers, and little work is lost while it is looked for.
fn finds(count: usize, ms: f64, spread: Spread, seed: u64) {
    let seen = run(&workers(seed, count, ms, spread), 24);
    let (limit, workers) = (seen.limit(16..24), count as f64);
    let done = seen.rate(2..24) / (workers / ms * 1e3);
    let what = format!(
        "{count} workers of {ms} ms, {spread:?}, seed {seed}: limit {limit:.1}, {done:.2} of the capacity"
    );
    // With few workers a step up or down is half the limit, and never fewer than two are let.
    let (lowest, highest) = (1.1 * workers, 2.6 * workers + 2.0);
    assert!(lowest <= limit && limit <= highest, "{what}");
    assert!(done > 0.9, "{what}");
}

#[test]
fn it_finds_about_twice_the_workers_of_steady_callees() {
    for (count, ms) in [(1, 3.0), (2, 5.0), (4, 8.0), (8, 15.0), (16, 30.0), (32, 50.0), (64, 100.0)] {
        finds(count, ms, Spread::None, 7);
    }
}

#[test]
fn it_finds_about_twice_the_workers_of_callees_that_vary() {
    for (count, ms) in [(4, 4.0), (8, 8.0), (16, 16.0), (32, 32.0), (64, 64.0)] {
        finds(count, ms, Spread::Exponential, 1);
    }
}

#[test]
fn it_rises_from_its_minimum_to_what_the_callee_can_do() {
    for min in [1, 16] {
        let mut system = workers(3, 64, 25.0, Spread::None);
        system.config = LimitConfig { min, initial: min, max: 4096 };
        let seen = run(&system, 20);
        let limit = seen.limit(14..20);
        assert!((70.0..170.0).contains(&limit), "64 workers, from {min}: {limit:.1} after 14 s");
    }
}

#[test]
fn a_process_that_begins_its_life_under_five_times_what_it_can_do_is_soon_at_its_limit() {
    for (count, ms, initial) in [(1, 3.0, 64), (4, 5.0, 64), (4, 5.0, 256)] {
        let mut system = workers(11, count, ms, Spread::None);
        system.offered *= 2.5;
        system.config.initial = initial;
        let seen = run(&system, 8);
        let (limit, done) = (seen.limit(4..8), seen.rate(0..8) / (count as f64 / ms * 1e3));
        let what = format!(
            "{count} workers of {ms} ms, from {initial}: limit {limit:.1}, {done:.2} of the capacity"
        );
        assert!(limit <= 2.6 * count as f64 + 2.0 && done > 0.9, "{what}");
    }
}

#[test]
fn the_same_holds_where_all_share_a_processor_and_even_the_first_call_is_slow() {
    let mut system = System::new(19, Work::Shared { seconds: 1e-3 }, 5e3);
    system.config = LimitConfig::default();
    let seen = run(&system, 8);
    let (limit, done) = (seen.limit(3..8), seen.rate(0..8) / 1e3);
    assert!(limit <= 4.6 && done > 0.9, "limit {limit:.1}, {done:.2} of the capacity: {:?}", seen.limits);
}

#[test]
fn calls_that_do_not_wait_for_each_other_are_let_in_fast() {
    let mut system = workers(13, 1500, 100.0, Spread::None);
    system.offered = 12_000.0;
    let seen = run(&system, 4);
    assert!(seen.limit(1..4) >= 1200.0, "{:?}", seen.limits);
    assert!(seen.rate(2..4) > 11_000.0, "{:.0} of 12,000 a second", seen.rate(2..4));
}

#[test]
fn a_guess_from_a_call_that_had_nothing_to_do_costs_little() {
    let mut system = workers(17, 200, 50.0, Spread::Tenth);
    system.config.initial = 256;
    let seen = run(&system, 10);
    let slowest = seen.ended[5..].iter().copied().min().unwrap_or_default();
    let usual = seen.rate(5..10) / 10.0;
    assert!(
        f64::from(slowest) > 0.4 * usual,
        "{slowest} in one tenth of a second, {usual:.0} in others: {:?}",
        seen.ended
    );
}

#[test]
fn it_does_not_choke_calls_that_share_a_commit() {
    for initial in [16, 256] {
        let (fixed, each) = (2e-3, 1e-4);
        let mut system = System::new(5, Work::Commit { fixed, each }, 1.5 / each);
        system.config.initial = initial;
        let seen = run(&system, 20);
        // A limit made from the latency of a call alone would let 10 at once stay 10: a quarter of what it can do.
        let (done, limit) = (seen.rate(12..20) * each, seen.limit(12..20));
        let what = format!("from {initial}: limit {limit:.0}, {done:.2} of the highest rate");
        assert!(done > 0.7, "{what}");
        assert!(limit < 400.0, "{what}: past the knee there is nothing to gain");
    }
}

#[test]
fn a_callee_that_hangs_for_two_seconds_is_served_in_full_again_within_two_more() {
    for seed in [1, 2, 3] {
        let mut system = workers(seed, 8, 10.0, Spread::Exponential);
        system.hangs = 15.0..17.0;
        let seen = run(&system, 26);
        let (before, hung, after) = (seen.rate(10..15), seen.rate(15..17), seen.rate(19..26));
        let limits = (seen.limit(10..15), seen.limit(19..26));
        let what = format!(
            "seed {seed}: {before:.0} a second, {hung:.0} while it hung, {after:.0} then; limits {limits:.1?}"
        );
        assert!(hung < 0.05 * before && after > 0.9 * before, "{what}");
        assert!(limits.1 < 1.6 * limits.0 && limits.1 > 0.6 * limits.0, "{what}");
    }
}

#[test]
fn a_callee_that_became_slower_for_good_keeps_its_limit() {
    let mut system = workers(4, 8, 5.0, Spread::None);
    system.slower = |now| if now > 12.0 { 6.0 } else { 1.0 };
    let seen = run(&system, 30);
    let (before, after) = (seen.limit(8..12), seen.limit(22..30));
    let done = seen.rate(22..30) / (8.0 / 0.03);
    assert!(
        (9.0..23.0).contains(&before) && (9.0..23.0).contains(&after),
        "limits {before:.1} and {after:.1}"
    );
    assert!(done > 0.9, "{done:.2} of what the slower one can do");
}

#[test]
fn a_load_that_does_not_reach_the_limit_does_not_move_it() {
    let mut system = workers(9, 8, 10.0, Spread::Exponential);
    system.offered = 400.0;
    let seen = run(&system, 20);
    let initial = LimitConfig::default().initial;
    assert!(seen.limits.iter().all(|limit| *limit == initial), "{:?}", seen.limits);
}

#[test]
fn a_fixed_limit_stays_and_a_change_of_bounds_keeps_what_was_learned() {
    let mut system = workers(9, 8, 10.0, Spread::None);
    system.config = LimitConfig::fixed(40);
    assert!(run(&system, 10).limits.iter().all(|limit| *limit == 40));

    let limit = AdaptiveLimit::new(LimitConfig { min: 4, initial: 50, max: 100 });
    let mut shown = Vec::new();
    for (min, initial, max) in [(4, 80, 100), (60, 60, 100), (1, 5, 5), (5, 5, 5), (4, 30, 100), (9, 1, 3)] {
        limit.configure(LimitConfig { min, initial, max });
        shown.push(limit.limit());
    }
    assert_eq!(shown, [50, 60, 5, 5, 30, 9], "kept, raised, cut, fixed, begun anew, the lower bound wins");
}

#[test]
fn a_probe_that_waits_for_calls_that_do_not_end_is_given_up() {
    let origin = Instant::now();
    let limit = AdaptiveLimit::new(LimitConfig { min: 1, initial: 64, max: 64 });
    // Forty calls hang; the others end every millisecond.
    let hung: Vec<_> = (0..40).map(|_| limit.enter(origin).expect("there is room")).collect();
    let mut refused_in_a_row = (0, 0);
    for ms in 0..10_000_u64 {
        let now = origin + Duration::from_millis(ms);
        let slots: Vec<_> = std::iter::from_fn(|| limit.enter(now)).collect();
        let row = if slots.is_empty() { refused_in_a_row.0 + 1 } else { 0 };
        refused_in_a_row = (row, row.max(refused_in_a_row.1));
        for slot in slots {
            slot.done(Duration::from_millis(2), now);
        }
    }
    assert!(refused_in_a_row.1 < 300, "nobody was let for {} ms", refused_in_a_row.1);
    assert_eq!((hung.len(), limit.in_flight()), (40, 40));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever calls do, and however the bounds change.
    #[test]
    fn it_stays_within_its_bounds_and_lets_no_more_than_its_limit(
        min in 1..20_u32, more in 0..200_u32, steps in proptest::collection::vec((0..4_u8, 1..400_u64), 1..300),
    ) {
        let limit = AdaptiveLimit::new(LimitConfig { min, initial: min + more / 2, max: min + more });
        let mut now = Instant::now();
        let mut slots = Vec::new();
        for (what, amount) in steps {
            match what {
                0 => slots.extend(std::iter::from_fn(|| limit.enter(now).map(|slot| (now, slot))).take(amount as usize)),
                1 => now += Duration::from_millis(amount),
                2 => drop(slots.pop()),
                _ => for (since, slot) in slots.drain(..slots.len().min(amount as usize)) {
                    slot.done(now - since, now);
                },
            }
            prop_assert!((min..=min + more).contains(&limit.limit()), "{} outside {min}..={}", limit.limit(), min + more);
            prop_assert_eq!(limit.in_flight() as usize, slots.len());
            prop_assert!(slots.len() <= (min + more) as usize);
        }
    }
}
