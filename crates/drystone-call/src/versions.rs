//! A value that every call reads and a person changes now and then.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Segments of changed values, each twice as long as the one before: room for 65,535 changes.
const SEGMENTS: usize = 16;

/// A value with those that it had before.
///
/// Who reads takes a plain reference: nothing is counted, no cache line is written, and it may be held for as long as a call lasts. The price is that what was
/// replaced is kept as long as the whole, which is right for settings, and for nothing that changes by itself: about a kilobyte a change, if what it has collected is let go.
pub(crate) struct Versions<T> {
    first: T,
    changed: [OnceLock<Box<[OnceLock<T>]>>; SEGMENTS],
    /// How often it was changed.
    latest: AtomicUsize,
    changing: Mutex<()>,
}

impl<T> Versions<T> {
    pub(crate) fn new(first: T) -> Self {
        let changed = [const { OnceLock::new() }; SEGMENTS];
        Self { first, changed, latest: AtomicUsize::new(0), changing: Mutex::new(()) }
    }

    /// The value as it is now.
    #[inline]
    pub(crate) fn latest(&self) -> &T {
        match self.latest.load(Ordering::Acquire) {
            0 => &self.first,
            number => self.place(number).and_then(OnceLock::get).unwrap_or(&self.first),
        }
    }

    /// Replaces the value by what `change` makes of it; `None` leaves it. False if there was no room for one more.
    pub(crate) fn change(&self, change: impl FnOnce(&T) -> Option<T>) -> bool {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(changed) = change(self.latest()) else { return true };
        let number = self.latest.load(Ordering::Relaxed) + 1;
        let is_placed = self.place(number).is_some_and(|place| place.set(changed).is_ok());
        if is_placed {
            self.latest.store(number, Ordering::Release);
        }
        is_placed
    }

    /// Where the value of this number is: from 2^n on they are in segment n.
    fn place(&self, number: usize) -> Option<&OnceLock<T>> {
        let segment = number.checked_ilog2()?;
        let length = 1 << segment;
        let segment = self.changed.get(usize::try_from(segment).ok()?)?;
        segment.get_or_init(|| (0..length).map(|_| OnceLock::new()).collect()).get(number - length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_latest_is_the_last_change_and_older_ones_stay_where_they_are() {
        let versions = Versions::new(0_usize);
        let first = versions.latest();
        for number in 1..=1000 {
            assert!(versions.change(|latest| Some(latest + 1)));
            assert_eq!(*versions.latest(), number);
        }
        assert!(versions.change(|_| None), "nothing to change");
        assert_eq!((*first, *versions.latest()), (0, 1000));
    }

    #[test]
    fn when_there_is_no_more_room_the_value_stays() {
        let versions = Versions::new(0_u32);
        let changes = (0..70_000).filter(|_| versions.change(|latest| Some(latest + 1))).count();
        assert_eq!((changes, *versions.latest()), (65_535, 65_535));
    }

    #[test]
    fn changes_from_many_threads_are_all_made() {
        let versions = Arc::new(Versions::new(0_u32));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let versions = Arc::clone(&versions);
                std::thread::spawn(move || {
                    for _ in 0..500 {
                        let before = *versions.latest();
                        assert!(versions.change(|latest| Some(latest + 1)));
                        assert!(*versions.latest() > before);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*versions.latest(), 2000);
    }
}
