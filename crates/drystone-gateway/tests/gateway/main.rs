//! The gateway from outside: requests in, what a contract gets, answers out.

mod context;
mod end_to_end;
mod failures;
mod health;
mod mounting;
mod openapi;
mod requests;
mod server;
mod support;
