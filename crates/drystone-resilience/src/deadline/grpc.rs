//! The header `grpc-timeout`, after "gRPC over HTTP/2": up to eight digits and a unit of `H`, `M`, `S`, `m`, `u` or `n`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header in which the time that is left travels.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The largest number that eight digits hold.
const MOST: u128 = 99_999_999;

/// Units with their length in nanoseconds, finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// The time that the caller waits, if the header is there and well formed.
#[must_use]
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    let (_, length) = UNITS.iter().find(|(name, _)| name == unit)?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u128, |number, digit| number * 10 + u128::from(digit - b'0'));
    let nanos = number * length;
    // At most 99,999,999 hours, which a Duration holds.
    Some(Duration::new(
        u64::try_from(nanos / 1_000_000_000).ok()?,
        u32::try_from(nanos % 1_000_000_000).ok()?,
    ))
}

/// Writes the time that is left, in the finest unit that holds it, rounded down: a callee must not be told more than there is.
pub fn set_grpc_timeout(headers: &mut HeaderMap, left: Duration) {
    let nanos = left.as_nanos();
    let (unit, number) = UNITS
        .iter()
        .map(|(unit, length)| (*unit, nanos / length))
        .find(|(_, number)| *number <= MOST)
        .unwrap_or((b'H', MOST));
    let value = HeaderValue::try_from(format!("{number}{}", char::from(unit)));
    headers.insert(GRPC_TIMEOUT, value.expect("digits and a letter are a header's value"));
}
