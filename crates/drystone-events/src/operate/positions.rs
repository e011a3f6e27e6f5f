//! Positions: how far pumps have come, what is behind them, and what the fence waits for.

use std::time::Duration;

use drystone_call::Result;
use drystone_store::Dialect;

use super::{FenceStatus, Operator, PumpStatus, Sql, Stalled, Wanted};
use crate::Fence;
use crate::stored::{STALLED, blocker, context, json, look, nobody};

/// How often the fence is looked at before somebody is said to be in its way, and how long each look waits for the next.
const LOOKS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// What is behind a position: `$1` to `$2`, of the types in `$3` if it is not null.
const BEHIND_SQLITE: &str = "select count(*), min(created) from drystone_outbox where seq > $1 and seq <= $2
    and (cast($3 as text) is null or type in (select value from json_each($3)))";
/// The same, of tenant `$4` if it is not null, and of no tenant in `$5`.
const BEHIND_POSTGRES: &str = "select count(*), min(created) from drystone_outbox where seq > $1 and seq <= $2
    and ($3::text is null or type in (select json_array_elements_text($3::json)))
    and ($4::text is null or tenant = $4) and tenant not in (select json_array_elements_text($5::text::json))";

/// name, position, epoch, owner, until
type StreamRow = (String, i64, i64, Option<String>, Option<i64>);
/// position, epoch, owner, until
type PumpRow = (i64, i64, Option<String>, Option<i64>);

impl Operator {
    /// Where the pumps stand that the application declares.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn pumps(&self, wanted: &[Wanted]) -> Result<Vec<PumpStatus>> {
        match self.store.dialect()? {
            Dialect::Sqlite => self.pumps_of_files(wanted).await,
            Dialect::Postgres => self.pumps_of_all(wanted).await,
        }
    }

    async fn pumps_of_files(&self, wanted: &[Wanted]) -> Result<Vec<PumpStatus>> {
        let mut all: Vec<PumpStatus> = wanted.iter().map(|one| status_of(&one.pump)).collect();
        for tenant in self.files(None).await? {
            let mut cx = context(&self.home, &tenant)?;
            let mut tx = self.store.read(&mut cx).await?;
            for (one, status) in wanted.iter().zip(&mut all) {
                let row = tx
                    .query("select position, epoch from drystone_pumps where name = $1")
                    .bind((&*one.pump,));
                let (position, epoch) = row.optional::<(i64, i64)>().await?.unwrap_or_default();
                let types = one.types.as_ref().map(json);
                let behind = tx.query(BEHIND_SQLITE).bind((position, i64::MAX, types));
                let (lag, oldest) = behind.one::<(i64, Option<i64>)>().await?;
                status.epoch = status.epoch.max(epoch);
                status.lag += lag;
                status.oldest = [status.oldest, oldest].into_iter().flatten().min();
                if lag > 0 {
                    status.tenants.push(Stalled {
                        tenant: tenant.as_str().to_owned(),
                        position,
                        lag,
                        oldest,
                    });
                }
            }
        }
        Ok(all)
    }

    async fn pumps_of_all(&self, wanted: &[Wanted]) -> Result<Vec<PumpStatus>> {
        const ONE: &str = "select position, epoch, owner, until from drystone_pumps where name = $1";
        let mut all = Vec::new();
        let mut cx = context(&self.home, &nobody()?)?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        for one in wanted {
            let mut status = status_of(&one.pump);
            let row: Option<PumpRow> = tx.query(ONE).bind((&*one.pump,)).optional().await?;
            let (position, epoch, owner, until) = row.unwrap_or_default();
            (status.position, status.epoch, status.owner, status.until) =
                (Some(position), epoch, owner, until);
            let types = one.types.as_ref().map(json);
            let stalled: Vec<(String, i64)> = tx.query(STALLED).bind((&*one.pump,)).all().await?;
            let apart = json(&stalled.iter().map(|(tenant, _)| tenant).collect::<Vec<_>>());
            for (tenant, at) in stalled {
                let behind =
                    tx.query(BEHIND_POSTGRES).bind((at, position, types.clone(), Some(tenant.clone()), "[]"));
                let (lag, oldest) = behind.one::<(i64, Option<i64>)>().await?;
                status.tenants.push(Stalled { tenant, position: at, lag, oldest });
            }
            let behind = tx.query(BEHIND_POSTGRES).bind((position, i64::MAX, types, None::<String>, apart));
            let (lag, oldest) = behind.one::<(i64, Option<i64>)>().await?;
            status.lag = lag + status.tenants.iter().map(|tenant| tenant.lag).sum::<i64>();
            status.oldest = status.tenants.iter().map(|tenant| tenant.oldest).chain([oldest]).flatten().min();
            all.push(status);
        }
        Ok(all)
    }

    /// How far the module's consumers have read the streams of a broker, each under the name `<source>><consumer>`. How much is behind them only the broker knows.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn streams(&self) -> Result<Vec<PumpStatus>> {
        const READ: &str = "select name, position, epoch, owner, until from drystone_pumps where name like '%>%' order by name";
        let mut cx = context(&self.home, &nobody()?)?;
        let mut tx = self.store.shared().read(&mut cx).await?;
        let rows: Vec<StreamRow> = tx.query(READ).all().await?;
        let mut all = Vec::with_capacity(rows.len());
        for (pump, position, epoch, owner, until) in rows {
            all.push(PumpStatus { position: Some(position), epoch, owner, until, ..status_of(&pump) });
        }
        Ok(all)
    }

    /// Where the fence stands, found out by looks of its own; `None` on SQLite, which has none.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn fence(&self) -> Result<Option<FenceStatus>> {
        if self.store.dialect()? == Dialect::Sqlite {
            return Ok(None);
        }
        let (mut fence, mut status) = (Fence::new(), FenceStatus::default());
        for _ in 0..LOOKS {
            status.taken = look(&self.store, &self.home, &mut fence).await?;
            if fence.pending().is_none() {
                status.settled = Some(fence.settled());
                return Ok(Some(status));
            }
            tokio::time::sleep(BETWEEN).await;
        }
        status.blocker = blocker(&self.store, &self.home).await?;
        Ok(Some(status))
    }

    /// How many messages are to be published later, and when the next of them is.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn scheduled(&self) -> Result<(i64, Option<i64>)> {
        let sql = Sql::over("drystone_scheduled", "select count(*), min(due) from {rows} s");
        let rows: Vec<(i64, Option<i64>)> = self.read(None, &sql, |tenant| (tenant,)).await?;
        Ok((rows.iter().map(|(count, _)| count).sum(), rows.iter().filter_map(|(_, due)| *due).min()))
    }
}

fn status_of(pump: &str) -> PumpStatus {
    PumpStatus { pump: pump.to_owned(), ..PumpStatus::default() }
}
