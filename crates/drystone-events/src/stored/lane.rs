//! Lanes of an outbox: a tenant's file on SQLite, the whole module on PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Context, Home, Result, TenantId};
use drystone_store::Store;
use tokio::sync::watch;

use super::rows::{OutboxRow, context, json, message, nobody};
use crate::Envelope;
use crate::engine::{Claim, Mark, Outbox, Progress, Scan};
use crate::failpoint::or_in_haste;

/// How long a claim on PostgreSQL lives unless it is renewed.
pub(crate) const CLAIM_LIVES: Duration = or_in_haste(Duration::from_secs(15), Duration::from_millis(300));

const BACK: &str = "select seq from drystone_outbox where seq <= $1 order by seq desc limit 1 offset $2";

/// Where there is one process, nobody else can have a claim.
pub(super) const READ_PUMP: &str =
    "select position, epoch, mark, broker_seq from drystone_pumps where name = $1";
pub(super) const ADVANCE_ALONE: &str = "insert into drystone_pumps (name, position, epoch, mark, broker_seq)
    values ($1, $2, $3, $4, $5)
    on conflict (name) do update set position = excluded.position, mark = excluded.mark, broker_seq = excluded.broker_seq
    where drystone_pumps.epoch = excluded.epoch";
/// The server's clock is the only one that all processes share.
pub(super) const CLAIM: &str = "insert into drystone_pumps as p (name, position, epoch, owner, until)
    values ($1, 0, 1, $2, (extract(epoch from clock_timestamp()) * 1000000)::bigint + $3)
    on conflict (name) do update set epoch = p.epoch + 1, owner = excluded.owner, until = excluded.until
    where p.owner = excluded.owner or coalesce(p.until, 0) < (extract(epoch from clock_timestamp()) * 1000000)::bigint
    returning position, epoch, mark, broker_seq";
pub(crate) const STALLED: &str = "select substr(name, length($1) + 2), position from drystone_pumps
    where substr(name, 1, length($1) + 1) = $1 || '@'";
pub(super) const ADVANCE: &str = "update drystone_pumps set position = $3, mark = $4, broker_seq = $5,
    until = (extract(epoch from clock_timestamp()) * 1000000)::bigint + $6 where name = $1 and epoch = $2";
pub(super) const STALL: &str = "insert into drystone_pumps (name, position, epoch) values ($1, $2, 0)
    on conflict (name) do update set position = excluded.position";

/// position, epoch, mark, broker_seq
pub(super) type PumpRow = (i64, i64, Option<String>, Option<i64>);

pub(super) fn progress(position: i64, mark: Option<String>, last: Option<i64>) -> Progress {
    let mark = mark.map(|stream| Mark { stream, last: last.unwrap_or(0).cast_unsigned() });
    Progress { position, mark }
}

fn marked(to: &Progress) -> (Option<String>, Option<i64>) {
    (to.mark.as_ref().map(|mark| mark.stream.clone()), to.mark.as_ref().map(|mark| mark.last.cast_signed()))
}

/// One tenant's file. The process that has the module's lock is the only one, so nobody else can have a claim; an operator's change counts as one.
#[derive(Clone, Debug)]
pub(crate) struct SqliteLane {
    store: Store,
    home: Arc<Home>,
    tenant: TenantId,
}

impl SqliteLane {
    pub(crate) fn new(store: Store, home: Arc<Home>, tenant: TenantId) -> Self {
        Self { store, home, tenant }
    }

    fn context(&self) -> Result<Context> {
        context(&self.home, &self.tenant)
    }
}

impl Outbox for SqliteLane {
    fn tenant(&self) -> Option<&TenantId> {
        Some(&self.tenant)
    }

    async fn settled(&self) -> Result<i64> {
        let mut cx = self.context()?;
        let mut tx = self.store.read(&mut cx).await?;
        Ok(tx.query("select coalesce(max(seq), 0) from drystone_outbox").one::<(i64,)>().await?.0)
    }

    async fn read(&self, scan: Scan<'_>) -> Result<Vec<Envelope>> {
        const ALL: &str = "select seq, $1 as tenant, id, type, key, data, created, trace from drystone_outbox
            where seq > $2 and seq <= $3 order by seq limit $4";
        const SOME: &str =
            "select seq, $1 as tenant, id, type, key, data, created, trace from drystone_outbox
            where seq > $2 and seq <= $3 and type in (select value from json_each($5)) order by seq limit $4";
        let mut cx = self.context()?;
        let mut tx = self.store.read(&mut cx).await?;
        let (tenant, limit) = (self.tenant.as_str(), i64::try_from(scan.limit).unwrap_or(i64::MAX));
        let rows: Vec<OutboxRow> = match scan.types {
            None => tx.query(ALL).bind((tenant, scan.after, scan.upto, limit)).all().await?,
            Some(types) => {
                tx.query(SOME).bind((tenant, scan.after, scan.upto, limit, json(&types))).all().await?
            }
        };
        rows.into_iter().map(|row| message(self.home.module(), row)).collect()
    }

    async fn back(&self, position: i64, rows: u64) -> Result<i64> {
        let mut cx = self.context()?;
        let mut tx = self.store.read(&mut cx).await?;
        let found = tx.query(BACK).bind((position, rows.cast_signed())).optional::<(i64,)>().await?;
        Ok(found.map_or(0, |(seq,)| seq))
    }

    async fn claim(&self, pump: &str) -> Result<Option<Claim>> {
        let mut cx = self.context()?;
        let mut tx = self.store.read(&mut cx).await?;
        let row = tx.query(READ_PUMP).bind((pump,)).optional::<PumpRow>().await?;
        let (position, epoch, mark, last) = row.unwrap_or_default();
        Ok(Some(Claim { epoch, progress: progress(position, mark, last), stalled: Vec::new() }))
    }

