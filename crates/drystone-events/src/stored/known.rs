//! Which tenants may have work, across a restart, without opening the file of each.
//!
//! On SQLite a process that begins does not know which tenants' files have work for it, and opening thousands to find out takes their memory and seconds. So whoever goes
//! through tenants writes down, whenever it has nothing left to do, at which time that was and which tenants wait for something that is to come. What was
//! committed after that time has touched its file since.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drystone_call::{Home, Result, TenantId};
use drystone_store::Store;
use tokio::time::Instant;

use super::rows::{context, json, nobody};

/// How much earlier than noted is looked, for clocks that are set and for news that are on their way.
const MARGIN: Duration = Duration::from_mins(10);
/// Notes are taken this often at most.
const EVERY: Duration = Duration::from_secs(30);

/// The notes of one engine.
pub(crate) struct Known {
    store: Store,
    home: Arc<Home>,
    name: String,
    /// What was noted last, and when.
    noted: Option<(Instant, BTreeSet<TenantId>)>,
    /// Whether something was done since.
    worked: bool,
}

impl Known {
    /// The notes of the engine of this name in a module's store.
    pub(crate) fn new(store: &Store, home: &Arc<Home>, name: &str) -> Self {
        let name = format!("known/{name}");
        Self { store: store.shared(), home: Arc::clone(home), name, noted: None, worked: false }
    }

    /// The tenants that may have work; all if there are no notes.
    pub(crate) async fn candidates(&self) -> Result<BTreeSet<TenantId>> {
        const NOTED: &str = "select position, mark from drystone_pumps where name = $1";
        let mut cx = context(&self.home, &nobody()?)?;
        let mut tx = self.store.begin(&mut cx).await?;
        let noted: Option<(i64, Option<String>)> = tx.query(NOTED).bind((&*self.name,)).optional().await?;
        drop(tx);
        let Some((at, waiting)) = noted else {
            return Ok(self.store.tenants().list().await?.into_iter().collect());
        };
        let at = UNIX_EPOCH + Duration::from_micros(at.max(0).unsigned_abs());
        let touched =
            self.store.tenants().touched_since(at.checked_sub(MARGIN).unwrap_or(UNIX_EPOCH)).await?;
        let waiting: Vec<String> =
            waiting.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let waiting = waiting.iter().filter_map(|name| TenantId::new(name).ok());
        Ok(touched.into_iter().chain(waiting).collect())
    }

    /// Something is being done.
    pub(crate) fn work(&mut self) {
        self.worked = true;
    }

    /// Nothing is left to do but what `waiting` wait for: notes it, unless that was just done.
    pub(crate) async fn rest(&mut self, waiting: BTreeSet<TenantId>) -> Result<()> {
        const NOTE: &str = "insert into drystone_pumps (name, position, epoch, mark) values ($1, $2, 0, $3)
            on conflict (name) do update set position = excluded.position, mark = excluded.mark";
        let is_new = match &self.noted {
            None => true,
            Some((at, before)) => (self.worked || *before != waiting) && at.elapsed() >= EVERY,
        };
        if !is_new {
            return Ok(());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let names = json(&waiting.iter().map(TenantId::as_str).collect::<Vec<_>>());
        let mut cx = context(&self.home, &nobody()?)?;
        let mut tx = self.store.begin(&mut cx).await?;
        tx.query(NOTE).bind((&*self.name, at, names)).execute().await?;
        tx.commit().await?;
        self.noted = Some((Instant::now(), waiting));
        self.worked = false;
        Ok(())
    }
}
