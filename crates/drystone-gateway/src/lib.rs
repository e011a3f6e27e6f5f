//! The one public entrance: REST in, contracts behind.
//!
//! The gateway turns HTTP requests into calls of contracts by the `google.api.http` rules that the contracts themselves carry, and
//! answers and errors back into HTTP. It is made once, from the channels of every contract that the outside may call, and is then
//! a cloneable tower service: [`serve`] puts it on a listener, [`Gateway::into_router`] mounts it in an axum server that exists already.
//!
//! # Life of a request
//!
//! Path and method are looked up in a trie of path segments, compiled at [`GatewayBuilder::build`]. A [`Mint`] makes the context from
//! the headers. Path, query and body become one canonical proto3 JSON document, which goes to the contract through
//! [`AnyChannel::call_json`](drystone_call::AnyChannel::call_json); where the body is the whole request, its text goes through untouched.
//! The answer's JSON goes out as it came, and every failure, the gateway's own included, is an RFC 9457 problem document.
//!
//! # Invariants
//!
//! * The gateway knows no module, no transport and no store: what it needs of them arrives as channels, checks, routes and one gRPC service.
//! * A request that the contract's rules do not describe is refused with a text that names what is wrong; nothing is dropped silently.
//! * Two contracts never share a route: that is an error of the build that names both.
//! * Without a way to tell who is asking there is no gateway; in development mode, where callers name themselves, it listens on
//!   loopback only ([`check_listen`]).
//! * `/healthz`, `/readyz` and `/openapi.json` are the gateway's own and never reach a module.
//!
//! # What it deliberately lacks
//!
//! Authentication, rate limits and proxying to servers that are no contract are not there yet. TLS towards the outside is a
//! reverse proxy's.

mod builder;
mod convert;
mod dispatch;
mod error;
mod fields;
mod gateway;
mod health;
mod mint;
mod openapi;
mod percent;
mod problem;
mod query;
mod rest;
mod route;
mod routes;
mod server;

pub use builder::{DevMode, GatewayBuilder, GrpcRoute};
pub use error::GatewayError;
pub use gateway::{Gateway, RouteInfo};
pub use health::Check;
pub use mint::Mint;
pub use server::{Drained, check_listen, serve};
