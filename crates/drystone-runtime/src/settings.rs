//! Settings: layered, each value with its origin.
//!
//! Later layers win, value by value: what is built into the application, `drystone.toml`, the topology file, the environment.
//! A variable such as `DRYSTONE__GATEWAY__LISTEN` sets `gateway.listen`. Every value remembers where it came from, so that a
//! mistake is reported with its place and `config` can show it.

mod mask;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::StartError;
pub(crate) use mask::masked;
use mask::{MASK, is_secret, masked_url};
pub(crate) use path::joined;

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

/// The effective settings of an application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Path to value and origin.
    values: BTreeMap<String, Setting>,
    /// The files that were read, in order.
    files: Vec<PathBuf>,
}

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
        self.files.push(path.to_owned());
        self.layer(&text, Some(&place))
    }

    /// The files that were read, in order.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Adds the environment as a layer.
    pub(crate) fn layer_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        // In the order of their names, in which a value comes before those below it.
        let variables: BTreeMap<String, String> = variables.collect();
        for (name, text) in variables {
            let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
            let path = path.to_lowercase().split("__").fold(String::new(), |path, name| joined(&path, name));
            // A value is TOML where it reads as TOML (numbers, lists), and otherwise a string.
            let value = text.parse::<Value>().unwrap_or(Value::String(text));
            self.add_value(path, value, &Origin::Environment(name));
        }
    }

    fn add_value(&mut self, path: String, value: Value, origin: &Origin) {
        match value {
            Value::Table(table) => {
                for (name, value) in table {
                    self.add_value(joined(&path, &name), value, origin);
                }
            }
            value => self.set(path, value, origin.clone()),
        }
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) {
        for (key, value) in table {
            let path = joined(prefix, key.get_ref());
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

    /// Sets a value; where an earlier layer has a table in its place, or a value in the place of its table, that is gone.
    fn set(&mut self, path: String, value: Value, origin: Origin) {
        let below = format!("{path}.");
        self.values.retain(|known, _| {
            let above = path.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with('.'));
            !known.starts_with(&below) && !above
        });
        self.values.insert(path, Setting { value, origin });
    }

    /// The values below `path`: the names that lead to each, the value and its origin.
    pub(crate) fn below(&self, path: &str) -> impl Iterator<Item = (Vec<String>, &Value, &Origin)> {
        let prefix = format!("{path}.");
        let found = self.values.range(prefix.clone()..).take_while({
            let prefix = prefix.clone();
            move |(key, _)| key.starts_with(&prefix)
        });
        found.map(move |(key, setting)| (path::names(&key[prefix.len()..]), &setting.value, &setting.origin))
    }

    /// The paths whose values are not those of `other`, or are in one of both only.
    pub(crate) fn differing(&self, other: &Self) -> BTreeSet<String> {
        let paths = self.values.keys().chain(other.values.keys());
        let value = |all: &Self, path: &str| all.values.get(path).map(|setting| setting.value.clone());
        paths.filter(|path| value(self, path) != value(other, path)).cloned().collect()
    }

    /// The values below `path` as one typed section; an absent section is that of an empty table.
    ///
    /// # Errors
    /// If a value does not fit, with its path and origin.
    pub(crate) fn section<T: DeserializeOwned>(&self, path: &str) -> Result<T, StartError> {
        let mut root = toml::Table::new();
        for (mut names, value, _) in self.below(path) {
            let Some(leaf) = names.pop() else { continue };
            let table = names.into_iter().fold(&mut root, |table, name| {
                let entry = table.entry(name).or_insert_with(|| Value::Table(toml::Table::new()));
                if !entry.is_table() {
                    *entry = Value::Table(toml::Table::new());
                }
                entry.as_table_mut().expect("made a table on the line above")
            });
            table.insert(leaf, value.clone());
        }
        T::deserialize(Value::Table(root)).map_err(|error| StartError::Settings {
            place: self.places(&format!("{path}.")),
            problem: format!("[{path}] {error}"),
        })
    }

    /// The names directly below `path`, without quotes.
    pub(crate) fn names_below(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.below(path).filter_map(|(names, ..)| names.into_iter().next()).collect();
        names.dedup();
        names
    }

    /// Refuses a first-level section that nothing reads, for it is a misspelling.
    ///
    /// # Errors
    /// Names the section, its origin and the known ones.
    pub(crate) fn check_sections(&self, known: &[&str]) -> Result<(), StartError> {
        for (path, setting) in &self.values {
            let first = path::names(path).into_iter().next().unwrap_or_default();
            if !known.contains(&first.as_str()) {
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
            .values
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
        for (path, setting) in &self.values {
            let _ = writeln!(text, "{:<58} # {}", assignment(path, setting), setting.origin);
        }
        text
    }

    /// One value with its origin, if it is set.
    pub(crate) fn describe_one(&self, path: &str) -> Option<String> {
        let setting = self.values.get(path)?;
        Some(format!("{} ({})", assignment(path, setting), setting.origin))
    }
}

/// `path = value`, a secret masked.
fn assignment(path: &str, setting: &Setting) -> String {
    let shown = if is_secret(path) { format!("\"{MASK}\"") } else { masked_url(&setting.value) };
    format!("{path} = {shown}")
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
    fn quoted_names_stay_apart() {
        let mut settings = Settings::default();
        let text = "[calls.contract.\"shop.payments.v1.Payments\"]\ntimeout = \"1s\"\n[calls.contract.\"a b\".retry]\nattempts = 2\n";
        settings.layer(text, Some("f")).unwrap();
        assert_eq!(settings.names_below("calls.contract"), ["a b", "shop.payments.v1.Payments"]);
        let section: BTreeMap<String, Value> = settings.section("calls.contract").unwrap();
        assert_eq!(section["shop.payments.v1.Payments"]["timeout"], "1s".into());
        let shown = settings.describe();
        assert!(shown.contains("calls.contract.\"shop.payments.v1.Payments\".timeout = \"1s\""), "{shown}");
        let again: toml::Table = shown.parse().unwrap();
        assert_eq!(again["calls"]["contract"]["a b"]["retry"]["attempts"], 2.into(), "what is shown is TOML");
    }

    #[test]
    fn a_value_takes_the_place_of_a_table_and_a_table_that_of_a_value() {
        let mut settings = Settings::default();
        settings
            .layer("[calls]\nretry = { attempts = 2, base = \"1ms\" }\nretries = 1\n", Some("a"))
            .unwrap();
        settings.layer("[calls]\nretry = false\n", Some("b")).unwrap();
        let paths = |settings: &Settings| settings.values.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&settings), ["calls.retries", "calls.retry"]);
        let variables =
            [("DRYSTONE__CALLS__RETRY", "{ attempts = 4 }"), ("DRYSTONE__CALLS__RETRY__CAP", "1s")];
        settings.layer_environment(variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter());
        assert_eq!(paths(&settings), ["calls.retries", "calls.retry.attempts", "calls.retry.cap"]);
        let before = layered();
        assert_eq!(before.differing(&settings).len(), 5);
        assert!(before.differing(&before.clone()).is_empty());
    }
}
