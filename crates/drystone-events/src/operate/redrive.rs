//! Redrive: positions go back, and what stands behind them is sent again.
//!
//! For the case that a target has lost what it had, which its inbox would have told apart from a repeat: a database restored from an older copy, a broker's stream
//! that an outside consumer needs again. Repeats are harmless within the retention, since inboxes know a message for longer than outboxes have it; beyond it a redrive is refused.
//!
//! The epoch of the pump's claim is raised with the position. A pump that runs finds that its claim is not the newest when it stores its position next, and takes it anew.

use std::time::Duration;

use drystone_call::{Code, Error, Result, TenantId};
use drystone_store::{Dialect, Tx};
use serde::{Deserialize, Serialize};

use super::{Operator, Wanted, named};
use crate::Retention;
use crate::stored::{context, nobody, stalled_name};

/// What to send again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// Everything published at this moment or later, in microseconds since 1970,
    pub since: i64,
    /// by these pumps,
    pub pumps: Vec<Wanted>,
    /// of this tenant only.
    pub tenant: Option<String>,
}

/// What one pump sends again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// The pump.
    pub pump: String,
    /// The tenant, where each has a position of its own.
    pub tenant: Option<String>,
    /// Where the pump stood.
    pub from: i64,
    /// Where it stands now.
    pub to: i64,
}

/// The first number of what was published at `$1` or later.
const FIRST_SQLITE: &str = "select min(seq) from drystone_outbox where created >= $1";
const FIRST_POSTGRES: &str =
    "select min(seq) from drystone_outbox where created >= $1 and ($2::text is null or tenant = $2)";

impl Operator {
    /// Sets positions back. What a pump has not carried yet stays as it is.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if that is longer ago than messages are kept; what keeps the store from working.
    pub async fn redrive(&self, what: &Redrive, retention: Retention) -> Result<Vec<Redriven>> {
        let kept = i64::try_from(retention.outbox().as_micros()).unwrap_or(i64::MAX);
        if what.since < self.now().saturating_sub(kept) {
            return Err(too_long_ago(retention.outbox()));
        }
        let mut done = Vec::new();
        match self.store.dialect()? {
            Dialect::Sqlite => {
                for tenant in self.files(named(what.tenant.as_deref())?.as_ref()).await? {
                    done.extend(self.redrive_file(what, &tenant).await?);
                }
            }
            Dialect::Postgres => {
                for wanted in &what.pumps {
                    done.extend(self.redrive_pump(what, &wanted.pump).await?);
                }
            }
        }
        for Redriven { pump, tenant, from, to } in &done {
            tracing::warn!(target: "drystone::events", module = self.module(), pump, tenant = tenant.as_deref(), from, to,
                "an operator had messages sent again");
        }
        Ok(done)
    }

    async fn redrive_file(&self, what: &Redrive, tenant: &TenantId) -> Result<Vec<Redriven>> {
        // A pump that has no row has stored no position, and begins from nothing when it learns anew.
        const BACK: &str = "insert into drystone_pumps (name, position, epoch) values ($1, 0, 1)
            on conflict (name) do update set position = $2, epoch = epoch + 1 where position > $2";
        let mut cx = context(&self.home, tenant)?;
        let mut tx = self.store.begin(&mut cx).await?;
        let (first,) = tx.query(FIRST_SQLITE).bind((what.since,)).one::<(Option<i64>,)>().await?;
        let Some(to) = first.map(|first| first - 1) else { return Ok(Vec::new()) };
        let mut done = Vec::new();
        for wanted in &what.pumps {
            let pump = wanted.pump.clone();
            let stood = "select position from drystone_pumps where name = $1";
            let stood: Option<(i64,)> = tx.query(stood).bind((&*pump,)).optional().await?;
            let changed = tx.query(BACK).bind((&*pump, to)).execute().await?;
            if let (1, Some((from,))) = (changed, stood) {
                done.push(Redriven { pump, tenant: Some(tenant.as_str().to_owned()), from, to });
            }
        }
        tx.commit().await?;
        Ok(done)
    }

    async fn redrive_pump(&self, what: &Redrive, pump: &str) -> Result<Option<Redriven>> {
        let mut cx = context(&self.home, &nobody()?)?;
        let mut tx = self.store.begin_across(&mut cx).await?;
        let tenant = what.tenant.as_deref();
        // The row is locked, so that no pump moves on meanwhile.
        let stood = tx.query("select position from drystone_pumps where name = $1 for update").bind((pump,));
        let Some((from,)) = stood.optional::<(i64,)>().await? else { return Ok(None) };
        let first = tx.query(FIRST_POSTGRES).bind((what.since, tenant)).one::<(Option<i64>,)>().await?;
        let Some(to) = first.0.map(|first| first - 1) else { return Ok(None) };
        let changed = match tenant {
            None => back_all(&mut tx, pump, to).await?,
            Some(tenant) if to < from => back_one(&mut tx, pump, tenant, to).await?,
            Some(_) => 0,
        };
        if changed == 0 {
            return Ok(None);
        }
        tx.query("update drystone_pumps set epoch = epoch + 1 where name = $1")
            .bind((pump,))
            .execute()
            .await?;
        tx.commit().await?;
        Ok(Some(Redriven { pump: pump.to_owned(), tenant: what.tenant.clone(), from, to }))
    }
}

/// Sets a pump back, and the positions of the tenants that its target refuses.
async fn back_all(tx: &mut Tx<'_>, pump: &str, to: i64) -> Result<u64> {
    const BACK: &str = "update drystone_pumps set position = $2 where position > $2
        and (name = $1 or substr(name, 1, length($1) + 1) = $1 || '@')";
    tx.query(BACK).bind((pump, to)).execute().await
}

/// Gives one tenant a position of its own further back, from which it catches up while the others go on.
async fn back_one(tx: &mut Tx<'_>, pump: &str, tenant: &str, to: i64) -> Result<u64> {
    const BACK: &str = "insert into drystone_pumps as p (name, position, epoch) values ($1, $2, 0)
        on conflict (name) do update set position = excluded.position where p.position > excluded.position";
    tx.query(BACK).bind((stalled_name(pump, tenant), to)).execute().await
}

fn too_long_ago(kept: Duration) -> Error {
    let hours = kept.as_secs() / 3600;
    let kept =
        if hours.is_multiple_of(24) { format!("{} days", hours / 24) } else { format!("{hours} hours") };
    Error::new(
        Code::FailedPrecondition,
        format!(
            "messages are kept for {kept} (events.retention_days), and consumers know for an hour longer which they have handled: what is older cannot be sent \
             again without happening twice; choose a later moment"
        ),
    )
}
