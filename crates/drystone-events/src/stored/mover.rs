//! Messages that are to be delivered later: they take their place in the outbox when they are due.

use std::sync::Arc;

use drystone_call::{Home, Result, TenantId};
use drystone_store::{Dialect, Store};

use super::rows::{context, nobody};
use crate::failpoint::failpoint;

/// How many are moved in one transaction.
const BATCH: i64 = 200;

/// Moves what is due at `now` into the outbox, in order: of one tenant, or on PostgreSQL of all. Says how many there were.
pub(crate) async fn move_due(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
    now: i64,
) -> Result<u64> {
    // Deleting comes first, so that the transaction has its id before the messages have their numbers.
    const POSTGRES: &str = "with due as (
            delete from drystone_scheduled where (tenant, id) in
                (select tenant, id from drystone_scheduled where due <= $1 order by due, id limit $2 for update)
            returning *
        )
        insert into drystone_outbox (tenant, seq, id, type, key, data, created, trace)
        select tenant, nextval('drystone_outbox_seq_seq'), id, type, key, data, $1, trace from (select * from due order by due, id) d";
    const COPY: &str = "insert into drystone_outbox (id, type, key, data, created, trace)
        select id, type, key, data, $1, trace from drystone_scheduled where due <= $1 order by due, id limit $2";
    const DELETE: &str = "delete from drystone_scheduled where id in
        (select id from drystone_scheduled where due <= $1 order by due, id limit $2)";
    match (tenant, store.dialect()?) {
        (Some(tenant), Dialect::Sqlite) => {
            let mut cx = context(home, tenant)?;
            let mut tx = store.begin(&mut cx).await?;
            tx.query(COPY).bind((now, BATCH)).execute().await?;
            let moved = tx.query(DELETE).bind((now, BATCH)).execute().await?;
            tx.announce();
            failpoint("schedule.written");
            tx.commit().await?;
            failpoint("schedule.moved");
            Ok(moved)
        }
        (_, _) => {
            let mut cx = context(home, &nobody()?)?;
            let mut tx = store.begin_across(&mut cx).await?;
            let moved = tx.query(POSTGRES).bind((now, BATCH)).execute().await?;
            tx.announce();
            failpoint("schedule.written");
            tx.commit().await?;
            failpoint("schedule.moved");
            Ok(moved)
        }
    }
}

/// When the next message is due.
pub(crate) async fn next_scheduled(
    store: &Store,
    home: &Arc<Home>,
    tenant: Option<&TenantId>,
) -> Result<Option<i64>> {
    const NEXT: &str = "select min(due) from drystone_scheduled";
    let (due,): (Option<i64>,) = match (tenant, store.dialect()?) {
        (Some(tenant), Dialect::Sqlite) => {
            let mut cx = context(home, tenant)?;
            let mut tx = store.read(&mut cx).await?;
            tx.query(NEXT).one().await?
        }
        (_, _) => {
            let mut cx = context(home, &nobody()?)?;
            let mut tx = store.begin_across(&mut cx).await?;
            tx.query(NEXT).one().await?
        }
    };
    Ok(due)
}
