//! `Tx`: one transaction on the module's database, for one tenant.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Barrier, Caller, Claim, Error, Payload, Result};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::announce::UntilCommitted;
use crate::backend::{Backend, Database};
use crate::clock::{millis, moment};
use crate::dialect::Dialect;
use crate::keys::Record;
use crate::lent::Lent;
use crate::native::Native;
use crate::params::Params;
use crate::postgres::{OwnRecord, PostgresTx, Purpose};
use crate::query::{Query, Run};
use crate::row::FromRow;
use crate::sqlite::SqliteTx;

/// What concurrent transactions may see of one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// As if they ran one after another.
    #[default]
    Serializable,
    /// What others have committed; for hot paths that lock their rows. On SQLite the same as serializable.
    ReadCommitted,
}

/// One transaction, for the tenant of the call.
///
/// It borrows the [`Context`](drystone_call::Context) until it ends, so that a call to another module inside an open transaction does not compile:
///
/// ```ignore
/// let mut tx = store.begin(cx).await?;
/// let stock = inventory.get_stock(cx, request).await?;  // E0502: `*cx` is borrowed as mutable, and `Tx` still needs it
/// tx.commit().await?;
/// ```
///
/// ```ignore
/// let stock = inventory.get_stock(cx, request).await?;  // ask first,
/// let mut tx = store.begin(cx).await?;                  // then write
/// tx.commit().await?;
/// ```
///
/// Dropping it rolls it back. After a statement that the database refused it can only be refused or dropped, on both databases.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Tx<'a> {
    cx: Lent<'a>,
    backend: Arc<Backend>,
    shared: bool,
    on: Option<On>,
    /// What a queued statement met; the next step of the transaction says so.
    queued: Option<Error>,
    announces: bool,
}

enum On {
    Sqlite(SqliteTx),
    Postgres(Box<PostgresTx>),
}

impl<'a> Tx<'a> {
    pub(crate) async fn begin(
        cx: Lent<'a>,
        backend: Arc<Backend>,
        shared: bool,
        isolation: Isolation,
    ) -> Result<Self> {
        let deadline = cx.deadline();
        let tenant = if shared { None } else { Some(cx.tenant()) };
        let on = match &backend.database {
            Database::Sqlite(module) => On::Sqlite(module.begin(tenant, deadline).await?),
            Database::Postgres(module) => {
                // Boxed, here and below: a transaction on SQLite does not carry the room for what waits for a network.
                let begun = Box::pin(module.begin(tenant, deadline, Purpose::Write(isolation))).await?;
                On::Postgres(Box::new(begun))
            }
        };
        Ok(Self { cx, backend, shared, on: Some(on), queued: None, announces: false })
    }

    /// Over the rows of all tenants.
    pub(crate) async fn across(cx: Lent<'a>, backend: Arc<Backend>) -> Result<Self> {
        let Database::Postgres(module) = &backend.database else {
            return Err(Error::internal(
                "there is no transaction across tenants on SQLite: each has a file of its own; go from tenant to tenant",
            ));
        };
        let begun = Box::pin(module.begin_across(cx.deadline())).await?;
        let on = Some(On::Postgres(Box::new(begun)));
        Ok(Self { cx, backend, shared: false, on, queued: None, announces: false })
    }

    /// A statement. The text is the same on both databases: `$1`, `returning`, `on conflict`.
    pub fn query<'q>(&'q mut self, sql: &'q str) -> Query<'q, Self> {
        Query::new(self, sql)
    }

