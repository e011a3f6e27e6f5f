//! A policy in the making: built-in values, over which levels of settings are laid one after another.

use toml::Value;

use super::value::{Read, switch};

/// A policy that settings change value by value.
pub(super) trait Draft: Clone {
    /// The policy that comes of it.
    type Policy;

    /// The settings that there are, as paths below the section.
    const KEYS: &'static [&'static str];

    /// Takes one value; `None` if there is no such setting.
    ///
    /// # Errors
    /// What is wrong with the value, and what would be right.
    fn set(&mut self, key: &str, value: &Value) -> Option<Read<()>>;

    /// The further settings that a value of this one sets.
    fn covers(key: &str, value: &Value) -> &'static [&'static str];

    /// The values that hold, as settings write them.
    fn shown(&self) -> Vec<(&'static str, String)>;

    /// The policy.
    ///
    /// # Errors
    /// The part whose values do not go together, and why.
    fn policy(&self) -> Result<Self::Policy, (&'static str, String)>;
}

/// A part of a policy that can be turned off and keeps its values meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Part<T> {
    pub(super) on: bool,
    pub(super) with: T,
}

impl<T> Part<T> {
    /// The part, turned on.
    pub(super) fn on(with: T) -> Self {
        Self { on: true, with }
    }

    /// The part, turned off.
    pub(super) fn off(with: T) -> Self {
        Self { on: false, with }
    }

    /// What is in effect.
    pub(super) fn get(&self) -> Option<&T> {
        self.on.then_some(&self.with)
    }

    /// Turns it on or off.
    pub(super) fn turn(&mut self, value: &Value) -> Read<()> {
        self.on = switch(value)?;
        Ok(())
    }

    /// Sets a value of the part, which turns it on.
    pub(super) fn put<V>(&mut self, value: Read<V>, put: impl FnOnce(&mut T, V)) -> Read<()> {
        put(&mut self.with, value?);
        self.on = true;
        Ok(())
    }
}
