//! The values that a policy is made of: times, shares, counts, switches; read from settings and shown as settings write them.

use std::time::Duration;

use toml::Value;

/// A value, or why it is none.
pub(super) type Read<T> = Result<T, String>;

/// A time such as `500ms`, `2s` or `1m`; also none at all, `0ms`.
pub(super) fn time(value: &Value) -> Read<Duration> {
    let wrong = || format!("{value} is not a time; write a whole number and ms, s or m, as in \"500ms\"");
    let text = value.as_str().ok_or_else(wrong)?;
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

/// A time of some length.
pub(super) fn some_time(value: &Value) -> Read<Duration> {
    match time(value)? {
        Duration::ZERO => Err(format!("{value} is no time at all; write a longer one")),
        time => Ok(time),
    }
}

/// A time of some length, or `false` for none.
pub(super) fn maybe_time(value: &Value) -> Read<Option<Duration>> {
    if value.as_bool() == Some(false) { Ok(None) } else { some_time(value).map(Some) }
}

/// A share of the whole, from 0 to 1: `50%` or 0.5.
pub(super) fn share(value: &Value) -> Read<f64> {
    let wrong =
        || format!("{value} is not a share; write a percentage as in \"50%\", or a number from 0 to 1");
    let share = match value {
        Value::String(text) => {
            let number: f64 = text.strip_suffix('%').and_then(|n| n.trim().parse().ok()).ok_or_else(wrong)?;
            number / 100.0
        }
        Value::Float(number) => *number,
        Value::Integer(0) => 0.0,
        Value::Integer(1) => 1.0,
        _ => return Err(wrong()),
    };
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

/// A whole number that is not less than `least`.
pub(super) fn count(value: &Value, least: u32) -> Read<u32> {
    let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| *number >= least)
        .ok_or_else(|| format!("{value} is not a count; write a whole number from {least} to {}", u32::MAX))
}

/// A rate in calls a second.
pub(super) fn per_second(value: &Value) -> Read<f64> {
    let number = match value {
        Value::Integer(number) => u32::try_from(*number).ok().map(f64::from),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    number
        .filter(|number| *number > 0.0 && number.is_finite())
        .ok_or_else(|| format!("{value} is not a rate; write the calls a second as a number above 0"))
}

/// Whether a part is on.
pub(super) fn switch(value: &Value) -> Read<bool> {
    value
        .as_bool()
        .ok_or_else(|| format!("{value} stands where true, false or a table of its settings belongs"))
}

/// One of a few words.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Read<T> {
    let found = words.iter().find(|(word, _)| Some(*word) == value.as_str()).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("{value} is none of {}", known.join(", "))
    })
}

/// A time as settings write it.
pub(super) fn shown_time(time: Duration) -> String {
    let milliseconds = time.as_millis();
    match milliseconds {
        0 => "0ms".to_owned(),
        whole if whole % 60_000 == 0 => format!("{}m", whole / 60_000),
        whole if whole % 1_000 == 0 => format!("{}s", whole / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

/// A share as settings write it.
pub(super) fn shown_share(share: f64) -> String {
    // Up to two places: what was written as a percentage reads as it was written.
    format!("{}%", (share * 10_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_read_as_they_are_shown() {
        for text in ["0ms", "1ms", "500ms", "1500ms", "2s", "90s", "1m", "61s"] {
            assert_eq!(time(&text.into()).map(shown_time), Ok(text.to_owned()));
        }
        for text in ["0%", "0.5%", "20%", "33.3%", "100%"] {
            assert_eq!(share(&text.into()).map(shown_share), Ok(text.to_owned()));
        }
        assert_eq!(share(&0.25.into()), Ok(0.25));
        assert_eq!(share(&1.into()), Ok(1.0));
    }

    #[test]
    fn what_is_no_value_says_what_would_be_one() {
        for wrong in ["", "5", "s", "-1s", "1.5s", "1h", "2 s", "99999999999999999999s"] {
            let problem = time(&wrong.into()).unwrap_err();
            assert!(problem.contains("500ms"), "{problem}");
        }
        assert!(some_time(&"0s".into()).is_err());
        for wrong in [
            Value::from("50"),
            "101%".into(),
            "-1%".into(),
            1.5.into(),
            2.into(),
            true.into(),
            f64::NAN.into(),
        ] {
            let problem = share(&wrong).unwrap_err();
            assert!(problem.contains("50%"), "{problem}");
        }
        for wrong in [Value::from(-1), 0.into(), "3".into(), 1.0.into(), 4_294_967_296_i64.into()] {
            let problem = count(&wrong, 1).unwrap_err();
            assert!(problem.contains("from 1 to"), "{problem}");
        }
        for wrong in [Value::from(0), f64::INFINITY.into(), "5".into(), (-0.1).into()] {
            assert!(per_second(&wrong).is_err(), "{wrong}");
        }
        assert!(switch(&"no".into()).is_err());
        assert_eq!(word(&"c".into(), &[("a", 1), ("b", 2)]), Err("\"c\" is none of \"a\", \"b\"".to_owned()));
    }
}