    /// The database's own connection, in this transaction: for what only one of the databases has, or for another library.
    ///
    /// The wall stands there too, and what is done goes with the transaction. Outside the promise: a statement that ends the transaction, changes its
    /// settings (`set`, `set_config`) or those of the session; a future of the connection that is dropped before it is done; and on SQLite, what a
    /// statement that failed has left. On SQLite the authorizer refuses transaction control, `attach` and pragmas.
    ///
    /// ```ignore
    /// if let Native::Postgres(client) = tx.native().await? {
    ///     client.execute("select pg_advisory_xact_lock($1)", &[&7_i64]).await?;
    /// }
    /// ```
    ///
    /// # Errors
    /// `TX_HELD_TOO_LONG`, and what keeps the transaction from beginning.
    pub async fn native(&mut self) -> Result<Native<'_>> {
        // Looked at first, since what is handed out borrows the transaction.
        if let On::Postgres(tx) = self.on()? {
            let done = Box::pin(tx.flush()).await;
            self.noting(done)?;
        }
        match self.on()? {
            On::Sqlite(tx) => tx.native().map(Native::Sqlite),
            On::Postgres(tx) => tx.client().map(Native::Postgres),
        }
    }

    /// Who is asking and under which limits.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.cx
    }

    /// A new id of the module's ids.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.cx.new_id()
    }

    /// The time on the module's clock, in UTC and to the microsecond, which both databases keep.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        moment(self.cx.now())
    }

    /// Which database it is on.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.backend.dialect()
    }

    /// How long it has been open: on SQLite the tenant's other writers have waited for so long. Zero when it is over.
    #[must_use]
    pub fn held_for(&self) -> Duration {
        match &self.on {
            Some(On::Sqlite(tx)) => tx.held_for(),
            Some(On::Postgres(tx)) => tx.held_for(),
            None => Duration::ZERO,
        }
    }

    /// Whether the module may publish events of this type, by [`crate::StoreConfig::publishes`].
    #[must_use]
    pub fn may_publish(&self, event_type: &str) -> bool {
        self.backend.publishes.as_ref().is_none_or(|types| types.contains(event_type))
    }

    /// Tells those who wait for [`crate::Store::announcements`] the tenant of the call, once this transaction has committed; also when the caller is gone by then.
    ///
    /// A transaction that is dropped or refused announces nothing. One whose commit fails, or whose outcome nobody knows, may announce: who is told looks, and
    /// finds what is there.
    pub fn announce(&mut self) {
        self.announces = true;
    }

    /// Commits the effect and returns when it is durable.
    ///
    /// A keyed call needs its answer recorded with its effect: use [`Tx::commit_with`] there.
    ///
    /// # Errors
    /// `ABORTED` if a concurrent transaction got in the way, `UNAVAILABLE` if the disk is full, `TX_HELD_TOO_LONG`.
    pub async fn commit(mut self) -> Result<()> {
        self.finish(None).await
    }

    /// Commits the effect together with the answer, under the call's idempotency key if it has one, and returns the answer when it is durable.
    ///
    /// # Errors
    /// As [`Tx::commit`].
    pub async fn commit_with<A: Payload>(mut self, answer: A) -> Result<A> {
        let outcome =
            if self.cx.claim().is_some() { Some((Record::ANSWER, answer.encode_to_vec())) } else { None };
        self.finish(outcome).await?;
        Ok(answer)
    }

    /// Rolls the effect back and gives the error back to return; under the call's idempotency key, if it has one, the
    /// refusal is recorded first, so that a repeated call gets the same.
    ///
    /// ```ignore
    /// return tx.refuse(Error::reason(OrdersReason::OutOfStock, "only 2 left")).await;
    /// ```
    ///
    /// # Errors
    /// Always: `error`, or what kept the refusal from being recorded.
    pub async fn refuse<T>(mut self, error: impl Into<Error>) -> Result<T> {
        let error = error.into();
        if self.cx.claim().is_none() {
            return Err(error);
        }
        // What is recorded is what callers see: bounded, and without the cause that telemetry still gets of this one.
        let seen = Error::from_status_bytes(&error.to_status_bytes()).bounded();
        self.finish(Some((Record::REFUSAL, seen.to_status_bytes().to_vec()))).await?;
        Err(error)
    }

    /// Ends the transaction; a refusal takes the place of the effect, and of what a queued statement met.
    async fn finish(&mut self, outcome: Option<(i64, Vec<u8>)>) -> Result<()> {
        let created = millis(self.cx.now());
        // The key stays taken until this commit has ended, whether or not it records the outcome: a repeat of a call that was dropped
        // meanwhile must see what it wrote.
        let hold = self.cx.claim().map(Claim::hold);
        let record = match (outcome, self.cx.claim()) {
            (Some(outcome), Some(claim)) => Some(record(claim, outcome, created)?),
            _ => None,
        };
        let recorded = record.is_some();
        let refused = record.as_ref().is_some_and(|record| record.kind == Record::REFUSAL);
        if let Some(error) = self.queued.take().filter(|_| !refused) {
            return Err(error);
        }
        let hold = if self.announces && !refused { Some(self.announcing(hold)) } else { hold };
        let Some(on) = &mut self.on else { return Ok(()) };
        match (on, &self.backend.database) {
            (On::Sqlite(tx), Database::Sqlite(module)) => {
                if recorded && self.shared {
                    module.note_shared_key();
                }
                let record = record.map(|record| (record, module.forget_before()));
                let submitted = if refused { tx.replace(record, hold) } else { tx.submit(record, hold) };
                submitted?.ended().await?;
            }
            (On::Postgres(tx), Database::Postgres(module)) => {
                let record = record.map(OwnRecord::of);
                let done = if refused {
                    Box::pin(tx.replace(record, hold)).await
                } else {
                    Box::pin(tx.submit(record, hold)).await
                };
                self.note_conflict();
                done?;
                if recorded {
                    module.recorded(if self.shared { None } else { Some(self.cx.tenant()) });
                }
            }
            (On::Sqlite(_), Database::Postgres(_)) | (On::Postgres(_), Database::Sqlite(_)) => {
                return Err(Error::internal("the transaction is of another store"));
            }
        }
        if let Some(claim) = self.cx.claim_mut()
            && recorded
        {
            claim.mark_recorded();
        }
        Ok(())
    }

    /// What is held until the commit has ended, and announces then.
    fn announcing(&self, key: Option<Arc<dyn Any + Send + Sync>>) -> Arc<dyn Any + Send + Sync> {
        let (board, tenant) = (Arc::clone(&self.backend.board), self.cx.tenant().clone());
        Arc::new(UntilCommitted { key, board, tenant })
    }

    fn roll_back(&mut self) -> Option<Barrier> {
        match self.on.take()? {
            On::Sqlite(mut tx) => tx.roll_back(),
            On::Postgres(mut tx) => {
                tx.roll_back();
                None
            }
        }
    }

    pub(crate) async fn run_execute(&mut self, sql: &str, params: &impl Params) -> Result<u64> {
        let done = match self.on()? {
            On::Sqlite(tx) => tx.execute(sql, params),
            On::Postgres(tx) => Box::pin(tx.execute(sql, params)).await,
        };
        self.noting(done)
    }

    /// Runs the statement with the next step. Where a statement costs no round trip it runs at once, and only what it meets waits for that step.
    pub(crate) fn run_queue(&mut self, sql: &str, params: impl Params + 'static) {
        if self.queued.is_some() {
            return;
        }
        let done = match &mut self.on {
            Some(On::Sqlite(tx)) => tx.execute(sql, &params).map(drop),
            Some(On::Postgres(tx)) => tx.queue(sql, Box::new(params)),
            None => Ok(()),
        };
        self.queued = done.err();
    }

    /// Says to the call that running it again may succeed, if that is why `done` failed.
    fn noting<R>(&mut self, done: Result<R>) -> Result<R> {
        if done.is_err() {
            self.note_conflict();
        }
        done
    }

    fn note_conflict(&self) {
        if let Some(On::Postgres(tx)) = &self.on
            && tx.conflict
        {
            self.cx.mark_conflict();
        }
    }

    fn on(&mut self) -> Result<&mut On> {
        if let Some(error) = self.queued.take() {
            // What follows it must not happen, whatever it was that failed.
            match &mut self.on {
                Some(On::Sqlite(tx)) => tx.fail(),
                Some(On::Postgres(tx)) => tx.fail(),
                None => {}
            }
            return Err(error);
        }
        self.on.as_mut().ok_or_else(|| Error::internal("the transaction is over"))
    }
}

