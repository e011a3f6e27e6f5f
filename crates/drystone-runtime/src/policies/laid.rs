//! Levels of settings laid over a draft, and what comes of it: a policy with the origin of each value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::draft::Draft;
use super::nearest::hint;
use crate::StartError;
use crate::settings::Origin;

/// Where a value comes from that no setting set.
pub(crate) const BUILT_IN: &str = "built in";
/// Where a value comes from that the contract set.
pub(super) const PROTO: &str = "the method's options in its .proto";

/// One setting of a level.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The path below the section and, if there is one, the scope.
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A policy with the values that it is made of, each with where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Effective<P> {
    pub(crate) policy: P,
    pub(crate) values: Vec<Shown>,
}

/// One value of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Its name below the section.
    pub(crate) key: String,
    /// As settings write it.
    pub(crate) value: String,
    /// Where it comes from.
    pub(crate) from: String,
}

/// A draft over which levels are laid.
pub(super) struct Laid<D> {
    pub(super) draft: D,
    /// Setting to where its value comes from, where that is not built in.
    from: BTreeMap<String, String>,
}

impl<D: Draft> Laid<D> {
    /// Nothing is laid over the draft yet.
    pub(super) fn over(draft: D) -> Self {
        Self { draft, from: BTreeMap::new() }
    }

    /// Lays one level over what is there.
    ///
    /// # Errors
    /// A setting that does not fit, with its place.
    pub(super) fn lay(&mut self, level: Option<&Vec<Entry>>) -> Result<(), StartError> {
        for Entry { key, value, origin } in level.into_iter().flatten() {
            // A value of a part that is off turns it on.
            let part = key.split_once('.').map(|(part, _)| part);
            let was = part.map(|part| self.is_off(part));
            try_set(&mut self.draft, key, value)
                .map_err(|problem| StartError::Settings { place: origin.to_string(), problem })?;
            for key in D::covers(key, value).iter().copied().chain([key.as_str()]) {
                self.note(key, origin);
            }
            if let (Some(part), Some(true)) = (part, was) {
                self.note(part, origin);
            }
        }
        Ok(())
    }

    fn is_off(&self, part: &str) -> bool {
        self.draft.shown().iter().any(|(key, value)| *key == part && value == "false")
    }

    /// Remembers where a value comes from.
    pub(super) fn note(&mut self, key: &str, from: impl std::fmt::Display) {
        self.from.insert(key.to_owned(), from.to_string());
    }

    /// Forgets where a value comes from that does not hold after all.
    pub(super) fn forget(&mut self, key: &str) {
        self.from.remove(key);
    }

    /// The policy; `more` are values that have no name of their own.
    ///
    /// # Errors
    /// Values that do not go together, with their places.
    pub(super) fn effective(
        self,
        what: &str,
        more: impl FnOnce(&D) -> Vec<(String, String)>,
    ) -> Result<Effective<D::Policy>, StartError> {
        let policy = self.draft.policy().map_err(|(part, problem)| StartError::Settings {
            place: self.places(part),
            problem: format!("{part} of {what}: {problem}"),
        })?;
        let named = self.draft.shown().into_iter().map(|(key, value)| (key.to_owned(), value));
        let shown = |(key, value): (String, String)| {
            let from = self.from.get(&key).cloned().unwrap_or_else(|| BUILT_IN.to_owned());
            Shown { key, value, from }
        };
        let values = named.chain(more(&self.draft)).map(shown).collect();
        Ok(Effective { policy, values })
    }

    fn places(&self, part: &str) -> String {
        let of_part =
            |key: &str| key.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let mut places: Vec<&str> =
            self.from.iter().filter(|(key, _)| of_part(key)).map(|(_, from)| from.as_str()).collect();
        places.dedup();
        if places.is_empty() { "settings".to_owned() } else { places.join(", ") }
    }
}

/// Sets one value of a draft.
///
/// # Errors
/// What is wrong with the name or with the value.
pub(super) fn try_set<D: Draft>(draft: &mut D, key: &str, value: &Value) -> Result<(), String> {
    draft
        .set(key, value)
        .unwrap_or_else(|| Err(format!("there is no such setting{}", hint(key, "settings", D::KEYS))))
}
