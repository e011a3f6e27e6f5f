//! Counts over a rolling window of time, in atomics: a count is one compare-and-swap, and nobody waits for anybody.
//!
//! The window is cut into [`BUCKETS`] ticks, and each tick has one word: the number of the tick in the upper half, the count in the lower. Who counts in a tick
//! for which the word is too old replaces it, so nobody has to sweep. A sum takes the words of the last ten ticks: the current tick, which is not over yet,
//! and the nine before, so it covers between nine and ten tenths of the window.

use std::time::Duration;

use tokio::time::Instant;

use crate::sync::{AtomicU64, Ordering};

/// How many ticks a window has.
pub(crate) const BUCKETS: u64 = 10;

/// A tick at most this far ahead of another is newer; farther, it is one that came round again: numbers of ticks have 32 bits.
const NEWER: u32 = 1 << 16;

/// Cuts time into ticks.
#[derive(Debug)]
pub(crate) struct Ticks {
    origin: std::sync::OnceLock<Instant>,
    width: u64,
}

impl Ticks {
    /// Ticks of a tenth of `window`; time begins with the first moment they are told.
    pub(crate) fn new(window: Duration) -> Self {
        Self { origin: std::sync::OnceLock::new(), width: (nanos(window) / BUCKETS).max(1) }
    }

    /// The number of the tick in which `now` lies.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        let origin = self.origin.get_or_init(|| now);
        nanos(now.saturating_duration_since(*origin)) / self.width
    }
}

/// One count per tick, for the last ten.
#[derive(Debug)]
pub(crate) struct Rolling([AtomicU64; BUCKETS as usize]);

impl Rolling {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Counts one in `tick`, unless a tick that lies ten or more later has been counted in.
    pub(crate) fn add(&self, tick: u64) {
        let cell = &self.0[index(tick)];
        let mine = number(tick);
        let mut seen = cell.load(Ordering::Relaxed);
        loop {
            let (theirs, count) = parts(seen);
            let next = match theirs {
                same if same == mine => word(mine, count.saturating_add(1)),
                newer if newer.wrapping_sub(mine) < NEWER => return,
                _ => word(mine, 1),
            };
            // Acquire and release: who sees this count also sees what its thread counted elsewhere before.
            match cell.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// The counts of the ten ticks that end with `tick`.
    pub(crate) fn sum(&self, tick: u64) -> u64 {
        let now = number(tick);
        self.0
            .iter()
            .map(|cell| parts(cell.load(Ordering::Acquire)))
            .filter(|(theirs, _)| u64::from(now.wrapping_sub(*theirs)) < BUCKETS)
            .map(|(_, count)| u64::from(count))
            .sum()
    }
}

/// The length in nanoseconds, or as many as fit.
pub(crate) fn nanos(length: Duration) -> u64 {
    length.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(length.subsec_nanos()))
}

fn index(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS).unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "the number of a tick comes round; see NEWER")]
fn number(tick: u64) -> u32 {
    tick as u32
}

fn word(tick: u32, count: u32) -> u64 {
    (u64::from(tick) << 32) | u64::from(count)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
fn parts(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
