//! The fence's looks at PostgreSQL.

use std::sync::Arc;

use drystone_call::{Home, Result};
use drystone_store::Store;

use super::rows::{context, nobody};
use crate::failpoint::broken;
use crate::operate::Blocker;
use crate::{Fence, Look};

/// Looks once: settles what can be, begins the next look if there is something new, and says which is the greatest number that was taken.
///
/// The three statements may stand in one transaction: its own id is N, and an xmin of N says that every transaction before it is over.
pub(crate) async fn look(store: &Store, home: &Arc<Home>, fence: &mut Fence) -> Result<i64> {
    const HIGH: &str = "select coalesce(pg_sequence_last_value('drystone_outbox_seq_seq'), 0)::bigint";
    const NEXT: &str = "select pg_current_xact_id()::text::bigint, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    const XMIN: &str = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
        pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint";
    let mut cx = context(home, &nobody()?)?;
    let mut tx = store.begin_across(&mut cx).await?;
    let (high,) = tx.query(HIGH).one::<(i64,)>().await?;
    if fence.wants(high) {
        let (next, written) = tx.query(NEXT).one::<(i64, i64)>().await?;
        fence.look_at(Look { high, next }, written);
    }
    if fence.pending().is_some() {
        let (xmin, flushed) = tx.query(XMIN).one::<(i64, i64)>().await?;
        if broken("no-fence") {
            fence.observe(i64::MAX);
        } else if fence.is_durable(flushed) {
            fence.observe(xmin);
        }
    }
    // Nothing was written: what ends without waiting ends as well.
    drop(tx);
    Ok(high)
}

/// The session that has the oldest transaction id, which is the one that the fence waits for.
///
/// Locks on transaction ids are visible to everybody; who it is, only as far as the server lets the relay's role see.
pub(crate) async fn blocker(store: &Store, home: &Arc<Home>) -> Result<Option<Blocker>> {
    const OLDEST: &str = "select l.pid, a.usename::text as user, nullif(a.application_name, '') as application, a.state
        from pg_locks l left join pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted and l.pid <> pg_backend_pid()
        order by age(l.transactionid) desc limit 1";
    let mut cx = context(home, &nobody()?)?;
    let mut tx = store.begin_across(&mut cx).await?;
    tx.query(OLDEST).optional().await
}
