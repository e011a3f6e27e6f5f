//! Waiting for what comes by itself: a condition is looked at until it holds, and within a bound.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Long enough for two busy cores.
const BOUND: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something, and gives it.
///
/// # Panics
/// If there is nothing within 30 seconds; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(
    what: impl Display,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(began.elapsed() < BOUND, "{caller}: {what}: not within {BOUND:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
