//! The command's side of the admin socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use drystone_call::{Error, Result, TenantId};
use drystone_store::{Section, StoreStatus};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::wire::{About, Failure, TenantLine};
use super::{frames, pipe, socket};

/// How long a process may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that runs, reached through its admin socket.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) path: Arc<PathBuf>,
    about: Arc<About>,
}

/// The processes that run on a data directory.
///
/// # Errors
/// If one listens and does not say who it is.
pub(crate) async fn peers(data: &Path) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for path in socket::all(data) {
        // Nobody listens at a socket that was left behind.
        if socket::connect(&path).is_err() {
            continue;
        }
        let about = timeout(PATIENCE, fetch(&path, Method::GET, "/about")).await.map_err(|_| {
            Error::unavailable(format!(
                "the process at {} does not answer; see whether it hangs, and stop it",
                path.display()
            ))
        })??;
        peers.push(Peer { path: Arc::new(path), about: Arc::new(about) });
    }
    Ok(peers)
}

impl Peer {
    /// Who it is.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    pub(crate) async fn status(&self, module: &str) -> Result<StoreStatus> {
        fetch(&self.path, Method::GET, &format!("/modules/{module}/status")).await
    }

    pub(crate) async fn tenants(&self, module: &str) -> Result<Vec<TenantLine>> {
        fetch(&self.path, Method::GET, &format!("/modules/{module}/tenants")).await
    }

    pub(crate) async fn create(&self, module: &str, tenant: &TenantId) -> Result<bool> {
        fetch(&self.path, Method::POST, &format!("/modules/{module}/tenants/{tenant}")).await
    }

    pub(crate) async fn delete(&self, module: &str, tenant: &TenantId) -> Result<()> {
        fetch(&self.path, Method::DELETE, &format!("/modules/{module}/tenants/{tenant}")).await
    }

    pub(crate) async fn suspend(&self, module: &str, tenant: &TenantId) -> Result<()> {
        fetch(&self.path, Method::POST, &format!("/modules/{module}/tenants/{tenant}/suspend")).await
    }

    pub(crate) async fn resume(&self, module: &str, tenant: &TenantId) -> Result<()> {
        fetch(&self.path, Method::POST, &format!("/modules/{module}/tenants/{tenant}/resume")).await
    }

    pub(crate) async fn export<W>(&self, module: &str, of: Option<&TenantId>, to: &mut W) -> Result<Section>
    where
        W: AsyncWrite + Unpin,
    {
        let response = send(&self.path, Method::GET, &archive(module, of), Body::empty()).await?;
        let response = refused(response).await?;
        frames::read(pipe::reader_of(response.into_body()), to).await
    }

    pub(crate) async fn import<R>(&self, module: &str, of: Option<&TenantId>, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin,
    {
        let (reader, mut writer) = tokio::io::duplex(pipe::PIECE);
        let path = archive(module, of);
        let sent = send(&self.path, Method::PUT, &path, pipe::body_of(reader));
        let copied = async {
            let copied = tokio::io::copy_buf(from, &mut writer).await;
            // The body ends here, whole or not.
            let _ = writer.shutdown().await;
            drop(writer);
            copied
        };
        let (response, copied) = tokio::join!(sent, copied);
        let section = body(refused(response?).await?).await?;
        copied?;
        Ok(section)
    }
}

fn archive(module: &str, of: Option<&TenantId>) -> String {
    match of {
        Some(tenant) => format!("/modules/{module}/tenants/{tenant}/archive"),
        None => format!("/modules/{module}/shared/archive"),
    }
}

pub(super) async fn fetch<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<T> {
    body(refused(send(socket, method, path, Body::empty()).await?).await?).await
}

/// Posts what is to be done, as JSON.
pub(super) async fn tell<T: DeserializeOwned>(socket: &Path, path: &str, what: &impl Serialize) -> Result<T> {
    let what = Body::from(serde_json::to_vec(what)?);
    body(refused(send(socket, Method::POST, path, what).await?).await?).await
}

async fn send(socket: &Path, method: Method, path: &str, body: Body) -> Result<Response<Incoming>> {
    let gone = || format!("the process at {} went away", socket.display());
    let stream = socket::connect(socket).map_err(|cause| Error::unavailable(gone()).caused_by(cause))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| Error::unavailable(gone()).caused_by(cause))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an admin socket broke");
        }
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin")
        .header("content-type", "application/json")
        .body(body)?;
    sender.send_request(request).await.map_err(|cause| Error::unavailable(gone()).caused_by(cause))
}

/// The error in an answer that is one.
async fn refused(response: Response<Incoming>) -> Result<Response<Incoming>> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let failure: Failure = body(response).await.map_err(|cause| {
        Error::internal(format!("the process answered {status}")).caused_by(cause.to_string())
    })?;
    Err(failure.into())
}

async fn body<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T> {
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|cause| {
            Error::unavailable("the process ended before its answer was whole").caused_by(cause)
        })?
        .to_bytes();
    Ok(serde_json::from_slice(&bytes)?)
}
