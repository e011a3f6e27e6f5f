//! Context, errors and the call between modules.
//!
//! A call between two modules means the same wherever they run: same errors, same deadline, same identity, same cancellation,
//! same limits. This crate is that meaning. It holds
//!
//! * [`Context`] and [`Caller`]: who is asking and under which limits;
//! * [`Error`]: a canonical code, a reason, details, and a cause that never leaves its module;
//! * [`Channel`]: what a generated client holds, with a [`Runner`] below it;
//! * [`Mounted`]: what stands before a generated server's handler;
//! * the seams to what this crate does not know: [`Remote`] (a wire), [`KeyGate`] (a store).
//!
//! # Life of a call
//!
//! [`Channel::unary`] opens the span, counts, takes a place in the edge's bulkhead, minds its rate, makes the callee's context (deadline, trace, key) and hands the
//! message to the runner, unless an equal read is under way. *Direct* moves it; *encoded* takes it through its binary form; *remote* sends it to another process, and
//! again where that is safe, behind a breaker; *faulty* does so with a network's faults. On the serving side, in every runner, [`Mounted`] enforces the
//! deadline, admits, claims the idempotency key, catches panics, calls the handler, runs it again when its transaction met a concurrent one, and waits for the commit that
//! the answer rests on. The error loses its cause there and is cut to the size that a wire carries. Each side is one function that can be read whole:
//! `Link::stack` and [`Mounted`]'s `serve`. What the layers do is said by a [`policy::Policy`] a method.
//!
//! # Invariants
//!
//! * A caller cannot tell the runners apart but by latency: equal limits ([`MAX_MESSAGE_BYTES`], [`MAX_STATUS_BYTES`],
//!   [`MAX_BAGGAGE_BYTES`], nesting of 100), equal errors, equal cancellation.
//! * Messages move. A local call copies and aliases nothing.
//! * A context is never cloned, and a call needs one: what has no context makes no call.
//!
//! # What it deliberately lacks
//!
//! Any transport, any store, any knowledge of modules as a whole; those build on it. Streaming methods: the places for them are
//! [`MethodVisitor`] and [`Runner`].

mod attempts;
mod baggage;
mod chance;
mod channel;
#[doc(hidden)]
pub mod codegen;
mod context;
#[doc(hidden)]
pub mod defects;
mod door;
mod erased;
mod error;
mod fallback;
mod faulty;
mod gate;
mod guards;
pub mod headers;
mod home;
mod info;
mod key;
mod metrics;
mod own_writes;
mod payload;
pub mod policy;
mod problem;
mod reason;
mod recent;
mod rerun;
mod serve;
mod service;
mod shared;
mod spanned;
mod status;
mod tenant;
mod trace;
mod versions;
mod within;

use channel::deadline_exceeded;

pub use baggage::{Baggage, MAX_BAGGAGE_BYTES};
pub use chance::{chance, seed_chance_of_thread};
pub use channel::{Channel, Remote, Runner};
pub use context::{Barrier, Caller, Context, DEFAULT_TIMEOUT};
pub use door::ServeLive;
pub use drystone_contract::{Coalescing, Code, Effect, KeyPolicy};
pub use erased::{AnyChannel, JsonBody, Mount, Served, Target};
pub use error::{Classifier, Error, FieldViolation, ReasonInfo, Result, register_classifier};
pub use fallback::OrFallback;
pub use faulty::{
    Attempt, Fault, FaultCounts, FaultKind, FaultReport, Faults, Faulty, Harm, Injected, Profile, SPACING,
    TWICE, Witness,
};
pub use gate::{Admission, Claim, KeyGate, KeyUse, Recorded};
pub use guards::MethodLive;
pub use home::{Clock, Home, Ids, ManualClock, RandomIds, SeededIds, SystemClock};
pub use info::{ContractInfo, MethodInfo};
pub use key::IdempotencyKey;
pub use metrics::{EdgeMetrics, LATENCY_BUCKETS, MethodMetrics};
pub use own_writes::OwnWrites;
pub use payload::{MAX_MESSAGE_BYTES, Payload, check_size};
pub use problem::{Problem, ProblemViolation};
pub use reason::{PlatformReason, Reason, reason_of};
pub use rerun::MOST_RUNS;
pub use serve::{Dispatch, Mounted};
pub use service::{CallFn, ContractClient, Event, MethodVisitor, Reply, ServiceDef};
pub use status::MAX_STATUS_BYTES;
pub use tenant::{Principal, TenantId};
pub use trace::TraceContext;

/// `google.protobuf.Timestamp` and `google.protobuf.Duration` as generated messages hold them.
pub use pbjson_types::{Duration as ProtoDuration, Timestamp};

/// Includes the code that the build script generated for a proto package.
///
/// ```ignore
/// drystone_call::include_contract!("shop.orders.v1");
/// ```
#[macro_export]
macro_rules! include_contract {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}
