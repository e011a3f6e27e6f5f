//! The module's connections: one pool, each connection with its prepared statements per schema.
//!
//! One pool and not one per schema: a connection that rests costs the server a process, and data of no tenant is asked for rarely. What a name
//! means follows from the schema in front, so prepared statements are kept apart by schema.
//!
//! A session is set up once, when it starts: schema, UTC, limits. It writes only inside `begin .. read write`: a statement is sent together with the
//! `begin` before it, and if that fails, the statement runs by itself, where it must not take effect.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, PoolError, QueueMode, RecycleError, RecycleResult};
use drystone_call::{Error, Result};
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{Client, Error as PgError, Statement};

use super::connect::Server;
use super::names::{Names, quoted};
use crate::error::{too_late, unreachable};

/// How long the statement of a dropped transaction may go on before it is stopped.
const GRACE: Duration = Duration::from_millis(50);

/// A connection that rested this long is asked whether it is there before it is handed out.
const RESTED: Duration = Duration::from_secs(10);
/// A connection that is to do nothing and does not answer within this time has nobody at its other end.
const SILENT: Duration = Duration::from_millis(500);
/// How long a rollback or the like may take before its connection counts as lost.
pub(crate) const CLEANUP: Duration = Duration::from_secs(5);
/// More than the hot statements of a module. Texts built at run time would otherwise fill the server's memory.
const STATEMENTS_KEPT: usize = 500;
/// One for what reads the outbox and one for what writes the positions.
const RELAY_CONNECTIONS: usize = 2;

/// The module's connections.
pub(crate) type Pool = managed::Pool<Connector>;
/// One of them; back in the pool when dropped.
pub(crate) type Pooled = managed::Object<Connector>;

/// Whose data a transaction works on, which says which schema is in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    Tenants,
    Shared,
}

/// A connection.
pub(crate) struct Conn {
    client: Client,
    server: Server,
    task: JoinHandle<()>,
    tenants: Statements,
    shared: Statements,
}

impl Conn {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The statements prepared with this schema in front.
    pub(crate) fn statements(&self, schema: Schema) -> &Statements {
        match schema {
            Schema::Tenants => &self.tenants,
            Schema::Shared => &self.shared,
        }
    }

    /// Prepares everything anew: what was prepared no longer fits the tables.
    pub(crate) fn forget_statements(&self) {
        self.tenants.clear();
        self.shared.clear();
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // The task would wait for what the server still owes, forever if the other side is gone.
        self.task.abort();
    }
}

/// Statements that are prepared on a connection.
#[derive(Default)]
pub(crate) struct Statements(Mutex<HashMap<Box<str>, Statement>>);

impl Statements {
    pub(crate) fn get(&self, sql: &str) -> Option<Statement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }

    pub(crate) fn keep(&self, sql: &str, statement: &Statement) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= STATEMENTS_KEPT {
            kept.clear();
        }
        kept.insert(sql.into(), statement.clone());
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes the pool's connections.
#[derive(Debug)]
pub(crate) struct Connector(Server);

impl managed::Manager for Connector {
    type Type = Conn;
    type Error = PgError;

    async fn create(&self) -> Result<Conn, PgError> {
        let (client, task) = self.0.open().await?;
        let server = self.0.clone();
        Ok(Conn { client, server, task, tenants: Statements::default(), shared: Statements::default() })
    }

    async fn recycle(&self, conn: &mut Conn, metrics: &Metrics) -> RecycleResult<PgError> {
        if conn.client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        if metrics.last_used() < RESTED {
            return Ok(());
        }
        // The other end may be gone without a word; better to find out here than by a call's deadline.
        match tokio::time::timeout(SILENT, conn.client.batch_execute("")).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(RecycleError::message("silent")),
        }
    }
}

/// The pool of a module's connections.
///
/// # Errors
/// `INTERNAL` if it cannot be made.
pub(crate) fn pool(server: &Server, names: &Names, hold_limit: Duration, size: usize) -> Result<Pool> {
    let path = quoted(&names.schema);
    let options = session(&path, "serializable", hold_limit);
    build(server.with_options(&options), size)
}

