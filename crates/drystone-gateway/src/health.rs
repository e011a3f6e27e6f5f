//! `/healthz` says that the process lives; `/readyz` says whether it can do its work, and what keeps it from it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Home, Result};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::time::Instant;

/// Looks at one thing that the process needs; `Err` says what is wrong with it.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The time that one check may take.
const LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct Health {
    home: Arc<Home>,
    started: Instant,
    checks: Vec<(String, Check)>,
}

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    status: &'static str,
    uptime_seconds: u64,
    time: String,
    checks: Vec<Checked<'a>>,
}

#[derive(Serialize)]
struct Checked<'a> {
    name: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    took_ms: u64,
}

impl Health {
    pub(crate) fn new(home: Arc<Home>, checks: Vec<(String, Check)>) -> Self {
        Self { home, started: Instant::now(), checks }
    }

    /// Runs every check at the same time.
    pub(crate) async fn report(&self) -> Report<'_> {
        let checks = join_all(self.checks.iter().map(|(name, check)| checked(name, check))).await;
        Report {
            status: if checks.iter().all(|check| check.ok) { "ok" } else { "unavailable" },
            uptime_seconds: self.started.elapsed().as_secs(),
            time: prost_types::Timestamp::from(self.home.now()).to_string(),
            checks,
        }
    }
}

impl Report<'_> {
    pub(crate) fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

async fn checked<'a>(name: &'a str, check: &Check) -> Checked<'a> {
    let began = Instant::now();
    let looked = AssertUnwindSafe(async { check().await }).catch_unwind();
    let error = match tokio::time::timeout(LIMIT, looked).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error.to_string()),
        Ok(Err(_)) => Some("the check panicked".to_owned()),
        Err(_) => Some(format!("no answer within {} s", LIMIT.as_secs())),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Checked { name, ok: error.is_none(), error, took_ms }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|(name, _)| name)).finish()
    }
}
