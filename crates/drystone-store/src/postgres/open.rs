//! A connection with a transaction on it: what was sent, what still waits to be sent, and what must be undone at the end.

use drystone_call::TenantId;
use tokio::time::Instant;
use tokio_postgres::Statement;

use super::batch::{Ahead, Answer, Sent, ask, in_one_go};
use super::names::{literal, quoted};
use super::pool::{Conn, Left, Pool, Pooled, Schema, connection, give_back};
use super::registry::TenantUse;
use crate::error::{Fault, StatementError, is_lost};
use crate::guard;
use crate::params::{Bound, Params};
use crate::tx::Isolation;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write(Isolation),
    Read,
    /// To write over the rows of all tenants, as the role for that.
    Across,
}

/// Whose data a transaction sees, and how it ends.
#[derive(Clone)]
pub(crate) struct Scope {
    /// The tenant, or none for the module's shared data.
    pub(crate) tenant: Option<TenantId>,
    /// Keeps a change of the tenant's state waiting until the transaction is over.
    #[expect(dead_code, reason = "held and not read")]
    pub(crate) in_use: Option<TenantUse>,
    pub(crate) purpose: Purpose,
    /// The name of the schema of the shared data.
    pub(crate) shared: std::sync::Arc<str>,
    pub(crate) deadline: Instant,
}

impl Scope {
    pub(crate) fn schema(&self) -> Schema {
        if self.tenant.is_some() { Schema::Tenants } else { Schema::Shared }
    }

    /// The one place that sets up the wall: mode, tenant, schema and limit, in one message.
    fn begin(&self) -> String {
        let mode = match self.purpose {
            Purpose::Write(Isolation::Serializable) => " read write",
            Purpose::Write(Isolation::ReadCommitted) | Purpose::Across => {
                " isolation level read committed read write"
            }
            Purpose::Read => "",
        };
        // Its sessions have both schemas in front, and no tenant.
        let schema = if self.purpose == Purpose::Across { String::new() } else { self.wall() };
        let left = self.deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 86_400_000);
        format!("begin{mode}; select {schema}set_config('statement_timeout', '{left}', true)")
    }

    /// What says whose data it is.
    fn wall(&self) -> String {
        match &self.tenant {
            // A tenant's name has no character that means anything in SQL.
            Some(tenant) => format!("set_config('app.tenant', '{}', true), ", tenant.as_str()),
            None => format!("set_config('search_path', {}, true), ", literal(&quoted(&self.shared))),
        }
    }
}

/// Says whether the transaction still stands, for in one that failed it fails.
const PROBE: &str = "select";

/// A statement that goes with the next batch.
pub(crate) struct Queued {
    pub(crate) sql: Box<str>,
    pub(crate) values: Box<dyn Bound>,
}

/// Why a batch failed.
pub(crate) struct Failure {
    pub(crate) error: StatementError,
    /// Whether the transaction is over with it.
    pub(crate) fatal: bool,
}

impl Failure {
    fn of(sql: &str, fault: impl Into<Fault>) -> Self {
        let error = StatementError::new(sql, fault);
        let fatal = match &error.fault {
            Fault::Postgres(cause) => cause.as_db_error().is_some() || is_lost(cause),
            _ => false,
        };
        Self { error, fatal }
    }

    fn ahead(sql: &str, fault: impl Into<Fault>) -> Self {
        Self { fatal: true, ..Self::of(sql, fault) }
    }

    /// What PostgreSQL or its client said.
    pub(crate) fn cause(&self) -> Option<&tokio_postgres::Error> {
        if let Fault::Postgres(cause) = &self.error.fault { Some(cause) } else { None }
    }
}

/// A connection and the transaction on it. Dropping it rolls back; a statement that still runs is stopped first.
pub(crate) struct Open {
    conn: Option<Pooled>,
    pub(crate) scope: Scope,
    /// Whether something was sent: `begin` goes with the first statement.
    begun: bool,
    /// Whether what was done is to be undone before anything else.
    reset: bool,
    /// Whether a reply is awaited, or was when its future was dropped.
    pub(crate) busy: bool,
    /// Whether a statement has succeeded, so that the transaction cannot be moved to another connection unseen.
    pub(crate) touched: bool,
    pub(crate) queue: Vec<Queued>,
    /// Whether the connection was handed out.
    native: bool,
}

impl Open {
    /// Takes a connection; nothing is sent.
    pub(crate) async fn take(pool: &Pool, scope: Scope) -> drystone_call::Result<Self> {
        let conn = connection(pool, scope.deadline).await?;
        Ok(Self {
            conn: Some(conn),
            scope,
            begun: false,
            reset: false,
            busy: false,
            touched: false,
            queue: Vec::new(),
            native: false,
        })
    }

    pub(crate) fn conn(&self) -> &Conn {
        self.conn.as_ref().expect("the connection is there until the drop")
    }

