//! `Store`: the handle that a module is given, before and after the database behind it opens.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use drystone_call::{Context, Error, KeyGate, Principal, Result};
use futures_util::future::BoxFuture;

use crate::announce::{Announcements, Board};
use crate::backend::{Backend, Database};
use crate::config::{Location, StoreConfig};
use crate::dialect::Dialect;
use crate::error;
use crate::gate::Gate;
use crate::lent::Lent;
use crate::metrics::{Counters, StoreMetrics};
use crate::postgres::PostgresModule;
use crate::read::ReadTx;
use crate::sqlite::SqliteModule;
use crate::status::StoreStatus;
use crate::tenants::Tenants;
use crate::tx::{Isolation, Tx};

/// The module's own database: a handle, cheap to clone, that wiring hands out before anything is opened.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    shared: bool,
}

pub(crate) struct Inner {
    module: String,
    state: RwLock<State>,
    board: Arc<Board>,
}

enum State {
    Unopened,
    Open(Arc<Backend>),
    Closed,
}

impl Store {
    /// The store of a module; nothing is opened.
    #[must_use]
    pub fn unopened(module: &str) -> Self {
        error::register();
        let inner =
            Inner { module: module.to_owned(), state: RwLock::new(State::Unopened), board: Arc::default() };
        Self { inner: Arc::new(inner), shared: false }
    }

