//! JSON in one form: no blanks, the names of an object in order.

use serde_json::Value;

/// The text of a value that is the same for equal values.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            list(out, ['{', '}'], fields, |(name, value), out| {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
            });
        }
        Value::Array(values) => list(out, ['[', ']'], values, write),
        Value::Number(number) => out.push_str(&plain(&number.to_string())),
        other => out.push_str(&other.to_string()),
    }
}

/// A number without an exponent, as PostgreSQL writes it, and with one zero, as it has one.
fn plain(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    if rest == "0.0" {
        return rest.to_owned();
    }
    let Some((digits, exponent)) = rest.split_once(['e', 'E']) else { return number.to_owned() };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let all = format!("{whole}{part}");
    // Where the point stands among the digits, counted from their left.
    let point = i32::try_from(whole.len()).unwrap_or(i32::MAX).saturating_add(exponent);
    match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{sign}{all}{}", "0".repeat(point - all.len())),
        Ok(point) if point > 0 => format!("{sign}{}.{}", &all[..point], &all[point..]),
        _ => format!("{sign}0.{}{all}", "0".repeat(usize::try_from(-point).unwrap_or_default())),
    }
}

fn list<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    one: impl Fn(T, &mut String),
) {
    out.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        one(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_text() {
        let check = |text: &str, expected: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical(&value), expected, "{text}");
        };
        check(r#"{ "b": [1, {"d": null, "c": ""}], "a": true }"#, r#"{"a":true,"b":[1,{"c":"","d":null}]}"#);
        check("1e16", "10000000000000000");
        check("1.2345678901234568e17", "123456789012345680");
        check("123456789012345680", "123456789012345680");
        check("1.5e-7", "0.00000015");
        check("-2.5E2", "-250.0");
        check("1e300", &format!("1{}", "0".repeat(300)));
        check("-0.0", "0.0");
        check("9223372036854775807", "9223372036854775807");
    }
}
