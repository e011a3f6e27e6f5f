//! Places at which a test stops the process, to kill it there.
//!
//! Each commit point of publishing, relaying, handling and acknowledging has one, on either side of it. With the feature `failpoints`, the process says so on
//! standard output and stands still when it comes by a place for the n-th time: since it began, if `DRYSTONE_FAILPOINT=<name>:<n>` says so, or since
//! [`arm`]. Without the feature there is no code.
//!
//! A test that finds nothing must be able to find something: with the feature, `DRYSTONE_BREAK` takes away one thing that a promise rests on. `no-inbox`: no
//! message is recorded; `no-fence`: the greatest number counts as settled; `ack-first`: a position is stored before the messages are handed over.

use std::time::Duration;

#[cfg(feature = "failpoints")]
pub use armed::{arm, failpoint, repeats};
#[cfg(feature = "failpoints")]
pub(crate) use armed::{broken, note_repeats};

/// All places, in the order in which an event passes them.
pub const FAILPOINTS: [&str; 23] = [
    "publish.queued",
    "schedule.queued",
    // The application's own: only it stands between its commit and its answer.
    "publish.committed",
    "schedule.written",
    "schedule.moved",
    "relay.claimed",
    "relay.read",
    "link.sent",
    "relay.carried",
    "relay.advanced",
    "stream.appended",
    "stream.read",
    "handle.recorded",
    "handle.applied",
    "handle.committed",
    "hold.written",
    "hold.stored",
    "stream.advanced",
    "retry.applied",
    "retry.committed",
    "retry.written",
    "retry.stored",
    "delivery.answered",
];

/// Stands still here, if a test wants it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn failpoint(_: &'static str) {}

/// Whether a test has taken something away that a promise rests on.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn broken(what: &'static str) -> bool {
    drystone_call::defects::broken(what)
}

/// Counts repeats for a test.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn note_repeats(_: u64) {}

/// A time that tests of killed processes cannot wait for, and their own.
pub(crate) const fn or_in_haste(usual: Duration, hasty: Duration) -> Duration {
    if cfg!(feature = "failpoints") { hasty } else { usual }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

    use super::FAILPOINTS;

    /// A place, and how often it is still passed.
    struct Wanted {
        name: String,
        left: u64,
    }

    static WANTED: LazyLock<Mutex<Option<Wanted>>> = LazyLock::new(|| {
        let text = std::env::var("DRYSTONE_FAILPOINT").ok();
        let wanted = text.as_deref().map(|text| {
            let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
            wanted(name, nth.parse().expect("DRYSTONE_FAILPOINT is <name>:<n>"))
        });
        Mutex::new(wanted)
    });
    static REPEATS: AtomicU64 = AtomicU64::new(0);

    fn wanted(name: &str, nth: u64) -> Wanted {
        assert!(FAILPOINTS.contains(&name), "{name} is not registered in FAILPOINTS");
        Wanted { name: name.to_owned(), left: nth.max(1) }
    }

    fn lock() -> MutexGuard<'static, Option<Wanted>> {
        WANTED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the process stand still when it comes by this place for the n-th time from now.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn arm(name: &str, nth: u64) {
        *lock() = Some(wanted(name, nth));
    }

    /// Stands still here, if a test wants it.
    ///
    /// # Panics
    /// If the place is not registered.
    pub fn failpoint(name: &'static str) {
        assert!(FAILPOINTS.contains(&name), "{name} is not registered in FAILPOINTS");
        let is_it = lock().as_mut().is_some_and(|wanted| {
            if wanted.name != name || wanted.left == 0 {
                return false;
            }
            wanted.left -= 1;
            wanted.left == 0
        });
        if is_it {
            println!("failpoint {name} reached");
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether `DRYSTONE_BREAK` takes this away.
    pub(crate) fn broken(what: &'static str) -> bool {
        static BROKEN: OnceLock<Option<String>> = OnceLock::new();
        let by_variable = BROKEN.get_or_init(|| std::env::var("DRYSTONE_BREAK").ok()).as_deref();
        by_variable == Some(what) || drystone_call::defects::broken(what)
    }

    /// Counts messages that an inbox had already.
    pub(crate) fn note_repeats(more: u64) {
        REPEATS.fetch_add(more, Ordering::SeqCst);
    }

    /// How many messages the process's inboxes had already.
    #[must_use]
    pub fn repeats() -> u64 {
        REPEATS.load(Ordering::SeqCst)
    }
}
