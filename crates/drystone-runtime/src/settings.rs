//! Settings: layered, each value with its origin.
//!
//! Later layers win, value by value: what is built into the application, `drystone.toml`, the topology file, the environment.
//! A variable such as `DRYSTONE__GATEWAY__LISTEN` sets `gateway.listen`. Every value remembers where it came from, so that a
//! mistake is reported with its place and `config` can show it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::StartError;

/// What stands where a secret was.
const MASK: &str = "********";

/// The prefix of environment variables that override settings.
pub(crate) const ENV_PREFIX: &str = "DRYSTONE__";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built into the application.
    BuiltIn,
    /// A line of a file.
    File { name: String, line: usize },
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => write!(f, "${name}"),
        }
    }
}

#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

/// The effective settings of an application: dotted path to value and origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// Adds a layer from the text of a TOML file; `name` is `None` for what is built in.
    ///
    /// # Errors
    /// If the text is not TOML, with its place.
    pub(crate) fn layer(&mut self, text: &str, name: Option<&str>) -> Result<(), StartError> {
        let table = DeTable::parse(text).map_err(|error| StartError::Settings {
            place: name.unwrap_or("built in").to_owned(),
            problem: error.to_string(),
        })?;
        let origin = |at: usize| match name {
            None => Origin::BuiltIn,
            Some(name) => Origin::File {
                name: name.to_owned(),
                line: text[..at.min(text.len())].matches('\n').count() + 1,
            },
        };
        self.add_table("", table.get_ref(), &origin);
        Ok(())
    }

    /// Adds a file as a layer.
    ///
    /// # Errors
    /// If it cannot be read or is not TOML.
    pub(crate) fn layer_file(&mut self, path: &Path) -> Result<(), StartError> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| StartError::Settings { place: place.clone(), problem: error.to_string() })?;
        self.layer(&text, Some(&place))
    }

    /// Adds the environment as a layer.
    pub(crate) fn layer_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
            let path = path.to_lowercase().replace("__", ".");
            // A value is TOML where it reads as TOML (numbers, lists), and otherwise a string.
            let value = text.parse::<Value>().unwrap_or(Value::String(text));
            self.set(path, value, Origin::Environment(name));
        }
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) {
        for (key, value) in table {
            let path = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            match value.get_ref() {
                DeValue::Table(inner) => self.add_table(&path, inner, origin),
                leaf => {
                    if let Some(leaf) = plain(leaf) {
                        self.set(path, leaf, origin(key.span().start));
                    }
                }
            }
        }
    }

    fn set(&mut self, path: String, value: Value, origin: Origin) {
        self.0.insert(path, Setting { value, origin });
    }

    /// The values below `path` as one typed section; an absent section is that of an empty table.
    ///
    /// # Errors
    /// If a value does not fit, with its path and origin.
    pub(crate) fn section<T: DeserializeOwned>(&self, path: &str) -> Result<T, StartError> {
        let prefix = format!("{path}.");
        let mut root = toml::Table::new();
        for (key, setting) in self.0.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            let mut names: Vec<&str> = key[prefix.len()..].split('.').collect();
            let Some(leaf) = names.pop() else { continue };
            let table = names.into_iter().fold(&mut root, |table, name| {
                let entry = table.entry(name).or_insert_with(|| Value::Table(toml::Table::new()));
                if !entry.is_table() {
                    *entry = Value::Table(toml::Table::new());
                }
                entry.as_table_mut().expect("made a table on the line above")
            });
            table.insert(leaf.to_owned(), setting.value.clone());
        }
        T::deserialize(Value::Table(root)).map_err(|error| StartError::Settings {
            place: self.places(&prefix),
            problem: format!("[{path}] {error}"),
        })
    }

    /// The names directly below `path`.
    pub(crate) fn names_below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}.");
        let mut names: Vec<String> = self
            .0
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix)?.split('.').next().map(str::to_owned))
            .collect();
        names.dedup();
        names
    }

    /// Refuses a first-level section that nothing reads, for it is a misspelling.
    ///
    /// # Errors
    /// Names the section, its origin and the known ones.
    pub(crate) fn check_sections(&self, known: &[&str]) -> Result<(), StartError> {
        for (path, setting) in &self.0 {
            let first = path.split('.').next().unwrap_or(path);
            if !known.contains(&first) {
                return Err(StartError::Settings {
                    place: setting.origin.to_string(),
                    problem: format!("`{path}` is not a setting; the sections are {}", known.join(", ")),
                });
            }
        }
        Ok(())
    }

    /// The origins of the values below a prefix, for an error message.
    pub(crate) fn places(&self, prefix: &str) -> String {
        let mut places: Vec<String> = self
            .0
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(_, s)| s.origin.to_string())
            .collect();
        places.dedup();
        if places.is_empty() { "settings".to_owned() } else { places.join(", ") }
    }

    /// Every value as `path = value  # origin`, secrets masked.
    pub(crate) fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (path, setting) in &self.0 {
            let shown = if is_secret(path) { format!("\"{MASK}\"") } else { masked_url(&setting.value) };
            let _ = writeln!(text, "{:<58} # {}", format!("{path} = {shown}"), setting.origin);
        }
        text
    }
}

