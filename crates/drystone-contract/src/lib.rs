//! What a contract says, read from its descriptors.
//!
//! A contract is a `.proto` package with annotations: `google.api.http` for REST routes, `idempotency_level` for
//! what a repeated call does, and the `drystone` options for limits, reasons and events. This crate owns those
//! annotations: it ships their files, reads them into one model ([`Contract`]) and holds contracts to numbered
//! rules ([`RULES`], [`check`]). The generator, the gateway and the OpenAPI document all read the same model, so
//! they cannot disagree about what an annotation means.
//!
//! # Two halves
//!
//! The vocabulary ([`Code`], [`Effect`], [`KeyPolicy`], [`Coalescing`]) needs nothing but the standard library and is always here: it is what
//! every contract crate carries, by way of the call. Reading descriptors needs reflection over messages; all of that stands
//! behind the feature `model`, which is on unless a dependent turns it off.
//!
//! # Invariants
//!
//! * Without the feature `model` this crate depends on no other.
//! * No transport and no I/O: bytes of descriptors come in, values go out.
//! * A rule's id never changes its meaning. Every rule has a fixture that keeps it and one that breaks it.
//! * A finding names the thing, the file with line and column, and the remedy.
//! * [`Contract::parse`] succeeds only on descriptors that break no rule, so readers of the model need not check.
//!
//! # What it lacks on purpose
//!
//! Matching of requests against routes is the gateway's; templates are only parsed here, into a flat shape made
//! for matching. Streaming methods are described ([`MethodKind`]) and still refused by a rule, until the call
//! stack carries them. Rules about *compatibility* between two versions of a contract do not exist yet: they need
//! the last released descriptors and come with the release tooling.

#[cfg(feature = "model")]
mod annotations;
#[cfg(feature = "model")]
mod check;
mod code;
#[cfg(feature = "model")]
mod files;
#[cfg(feature = "model")]
mod finding;
#[cfg(feature = "model")]
mod http_rule;
#[cfg(feature = "model")]
mod model;
mod repeat;
#[cfg(feature = "model")]
mod rules;
#[cfg(feature = "model")]
mod shape;
#[cfg(feature = "model")]
mod source;
#[cfg(feature = "model")]
mod template;
#[cfg(feature = "model")]
mod timeout;

pub use code::Code;
pub use repeat::{Coalescing, Effect, KeyPolicy};
#[cfg(feature = "model")]
pub use {
    check::check,
    files::{WELL_KNOWN_FILES, is_well_known_file},
    finding::{Finding, Rule},
    http_rule::{BindingError, Body, HttpBinding, HttpVerb},
    model::{Contract, ContractError, Event, Method, MethodKind, Reason, events_of, reasons_of},
    rules::RULES,
    shape::is_recursive,
    template::{Part, PathTemplate, TemplateError, Variable},
    timeout::{TimeoutError, parse_timeout},
};