    /// Whether nothing was sent and nothing waits.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.begun && self.queue.is_empty()
    }

    /// Undoes everything, before what comes next.
    pub(crate) fn undo(&mut self) {
        self.queue.clear();
        self.reset |= self.begun;
        self.begun = false;
        self.touched = false;
    }

    /// Closes the connection: nobody else must get it.
    pub(crate) fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            drop(Pooled::take(conn));
        }
    }

    /// What has to be sent before anything else, if it was not sent yet.
    fn begin(&mut self) -> Option<String> {
        if self.begun {
            return None;
        }
        self.begun = true;
        let reset = std::mem::take(&mut self.reset);
        let begin = self.scope.begin();
        Some(if reset { format!("rollback; {begin}") } else { begin })
    }

    /// Sends everything that waits, so that the connection can be handed out.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        // A statement that fails on the connection itself is not seen here: asked again before the commit, the server says so.
        self.ask(PROBE, &()).await?;
        self.native = true;
        Ok(())
    }

    /// The prepared statement. The first time on a connection it costs a round trip, and `begin` goes with it.
    async fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        let schema = self.scope.schema();
        if let Some(statement) = self.conn().statements(schema).get(sql) {
            return Ok(statement);
        }
        // Boxed: it happens once on a connection.
        Box::pin(self.prepare_first(sql)).await
    }

    async fn prepare_first(&mut self, sql: &str) -> Result<Statement, Failure> {
        let schema = self.scope.schema();
        // What is prepared has passed.
        guard::check_postgres(sql).map_err(|fault| Failure::of(sql, fault))?;
        let begin = self.begin();
        let conn = self.conn();
        let mut ahead: Vec<Ahead<'_>> = Vec::new();
        if let Some(begin) = &begin {
            ahead.push(Box::pin(conn.client().batch_execute(begin)));
        }
        let sent = in_one_go(ahead, conn.client().prepare(sql)).await;
        let statement = outcome(sent, begin.is_some(), &[], sql)?;
        conn.statements(schema).keep(sql, &statement);
        Ok(statement)
    }

    /// Runs a statement, with everything that waits ahead of it.
    pub(crate) async fn ask<P: Params>(&mut self, sql: &str, params: &P) -> Result<Answer, Failure> {
        self.busy = true;
        let answer = self.exchange(sql, params).await;
        // A future that is dropped before here leaves the connection busy.
        self.busy = false;
        self.touched |= answer.is_ok();
        answer
    }

    async fn exchange<P: Params>(&mut self, sql: &str, params: &P) -> Result<Answer, Failure> {
        let queue = std::mem::take(&mut self.queue);
        let answer = async {
            let statement = self.prepare(sql).await?;
            counted(sql, &statement, Params::count(params))?;
            let before = self.prepare_all(&queue).await?;
            let begin = self.begin();
            let conn = self.conn();
            let mut values = Vec::with_capacity(Params::count(params));
            params.bind_postgres(&mut values);
            let last = ask(conn.client(), &statement, &values);
            if begin.is_none() && queue.is_empty() {
                return last.await.map_err(|cause| Failure::of(sql, cause));
            }
            let ahead = ahead(conn, begin.as_deref(), &before, &queue);
            outcome(in_one_go(ahead, last).await, begin.is_some(), &queue, sql)
        };
        let answer = answer.await;
        if answer.is_err() {
            // It may be sent again on another connection.
            self.queue = queue;
        }
        answer
    }

    pub(crate) async fn prepare_all(&mut self, queue: &[Queued]) -> Result<Vec<Statement>, Failure> {
        let mut all = Vec::with_capacity(queue.len());
        for queued in queue {
            let fatal = |failure| Failure { fatal: true, ..failure };
            let statement = self.prepare(&queued.sql).await.map_err(fatal)?;
            counted(&queued.sql, &statement, queued.values.count()).map_err(fatal)?;
            all.push(statement);
        }
        Ok(all)
    }

    /// Sends what waits, and then `commit`. Says whether `commit` was sent.
    pub(crate) async fn commit(&mut self) -> (bool, Result<(), Failure>) {
        if self.native {
            self.queue.push(Queued { sql: PROBE.into(), values: Box::new(()) });
        }
        self.busy = true;
        let queue = std::mem::take(&mut self.queue);
        let done = match self.prepare_all(&queue).await {
            Err(failure) => (false, Err(failure)),
            Ok(before) => {
                let begin = self.begin();
                let conn = self.conn();
                let ahead = ahead(conn, begin.as_deref(), &before, &queue);
                let sent = in_one_go(ahead, conn.client().batch_execute("commit")).await;
                (sent.last.is_some(), outcome(sent, begin.is_some(), &queue, "commit"))
            }
        };
        self.busy = false;
        // Also a `commit` that fails ends the transaction.
        self.begun &= !done.0;
        done
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let left = if self.busy {
            Left::Running
        } else if self.begun || self.reset {
            Left::Open
        } else {
            Left::Clean
        };
        give_back(conn, left);
    }
}

fn counted(sql: &str, statement: &Statement, bound: usize) -> Result<(), Failure> {
    let wanted = statement.params().len();
    if wanted == bound { Ok(()) } else { Err(Failure::of(sql, Fault::Parameters { bound, wanted })) }
}

/// Everything that goes before a last message, in order.
fn ahead<'c>(
    conn: &'c Conn,
    begin: Option<&'c str>,
    statements: &'c [Statement],
    queue: &'c [Queued],
) -> Vec<Ahead<'c>> {
    let mut ahead: Vec<Ahead<'c>> = Vec::with_capacity(1 + queue.len());
    if let Some(begin) = begin {
        ahead.push(Box::pin(conn.client().batch_execute(begin)));
    }
    for (statement, queued) in statements.iter().zip(queue) {
        ahead.push(Box::pin(async move {
            let values = queued.values.values();
            ask(conn.client(), statement, &values).await.map(drop)
        }));
    }
    ahead
}

/// The outcome of a batch: the first failure counts, for what follows it ran in no transaction or in a failed one.
fn outcome<R>(sent: Sent<R>, begun: bool, queue: &[Queued], sql: &str) -> Result<R, Failure> {
    if let Some((at, cause)) = sent.ahead {
        let place = if begun { at.checked_sub(1) } else { Some(at) };
        let sql = place.and_then(|at| queue.get(at)).map_or("begin", |queued| &queued.sql);
        return Err(Failure::ahead(sql, cause));
    }
    let last = sent.last.expect("what comes last is sent unless something ahead of it failed");
    last.map_err(|cause| Failure::of(sql, cause))
}
