//! Findings: what is wrong with a contract, where, and what to do about it.

use std::fmt;

use crate::source::Place;

/// A rule that contracts keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The stable id, as in `DRY-C001`. Ids are never given a second meaning.
    pub id: &'static str,
    /// What the rule asks for.
    pub title: &'static str,
}

/// One breach of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The id of the rule.
    pub id: &'static str,
    /// The file, by its import name unless a caller replaced it by a path.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong, naming the thing.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    pub(crate) fn new(rule: &Rule, place: Place, message: String, remedy: impl Into<String>) -> Self {
        let Place { file, line, column } = place;
        Self { id: rule.id, file, line, column, message, remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, file, line, column, message, remedy } = self;
        write!(f, "error[{id}] {file}:{line}:{column}: {message}\n  help: {remedy}")
    }
}
