//! The state machine of a breaker.
//!
//! One word says the state and its generation; a call on a closed breaker reads it twice and counts itself. Changes of state, and the few calls of a half-open
//! breaker, go through a short lock.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::config::{BreakerConfig, Window};
use super::report::{BreakerStats, Change, Counts, Open, State};
use super::window::{Counting, Ended};
use crate::rolling::nanos;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

/// A circuit breaker; shared by reference.
///
/// The pattern is Nygard's (*Release It!*, 2007), the share of failures over a rolling window with a minimum of calls is Hystrix's ("How it works", 2012), slow calls
/// and several probes are counted as resilience4j does. Only a failed or slow call opens it, never a success. A call that began before a change of state counts for nothing
/// after it.
pub struct Breaker {
    config: BreakerConfig,
    counting: Counting,
    /// The generation, and the state in the two lowest bits. Written under the lock.
    word: AtomicU64,
    /// When an open breaker resets, in nanoseconds since `origin`. Written before the word that says open.
    until: AtomicU64,
    origin: std::sync::OnceLock<Instant>,
    probing: Mutex<Probing>,
    opened: AtomicU64,
    refused: AtomicU64,
    listener: Option<Listener>,
}

type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

/// The probes of the current half-open state.
#[derive(Default)]
struct Probing {
    in_flight: u32,
    succeeded: u32,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(mut config: BreakerConfig) -> Self {
        config.minimum_calls = match config.window {
            Window::Calls(length) => config.minimum_calls.min(length),
            Window::Time(_) => config.minimum_calls,
        }
        .max(1);
        config.probes = config.probes.max(1);
        Self {
            counting: Counting::new(config.window),
            config,
            word: AtomicU64::new(word(1, CLOSED)),
            until: AtomicU64::new(0),
            origin: std::sync::OnceLock::new(),
            probing: Mutex::new(Probing::default()),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            listener: None,
        }
    }

    /// Tells every change of state to `listener`, in order and one at a time. It runs while the breaker is held: it may ask for state and figures, but neither
    /// enter this breaker nor end a call of it, and should be short.
    #[must_use]
    pub fn on_change(mut self, listener: Arc<dyn Fn(&Change) + Send + Sync>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Lets a call pass, or refuses it.
    ///
    /// # Errors
    ///
    /// [`Open`] while the breaker is open, and while it is half-open with all probes under way.
    #[inline]
    pub fn enter(&self, now: Instant) -> Result<Permit<'_>, Open> {
        let word = self.word.load(Ordering::Acquire);
        if word & 3 == CLOSED {
            return Ok(Permit { breaker: self, word, started: now });
        }
        self.enter_not_closed(word, now)
    }

