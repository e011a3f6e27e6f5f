//! What a contract says, read from its descriptors.
//!
//! A contract is a `.proto` package with annotations: `google.api.http` for REST routes, `idempotency_level` for
//! what a repeated call does, and the `drystone` options for limits, reasons and events. This crate owns those
//! annotations: it ships their files, reads them into one model ([`Contract`]) and holds contracts to numbered
//! rules ([`RULES`], [`check`]). The generator, the gateway and the OpenAPI document all read the same model, so
//! they cannot disagree about what an annotation means.
//!
//! # Invariants
//!
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

mod annotations;
mod check;
mod code;
mod files;
mod finding;
mod http_rule;
mod model;
mod rules;
mod shape;
mod source;
mod template;
mod timeout;

pub use check::check;
pub use code::Code;
pub use files::{WELL_KNOWN_FILES, is_well_known_file};
pub use finding::{Finding, Rule};
pub use http_rule::{BindingError, Body, HttpBinding, HttpVerb};
pub use model::{
    Contract, ContractError, Effect, Event, KeyPolicy, Method, MethodKind, Reason, events_of, reasons_of,
};
pub use rules::RULES;
pub use shape::is_recursive;
pub use template::{Part, PathTemplate, TemplateError, Variable};
pub use timeout::{TimeoutError, parse_timeout};
