//! The breaker against a model that remembers every call, and what each setting does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What can happen to a breaker.
#[derive(Clone, Debug)]
enum Step {
    Enter,
    /// The permit with this number, counted from the oldest and round again, ends.
    End(usize, End),
    Wait(u64),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Well,
    Badly,
    Dropped,
}

/// A breaker as one would write it without a thought of speed.
struct Model {
    config: BreakerConfig,
    state: State,
    generation: u32,
    /// Calls that ended in this generation: when, failed, slow.
    ended: Vec<(Duration, bool, bool)>,
    until: Duration,
    probes: u32,
    succeeded: u32,
    opened: u64,
    refused: u64,
}

/// A permit of the model: its generation, and when it was taken.
type ModelPermit = (u32, Duration);

impl Model {
    fn enter(&mut self, now: Duration) -> Result<ModelPermit, Duration> {
        if self.state == State::Open {
            if now < self.until {
                self.refused += 1;
                return Err(self.until - now);
            }
            self.go(State::HalfOpen);
        }
        if self.state == State::HalfOpen {
            if self.probes == self.config.probes {
                self.refused += 1;
                return Err(self.config.reset / 10);
            }
            self.probes += 1;
        }
        Ok((self.generation, now))
    }

    fn end(&mut self, (generation, began): ModelPermit, now: Duration, end: End) {
        if generation != self.generation {
            return;
        }
        let failed = matches!(end, End::Badly) || self.config.timeout.is_some_and(|most| now - began > most);
        let slow = self.config.slow.is_some_and(|slow| now - began > slow.after);
        match (self.state, end) {
            (State::Closed, End::Dropped) | (State::Open, _) => {}
            (State::HalfOpen, End::Dropped) => self.probes -= 1,
            (State::Closed, _) => {
                self.ended.push((now, failed, slow));
                if (failed || slow) && self.too_many(now) {
                    self.open(now);
                }
            }
            (State::HalfOpen, _) if failed || slow => self.open(now),
            (State::HalfOpen, _) => {
                self.probes -= 1;
                self.succeeded += 1;
                if self.succeeded == self.config.probes {
                    self.go(State::Closed);
                }
            }
        }
    }

    fn counts(&self, now: Duration) -> Counts {
        if self.state != State::Closed {
            return Counts::default();
        }
        let inside: Vec<_> = match self.config.window {
            Window::Calls(most) => self.ended.iter().rev().take(most as usize).collect(),
            Window::Time(length) => {
                let tick = |at: Duration| at.as_nanos() / (length / 10).as_nanos();
                self.ended.iter().filter(|(at, ..)| tick(*at) + 10 > tick(now)).collect()
            }
        };
        let count =
            |of: fn(&(Duration, bool, bool)) -> bool| inside.iter().filter(|call| of(call)).count() as u64;
        Counts { calls: inside.len() as u64, failed: count(|call| call.1), slow: count(|call| call.2) }
    }

    fn too_many(&self, now: Duration) -> bool {
        let counts = self.counts(now);
        let reaches =
            |part: u64, percent: f64| part > 0 && part as f64 / counts.calls as f64 >= percent / 100.0;
        counts.calls >= u64::from(self.config.minimum_calls)
            && (reaches(counts.failed, self.config.errors_percent)
                || self.config.slow.is_some_and(|slow| reaches(counts.slow, slow.percent)))
    }

    fn open(&mut self, now: Duration) {
        self.opened += 1;
        self.until = now + self.config.reset;
        self.go(State::Open);
    }

    fn go(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.ended.clear();
        (self.probes, self.succeeded) = (0, 0);
    }
}

