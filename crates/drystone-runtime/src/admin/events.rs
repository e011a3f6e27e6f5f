//! The part of the admin socket that is about events, both sides of it.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use drystone_call::{Error, Result};
use drystone_events::operate::{Done, Held, HeldFilter, HeldId, HeldKey, Redrive, Redriven, Replay};
use hyper::Method;
use uuid::Uuid;

use super::client::{Peer, fetch, tell};
use super::server::{Admin, Shared, answer};
use crate::events_metrics::micros;
use crate::module_events::{Edit, EventsStatus, ModuleEvents};

/// The routes below `/modules/{module}/events`.
pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/modules/{module}/events", get(status))
        .route("/modules/{module}/events/held", post(held))
        .route("/modules/{module}/events/held/{id}", get(message))
        // An event in JSON of bytes is several times its size.
        .route("/modules/{module}/events/edit", post(edit).layer(DefaultBodyLimit::disable()))
        .route("/modules/{module}/events/replay", post(replay))
        .route("/modules/{module}/events/drop", post(drop_message))
        .route("/modules/{module}/events/redrive", post(redrive))
}

impl Admin {
    fn events_of(&self, module: &str) -> Result<&ModuleEvents> {
        self.events.get(module).ok_or_else(|| {
            Error::not_found(format!(
                "process `{}` hosts no module `{module}` with a store",
                self.about.process
            ))
        })
    }
}

async fn status(State(admin): Shared, Path(module): Path<String>) -> Response {
    answer(async { admin.events_of(&module)?.status(micros(&admin.home)).await }.await)
}

async fn held(State(admin): Shared, Path(module): Path<String>, Json(filter): Json<HeldFilter>) -> Response {
    answer(async { admin.events_of(&module)?.held(&filter).await }.await)
}

async fn message(State(admin): Shared, Path((module, id)): Path<(String, Uuid)>) -> Response {
    answer(async { admin.events_of(&module)?.message(id).await }.await)
}

async fn edit(State(admin): Shared, Path(module): Path<String>, Json(what): Json<Edit>) -> Response {
    answer(async { admin.events_of(&module)?.edit(what).await }.await)
}

async fn replay(State(admin): Shared, Path(module): Path<String>, Json(what): Json<Replay>) -> Response {
    answer(async { admin.events_of(&module)?.replay(&what).await }.await)
}

async fn drop_message(
    State(admin): Shared,
    Path(module): Path<String>,
    Json(what): Json<HeldId>,
) -> Response {
    answer(async { admin.events_of(&module)?.drop_message(&what).await }.await)
}

async fn redrive(State(admin): Shared, Path(module): Path<String>, Json(what): Json<Redrive>) -> Response {
    answer(async { admin.events_of(&module)?.redrive(&what).await }.await)
}

/// The command's side.
impl Peer {
    pub(crate) async fn events(&self, module: &str) -> Result<EventsStatus> {
        fetch(&self.path, Method::GET, &format!("/modules/{module}/events")).await
    }

    pub(crate) async fn held(&self, module: &str, filter: &HeldFilter) -> Result<Vec<HeldKey>> {
        tell(&self.path, &format!("/modules/{module}/events/held"), filter).await
    }

    pub(crate) async fn message(&self, module: &str, id: Uuid) -> Result<Vec<Held>> {
        fetch(&self.path, Method::GET, &format!("/modules/{module}/events/held/{id}")).await
    }

    pub(crate) async fn edit(&self, module: &str, what: &Edit) -> Result<()> {
        tell(&self.path, &format!("/modules/{module}/events/edit"), what).await
    }

    pub(crate) async fn replay(&self, module: &str, what: &Replay) -> Result<Done> {
        tell(&self.path, &format!("/modules/{module}/events/replay"), what).await
    }

    pub(crate) async fn drop_message(&self, module: &str, what: &HeldId) -> Result<()> {
        tell(&self.path, &format!("/modules/{module}/events/drop"), what).await
    }

    pub(crate) async fn redrive(&self, module: &str, what: &Redrive) -> Result<Vec<Redriven>> {
        tell(&self.path, &format!("/modules/{module}/events/redrive"), what).await
    }
}
