//! From `.proto` files to a contract crate, in a build script and without `protoc`.
//!
//! The build script of a contract crate says, in its `main`,
//!
//! ```no_run
//! drystone_codegen::build("proto");
//! ```
//!
//! and its `lib.rs`
//!
//! ```text
//! drystone_call::include_contract!("shop.orders.v1");
//! ```
//!
//! For each proto package the crate then holds the message types with canonical JSON, an ordinary trait per service, a
//! client, a server, the reasons as a Rust enum, the events, and the descriptors with comments.
//!
//! # Design
//!
//! prost writes messages and pbjson their JSON; what is written here is what Drystone adds. Both are told of one
//! package at a time and all their output lies in one private module that is re-exported whole, so that the lints of
//! the including crate see one `#[allow]` with its reason and not the habits of three generators. The generated file
//! names only `::drystone_call` and `::prost`.
//!
//! # Invariants
//!
//! * Nothing is generated from a contract that breaks a rule of [`drystone_contract::RULES`]: the build fails with
//!   every finding, each with file, line and remedy.
//! * The output is a function of the `.proto` files: no time, no paths of the machine, maps in key order.
//! * The annotation files are embedded, so that a build needs no file beside its own and no network.
//!
//! # What it lacks on purpose
//!
//! Streaming methods: the match on the kind of a method has their place, and a rule refuses them until the call stack
//! carries them. Options for the shape of generated code: contracts of different modules look alike.

mod builder;
mod comments;
mod compile;
mod descriptors;
mod error;
mod json;
mod messages;
mod names;
mod package;
mod reasons;
mod service;
mod template;

pub use builder::{Builder, build};
pub use error::BuildError;