/// Plays `steps` to both, and compares everything that can be seen.
fn play(config: BreakerConfig, steps: &[Step]) -> Result<u64, TestCaseError> {
    let start = Instant::now();
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let breaker = Breaker::new(config.clone()).on_change(Arc::new(move |change: &Change| {
        telling.lock().expect("is whole").push((change.from, change.to))
    }));
    let mut model = Model {
        config: breaker.config().clone(),
        state: State::Closed,
        generation: 0,
        ended: Vec::new(),
        until: Duration::ZERO,
        probes: 0,
        succeeded: 0,
        opened: 0,
        refused: 0,
    };
    let (mut time, mut permits, mut changes) = (Duration::ZERO, Vec::new(), Vec::new());
    // Ticks are counted from the first moment that the breaker is told.
    prop_assert_eq!(breaker.counts(start), Counts::default());
    for step in steps {
        let now = start + time;
        let before = model.state;
        match step {
            Step::Wait(length) => time += millis(*length),
            Step::Enter => match (breaker.enter(now), model.enter(time)) {
                (Ok(permit), Ok(modelled)) => permits.push((permit, modelled)),
                (Err(open), Err(retry_in)) => prop_assert_eq!(open.retry_in, retry_in),
                (real, modelled) => prop_assert!(false, "{real:?}, but the model says {modelled:?}"),
            },
            Step::End(_, _) if permits.is_empty() => {}
            Step::End(which, end) => {
                let (permit, modelled) = permits.remove(which % permits.len());
                match end {
                    End::Well => permit.succeeded(now),
                    End::Badly => permit.failed(now),
                    End::Dropped => drop(permit),
                }
                model.end(modelled, time, *end);
            }
        }
        if before != model.state {
            changes.push((before, model.state));
        }
        let expected = BreakerStats { state: model.state, opened: model.opened, refused: model.refused };
        prop_assert_eq!(breaker.stats(), expected);
        prop_assert_eq!(breaker.counts(start + time), model.counts(time));
        prop_assert_eq!(&*told.lock().expect("is whole"), &changes);
    }
    Ok(model.opened)
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    let windows = prop_oneof![
        (1..12_u32).prop_map(Window::Calls),
        (1..30_u64).prop_map(|w| Window::Time(millis(w * 10)))
    ];
    let limits = prop_oneof![Just(None), (1..60_u64).prop_map(|limit| Some(millis(limit)))];
    let slow = prop_oneof![
        Just(None),
        (1..60_u64, 1..101_u32)
            .prop_map(|(after, percent)| Some(SlowCalls { after: millis(after), percent: percent.into() })),
    ];
    (windows, 1..6_u32, 1..101_u32, limits, slow, 1..100_u64, 1..4_u32).prop_map(
        |(window, minimum_calls, percent, timeout, slow, reset, probes)| BreakerConfig {
            window,
            minimum_calls,
            errors_percent: percent.into(),
            timeout,
            slow,
            reset: millis(reset),
            probes,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ends = prop_oneof![3 => Just(End::Well), 3 => Just(End::Badly), 1 => Just(End::Dropped)];
    let step = prop_oneof![
        4 => Just(Step::Enter),
        4 => (0..8_usize, ends).prop_map(|(which, end)| Step::End(which, end)),
        2 => (0..40_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..250)
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(config in configs(), steps in steps()) {
        play(config, &steps)?;
    }

    /// Every tenth call fails: at most 3 of 21 are in any window.
    #[test]
    fn a_share_below_the_limit_never_opens(calls in 20..200_u32, step in 0..100_u64) {
        let breaker = Breaker::new(BreakerConfig { errors_percent: 15.0, ..BreakerConfig::default() });
        let mut now = Instant::now();
        for call in 0..calls {
            let permit = breaker.enter(now).expect("stays closed");
            if call % 10 == 9 { permit.failed(now) } else { permit.succeeded(now) }
            now += millis(step);
        }
        prop_assert_eq!(breaker.state(now), State::Closed);
    }
}

/// Opens a breaker with `count` failures.
fn fail(breaker: &Breaker, count: u32, now: Instant) {
    for _ in 0..count {
        breaker.enter(now).expect("is closed").failed(now);
    }
}

#[test]
fn it_opens_at_its_share_of_failures_and_says_when_to_come_again() {
    let breaker = Breaker::new(BreakerConfig::default());
    let now = Instant::now();
    for _ in 0..10 {
        breaker.enter(now).expect("is closed").succeeded(now);
    }
    fail(&breaker, 9, now);
    assert_eq!(breaker.state(now), State::Closed, "19 calls are too few to judge by");
    fail(&breaker, 1, now);
    assert_eq!(breaker.stats(), BreakerStats { state: State::Open, opened: 1, refused: 0 });
    let open = breaker.enter(now + SECOND).map(drop).expect_err("is open");
    assert_eq!(open.retry_in, 4 * SECOND);
    assert_eq!(open.to_string(), "the circuit breaker is open; a call may pass in 4s");
    assert_eq!(breaker.state(now + 5 * SECOND), State::HalfOpen);
}

#[test]
fn a_success_never_opens_it() {
    let breaker = Breaker::new(BreakerConfig::default());
    let now = Instant::now();
    fail(&breaker, 19, now);
    breaker.enter(now).expect("is closed").succeeded(now);
    assert_eq!(breaker.state(now), State::Closed);
    fail(&breaker, 1, now);
    assert_eq!(breaker.state(now), State::Open);
}

#[test]
fn what_left_the_window_no_longer_counts() {
    let breaker = Breaker::new(BreakerConfig::default());
    let now = Instant::now();
    fail(&breaker, 19, now);
    let later = now + 10 * SECOND;
    fail(&breaker, 1, later);
    assert_eq!(breaker.counts(later), Counts { calls: 1, failed: 1, slow: 0 });
    assert_eq!(breaker.state(later), State::Closed);
}

#[test]
fn slow_calls_open_it_and_slow_probes_do_not_close_it() {
    let slow = SlowCalls { after: SECOND, percent: 80.0 };
    let config = BreakerConfig { slow: Some(slow), minimum_calls: 5, probes: 1, ..BreakerConfig::default() };
    let breaker = Breaker::new(config);
    let now = Instant::now();
    breaker.enter(now).expect("is closed").succeeded(now + SECOND);
    for _ in 0..4 {
        assert_eq!(breaker.state(now), State::Closed);
        breaker.enter(now).expect("is closed").succeeded(now + 2 * SECOND);
    }
    let reset = now + 7 * SECOND;
    assert_eq!(breaker.state(reset), State::HalfOpen);
    breaker.enter(reset).expect("takes a probe").succeeded(reset + 2 * SECOND);
    assert_eq!(breaker.state(reset + 2 * SECOND), State::Open, "still slow");
    let again = reset + 7 * SECOND;
    breaker.enter(again).expect("takes a probe").succeeded(again + SECOND);
    assert_eq!(breaker.state(again + SECOND), State::Closed);
}

#[test]
fn the_trio_counts_a_call_that_took_too_long_as_failed() {
    let breaker = Breaker::new(BreakerConfig::trio(3 * SECOND, 50.0, 30 * SECOND));
    let now = Instant::now();
    for _ in 0..20 {
        breaker.enter(now).expect("is closed").succeeded(now + 4 * SECOND);
    }
    let open = breaker.enter(now + 5 * SECOND).map(drop).expect_err("is open");
    assert_eq!(open.retry_in, 29 * SECOND);
}

#[test]
fn a_failure_from_before_the_outage_does_not_open_a_breaker_that_closed_since() {
    let config = BreakerConfig { minimum_calls: 1, probes: 1, ..BreakerConfig::default() };
    let breaker = Breaker::new(config);
    let now = Instant::now();
    let (late, dropped) = (breaker.enter(now).expect("is closed"), breaker.enter(now).expect("is closed"));
    fail(&breaker, 1, now);
    let reset = now + 5 * SECOND;
    let probe = breaker.enter(reset).expect("takes a probe");
    drop(dropped);
    assert!(breaker.enter(reset).is_err(), "an old permit is no probe's place");
    probe.succeeded(reset);
    late.failed(reset);
    assert_eq!(breaker.counts(reset), Counts::default());
    assert_eq!(breaker.state(reset), State::Closed);
}

#[test]
fn settings_out_of_range_are_brought_into_it() {
    let config =
        BreakerConfig { window: Window::Calls(0), minimum_calls: 9, probes: 0, ..BreakerConfig::default() };
    let breaker = Breaker::new(config);
    assert_eq!((breaker.config().minimum_calls, breaker.config().probes), (1, 1));
    let now = Instant::now();
    fail(&breaker, 1, now);
    breaker.enter(now + 5 * SECOND).expect("takes a probe").succeeded(now + 5 * SECOND);
    assert_eq!(breaker.stats(), BreakerStats { state: State::Closed, opened: 1, refused: 0 });
}
