//! Moments and ages, as operators write and read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in microseconds since 1970, from a time or from how long before `now` it is.
///
/// # Errors
/// What would be right.
pub(super) fn read(text: &str, now: i64) -> Result<i64, String> {
    let wrong = || {
        format!("{text:?} is neither a moment (2026-01-31T12:00:00Z) nor how long ago (90s, 30m, 12h, 3d)")
    };
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return i64::try_from(time.unix_timestamp_nanos() / 1000).map_err(|_| wrong());
    }
    let (count, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(wrong()),
    };
    let count: u32 = count.parse().map_err(|_| wrong())?;
    Ok(now.saturating_sub(i64::from(count).saturating_mul(seconds).saturating_mul(1_000_000)))
}

/// A moment, for a person.
pub(super) fn moment(micros: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000);
    let time = time
        .ok()
        .and_then(|time| time.replace_nanosecond(0).ok())
        .and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| micros.to_string())
}

/// How long `since` is ago, for a person.
pub(super) fn age(since: i64, now: i64) -> String {
    let seconds = now.saturating_sub(since).max(0) / 1_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

/// How long it is until `due`, for a person.
pub(super) fn until(due: i64, now: i64) -> String {
    if due <= now { "now".to_owned() } else { format!("in {}", age(now, due)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000_000;

    #[test]
    fn moments_are_read_in_both_forms() {
        assert_eq!(read("2026-01-01T00:00:00Z", 0), Ok(NOW));
        assert_eq!(read("2026-01-01T01:00:00.5+01:00", 0), Ok(NOW + 500_000));
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("12h", 43200), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(read(text, NOW), Ok(NOW - seconds * 1_000_000), "{text}");
        }
        for text in ["", "h", "3", "-3d", "3w", "yesterday", "2026-01-01", "3ü"] {
            assert!(read(text, NOW).unwrap_err().contains("neither a moment"), "{text}");
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, shown) in [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
        {
            assert_eq!(age(NOW - seconds * 1_000_000, NOW), shown);
        }
        assert_eq!(moment(NOW + 7), "2026-01-01T00:00:00Z");
        assert_eq!((until(NOW, NOW), until(NOW + 5_000_000, NOW)), ("now".into(), "in 5 s".into()));
    }
}
