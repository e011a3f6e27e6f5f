//! Old rows go in batches, so that no transaction is long.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Home, Result, TenantId};
use drystone_store::{Dialect, Store};

use super::rows::{context, nobody};
use crate::clock::{Clock as _, HomeClock};

/// How many rows one transaction deletes.
const BATCH: i64 = 1000;

fn before(home: &Arc<Home>, keep: Duration) -> i64 {
    let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
    HomeClock::new(Arc::clone(home)).now().saturating_sub(keep)
}

/// Deletes what an inbox has known for longer than it has to.
pub(crate) async fn forget_handled(store: &Store, home: &Arc<Home>, keep: Duration) -> Result<u64> {
    const SQLITE: &str = "delete from drystone_inbox where (consumer, id) in
        (select consumer, id from drystone_inbox where handled < $1 order by handled limit $2)";
    const POSTGRES: &str = "delete from drystone_inbox where (tenant, consumer, id) in
        (select tenant, consumer, id from drystone_inbox where handled < $1 order by handled limit $2)";
    let before = before(home, keep);
    let mut all = 0;
    for lane in lanes(store).await? {
        all += match &lane {
            Some(tenant) => in_batches(store, home, Some(tenant), SQLITE, before, i64::MAX).await?,
            None => in_batches(store, home, None, POSTGRES, before, i64::MAX).await?,
        };
    }
    Ok(all)
}

/// Deletes what an outbox has had for longer than `keep` and every one of `pumps` has carried.
pub(crate) async fn forget_sent(
    store: &Store,
    home: &Arc<Home>,
    keep: Duration,
    pumps: &[String],
) -> Result<u64> {
    const OLD: &str = "delete from drystone_outbox where seq in
        (select seq from drystone_outbox where created < $1 and seq <= $3 order by seq limit $2)";
    let before = before(home, keep);
    let mut all = 0;
    for lane in lanes(store).await? {
        let upto = carried_by_all(store, home, lane.as_ref(), pumps).await?;
        all += in_batches(store, home, lane.as_ref(), OLD, before, upto).await?;
    }
    Ok(all)
}

/// Each tenant on SQLite, everything at once on PostgreSQL.
async fn lanes(store: &Store) -> Result<Vec<Option<TenantId>>> {
    Ok(match store.dialect()? {
        Dialect::Postgres => vec![None],
        Dialect::Sqlite => store.tenants().list().await?.into_iter().map(Some).collect(),
    })
}

async fn in_batches(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
    sql: &str,
    before: i64,
    upto: i64,
) -> Result<u64> {
    let mut all = 0;
    loop {
        let mut cx = context(home, &tenant.cloned().map_or_else(nobody, Ok)?)?;
        let mut tx = match tenant {
            Some(_) => store.begin(&mut cx).await?,
            None => store.begin_across(&mut cx).await?,
        };
        let deleted = if upto == i64::MAX {
            tx.query(sql).bind((before, BATCH)).execute().await?
        } else {
            tx.query(sql).bind((before, BATCH, upto)).execute().await?
        };
        if deleted > 0 {
            tx.commit().await?;
        }
        all += deleted;
        if deleted < BATCH.unsigned_abs() {
            return Ok(all);
        }
    }
}

/// The number up to which every pump has carried everything, for each tenant. A pump that has no position yet has carried nothing.
async fn carried_by_all(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
    pumps: &[String],
) -> Result<i64> {
    let mut cx = context(home, &tenant.cloned().map_or_else(nobody, Ok)?)?;
    let mut tx = match tenant {
        Some(_) => store.begin(&mut cx).await?,
        None => store.begin_across(&mut cx).await?,
    };
    let rows: Vec<(String, i64)> = tx.query("select name, position from drystone_pumps").all().await?;
    let position = |pump: &String| {
        let is_its = |name: &str| name == pump || name.strip_prefix(&**pump).is_some_and(|rest| rest.starts_with('@'));
        let named = rows.iter().any(|(name, _)| name == pump);
        let lowest = rows.iter().filter(|(name, _)| is_its(name)).map(|(_, position)| *position).min();
        if named { lowest.unwrap_or(0) } else { 0 }
    };
    // Where nobody wants anything, age alone decides; a number below the greatest keeps the statement's third value.
    Ok(pumps.iter().map(position).min().unwrap_or(i64::MAX - 1))
}
