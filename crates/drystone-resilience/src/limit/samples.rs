//! Calls that ended, counted in one word: how many since the last look, and how long they took together; and the fastest of them.
//!
//! The upper 20 bits count, the lower 44 add up times in units of 1,024 ns, each cut at 2^24 units (17 s), so the sum never runs into the count. A million
//! calls between two looks would run over; the look comes at every eighth.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

const COUNT: u32 = 44;
const LONGEST: u64 = (1 << 24) - 1;

/// Every how many calls somebody looks.
const EVERY: u64 = 8;

/// Calls that ended.
#[derive(Debug)]
pub(crate) struct Samples {
    word: AtomicU64,
    /// The fastest of those timed, in nanoseconds.
    fastest: AtomicU64,
    /// Those taken, since the start.
    taken: AtomicU64,
}

/// Calls that ended in some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sum {
    pub(crate) calls: u32,
    /// How long they took together, in seconds.
    pub(crate) seconds: f64,
    /// How long the fastest took, in seconds; `None` if none was timed.
    pub(crate) fastest: Option<f64>,
}

impl Samples {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), fastest: AtomicU64::new(u64::MAX), taken: AtomicU64::new(0) }
    }

    /// Counts a call; whether it is an eighth one.
    pub(crate) fn add(&self, took: Duration) -> bool {
        let units = self.timed(took);
        let before = self.word.fetch_add(1 << COUNT | units, Ordering::Relaxed);
        (before >> COUNT) % EVERY == EVERY - 1
    }

    /// Counts a call and times only an eighth one, which stands for the seven before it; whether it is one. For callees that answer faster than a clock
    /// is read. Calls that end at once may both be timed, or neither, which changes nothing on average. The first one may be the only one that did not have to
    /// wait, so it is timed to know the fastest.
    pub(crate) fn add_some(&self, took: impl Fn() -> Duration) -> bool {
        let before = u64::from(self.calls());
        if before == 0 {
            self.timed(took());
        }
        let is_eighth = before % EVERY == EVERY - 1;
        let units = if is_eighth { self.timed(took()) } else { 0 };
        self.word.fetch_add(1 << COUNT | (units * EVERY), Ordering::Relaxed);
        is_eighth
    }

    /// A time in units. A new fastest one is rare, so there is seldom more to do than to look.
    fn timed(&self, took: Duration) -> u64 {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if nanos < self.fastest.load(Ordering::Relaxed) {
            self.fastest.fetch_min(nanos, Ordering::Relaxed);
        }
        (nanos >> 10).min(LONGEST)
    }

    /// How many have ended since the last [`Self::take`].
    pub(crate) fn calls(&self) -> u32 {
        calls(self.word.load(Ordering::Relaxed))
    }

    /// What has ended since the last take.
    pub(crate) fn take(&self) -> Sum {
        let word = self.word.swap(0, Ordering::Relaxed);
        self.taken.fetch_add(u64::from(calls(word)), Ordering::Relaxed);
        // 44 bits fit exactly.
        #[expect(clippy::cast_precision_loss, reason = "44 bits fit exactly")]
        let units = (word & ((1 << COUNT) - 1)) as f64;
        let fastest = self.fastest.swap(u64::MAX, Ordering::Relaxed);
        let fastest = (fastest < u64::MAX).then(|| Duration::from_nanos(fastest).as_secs_f64());
        Sum { calls: calls(word), seconds: units * 1024e-9, fastest }
    }

    /// How many have ended since the start.
    pub(crate) fn total(&self) -> u64 {
        self.taken.load(Ordering::Relaxed) + u64::from(self.calls())
    }
}

fn calls(word: u64) -> u32 {
    u32::try_from(word >> COUNT).unwrap_or_default()
}