    async fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> Result<bool> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin(&mut cx).await?;
        let (mark, last) = marked(to);
        let changed = tx.query(ADVANCE_ALONE).bind((pump, to.position, epoch, mark, last)).execute().await?;
        tx.commit().await?;
        Ok(changed == 1)
    }

    async fn stall(&self, _: &str, _: i64, _: &TenantId, _: Option<i64>) -> Result<bool> {
        // A lane of one tenant waits as a whole.
        Ok(true)
    }
}

/// A module's outbox on PostgreSQL, for all tenants. Of the processes that host the module, one has the claim of each pump.
#[derive(Clone, Debug)]
pub(crate) struct PostgresLane {
    store: Store,
    home: Arc<Home>,
    settled: watch::Receiver<i64>,
    /// Which process this is.
    owner: Arc<str>,
    claim_lives: Duration,
}

impl PostgresLane {
    pub(crate) fn new(store: Store, home: Arc<Home>, settled: watch::Receiver<i64>, owner: Arc<str>) -> Self {
        Self { store, home, settled, owner, claim_lives: CLAIM_LIVES }
    }

    /// The same, with claims that live for so long.
    pub(crate) fn claiming_for(self, claim_lives: Duration) -> Self {
        Self { claim_lives, ..self }
    }

    fn claim_lives(&self) -> i64 {
        i64::try_from(self.claim_lives.as_micros()).unwrap_or(i64::MAX)
    }

    fn context(&self) -> Result<Context> {
        context(&self.home, &nobody()?)
    }

    /// Whether the claim is still the newest; locks its row, so that it stays so until the transaction ends.
    async fn holds(tx: &mut drystone_store::Tx<'_>, pump: &str, epoch: i64) -> Result<bool> {
        let row = tx
            .query("select 1 from drystone_pumps where name = $1 and epoch = $2 for update")
            .bind((pump, epoch))
            .optional::<(i32,)>()
            .await?;
        Ok(row.is_some())
    }
}

/// Lets go of a claim that a process has on PostgreSQL.
pub(crate) async fn release(store: &Store, home: &Arc<Home>, pump: &str, owner: &str) -> Result<()> {
    const RELEASE: &str = "update drystone_pumps set until = 0 where name = $1 and owner = $2";
    let mut cx = context(home, &nobody()?)?;
    let mut tx = store.begin_across(&mut cx).await?;
    tx.query(RELEASE).bind((pump, owner)).execute().await?;
    tx.commit().await
}

/// The name under which a refused tenant has a position of its own.
pub(crate) fn stalled_name(pump: &str, tenant: &str) -> String {
    format!("{pump}@{tenant}")
}

impl Outbox for PostgresLane {
    fn tenant(&self) -> Option<&TenantId> {
        None
    }

    async fn settled(&self) -> Result<i64> {
        Ok(*self.settled.borrow())
    }

    async fn read(&self, scan: Scan<'_>) -> Result<Vec<Envelope>> {
        const READ: &str = "select seq, tenant, id, type, key, data, created, trace from drystone_outbox
            where seq > $1 and seq <= $2 and ($3::text is null or tenant = $3)
            and ($4::text is null or type in (select json_array_elements_text($4::json))) order by seq limit $5";
        let mut cx = self.context()?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        let tenant = scan.tenant.map(|tenant| tenant.as_str().to_owned());
        let types = scan.types.map(|types| json(&types));
        let limit = i64::try_from(scan.limit).unwrap_or(i64::MAX);
        let rows: Vec<OutboxRow> =
            tx.query(READ).bind((scan.after, scan.upto, tenant, types, limit)).all().await?;
        rows.into_iter().map(|row| message(self.home.module(), row)).collect()
    }

    async fn back(&self, position: i64, rows: u64) -> Result<i64> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        let found = tx.query(BACK).bind((position, rows.cast_signed())).optional::<(i64,)>().await?;
        Ok(found.map_or(0, |(seq,)| seq))
    }

    async fn claim(&self, pump: &str) -> Result<Option<Claim>> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        let lives = self.claim_lives();
        let claimed = tx.query(CLAIM).bind((pump, &*self.owner, lives)).optional::<PumpRow>().await?;
        let Some((position, epoch, mark, last)) = claimed else { return Ok(None) };
        let stalled: Vec<(String, i64)> = tx.query(STALLED).bind((pump,)).all().await?;
        tx.commit().await?;
        let stalled = stalled.into_iter().map(|(tenant, position)| Ok((TenantId::new(&tenant)?, position)));
        let stalled = stalled.collect::<Result<_>>()?;
        Ok(Some(Claim { epoch, progress: progress(position, mark, last), stalled }))
    }

    async fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> Result<bool> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        let (mark, last) = marked(to);
        let lives = self.claim_lives();
        let changed = tx.query(ADVANCE).bind((pump, epoch, to.position, mark, last, lives)).execute().await?;
        tx.commit().await?;
        Ok(changed == 1)
    }

    async fn stall(&self, pump: &str, epoch: i64, tenant: &TenantId, position: Option<i64>) -> Result<bool> {
        let mut cx = self.context()?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        if !Self::holds(&mut tx, pump, epoch).await? {
            return Ok(false);
        }
        let name = stalled_name(pump, tenant.as_str());
        match position {
            Some(position) => tx.query(STALL).bind((name, position)).execute().await?,
            None => tx.query("delete from drystone_pumps where name = $1").bind((name,)).execute().await?,
        };
        tx.commit().await?;
        Ok(true)
    }
}