/// Whether a value must never be shown, judged by its name.
fn is_secret(path: &str) -> bool {
    const TELLING: [&str; 5] = ["secret", "password", "token", "credential", "private_key"];
    let path = path.to_lowercase();
    TELLING.iter().any(|word| path.contains(word))
}

/// A value as TOML, with the passwords of URLs masked.
fn masked_url(value: &Value) -> String {
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

/// A parsed value without its spans; `None` for what TOML cannot hold.
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => {
            Value::Array(items.iter().filter_map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Table(
            table
                .iter()
                .filter_map(|(key, value)| Some((key.get_ref().to_string(), plain(value.get_ref())?)))
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Gateway {
        listen: String,
        #[serde(default)]
        depth: i64,
    }

    fn layered() -> Settings {
        let mut settings = Settings::default();
        settings.layer("[gateway]\nlisten = \"127.0.0.1:8080\"\n", None).unwrap();
        settings.layer("# a comment\n[gateway]\ndepth = 3\n", Some("drystone.toml")).unwrap();
        settings
    }

    #[test]
    fn later_layers_win_value_by_value() {
        let mut settings = layered();
        assert_eq!(
            settings.section::<Gateway>("gateway").unwrap(),
            Gateway { listen: "127.0.0.1:8080".into(), depth: 3 }
        );
        settings.layer_environment(
            [
                ("DRYSTONE__GATEWAY__LISTEN", "127.0.0.1:0"),
                ("DRYSTONE__GATEWAY__DEPTH", "5"),
                ("PATH", "/bin"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter(),
        );
        assert_eq!(
            settings.section::<Gateway>("gateway").unwrap(),
            Gateway { listen: "127.0.0.1:0".into(), depth: 5 }
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_place() {
        let mut settings = layered();
        settings.layer("[gateway]\ndepth = \"deep\"\n", Some("split.toml")).unwrap();
        let error = settings.section::<Gateway>("gateway").unwrap_err().to_string();
        assert!(error.contains("split.toml:2") && error.contains("gateway"), "{error}");
        settings.layer("[gatway]\nlisten = \"x\"\n", Some("typo.toml")).unwrap();
        let error = settings.check_sections(&["gateway"]).unwrap_err().to_string();
        assert!(error.contains("typo.toml:2") && error.contains("gatway.listen"), "{error}");
    }

    #[test]
    fn secrets_are_masked() {
        let mut settings = layered();
        settings.layer("[modules.payments]\napi_token = \"hunter2\"\n[store]\nurl = \"postgres://app:hunter2@db/shop\"\n", Some("f")).unwrap();
        let shown = settings.describe();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("postgres://app:********@db/shop"), "{shown}");
        assert!(shown.contains("gateway.depth = 3") && shown.contains("# drystone.toml:3"), "{shown}");
    }

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