/// The pool of those that carry the module's events: `server` logs in as the role for that. Nothing connects before it is asked for.
///
/// # Errors
/// As [`pool`].
pub(crate) fn relay_pool(server: &Server, names: &Names, hold_limit: Duration) -> Result<Pool> {
    let path = format!("{},{}", quoted(&names.schema), quoted(&names.shared));
    // A space must not end the setting.
    let options = session(&path, "read\\ committed", hold_limit);
    build(server.with_options(&options), RELAY_CONNECTIONS)
}

fn build(server: Server, size: usize) -> Result<Pool> {
    let connector = Connector(server);
    Pool::builder(connector)
        .max_size(size.max(1))
        // The one used last has the warmest caches, and what is not needed rests until it is closed.
        .queue_mode(QueueMode::Lifo)
        .build()
        .map_err(|cause| Error::internal("the pool of connections cannot be made").caused_by(cause))
}

/// What never changes in a session.
fn session(search_path: &str, isolation: &str, hold_limit: Duration) -> String {
    // The server ends what a vanished client holds; a client that is there finds its limit passed before.
    let idle = (2 * hold_limit).as_millis().clamp(1, 86_400_000);
    format!(
        "-c search_path={search_path} -c default_transaction_isolation={isolation} -c idle_in_transaction_session_timeout={idle} {SESSION}"
    )
}

/// The settings of every session.
///
/// A serializable transaction that reads a table from end to end conflicts with everybody who writes to it, of whichever tenant, and that is how a
/// planner reads small tables that were analyzed: 16 tasks, each with rows of its own, had 88 % of their transactions refused, and below 1 % by the
/// index. Keys begin with the tenant, so there is always an index to go by. What has none still reads the table, at a price that must not call for
/// compiled code.
const SESSION: &str = "-c timezone=UTC -c default_transaction_read_only=on \
    -c client_connection_check_interval=5000 -c enable_seqscan=off -c jit=off";

/// A connection of the pool, waiting for one until `deadline` at most. It does not write outside `begin .. read write`.
///
/// # Errors
/// `DEADLINE_EXCEEDED` if all are busy until then, `UNAVAILABLE` if the server cannot be reached.
pub(crate) async fn connection(pool: &Pool, deadline: Instant) -> Result<Pooled> {
    match tokio::time::timeout_at(deadline, pool.get()).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(PoolError::Backend(cause))) => Err(unreachable(cause)),
        Ok(Err(cause)) => Err(unreachable(cause)),
        Err(_) => Err(too_late("a connection to the database")),
    }
}

/// What has to happen to a connection before it goes back to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing was begun.
    Clean,
    /// A transaction is open, and every reply has arrived.
    Open,
    /// A statement may still run.
    Running,
}

/// Gives a connection back without waiting, as a drop must.
pub(crate) fn give_back(conn: Pooled, left: Left) {
    match left {
        Left::Clean => {}
        Left::Open => {
            // Sent at once, so it comes before whatever the next holder of the connection sends; if it cannot be sent, the connection is lost,
            // and the pool sees that.
            drop(conn.client().batch_execute("rollback").now_or_never());
        }
        Left::Running => match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(stop(conn))),
            // Closing the connection rolls back.
            Err(_) => drop(Pooled::take(conn)),
        },
    }
}

/// Lets what runs on a connection end, rolls back, and gives the connection back. What does not end soon is stopped, and its connection closed.
async fn stop(conn: Pooled) {
    if let Ok(Ok(())) = tokio::time::timeout(GRACE, conn.client().batch_execute("rollback")).await {
        return;
    }
    // The request goes by a connection of its own, and nothing says when the server acts on it: it could meet whatever runs on this connection
    // next. So nothing does.
    let (pool, conn) = (Pooled::pool(&conn), Pooled::take(conn));
    let _ = tokio::time::timeout(CLEANUP, conn.server.cancel(conn.client())).await;
    let answered = tokio::time::timeout(SILENT, conn.client().batch_execute("rollback")).await;
    if let (Err(_), Some(pool)) = (answered, pool) {
        // Where one has nobody at its other end, those that rest beside it are likely to be in the same case.
        pool.retain(|_, _| false);
    }
}
