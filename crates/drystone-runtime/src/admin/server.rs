//! The process's side of the admin socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use drystone_call::{Error, Home, Result, TenantId};
use drystone_store::{Section, Store, StoreStatus};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wire::{About, Failure, TenantLine};
use super::{frames, pipe};
use crate::module_events::ModuleEvents;
use crate::policies::LivePolicies;

/// What a process answers for.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) about: About,
    pub(crate) stores: Vec<(Arc<str>, Store)>,
    pub(crate) events: BTreeMap<String, ModuleEvents>,
    pub(crate) home: Arc<Home>,
    pub(crate) policies: Arc<LivePolicies>,
}

pub(super) type Shared = State<Arc<Admin>>;

/// Serves until the process stops; what runs then may end.
pub(crate) fn serve(
    listener: UnixListener,
    admin: Admin,
    mut stopping: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let stop = async move {
        // An error means that nobody is left to say so.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let serving = axum::serve(listener, router(admin)).with_graceful_shutdown(stop);
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the admin socket ended");
        }
    })
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/about", get(about))
        .route("/modules/{module}/status", get(status))
        .route("/modules/{module}/tenants", get(list))
        .route("/modules/{module}/tenants/{tenant}", post(create).delete(delete))
        .route("/modules/{module}/tenants/{tenant}/suspend", post(suspend))
        .route("/modules/{module}/tenants/{tenant}/resume", post(resume))
        .route("/modules/{module}/tenants/{tenant}/archive", get(export).put(import))
        .route("/modules/{module}/shared/archive", get(export_shared).put(import_shared))
        .merge(super::events::routes())
        .merge(super::policy::routes())
        .with_state(Arc::new(admin))
}

/// An outcome as an answer.
pub(super) fn answer<T: Serialize>(outcome: Result<T>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let status = axum::http::StatusCode::from_u16(error.http_status())
                .unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(Failure::from(&error))).into_response()
        }
    }
}

impl Admin {
    fn store(&self, module: &str) -> Result<Store> {
        let found = self.stores.iter().find(|(name, _)| **name == *module).map(|(_, store)| store.clone());
        found.ok_or_else(|| {
            Error::not_found(format!("process `{}` hosts no module `{module}`", self.about.process))
        })
    }
}

async fn about(State(admin): Shared) -> Json<About> {
    Json(admin.about.clone())
}

async fn status(State(admin): Shared, Path(module): Path<String>) -> Response {
    let status = async { admin.store(&module)?.status().await };
    answer::<StoreStatus>(status.await)
}

async fn list(State(admin): Shared, Path(module): Path<String>) -> Response {
    let list = async {
        let all = admin.store(&module)?.tenants().all().await?;
        Ok(all.into_iter().map(TenantLine::from).collect::<Vec<_>>())
    };
    answer(list.await)
}

async fn create(State(admin): Shared, Path((module, tenant)): Path<(String, String)>) -> Response {
    answer(async { admin.store(&module)?.tenants().create(&TenantId::new(&tenant)?).await }.await)
}

async fn delete(State(admin): Shared, Path((module, tenant)): Path<(String, String)>) -> Response {
    answer(async { admin.store(&module)?.tenants().delete(&TenantId::new(&tenant)?).await }.await)
}

async fn suspend(State(admin): Shared, Path((module, tenant)): Path<(String, String)>) -> Response {
    answer(async { admin.store(&module)?.tenants().suspend(&TenantId::new(&tenant)?).await }.await)
}

async fn resume(State(admin): Shared, Path((module, tenant)): Path<(String, String)>) -> Response {
    answer(async { admin.store(&module)?.tenants().resume(&TenantId::new(&tenant)?).await }.await)
}

async fn export(State(admin): Shared, Path((module, tenant)): Path<(String, String)>) -> Response {
    match admin.store(&module).and_then(|store| Ok((store, TenantId::new(&tenant)?))) {
        Ok((store, tenant)) => section_of(store, Some(tenant)),
        Err(error) => answer::<()>(Err(error)),
    }
}

async fn export_shared(State(admin): Shared, Path(module): Path<String>) -> Response {
    match admin.store(&module) {
        Ok(store) => section_of(store, None),
        Err(error) => answer::<()>(Err(error)),
    }
}

/// A section as frames. When the other side goes away, writing fails, and the export ends.
fn section_of(store: Store, tenant: Option<TenantId>) -> Response {
    let (reader, mut writer) = tokio::io::duplex(pipe::PIECE);
    let export = tokio::spawn(async move {
        match &tenant {
            Some(tenant) => store.tenants().export(tenant, &mut writer).await,
            None => store.tenants().export_shared(&mut writer).await,
        }
    });
    Body::from_stream(frames::write(reader, export)).into_response()
}

async fn import(
    State(admin): Shared,
    Path((module, tenant)): Path<(String, String)>,
    request: Request,
) -> Response {
    let tenant = TenantId::new(&tenant).map(Some);
    answer(into_store(admin.store(&module), tenant, request).await)
}

async fn import_shared(State(admin): Shared, Path(module): Path<String>, request: Request) -> Response {
    answer(into_store(admin.store(&module), Ok(None), request).await)
}

async fn into_store(
    store: Result<Store>,
    tenant: Result<Option<TenantId>>,
    request: Request,
) -> Result<Section> {
    let mut from = BufReader::new(pipe::reader_of(request.into_body()));
    let outcome = async {
        let tenants = store?.tenants();
        match tenant? {
            Some(tenant) => tenants.import(&tenant, &mut from).await,
            None => tenants.import_shared(&mut from).await,
        }
    };
    let outcome = outcome.await;
    // The other side reads the answer when it has sent everything.
    let mut rest = vec![0; pipe::PIECE];
    while matches!(from.read(&mut rest).await, Ok(read) if read > 0) {}
    outcome
}
