//! Chance that nobody relies on but that a rehearsal has to repeat: the ids of messages, spans and processes, and the length of pauses.
//!
//! It is a thread's, since a rehearsal runs on one thread: with its chance seeded, nothing on it differs from run to run.

use std::cell::Cell;

use uuid::Uuid;

use crate::trace;

thread_local! {
    static SEEDED: Cell<bool> = const { Cell::new(false) };
}

/// 128 bits that differ each time and in each process, unless this thread was seeded.
#[doc(hidden)]
#[must_use]
pub fn chance() -> u128 {
    if SEEDED.get() {
        return (u128::from(trace::random()) << 64) | u128::from(trace::random());
    }
    Uuid::new_v4().as_u128() ^ u128::from(trace::random())
}

/// Makes the chance of this thread repeat from now on.
#[doc(hidden)]
pub fn seed_chance_of_thread(seed: u64) {
    SEEDED.set(true);
    trace::seed_thread(seed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TraceContext;

    #[test]
    fn a_seeded_thread_repeats_and_others_do_not() {
        let drawn = |seed: Option<u64>| {
            let draw = move || {
                seed.inspect(|seed| seed_chance_of_thread(*seed));
                (chance(), TraceContext::root(), chance())
            };
            std::thread::spawn(draw).join().unwrap()
        };
        assert_eq!(drawn(Some(7)), drawn(Some(7)));
        assert_ne!(drawn(Some(7)), drawn(Some(8)));
        assert_ne!(drawn(None), drawn(None));
    }
}
