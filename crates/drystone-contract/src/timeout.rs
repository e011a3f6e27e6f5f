//! Timeouts as a contract writes them: a whole number and a unit.

use std::time::Duration;

/// Why a text is not a timeout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a timeout")]
pub struct TimeoutError(String);

/// Parses a timeout such as `500ms`, `2s` or `1m`.
///
/// # Errors
///
/// When the number is missing, zero or too large, or the unit is none of `ms`, `s` and `m`.
pub fn parse_timeout(text: &str) -> Result<Duration, TimeoutError> {
    let wrong = || TimeoutError(text.to_owned());
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let milliseconds_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds =
        number.checked_mul(milliseconds_per_unit).filter(|total| *total > 0).ok_or_else(wrong)?;
    Ok(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_a_number_and_a_unit() {
        assert_eq!(parse_timeout("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_timeout("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_timeout("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "5", "s", "0s", "-1s", "1.5s", "1h", "2 s", "99999999999999999999s"] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }
}
