//! What an operator sees of a module's events and may change about them: held messages, positions, lag, the fence.
//!
//! An [`Operator`] works on the store alone, so it is the same in the process that runs the module and in a command that has opened the store itself. The
//! engine learns of a change where it looks anyway: a pump by the epoch of its claim, a retrier by the state of a key. Whoever changes something in the
//! process that runs calls [`crate::Relay::look_again`] and [`crate::Consumer::look_again`], which only saves the wait.
//!
//! Every change is of one tenant and goes through the wall like any transaction of the module; only what is read of all tenants at once, and the positions on
//! PostgreSQL, is read as the relay's role. So the messages of a suspended tenant are left alone, as all its data.

mod held;
mod positions;
mod redrive;
mod view;

use std::sync::Arc;

use drystone_call::{Home, Result, TenantId};
use drystone_store::{Dialect, FromRow, Params, Store};

use crate::clock::{Clock as _, HomeClock};
use crate::stored::{context, nobody};

pub use redrive::{Redrive, Redriven};
pub use view::{
    Blocker, ConsumerStatus, Done, FenceStatus, Format, Held, HeldFilter, HeldId, HeldKey, PumpStatus,
    Replay, Stalled, Wanted,
};

/// An operator's way to one module's events.
#[derive(Clone, Debug)]
pub struct Operator {
    store: Store,
    home: Arc<Home>,
}

impl Operator {
    /// The way to the events of the module at `home`, by its store.
    #[must_use]
    pub fn new(store: Store, home: Arc<Home>) -> Self {
        Self { store, home }
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &str {
        self.store.module()
    }

    fn now(&self) -> i64 {
        HomeClock::new(Arc::clone(&self.home)).now()
    }

    /// The tenants whose files are to be looked at; on PostgreSQL all are looked at together.
    async fn files(&self, only: Option<&TenantId>) -> Result<Vec<TenantId>> {
        match only {
            Some(tenant) => Ok(vec![tenant.clone()]),
            None => self.store.tenants().list().await,
        }
    }

    /// Reads of one tenant or of all: `$1` is the tenant's name, and on PostgreSQL null for all.
    async fn read<R, P>(
        &self,
        only: Option<&TenantId>,
        sql: &Sql,
        params: impl Fn(Option<String>) -> P,
    ) -> Result<Vec<R>>
    where
        R: FromRow,
        P: Params,
    {
        let name = |tenant: &TenantId| tenant.as_str().to_owned();
        if self.store.dialect()? == Dialect::Postgres {
            let mut cx = context(&self.home, &nobody()?)?;
            let mut tx = self.store.begin_across(&mut cx).await?;
            return tx.query(&sql.postgres).bind(params(only.map(name))).all().await;
        }
        let mut all = Vec::new();
        for tenant in self.files(only).await? {
            let mut cx = context(&self.home, &tenant)?;
            let mut tx = self.store.read(&mut cx).await?;
            all.extend(tx.query(&sql.sqlite).bind(params(Some(name(&tenant)))).all::<R>().await?);
        }
        Ok(all)
    }
}

/// A statement over rows of one tenant or of all, as each database has it.
struct Sql {
    sqlite: String,
    postgres: String,
}

impl Sql {
    /// `{rows}` in `text` becomes the rows of `table`, which have a column `tenant` on both databases.
    fn over(table: &str, text: &str) -> Self {
        let sqlite = format!("(select cast($1 as text) as tenant, t.* from {table} t)");
        let postgres =
            format!("(select * from {table} where cast($1 as text) is null or tenant = cast($1 as text))");
        Self { sqlite: text.replace("{rows}", &sqlite), postgres: text.replace("{rows}", &postgres) }
    }
}

/// The tenant of a name.
fn named(name: Option<&str>) -> Result<Option<TenantId>> {
    name.map(TenantId::new).transpose()
}
