//! The part of the admin socket that is about policies, both sides of it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use drystone_call::{Error, Result};
use hyper::Method;

use super::client::{Peer, fetch};
use super::server::{Admin, Shared, answer};
use crate::policies::{PolicyReport, Reloaded};

/// The routes below `/policy`.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/policy", get(policy)).route("/policy/reload", post(reload))
}

async fn policy(State(admin): Shared) -> Response {
    answer(Ok(admin.policies.report()))
}

async fn reload(State(admin): Shared) -> Response {
    // The mistake is one of the settings, whose place it names.
    answer(
        admin
            .policies
            .reload_and_say()
            .map_err(|error| Error::failed_precondition(format!("nothing has changed: {error}"))),
    )
}

/// The command's side.
impl Peer {
    pub(crate) async fn policy(&self) -> Result<PolicyReport> {
        fetch(&self.path, Method::GET, "/policy").await
    }

    pub(crate) async fn reload_policy(&self) -> Result<Reloaded> {
        fetch(&self.path, Method::POST, "/policy/reload").await
    }
}
