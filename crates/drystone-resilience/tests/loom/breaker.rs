//! The breaker's state and its counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use loom::thread;
use tokio::time::Instant;

use self::config::{BreakerConfig, Window};
use self::gate::Breaker;
use self::report::{Change, Counts, State};
use self::window::{Counting, Ended};
use crate::{explore, explore_within};

#[path = "../../src/breaker/config.rs"]
mod config;
#[path = "../../src/breaker/gate.rs"]
mod gate;
#[path = "../../src/breaker/report.rs"]
mod report;
#[path = "../../src/breaker/window.rs"]
mod window;

/// Opens at two failures in a window, resets after a second with one probe.
fn config(window: Window) -> BreakerConfig {
    let reset = Duration::from_secs(1);
    BreakerConfig {
        window,
        minimum_calls: 2,
        errors_percent: 100.0,
        reset,
        probes: 1,
        ..BreakerConfig::default()
    }
}

const WINDOWS: [Window; 2] = [Window::Time(Duration::from_secs(10)), Window::Calls(2)];

/// Two calls that fail at the same time: one of them sees both, and opens the breaker once.
#[test]
fn failures_that_meet_open_the_breaker_once() {
    let now = Instant::now();
    for window in WINDOWS {
        explore(move || {
            let breaker = Arc::new(Breaker::new(config(window)));
            let other = {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || breaker.enter(now).map(|permit| permit.failed(now)).is_ok())
            };
            let entered = breaker.enter(now).map(|permit| permit.failed(now)).is_ok();
            let entered = (entered, other.join().expect("joins"));
            assert_eq!(entered, (true, true), "a closed breaker lets calls pass");
            assert_eq!((breaker.state(now), breaker.stats().opened), (State::Open, 1), "{window:?}");
        });
    }
}

/// Both want to be the one probe of a breaker whose time is over.
#[test]
fn one_probe_at_a_time_passes_a_half_open_breaker() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    explore(move || {
        let breaker = Arc::new(opened(now, None));
        let inside = Arc::new(AtomicU32::new(0));
        let probe = {
            let (breaker, inside) = (Arc::clone(&breaker), Arc::clone(&inside));
            move || {
                let Ok(permit) = breaker.enter(later) else { return };
                if breaker.stats().state == State::HalfOpen {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two probes at a time");
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
                drop(permit);
            }
        };
        let other = thread::spawn(probe.clone());
        probe();
        other.join().expect("joins");
        assert!(breaker.enter(later).is_ok(), "a dropped probe gives its place back");
    });
}

/// A call from before the outage fails while a probe closes the breaker: it counts for nothing, whichever comes first.
#[test]
fn a_call_of_an_earlier_generation_counts_for_nothing() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    for window in WINDOWS {
        explore_within(2, move || {
            let breaker = Arc::new(Breaker::new(BreakerConfig { minimum_calls: 1, ..config(window) }));
            let early = {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || {
                    let Ok(permit) = breaker.enter(now) else { return false };
                    let before_outage = breaker.stats().opened == 0;
                    permit.failed(later);
                    before_outage
                })
            };
            if let Ok(permit) = breaker.enter(now) {
                permit.failed(now);
            }
            if let Ok(probe) = breaker.enter(later + Duration::from_secs(1)) {
                probe.succeeded(later + Duration::from_secs(1));
            }
            let before_outage = early.join().expect("joins");
            if before_outage && breaker.stats().opened > 0 && breaker.stats().state == State::Closed {
                let counts = breaker.counts(later + Duration::from_secs(1));
                assert_eq!(counts, Counts::default(), "{window:?}");
            }
        });
    }
}

/// A count of an earlier generation and one of a later meet: the later is seen, whichever comes first.
#[test]
fn a_late_count_does_not_hide_one_of_a_later_generation() {
    let now = Instant::now();
    for window in [Window::Time(Duration::from_secs(10)), Window::Calls(1)] {
        explore(move || {
            let counting = Arc::new(Counting::new(window));
            let late = {
                let counting = Arc::clone(&counting);
                thread::spawn(move || counting.record(1, now, Ended { failed: true, slow: false }))
            };
            counting.record(2, now, Ended { failed: false, slow: true });
            late.join().expect("joins");
            assert_eq!(counting.counts(2, now), Counts { calls: 1, failed: 0, slow: 1 }, "{window:?}");
        });
    }
}

/// Every change is told once, and each begins where the one before ended.
#[test]
fn changes_are_told_in_order() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    explore(move || {
        let told = Arc::new(std::sync::Mutex::new(Vec::<Change>::new()));
        let breaker = Arc::new(opened(now, Some(Arc::clone(&told))));
        let fail = {
            let breaker = Arc::clone(&breaker);
            move || {
                if let Ok(permit) = breaker.enter(later) {
                    permit.failed(later);
                }
            }
        };
        let other = thread::spawn(fail.clone());
        fail();
        other.join().expect("joins");
        let told: Vec<_> =
            told.lock().expect("is whole").iter().map(|change| (change.from, change.to)).collect();
        let opens =
            [(State::Closed, State::Open), (State::Open, State::HalfOpen), (State::HalfOpen, State::Open)];
        assert_eq!(told, opens);
    });
}

fn opened(now: Instant, told: Option<Arc<std::sync::Mutex<Vec<Change>>>>) -> Breaker {
    let mut breaker = Breaker::new(config(Window::Calls(2)));
    if let Some(told) = told {
        breaker =
            breaker.on_change(Arc::new(move |change| told.lock().expect("is whole").push(change.clone())));
    }
    for _ in 0..2 {
        breaker.enter(now).expect("is closed").failed(now);
    }
    assert_eq!(breaker.stats().state, State::Open);
    breaker
}
