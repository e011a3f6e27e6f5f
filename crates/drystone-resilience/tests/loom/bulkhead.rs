//! The counter of a bulkhead, under every order in which calls come and go.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use self::slots::Bulkhead;
use crate::explore;

#[path = "../../src/bulkhead/slots.rs"]
mod slots;

#[test]
fn never_more_than_may_and_all_places_come_back() {
    explore(|| {
        let shared = Arc::new((Bulkhead::new(1), AtomicU32::new(0)));
        let call = |shared: &(Bulkhead, AtomicU32)| {
            if let Some(slot) = shared.0.enter() {
                // A counter of its own kind: written without an exchange, it is right only if the places order their holders.
                let inside = shared.1.load(Ordering::Relaxed);
                assert_eq!(inside, 0, "two are in the one place");
                shared.1.store(1, Ordering::Relaxed);
                shared.1.store(0, Ordering::Relaxed);
                drop(slot);
                return 1;
            }
            0
        };
        let theirs = shared.clone();
        let other = thread::spawn(move || call(&theirs) + call(&theirs));
        let entered = call(&shared) + other.join().expect("no panic");
        assert_eq!(entered + shared.0.refused(), 3);
        assert!(entered >= 1, "of those that meet one has the place");
        assert_eq!(shared.0.in_flight(), 0);
    });
}
