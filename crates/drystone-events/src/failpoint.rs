//! Places at which a test stops the process, to kill it there.
//!
//! Each commit point of publishing, relaying, handling and acknowledging has one, on either side of it. With the feature `failpoints`, and
//! `DRYSTONE_FAILPOINT=<name>:<n>`, the process says so on standard output and stands still when it comes by for the n-th time; without the feature
//! there is no code.

/// All places, in the order in which an event passes them.
pub const FAILPOINTS: [&str; 18] = [
    "publish.queued",
    "publish.committed",
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
    "hold.stored",
    "stream.advanced",
    "retry.applied",
    "retry.committed",
    "delivery.answered",
];

/// Stands still here, if a test wants it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn failpoint(_: &'static str) {}

/// Stands still here, if a test wants it.
#[cfg(feature = "failpoints")]
pub(crate) fn failpoint(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    assert!(FAILPOINTS.contains(&name), "{name} is not registered in FAILPOINTS");
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("DRYSTONE_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    let Some((wanted, nth)) = wanted else { return };
    if wanted == name && COUNT.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        println!("failpoint {name} reached");
        loop {
            std::thread::park();
        }
    }
}
