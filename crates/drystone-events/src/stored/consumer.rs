//! Which held keys are due.

use std::sync::Arc;

use drystone_call::{Home, Result, TenantId};
use drystone_store::{Dialect, Store};

use super::rows::{context, nobody};

/// A held key whose first message is to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueKey {
    pub(crate) tenant: TenantId,
    pub(crate) source: String,
    pub(crate) key: String,
}

/// How many keys are taken at once.
const KEYS: i64 = 200;

/// The keys of a consumer that are due at `now`: of one tenant, or on PostgreSQL of all.
pub(crate) async fn due_keys(
    store: &Store,
    home: &Arc<Home>,
    consumer: &str,
    tenant: Option<&TenantId>,
    now: i64,
) -> Result<Vec<DueKey>> {
    const SQLITE: &str = "select $4 as tenant, source, key from drystone_held
        where consumer = $1 and state = 'retrying' and due <= $2 order by due limit $3";
    const POSTGRES: &str = "select tenant, source, key from drystone_held
        where consumer = $1 and state = 'retrying' and due <= $2 order by due limit $3";
    let rows: Vec<(String, String, String)> = match (tenant, store.dialect()?) {
        (Some(tenant), Dialect::Sqlite) => {
            let mut cx = context(home, tenant)?;
            let mut tx = store.read(&mut cx).await?;
            tx.query(SQLITE).bind((consumer, now, KEYS, tenant.as_str())).all().await?
        }
        (_, _) => {
            let mut cx = context(home, &nobody()?)?;
            let mut tx = store.begin_across(&mut cx).await?;
            tx.query(POSTGRES).bind((consumer, now, KEYS)).all().await?
        }
    };
    let key =
        |(tenant, source, key): (String, _, _)| Ok(DueKey { tenant: TenantId::new(&tenant)?, source, key });
    rows.into_iter().map(key).collect()
}

/// How many keys of a consumer are parked: of one tenant, or on PostgreSQL of all. The first message of a parked key alone says so.
pub(crate) async fn parked_keys(
    store: &Store,
    home: &Arc<Home>,
    consumer: &str,
    tenant: Option<&TenantId>,
) -> Result<i64> {
    const PARKED: &str = "select count(*) from drystone_held where consumer = $1 and state = 'parked'";
    let (count,): (i64,) = match (tenant, store.dialect()?) {
        (Some(tenant), Dialect::Sqlite) => {
            let mut cx = context(home, tenant)?;
            let mut tx = store.read(&mut cx).await?;
            tx.query(PARKED).bind((consumer,)).one().await?
        }
        (_, _) => {
            let mut cx = context(home, &nobody()?)?;
            let mut tx = store.begin_across(&mut cx).await?;
            tx.query(PARKED).bind((consumer,)).one().await?
        }
    };
    Ok(count)
}

/// When the next key of a consumer is due.
pub(crate) async fn next_due(
    store: &Store,
    home: &Arc<Home>,
    consumer: &str,
    tenant: Option<&TenantId>,
) -> Result<Option<i64>> {
    const NEXT: &str = "select min(due) from drystone_held where consumer = $1 and state = 'retrying'";
    let (due,): (Option<i64>,) = match (tenant, store.dialect()?) {
        (Some(tenant), Dialect::Sqlite) => {
            let mut cx = context(home, tenant)?;
            let mut tx = store.read(&mut cx).await?;
            tx.query(NEXT).bind((consumer,)).one().await?
        }
        (_, _) => {
            let mut cx = context(home, &nobody()?)?;
            let mut tx = store.begin_across(&mut cx).await?;
            tx.query(NEXT).bind((consumer,)).one().await?
        }
    };
    Ok(due)
}
