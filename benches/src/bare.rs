//! The yardstick of the gateway: a bare axum route with serde structs, doing the same work.

use std::path::Path;

use axum::extract::{Path as Param, Query};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::prices::UNIT;
use crate::suites::Failure;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    sku: String,
    quantity: i32,
    currency_code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    quantity: i32,
    currency_code: String,
}

/// As canonical proto3 JSON, whose 64-bit integers are strings.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    sku: String,
    quantity: i32,
    total: Money,
    available: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Money {
    currency_code: String,
    minor_units: String,
}

fn quote(Request { sku, quantity, currency_code }: Request) -> Json<Response> {
    let total = Money { currency_code, minor_units: (UNIT * i64::from(quantity)).to_string() };
    Json(Response { sku, quantity, total, available: quantity < 1000 })
}

async fn posted(Json(request): Json<Request>) -> Json<Response> {
    quote(request)
}

async fn got(Param(sku): Param<String>, Query(asked): Query<Asked>) -> Json<Response> {
    quote(Request { sku, quantity: asked.quantity, currency_code: asked.currency_code })
}

/// Serves until standard input ends, on a runtime as the platform's.
pub(crate) fn serve(data: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let router = Router::new().route("/v1/quotes", post(posted)).route("/v1/quotes/{sku}", get(got));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let file = serde_json::json!({ "gateway": listener.local_addr()?.to_string() });
        std::fs::create_dir_all(data.join("run"))?;
        std::fs::write(data.join("run/bare.new"), file.to_string())?;
        std::fs::rename(data.join("run/bare.new"), data.join("run/bare.json"))?;
        tokio::select! {
            served = async { axum::serve(listener, router).await } => served?,
            ended = until_stdin_ends() => ended?,
        }
        Ok(())
    });
    runtime.shutdown_background();
    outcome
}

async fn until_stdin_ends() -> std::io::Result<()> {
    let mut ignored = [0; 64];
    let mut stdin = tokio::io::stdin();
    while stdin.read(&mut ignored).await? > 0 {}
    Ok(())
}
