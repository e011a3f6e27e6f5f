//! What tests of Drystone and of applications built on it share.
//!
//! * [`TestApp`]: modules under a chosen [`Runner`], with stores of their own [`On`] a chosen database, seeded ids and a clock that stands still; other
//!   modules faked where a test wants that. [`under_every_runner!`] runs one test function under all of them, [`on_both_databases!`] also on both databases.
//!   Its [`TestApp::published`] shows what they published, its [`TestApp::deliver`] hands them an event.
//! * [`eventually`]: waits for a condition, within a bound.
//! * [`Program`]: a real binary as a child process, found ready by what it prints, killed when the test ends.
//! * [`Http`]: a small HTTP client whose answers are easy to compare.
//! * `Postgres` (feature `services`): a real PostgreSQL as a child process, which a test may restart and whose backends it may kill.
//! * `Nats` (feature `services`): a real NATS server with JetStream, which a test may kill, start again and wipe.
//! * `sim` (feature `sim`): the engine of events under every fault that we know, from one seed.
//! * `Disk` (feature `services`): a disk that is full or fails its syncs, for a child process.
//! * `PostgresProxy`: keeps back the reply to a commit.
//! * [`at_once`]: requests of REST and of gRPC that reach a server together.
//! * [`drop_at_every_await`]: cancellation at each await point in turn.
//!
//! # Invariants
//!
//! * What a test claims about a runner or a database is checked: [`TestApp::finish`] fails if nothing was encoded, or no connection was made, or no fault
//!   injected, or no file was there, where it should.
//! * A missing server is an error that names the package, never a skipped test.
//!
//! # What it deliberately lacks
//!
//! Doubles of the parts that run: stores, sockets and certificates are real. Faults of the network between modules are the faulty runner's, which every
//! application has; here it is chosen, and seen to have done something.

mod cancel;
#[cfg(feature = "services")]
mod disk;
#[cfg(feature = "app")]
mod eventually;
#[cfg(feature = "app")]
mod http;
#[cfg(feature = "services")]
mod nats;
#[cfg(all(feature = "app", feature = "services"))]
mod pg_proxy;
#[cfg(feature = "services")]
mod postgres;
#[cfg(feature = "app")]
mod program;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "app")]
mod test_app;
#[cfg(feature = "app")]
mod test_stores;
#[cfg(feature = "app")]
mod under;
#[cfg(feature = "app")]
mod volley;

pub use cancel::{Dropped, drop_at_every_await, poll_and_drop, poll_once};
#[cfg(feature = "services")]
pub use disk::Disk;
#[cfg(feature = "app")]
pub use drystone_call::Profile;
#[cfg(feature = "app")]
pub use eventually::eventually;
#[cfg(feature = "app")]
pub use http::{Answer, Http};
#[cfg(feature = "services")]
pub use nats::{Nats, NatsSnapshot};
#[cfg(all(feature = "app", feature = "services"))]
pub use pg_proxy::{PostgresProxy, Withhold};
#[cfg(feature = "services")]
pub use postgres::{Database, Held, Postgres, ServerSetup, Stop};
#[cfg(feature = "app")]
pub use program::Program;
#[cfg(feature = "app")]
pub use test_app::{Evidence, TestApp, TestAppBuilder};
#[cfg(feature = "app")]
pub use under::{Case, On, Runner, Under};
#[cfg(feature = "app")]
pub use volley::{Protocol, RawAnswer, at_once, grpc_request};