    /// The module's data of no tenant: a file, or a schema, of its own.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), shared: true }
    }

    /// The name of the module that the store belongs to.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.inner.module
    }

    /// Opens the store: takes the module's lock, checks versions, migrates the shared data. Tenants' files open when they are used.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if another process owns the files, if a migration fails or was edited, or if the database is too old;
    /// `UNAVAILABLE` if the place cannot be used.
    pub async fn open(&self, config: StoreConfig) -> Result<()> {
        if config.home.module() != self.inner.module {
            return Err(Error::internal(format!(
                "the store of {} was given the home of {}",
                self.inner.module,
                config.home.module()
            )));
        }
        if let State::Open(_) = *self.inner.state.read().unwrap_or_else(PoisonError::into_inner) {
            return Err(Error::internal(format!("the store of {} is open already", self.inner.module)));
        }
        let counters = Arc::new(Counters::default());
        let (home, publishes) = (Arc::clone(&config.home), config.publishes.clone());
        let database = match config.location.clone() {
            Location::Sqlite { dir } => {
                Database::Sqlite(Box::new(SqliteModule::open(&dir, config, counters).await?))
            }
            Location::Postgres { url, password } => Database::Postgres(Box::new(
                PostgresModule::open(&url, password.as_ref(), config, counters).await?,
            )),
        };
        let backend = Backend { home, database, publishes, board: Arc::clone(&self.inner.board) };
        *self.inner.state.write().unwrap_or_else(PoisonError::into_inner) = State::Open(Arc::new(backend));
        Ok(())
    }

    /// Begins a transaction for the tenant of the call, serializable. It holds the context until it ends, so no other module can be called meanwhile.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the store is not open, `DEADLINE_EXCEEDED` if the call's deadline passes while other writers work.
    /// `TENANT_UNKNOWN` if nobody has created the tenant, `TENANT_SUSPENDED` if it is suspended, imported or deleted.
    pub async fn begin<'a>(&self, cx: &'a mut Context) -> Result<Tx<'a>> {
        self.begin_with(cx, Isolation::Serializable).await
    }

    /// Begins a transaction with another isolation, for hot paths that lock their rows. On SQLite every transaction is serializable.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin_with<'a>(&self, cx: &'a mut Context, isolation: Isolation) -> Result<Tx<'a>> {
        let backend = self.backend()?;
        Tx::begin(Lent::Borrowed(cx), backend, self.shared, isolation).await
    }

    /// Begins a serializable transaction that has its context to itself, for engines that hand transactions to handlers: a transaction of a call borrows the
    /// call's.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin_own(&self, cx: Context) -> Result<Tx<'static>> {
        let backend = self.backend()?;
        Tx::begin(Lent::Owned(Box::new(cx)), backend, self.shared, Isolation::Serializable).await
    }

    /// Begins a transaction over the rows of all tenants in the tables of events, for the engine that carries them: on PostgreSQL alone, as the module's role for
    /// that (`<user>_<module>_relay`), which sees nothing else. It reads what others have committed, statement by statement, and finds the tables of both of the
    /// module's schemas by their names.
    ///
    /// What it writes names the tenant, since no wall stands before it. The tenant of `cx` counts for [`Tx::announce`] only.
    ///
    /// # Errors
    /// `INTERNAL` on SQLite, where each tenant has a file; `UNAVAILABLE` if the store is not open or the server cannot be reached; `DEADLINE_EXCEEDED`
    /// if its few connections are in use until the call's deadline.
    pub async fn begin_across<'a>(&self, cx: &'a mut Context) -> Result<Tx<'a>> {
        let backend = self.backend()?;
        Tx::across(Lent::Borrowed(cx), backend).await
    }

    /// Which database the store is on.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the store is not open.
    pub fn dialect(&self) -> Result<Dialect> {
        Ok(self.backend()?.dialect())
    }

    /// The tenants that are announced from now on by [`Tx::announce`]. Each caller has a set of its own; it can be had before the store is open.
    #[must_use]
    pub fn announcements(&self) -> Announcements {
        self.inner.board.subscribe()
    }

    /// Opens a snapshot for the tenant of the call, to read only.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn read<'a>(&self, cx: &'a mut Context) -> Result<ReadTx<'a>> {
        let backend = self.backend()?;
        ReadTx::begin(cx, &backend, self.shared).await
    }

    /// The gate before the module's keyed methods.
    #[must_use]
    pub fn gate(&self) -> Arc<dyn KeyGate> {
        Arc::new(Gate::new(self.clone()))
    }

    /// The tenants that the module has data of.
    #[must_use]
    pub fn tenants(&self) -> Tenants {
        Tenants::new(self.clone())
    }

    /// Whether the store answers; for `/readyz`.
    ///
    /// # Errors
    /// What keeps it from answering.
    pub async fn health(&self) -> Result<()> {
        let backend = self.backend()?;
        let tenant = drystone_call::TenantId::new("health")?;
        let mut cx = Context::mint(Arc::clone(&backend.home), tenant, Principal::ANONYMOUS);
        let mut read = ReadTx::begin(&mut cx, &backend, true).await?;
        read.query("select 1").all::<(i32,)>().await.map(drop)
    }

    /// The condition of the store: where it is, how large, how far migrated, who waits.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn status(&self) -> Result<StoreStatus> {
        let backend = self.backend()?;
        // Boxed, for its type is too deep for the compiler to look through in a module's code.
        let status: BoxFuture<'_, Result<StoreStatus>> = Box::pin(backend.status());
        status.await
    }

    /// The counters; all zero while the store is not open.
    #[must_use]
    pub fn metrics(&self) -> StoreMetrics {
        self.backend().map(|backend| backend.metrics()).unwrap_or_default()
    }

    /// Closes the store: nothing new begins, and what was begun or waits in a queue may end.
    ///
    /// # Errors
    /// If a file's writers are not done within twice the hold limit.
    pub async fn close(&self) -> Result<()> {
        let last = {
            let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, State::Closed)
        };
        match last {
            State::Open(backend) => backend.close().await,
            State::Unopened | State::Closed => Ok(()),
        }
    }

    pub(crate) fn backend(&self) -> Result<Arc<Backend>> {
        match &*self.inner.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(backend) => Ok(Arc::clone(backend)),
            State::Unopened => Err(Error::unavailable(format!(
                "the store of {} is not open yet; it opens when the module starts, after wiring",
                self.inner.module
            ))),
            State::Closed => Err(Error::unavailable(format!("the store of {} is closed", self.inner.module))),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("module", &self.inner.module)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
