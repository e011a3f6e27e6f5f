//! Why an application does not start: each with the thing, the place and the remedy.

use thiserror::Error;

/// Why an application does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is wrong.
    #[error("error[DRY-R001]: {place}: {problem}")]
    Settings {
        /// The file and line, or the variable.
        place: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Two modules have one name.
    #[error(
        "error[DRY-R002]: two modules are named `{module}`; a module's name is the name of its database: rename one"
    )]
    DuplicateModule {
        /// The name.
        module: String,
    },
    /// A client for a contract that nobody serves.
    #[error(
        "error[DRY-R003]: module `{module}` calls {contract}, which no module serves\n  help: add the module that serves it to the App, or remove the client from `{module}`"
    )]
    NotServed {
        /// The calling module.
        module: String,
        /// The contract.
        contract: String,
    },
    /// Two modules serve one contract.
    #[error(
        "error[DRY-R004]: {contract} is served by `{first}` and by `{second}`\n  help: remove one of the two `w.serve(...)`: a contract has one module"
    )]
    ServedTwice {
        /// The contract.
        contract: String,
        /// One module.
        first: String,
        /// The other.
        second: String,
    },
    /// Synchronous calls form a cycle.
    #[error(
        "error[DRY-R005]: synchronous calls form a cycle: {path}\n  help: turn one of these calls into an event, or allow the cycle with a reason:\n        [[graph.allowed_cycles]]\n        through = [{quoted}]\n        reason = \"...\""
    )]
    Cycle {
        /// The modules, as `a -> b -> a`.
        path: String,
        /// The modules, quoted and parted by commas.
        quoted: String,
    },
    /// A handler of an event that nobody publishes.
    #[error(
        "error[DRY-R012]: module `{module}` handles {event}, which no module publishes\n  help: add the module that publishes it to the App, \
         and `w.publishes::<..>()` to its wiring"
    )]
    NotPublished {
        /// The handling module.
        module: String,
        /// The type of event.
        event: String,
    },
    /// Two modules publish one type of event.
    #[error(
        "error[DRY-R013]: {event} is published by `{first}` and by `{second}`\n  help: remove one of the two `w.publishes`: a type of event has one publisher"
    )]
    PublishedTwice {
        /// The type of event.
        event: String,
        /// One module.
        first: String,
        /// The other.
        second: String,
    },
    /// The topology does not fit the application.
    #[error("error[DRY-R006]: {0}")]
    Topology(String),
    /// A module's wiring is wrong.
    #[error("error[DRY-R007]: module `{module}`: {problem}")]
    Wiring {
        /// The module.
        module: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A part did not start.
    #[error("error[DRY-R008]: {part} did not start: {problem}")]
    Part {
        /// The part: a store, the gateway, a listener.
        part: String,
        /// What went wrong.
        problem: String,
    },
    /// A database lacks what this version needs.
    #[error(
        "error[DRY-R009]: the database of module `{module}` is not ready for this version: {problem}\n  help: run `{app} migrate` first, \
         with store.owner_url set to the connection string of the database's owner"
    )]
    NotMigrated {
        /// The module.
        module: String,
        /// What is missing.
        problem: String,
        /// The application.
        app: String,
    },
    /// The admin socket could not be opened.
    #[error("error[DRY-R011]: the admin socket {path} cannot be used: {problem}")]
    AdminSocket {
        /// The socket's file.
        path: String,
        /// What went wrong, and what to do.
        problem: String,
    },
    /// A command did not do its work.
    #[error("error[DRY-R010]: {command}: {problem}")]
    Command {
        /// The command.
        command: String,
        /// What went wrong, and what to do.
        problem: String,
    },
}

impl StartError {
    pub(crate) fn command(command: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Command { command: command.into(), problem: problem.to_string() }
    }

    /// The same, with what was done about it.
    pub(crate) fn and(self, note: &str) -> Self {
        match self {
            Self::Command { command, problem } => {
                Self::Command { command, problem: format!("{problem}\n  {note}") }
            }
            other => other,
        }
    }

    pub(crate) fn part(part: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Part { part: part.into(), problem: problem.to_string() }
    }
}
