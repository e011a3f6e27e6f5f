//! Times as the store keeps them: microseconds in UTC for rows, milliseconds for its own records.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

/// Milliseconds since 1970.
pub(crate) fn millis(at: SystemTime) -> i64 {
    i64::try_from(since_1970(at).as_millis()).unwrap_or(i64::MAX)
}

/// The moment in UTC, to the microsecond, which both databases keep.
pub(crate) fn moment(at: SystemTime) -> OffsetDateTime {
    let micros = Duration::from_micros(u64::try_from(since_1970(at).as_micros()).unwrap_or(u64::MAX));
    OffsetDateTime::UNIX_EPOCH + micros
}

fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
