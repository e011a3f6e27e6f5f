//! gRPC between processes: client, server, mutual TLS; and gRPC for callers outside.
//!
//! [`drystone_call`] says what a call means and leaves two seams open: [`drystone_call::Remote`], which carries the
//! bytes of a call to another process, and [`drystone_call::Dispatch`], which serves bytes that arrived. This crate is
//! what lies between them, on hyper's HTTP/2 and rustls, with no code generated and no message encoded twice.
//!
//! * [`DevAuthority`] and [`ProcessIdentity`]: who a process is. A certificate carries one name per hosted module.
//! * [`InternalServer`]: serves the contracts of a process to the other processes, and refuses every caller whose
//!   certificate does not host the module that it claims or whose module has not declared the edge ([`EdgeSet`]).
//! * [`RemoteProcess`] and [`RemoteModule`]: the calling end; one shared connection per process and callee module.
//! * [`Replicas`] and [`Discovery`]: a module of which there are several, and where they are; one shared connection per replica.
//! * [`GrpcService`]: the same contracts for anyone who has the `.proto` files; the gateway mounts it on its port.
//!
//! # Invariants
//!
//! * The process is the trust boundary. A process may speak for every module that it hosts and for no other; tenant,
//!   principal and baggage are taken on its word.
//! * A caller gets an answer, a refusal, or `UNAVAILABLE` naming the module and the address. It never waits past its
//!   deadline, and a refused connection is an answer at once.
//! * No private key is kept outside rustls, printed, or written with a mode wider than 0600.
//! * A request that a peer may have acted on is never sent a second time here: repeating is for those who know whether the method may be
//!   repeated. One that HTTP/2 says was not processed had no effect, and goes to another replica.
//!
//! # What it deliberately lacks
//!
//! Retries and breakers (they are layers above), a way to add replicas (it finds those that others started), streaming methods, compression (messages between modules
//! are small and the loopback is fast), server reflection, and TLS for the public port (the gateway's matter).

mod authority;
mod client;
mod discovery;
mod edges;
mod ends;
mod error;
mod files;
mod grpc_service;
mod health;
mod identity;
mod names;
mod peer;
mod routes;
mod server;
mod wire;

pub use authority::DevAuthority;
pub use client::{RemoteMetrics, RemoteModule, RemoteProcess, Replicas, ReplicasMetrics};
pub use discovery::{Discovery, DiscoveryMetrics, Lookup, Reach, SystemLookup};
pub use edges::{EdgeSet, GATEWAY};
pub use error::TransportError;
pub use grpc_service::{GrpcService, Mint, Ready};
pub use identity::ProcessIdentity;
pub use server::{Drained, InternalServer, ServerMetrics};
pub use wire::GrpcBody;
