//! What tests of Drystone and of applications built on it share.
//!
//! * [`TestApp`]: modules under a chosen [`Runner`], with stores of their own, seeded ids and a clock that stands still; other modules faked where a
//!   test wants that. [`under_every_runner!`] runs one test function under all of them.
//! * [`Program`]: a real binary as a child process, found ready by what it prints, killed when the test ends.
//! * [`Http`]: a small HTTP client whose answers are easy to compare.
//! * `Postgres` (feature `services`): a real PostgreSQL as a child process.
//! * [`drop_at_every_await`]: cancellation at each await point in turn.
//!
//! # Invariants
//!
//! * What a test claims about a runner is checked: [`TestApp::finish`] fails if nothing was encoded, or no connection was made, where it should.
//! * A missing server is an error that names the package, never a skipped test.
//!
//! # What it deliberately lacks
//!
//! Doubles of the parts that run: stores, sockets and certificates are real. The simulator and the faulty runner come with the engines that need them.

mod cancel;
#[cfg(feature = "app")]
mod http;
#[cfg(feature = "services")]
mod postgres;
#[cfg(feature = "app")]
mod program;
#[cfg(feature = "app")]
mod test_app;

pub use cancel::{Dropped, drop_at_every_await, poll_and_drop, poll_once};
#[cfg(feature = "app")]
pub use http::{Answer, Http};
#[cfg(feature = "services")]
pub use postgres::{Database, Postgres};
#[cfg(feature = "app")]
pub use program::Program;
#[cfg(feature = "app")]
pub use test_app::{Evidence, Runner, TestApp, TestAppBuilder};
