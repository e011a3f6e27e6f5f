//! Paths of settings: names parted by dots, quoted as in TOML where a name is not a plain word.
//!
//! `calls.contract."shop.payments.v1.Payments".timeout` has four names. A path is therefore never split at its dots by hand.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A name as it stands in a path.
pub(crate) fn quoted(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    Cow::Owned(text)
}

/// The path of a name below another path, which is empty for the first.
pub(crate) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { quoted(name).into_owned() } else { format!("{path}.{}", quoted(name)) }
}

/// The names of a path that was made by [`joined`].
pub(crate) fn names(path: &str) -> Vec<String> {
    let (mut names, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(behind) => unquoted(behind),
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        names.push(name);
        rest = behind.strip_prefix('.').unwrap_or(behind);
    }
    names
}

/// A name up to its closing quote, and what stands behind that.
fn unquoted(text: &str) -> (String, &str) {
    let (mut name, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok();
                    name.extend(code.and_then(char::from_u32));
                }
                other => name.extend(other),
            },
            c => name.push(c),
        }
    }
    (name, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were_and_paths_are_toml() {
        for (given, path) in [
            (&["gateway", "listen"][..], "gateway.listen"),
            (&["calls", "contract", "shop.a.v1.A", "timeout"], r#"calls.contract."shop.a.v1.A".timeout"#),
            (&["calls", "edge", "orders -> shop.a.v1.A/Get"], r#"calls.edge."orders -> shop.a.v1.A/Get""#),
            (&["a", "", "b\"c\\d\n.", "ü"], r#"a.""."b\"c\\d\u000A."."ü""#),
        ] {
            let made = given.iter().fold(String::new(), |path, name| joined(&path, name));
            assert_eq!(made, path);
            assert_eq!(names(&made), given, "{made}");
            let table: toml::Table = format!("{made} = 1").parse().unwrap();
            let leaf = given.iter().try_fold(&toml::Value::Table(table), |at, name| at.get(name)).cloned();
            assert_eq!(leaf, Some(1.into()), "{made}");
        }
    }
}
