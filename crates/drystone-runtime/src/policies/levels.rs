//! The settings of policies, sorted by where they hold, each name and each value checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use drystone_call::policy::{Policy, ServePolicy};
use drystone_call::{Effect, MethodInfo};
use toml::Value;

use super::calling::Calling;
use super::laid::{Effective, Entry, Laid, PROTO, try_set};
use super::scope::{Known, Scope};
use super::serving::Serving;
use crate::StartError;
use crate::settings::{Settings, joined};

/// The settings of one section, by where they hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels(BTreeMap<Scope, Vec<Entry>>);

impl Levels {
    /// The levels of `[calls]`.
    ///
    /// # Errors
    /// A name or a value that does not fit, with its place.
    pub(super) fn of_calls(settings: &Settings, known: &Known) -> Result<Self, StartError> {
        Self::read(settings, "calls", known, |scope, entry| {
            match (scope, entry.key.as_str()) {
                // Of the process, not of a policy.
                (Scope::All, "runner") => return Ok(false),
                (_, "runner") => return Err("the runner is that of all calls; set calls.runner".to_owned()),
                _ => {}
            }
            try_set(&mut Calling::default(), &entry.key, &entry.value)?;
            match scope.method().map(|(contract, index)| known.method_of(contract, index)) {
                Some(Some(method)) if turns_coalescing_on(entry) => refuse_write(method)?,
                _ => {}
            }
            Ok(true)
        })
    }

    /// The levels of `[serving]`.
    ///
    /// # Errors
    /// A name or a value that does not fit, with its place.
    pub(super) fn of_serving(settings: &Settings, known: &Known) -> Result<Self, StartError> {
        Self::read(settings, "serving", known, |scope, entry| {
            match scope {
                Scope::Edge(..) | Scope::EdgeMethod(..) => {
                    Err("a method is served to all its callers alike; set it for the contract or the method"
                        .to_owned())
                }
                Scope::Contract(_) | Scope::Method(..) if entry.key.starts_with("tenants.") => {
                    Err("a tenant has one weight; set it in [serving.tenants]".to_owned())
                }
                _ => try_set(&mut Serving::default(), &entry.key, &entry.value),
            }
            .map(|()| true)
        })
    }

    /// `keep` says whether an entry belongs to a policy, or what is wrong with it.
    fn read(
        settings: &Settings,
        section: &str,
        known: &Known,
        keep: impl Fn(&Scope, &Entry) -> Result<bool, String>,
    ) -> Result<Self, StartError> {
        let mut levels = Self::default();
        for (names, value, origin) in settings.below(section) {
            let wrong = |problem: String| {
                let path = names.iter().fold(section.to_owned(), |path, name| joined(&path, name));
                StartError::Settings { place: origin.to_string(), problem: format!("{path}: {problem}") }
            };
            let scoped = names.get(1).and_then(|name| known.scope(&names[0], name));
            let (scope, key) = match scoped {
                Some(scope) => (scope.map_err(|problem| wrong(known.quote(&names, problem)))?, &names[2..]),
                None => (Scope::All, &names[..]),
            };
            let entry = Entry { key: key.join("."), value: value.clone(), origin: origin.clone() };
            if keep(&scope, &entry).map_err(wrong)? {
                levels.0.entry(scope).or_default().push(entry);
            }
        }
        Ok(levels)
    }

    /// How a method is called on an edge.
    ///
    /// # Errors
    /// Values that do not go together, with their places.
    pub(super) fn calling(
        &self,
        from: &Arc<str>,
        method: &'static MethodInfo,
    ) -> Result<Effective<Policy>, StartError> {
        let [all, special @ ..] = Scope::around(from, method);
        let mut laid = Laid::over(Calling::default());
        laid.lay(self.0.get(&all))?;
        for key in laid.draft.declare(method) {
            laid.note(key, PROTO);
        }
        for scope in special {
            laid.lay(self.0.get(&scope))?;
        }
        if method.effect != Effect::NoSideEffects {
            laid.draft.share_nothing();
            laid.forget("coalesce");
        }
        laid.effective(&format!("{from} -> {}", &method.path[1..]), |_| Vec::new())
    }

    /// How the calls of a served method are admitted.
    ///
    /// # Errors
    /// Values that do not go together, with their places.
    pub(super) fn serving(&self, method: &'static MethodInfo) -> Result<Effective<ServePolicy>, StartError> {
        let mut laid = Laid::over(Serving::default());
        let (contract, index) = (method.contract, method.index);
        for scope in [Scope::All, Scope::Contract(contract), Scope::Method(contract, index)] {
            laid.lay(self.0.get(&scope))?;
        }
        laid.effective(&method.path[1..], Serving::shown_tenants)
    }
}

fn turns_coalescing_on(entry: &Entry) -> bool {
    (entry.key == "coalesce" && entry.value == Value::Boolean(true)) || entry.key == "coalesce.ttl"
}

fn refuse_write(method: &MethodInfo) -> Result<(), String> {
    if method.effect == Effect::NoSideEffects {
        return Ok(());
    }
    Err(format!(
        "{} has side effects, so that two calls of it are never one; remove the setting, or declare `idempotency_level = \
         NO_SIDE_EFFECTS` in the contract if the method is a read",
        method.name
    ))
}
