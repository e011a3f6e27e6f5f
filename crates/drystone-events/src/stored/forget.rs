//! Old rows go in batches, so that no transaction is long.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Context, Home, Result, TenantId};
use drystone_store::{Dialect, Store, Tx};

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
    let before = before(home, keep);
    let mut all = 0;
    for lane in lanes(store).await? {
        let mut from = 0;
        while let Some((deleted, last)) = handled_batch(store, home, lane.as_ref(), from, before).await? {
            all += deleted;
            if deleted < BATCH.unsigned_abs() {
                break;
            }
            from = last;
        }
    }
    Ok(all)
}

/// Deletes a batch of an inbox: how many there were, and when the last of them was handled.
async fn handled_batch(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
    from: i64,
    before: i64,
) -> Result<Option<(u64, i64)>> {
    const SQLITE: &str = "delete from drystone_inbox where (consumer, id) in
        (select consumer, id from drystone_inbox where handled >= $1 and handled < $2 order by handled limit $3) returning handled";
    const POSTGRES: &str = "delete from drystone_inbox where (tenant, consumer, id) in
        (select tenant, consumer, id from drystone_inbox where handled >= $1 and handled < $2 order by handled limit $3)
        returning handled";
    let mut cx = context(home, &tenant.cloned().map_or_else(nobody, Ok)?)?;
    let mut tx = begin(store, &mut cx, tenant).await?;
    let sql = if tenant.is_some() { SQLITE } else { POSTGRES };
    let handled: Vec<(i64,)> = tx.query(sql).bind((from, before, BATCH)).all().await?;
    let Some(last) = handled.iter().map(|(handled,)| *handled).max() else { return Ok(None) };
    tx.commit().await?;
    Ok(Some((handled.len() as u64, last)))
}

/// Deletes what an outbox has had for longer than `keep` and every one of `pumps` has carried.
pub(crate) async fn forget_sent(
    store: &Store,
    home: &Arc<Home>,
    keep: Duration,
    pumps: &[String],
) -> Result<u64> {
    let before = before(home, keep);
    let mut all = 0;
    for lane in lanes(store).await? {
        let upto = carried_by_all(store, home, lane.as_ref(), pumps).await?;
        let mut from = 0;
        while let Some((deleted, last)) = sent_batch(store, home, lane.as_ref(), (from, upto), before).await?
        {
            all += deleted;
            // Where a whole batch is young, so is what follows, but for what a clock was wrong about: that goes when those before it do.
            if deleted == 0 {
                break;
            }
            from = last;
        }
    }
    Ok(all)
}

/// Deletes what is old among the next rows of an outbox: how many, and the last number that was looked at.
///
/// Rows that are gone stay in the index while an old snapshot could see them, so each batch begins where the one before it ended.
async fn sent_batch(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
    (from, upto): (i64, i64),
    before: i64,
) -> Result<Option<(u64, i64)>> {
    const NEXT: &str = "select max(seq) from
        (select seq from drystone_outbox where seq > $1 and seq <= $2 order by seq limit $3) next";
    const OLD: &str = "delete from drystone_outbox where seq > $1 and seq <= $2 and created < $3";
    let mut cx = context(home, &tenant.cloned().map_or_else(nobody, Ok)?)?;
    let mut tx = begin(store, &mut cx, tenant).await?;
    let (last,) = tx.query(NEXT).bind((from, upto, BATCH)).one::<(Option<i64>,)>().await?;
    let Some(last) = last else { return Ok(None) };
    let deleted = tx.query(OLD).bind((from, last, before)).execute().await?;
    tx.commit().await?;
    Ok(Some((deleted, last)))
}

async fn begin<'a>(store: &Store, cx: &'a mut Context, tenant: Option<&TenantId>) -> Result<Tx<'a>> {
    match tenant {
        Some(_) => store.begin(cx).await,
        None => store.begin_across(cx).await,
    }
}

/// Each tenant on SQLite, everything at once on PostgreSQL.
async fn lanes(store: &Store) -> Result<Vec<Option<TenantId>>> {
    Ok(match store.dialect()? {
        Dialect::Postgres => vec![None],
        Dialect::Sqlite => store.tenants().list().await?.into_iter().map(Some).collect(),
    })
}

/// The number up to which every pump has carried everything, for each tenant. A pump that has no position yet has carried nothing.
async fn carried_by_all(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
    pumps: &[String],
) -> Result<i64> {
    let mut cx = context(home, &tenant.cloned().map_or_else(nobody, Ok)?)?;
    let mut tx = begin(store, &mut cx, tenant).await?;
    let rows: Vec<(String, i64)> = tx.query("select name, position from drystone_pumps").all().await?;
    let position = |pump: &String| {
        let is_its =
            |name: &str| name == pump || name.strip_prefix(&**pump).is_some_and(|rest| rest.starts_with('@'));
        let named = rows.iter().any(|(name, _)| name == pump);
        let lowest = rows.iter().filter(|(name, _)| is_its(name)).map(|(_, position)| *position).min();
        if named { lowest.unwrap_or(0) } else { 0 }
    };
    // Where nobody wants anything, age alone decides.
    Ok(pumps.iter().map(position).min().unwrap_or(i64::MAX))
}
