//! What must never be shown: values whose names say that they are secret, and the passwords of URLs.

use toml::Value;

/// What stands where a secret was.
pub(super) const MASK: &str = "********";

/// Whether a value must never be shown, judged by its name.
pub(super) fn is_secret(path: &str) -> bool {
    const TELLING: [&str; 5] = ["secret", "password", "token", "credential", "private_key"];
    let path = path.to_lowercase();
    TELLING.iter().any(|word| path.contains(word))
}

/// A value as TOML, with the passwords of URLs masked.
pub(super) fn masked_url(value: &Value) -> String {
    match value {
        Value::String(text) => Value::String(masked(text)).to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(masked_url).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text with the passwords of a URL masked: the user's, and those among its parameters.
pub(crate) fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (address, parameters) = match rest.split_once('?') {
        Some((address, parameters)) => (address, Some(parameters)),
        None => (rest, None),
    };
    // A password with a raw `?` in it ends behind that: what is masked too much is no harm.
    let (address, parameters) = match rest.rfind('@') {
        Some(_) if address.contains('@') => (address, parameters),
        Some(_) if address.contains(':') => (rest, None),
        _ => (address, parameters),
    };
    let mut shown = match address.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:{MASK}@{host}")
        }
        _ => format!("{scheme}://{address}"),
    };
    let mut between = '?';
    for parameter in parameters.into_iter().flat_map(|all| all.split('&')) {
        shown.push(between);
        between = '&';
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => shown.push_str(&format!("{name}={MASK}")),
            _ => shown.push_str(parameter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_passwords_of_a_url_is_masked() {
        for (url, shown) in [
            ("sqlite:", "sqlite:"),
            ("postgres://app@db/shop", "postgres://app@db/shop"),
            ("postgres://db:5432/shop", "postgres://db:5432/shop"),
            ("postgres://app:p%40ss%2Fw@db:5432/shop", "postgres://app:********@db:5432/shop"),
            ("postgres://app:p@ss/w@db/shop", "postgres://app:********@db/shop"),
            ("postgres://app:p?w@db/shop", "postgres://app:********@db/shop"),
            (
                "postgres://app@%2Frun%2Fpg/shop?sslmode=require",
                "postgres://app@%2Frun%2Fpg/shop?sslmode=require",
            ),
            (
                "postgres://app@db/shop?password=hunter2&sslmode=require&sslpassword=hunter2",
                "postgres://app@db/shop?password=********&sslmode=require&sslpassword=********",
            ),
        ] {
            assert_eq!(masked(url), shown);
        }
        let list = Value::Array(vec!["https://a:hunter2@b".into(), 3.into()]);
        assert_eq!(masked_url(&list), r#"["https://a:********@b", 3]"#);
    }
}
