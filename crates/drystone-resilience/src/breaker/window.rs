//! The calls that a closed breaker counts, over time or by number.
//!
//! Both kinds are tagged by generation, so that nothing has to be emptied when the breaker closes again, and a count that comes late from an earlier generation is
//! told apart: ticks of a later generation lie a whole window after those of an earlier one, and each slot of a ring carries the generation that wrote it.

use tokio::time::Instant;

use super::config::Window;
use super::report::Counts;
use crate::rolling::{BUCKETS, Rolling, Ticks};
use crate::sync::{AtomicU64, Ordering};

/// How a call ended.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one lies in each breaker, and a call should not follow a pointer"
)]
pub(super) enum Counting {
    Time { ticks: Ticks, calls: Rolling, failed: Rolling, slow: Rolling },
    Calls { next: AtomicU64, bad: AtomicU64, slots: Box<[AtomicU64]> },
}

impl Counting {
    pub(super) fn new(window: Window) -> Self {
        match window {
            Window::Time(length) => Self::Time {
                ticks: Ticks::new(length),
                calls: Rolling::new(),
                failed: Rolling::new(),
                slow: Rolling::new(),
            },
            Window::Calls(length) => Self::Calls {
                next: AtomicU64::new(0),
                bad: AtomicU64::new(0),
                slots: (0..length.max(1)).map(|_| AtomicU64::new(0)).collect(),
            },
        }
    }

    /// Counts a call. Of several that end badly at the same time, the last to return from here sees all of them in [`Self::counts`].
    pub(super) fn record(&self, generation: u64, now: Instant, ended: Ended) {
        match self {
            Self::Time { ticks, calls, failed, slow } => {
                let tick = tick(ticks, generation, now);
                calls.add(tick);
                if ended.slow {
                    slow.add(tick);
                }
                if ended.failed {
                    failed.add(tick);
                }
            }
            Self::Calls { next, bad, slots } => {
                let place = next.fetch_add(1, Ordering::Relaxed) % u64::try_from(slots.len()).unwrap_or(1);
                let mine = slot(generation, ended);
                // An error means that a later generation has written there.
                let _ = slots[usize::try_from(place).unwrap_or_default()].fetch_update(
                    Ordering::Release,
                    Ordering::Relaxed,
                    |theirs| (theirs >> 2 <= generation).then_some(mine),
                );
                if ended.failed || ended.slow {
                    bad.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }

    /// The calls of `generation` that are in the window.
    pub(super) fn counts(&self, generation: u64, now: Instant) -> Counts {
        match self {
            Self::Time { ticks, calls, failed, slow } => {
                let tick = tick(ticks, generation, now);
                Counts { calls: calls.sum(tick), failed: failed.sum(tick), slow: slow.sum(tick) }
            }
            Self::Calls { slots, .. } => {
                let mut counts = Counts::default();
                for slot in slots.iter().map(|slot| slot.load(Ordering::Acquire)) {
                    if slot >> 2 == generation {
                        counts.calls += 1;
                        counts.failed += slot & 1;
                        counts.slow += (slot >> 1) & 1;
                    }
                }
                counts
            }
        }
    }
}

/// The tick of a moment in a generation: more than a window after every tick of the generations before.
fn tick(ticks: &Ticks, generation: u64, now: Instant) -> u64 {
    ticks.at(now).wrapping_add(generation.wrapping_mul(BUCKETS + 1))
}

/// What a slot holds: the generation, and two bits. Generations begin with 1, so zero is an empty slot.
fn slot(generation: u64, ended: Ended) -> u64 {
    (generation << 2) | (u64::from(ended.slow) << 1) | u64::from(ended.failed)
}
