//! The lease of a process: that it works here, and with which versions.
//!
//! A contract step waits for the leases of older versions ([`super::contract`]), so a process whose lease may have run out does not write before
//! it has renewed it, and one that finds its lease gone looks at the migrations again. "May have run out" is told by the process's own steady clock, counted from
//! before the renewal was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use drystone_call::{Code, Error, Result};
use tokio_postgres::Client;
use tokio_postgres::error::{Error as PgError, SqlState};
use uuid::Uuid;

use super::connect::Server;
use super::line::Line;
use super::names::{Names, quoted};
use super::pool::CLEANUP;
use super::registry::Registry;
use super::started::check_migrated;
use crate::error::{is_lost, too_late};
use crate::migrate::{Migration, Migrations};

/// How often a lease is renewed.
pub(crate) const RENEWED_EVERY: Duration = Duration::from_secs(2);
/// How long a starting process waits for a migration that is running.
const STARTING: Duration = Duration::from_secs(30);

/// The lease of this process on a module's schemas.
pub(crate) struct Lease {
    line: Line,
    registry: Arc<Registry>,
    names: Names,
    migrations: Migrations,
    table: String,
    id: Uuid,
    lives: Duration,
    since: Instant,
    /// Until when the lease lives at least, in microseconds from `since`.
    until: AtomicU64,
    renewing: tokio::sync::Mutex<()>,
    /// Why this version must not work here any more.
    refused: OnceLock<String>,
}

impl Lease {
    /// Takes a lease and then looks at the migrations: a contract step that comes later sees the lease, one that came before is seen.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if the schemas are not what the binary's version works with, `UNAVAILABLE` if the server cannot be reached.
    pub(crate) async fn take(
        server: &Server,
        names: &Names,
        migrations: Migrations,
        registry: Arc<Registry>,
        lives: Duration,
    ) -> Result<Self> {
        let lease = Self {
            line: Line::to(server.clone()),
            registry,
            names: names.clone(),
            migrations,
            table: format!("{}.drystone_leases", quoted(&names.shared)),
            id: Uuid::now_v7(),
            lives,
            since: Instant::now(),
            until: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::new(()),
            refused: OnceLock::new(),
        };
        match tokio::time::timeout(STARTING, lease.renew_now()).await {
            Ok(Ok(())) => Ok(lease),
            Ok(Err(error)) => {
                lease.give_up().await;
                Err(error)
            }
            Err(_) => Err(Error::unavailable(format!(
                "the database of {} did not answer within {STARTING:?}; a migration may be running, start again when it is done",
                names.schema
            ))),
        }
    }

    /// The connection for what the store asks on its own account; each statement is a transaction of its own.
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// Whether the lease lives.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if this version must not work here any more.
    pub(crate) fn lives(&self) -> Result<bool> {
        if let Some(why) = self.refused.get() {
            return Err(Error::new(Code::FailedPrecondition, why.clone()));
        }
        Ok(self.micros(Instant::now()) < self.until.load(Ordering::Acquire))
    }

