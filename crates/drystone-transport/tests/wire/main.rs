//! The transport over real sockets with real certificates: two processes' worth of it in one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod discovery;
mod identity;
mod life;
mod outside;
mod refused;
mod replicas;
mod world;