    /// The state at `now`: an open breaker whose reset time is over will let the next call through, and is half-open.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        match state(self.word.load(Ordering::Acquire)) {
            State::Open if self.remaining(now).is_zero() => State::HalfOpen,
            state => state,
        }
    }

    /// The calls in the window at `now`, while the breaker is closed; zero otherwise.
    #[must_use]
    pub fn counts(&self, now: Instant) -> Counts {
        let word = self.word.load(Ordering::Acquire);
        if word & 3 == CLOSED { self.counting.counts(word >> 2, now) } else { Counts::default() }
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> BreakerStats {
        BreakerStats {
            state: state(self.word.load(Ordering::Acquire)),
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// The settings, as they are followed: numbers out of their range are brought into it.
    #[must_use]
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }

    #[cold]
    fn enter_not_closed(&self, word: u64, now: Instant) -> Result<Permit<'_>, Open> {
        if word & 3 == OPEN {
            let remaining = self.remaining(now);
            if !remaining.is_zero() {
                return Err(self.refuse(remaining));
            }
        }
        let mut probing = self.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        // Another may have changed the state since: to half-open, to closed, or to open for another while.
        if word & 3 == OPEN {
            let remaining = self.remaining(now);
            if !remaining.is_zero() {
                return Err(self.refuse(remaining));
            }
            word = self.change(&mut probing, HALF_OPEN, now, Counts::default());
        }
        if word & 3 == HALF_OPEN {
            if probing.in_flight == self.config.probes {
                return Err(self.refuse(self.config.reset / 10));
            }
            probing.in_flight += 1;
        }
        Ok(Permit { breaker: self, word, started: now })
    }

    fn refuse(&self, retry_in: Duration) -> Open {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Open { retry_in }
    }

    /// Counts the end of a call on a closed breaker, and opens it if that was too much.
    #[inline]
    fn ended_closed(&self, word: u64, now: Instant, ended: Ended) {
        self.counting.record(word >> 2, now, ended);
        if ended.failed || ended.slow {
            self.open_if_too_many(word, now);
        }
    }

    #[cold]
    fn open_if_too_many(&self, word: u64, now: Instant) {
        let counts = self.counting.counts(word >> 2, now);
        if self.too_many(counts) {
            let mut probing = self.lock();
            if self.word.load(Ordering::Relaxed) == word {
                self.change(&mut probing, OPEN, now, counts);
            }
        }
    }

    fn too_many(&self, counts: Counts) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share is as good with 52 bits")]
        let reaches =
            |part: u64, percent: f64| part > 0 && part as f64 * 100.0 >= percent * counts.calls as f64;
        counts.calls >= u64::from(self.config.minimum_calls)
            && (reaches(counts.failed, self.config.errors_percent)
                || self.config.slow.is_some_and(|slow| reaches(counts.slow, slow.percent)))
    }

    /// Takes the result of a probe; `None` if it has none.
    fn ended_probe(&self, word: u64, now: Instant, well: Option<bool>) {
        let mut probing = self.lock();
        if self.word.load(Ordering::Relaxed) != word {
            return;
        }
        probing.in_flight -= 1;
        match well {
            None => {}
            Some(false) => {
                self.change(&mut probing, OPEN, now, Counts::default());
            }
            Some(true) => {
                probing.succeeded += 1;
                if probing.succeeded == self.config.probes {
                    self.change(&mut probing, CLOSED, now, Counts::default());
                }
            }
        }
    }

    /// Goes to another state, which begins a generation; the new word.
    fn change(&self, probing: &mut MutexGuard<'_, Probing>, to: u64, now: Instant, counts: Counts) -> u64 {
        let from = self.word.load(Ordering::Relaxed);
        if to == OPEN {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.until
                .store(self.since_origin(now).saturating_add(nanos(self.config.reset)), Ordering::Relaxed);
        }
        **probing = Probing::default();
        let word = word((from >> 2) + 1, to);
        self.word.store(word, Ordering::Release);
        if let Some(listener) = &self.listener {
            listener(&Change { from: state(from), to: state(word), at: now, counts });
        }
        word
    }

    /// How long an open breaker stays so.
    fn remaining(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.until.load(Ordering::Relaxed).saturating_sub(self.since_origin(now)))
    }

    fn since_origin(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(*self.origin.get_or_init(|| now)))
    }

    fn lock(&self) -> MutexGuard<'_, Probing> {
        // Only a listener can panic while the lock is held, and it comes last.
        self.probing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

fn word(generation: u64, state: u64) -> u64 {
    (generation << 2) | state
}

fn state(word: u64) -> State {
    match word & 3 {
        CLOSED => State::Closed,
        OPEN => State::Open,
        _ => State::HalfOpen,
    }
}

/// A call that passed. Say how it ended; dropped, it counts for nothing and gives its place as a probe back.
#[must_use = "a permit that is dropped says nothing about the call"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    /// The state in which it was taken; zero once it has ended.
    word: u64,
    started: Instant,
}

impl Permit<'_> {
    /// The callee answered.
    #[inline]
    pub fn succeeded(self, now: Instant) {
        self.ended(now, false);
    }

    /// The callee failed.
    #[inline]
    pub fn failed(self, now: Instant) {
        self.ended(now, true);
    }

    #[inline]
    fn ended(mut self, now: Instant, failed: bool) {
        let (breaker, word) = (self.breaker, std::mem::take(&mut self.word));
        let config = &breaker.config;
        let longer = |than: Duration| now.saturating_duration_since(self.started) > than;
        let ended = Ended {
            failed: failed || config.timeout.is_some_and(longer),
            slow: config.slow.is_some_and(|slow| longer(slow.after)),
        };
        if word & 3 == HALF_OPEN {
            // A slow probe has not shown that a breaker which opened for slowness may close.
            breaker.ended_probe(word, now, Some(!ended.failed && !ended.slow));
        } else if breaker.word.load(Ordering::Relaxed) == word {
            breaker.ended_closed(word, now, ended);
        }
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.word & 3 == HALF_OPEN {
            self.breaker.ended_probe(self.word, self.started, None);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("state", &state(self.word)).field("started", &self.started).finish()
    }
}