    /// Renews the lease if it may have run out.
    ///
    /// # Errors
    /// As [`Lease::lives`]; whatever keeps it from being renewed.
    pub(crate) async fn ensure(&self, deadline: tokio::time::Instant) -> Result<()> {
        if self.lives()? {
            return Ok(());
        }
        let renewed = async {
            let _one = self.renewing.lock().await;
            if self.lives()? { Ok(()) } else { self.renew_now().await }
        };
        tokio::time::timeout_at(deadline, renewed)
            .await
            .map_err(|_| too_late("the renewal of the process's lease"))?
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// As [`Lease::ensure`].
    pub(crate) async fn renew(&self) -> Result<()> {
        let _one = self.renewing.lock().await;
        let renewed = tokio::time::timeout(CLEANUP, self.renew_now()).await;
        renewed.unwrap_or_else(|_| {
            // The other end may be gone: the next renewal connects anew.
            self.line.close();
            Err(too_late("the renewal of the process's lease"))
        })
    }

    async fn renew_now(&self) -> Result<()> {
        let from = Instant::now();
        let line = self.line.get(tokio::time::Instant::now() + CLEANUP).await?;
        let done = match line.hear(self.renew_on(&line.client)).await {
            // The connection had ended unseen.
            Err(Failed::Sql(cause)) if is_lost(&cause) => {
                let line = self.line.get(tokio::time::Instant::now() + CLEANUP).await?;
                line.hear(self.renew_on(&line.client)).await
            }
            done => done,
        };
        done?;
        self.until.store(self.micros(from + self.lives), Ordering::Release);
        Ok(())
    }

    async fn renew_on(&self, client: &Client) -> Result<(), Failed> {
        let held = if self.until.load(Ordering::Acquire) == 0 {
            false
        } else {
            let seen = self.registry.refresh(client).await?;
            let renew =
                format!("update {} set renewed = clock_timestamp(), seen = $2 where id = $1", self.table);
            client.execute(&renew, &[&self.id, &seen]).await? == 1
        };
        if held {
            return Ok(());
        }
        self.insert(client).await?;
        check_migrated(client, &self.names, &self.migrations).await.inspect_err(|error| {
            if error.code() == Code::FailedPrecondition {
                tracing::error!(target: "drystone::store", module = self.names.schema, %error, "this version must stop");
                // Set once: the first reason is the one to tell.
                let _ = self.refused.set(error.message().to_owned());
            }
        })?;
        // Only now: what this process has seen of the registry counts from its lease.
        let seen = self.registry.refresh(client).await?;
        let follow = format!("update {} set seen = $2 where id = $1", self.table);
        client.execute(&follow, &[&self.id, &seen]).await?;
        Ok(())
    }

    async fn insert(&self, client: &Client) -> Result<(), Failed> {
        let insert = format!(
            "insert into {} (id, process, version, shared_version, renewed) values ($1, $2, $3, $4, clock_timestamp())",
            self.table
        );
        let (version, shared) = (newest(self.migrations.postgres), newest(self.migrations.shared_postgres));
        let inserted = client.execute(&insert, &[&self.id, &process(), &version, &shared]).await;
        let Err(cause) = inserted else { return Ok(()) };
        let missing = matches!(
            cause.code(),
            Some(
                &(SqlState::UNDEFINED_TABLE
                    | SqlState::INVALID_SCHEMA_NAME
                    | SqlState::INSUFFICIENT_PRIVILEGE)
            )
        );
        if missing {
            // Says what is missing and what to do.
            check_migrated(client, &self.names, &self.migrations).await?;
        }
        Err(cause.into())
    }

    /// Ends the lease, so that a contract step need not wait until it runs out.
    pub(crate) async fn give_up(&self) {
        let _one = self.renewing.lock().await;
        self.until.store(0, Ordering::Release);
        let gone = tokio::time::timeout(CLEANUP, async {
            let line = self.line.get(tokio::time::Instant::now() + CLEANUP).await?;
            let delete = format!("delete from {} where id = $1", self.table);
            line.client.execute(&delete, &[&self.id]).await.map_err(Error::from)
        });
        if let Ok(Err(error)) = gone.await {
            tracing::debug!(target: "drystone::store", %error, "the lease was left to run out");
        }
        self.line.close();
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.since).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Why a renewal failed.
enum Failed {
    Sql(PgError),
    Other(Error),
}

impl From<PgError> for Failed {
    fn from(cause: PgError) -> Self {
        Self::Sql(cause)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Sql(cause) => cause.into(),
            Failed::Other(error) => error,
        }
    }
}

/// The highest version that a binary knows.
fn newest(all: &[Migration]) -> i64 {
    all.iter().map(|migration| i64::from(migration.version)).max().unwrap_or(0)
}

/// Who holds a lease, for people: program, host and process id.
fn process() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} on {}, pid {}", program.to_string_lossy(), host.trim(), std::process::id())
}