/// What is written for a keyed call.
fn record(claim: &Claim, (kind, body): (i64, Vec<u8>), created: i64) -> Result<Record<'_>> {
    if claim.is_recorded() {
        return Err(Error::internal(format!(
            "{} recorded its outcome twice: one transaction of a handler ends with commit_with or refuse, the last",
            claim.key_use.method
        )));
    }
    Ok(Record { key_use: &claim.key_use, kind, body, created })
}

impl Run for Tx<'_> {
    async fn run_optional<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Option<T>> {
        let done = match self.on()? {
            On::Sqlite(tx) => tx.optional(sql, params),
            On::Postgres(tx) => Box::pin(tx.optional(sql, params)).await,
        };
        self.noting(done)
    }

    async fn run_all<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Vec<T>> {
        let done = match self.on()? {
            On::Sqlite(tx) => tx.all(sql, params),
            On::Postgres(tx) => Box::pin(tx.all(sql, params)).await,
        };
        self.noting(done)
    }
}

impl Drop for Tx<'_> {
    /// Rolls back what was not committed. What the answer may have seen of a neighbour is not durable yet, so the answer waits.
    fn drop(&mut self) {
        if let Some(barrier) = self.roll_back() {
            self.cx.hold_answer(barrier);
        }
    }
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("caller", self.caller()).finish_non_exhaustive()
    }
}
