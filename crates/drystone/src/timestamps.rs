//! Times as integers in a database, and as `google.protobuf.Timestamp` in a contract.

use std::time::SystemTime;

use drystone_call::Timestamp;

/// A time as whole microseconds since 1970, as it is kept in an integer column; times before are 0.
#[must_use]
pub fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Microseconds since 1970 as a contract's timestamp.
#[must_use]
pub fn timestamp(micros: i64) -> Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanos_count_forward_on_both_sides_of_1970() {
        assert_eq!(timestamp(1_500_000), Timestamp { seconds: 1, nanos: 500_000_000 });
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_999_000 });
        assert_eq!(micros(SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(42)), 42);
    }
}
