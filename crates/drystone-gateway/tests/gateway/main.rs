//! The gateway from outside: requests in, what a contract gets, answers out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking, in its helpers too")]

mod context;
mod end_to_end;
mod failures;
mod health;
mod mounting;
mod openapi;
mod requests;
mod server;
mod support;
