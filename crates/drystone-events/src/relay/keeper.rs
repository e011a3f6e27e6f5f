//! The keeper of an outbox: moves what is due into it, and deletes what is old.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Result, TenantId};
use drystone_store::Dialect;
use tokio::time::{Instant, sleep, timeout_at};

use super::Parts;
use crate::clock::Clock as _;
use crate::stored::{Known, forget_sent, move_due, next_scheduled};

/// Scheduled messages are looked at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// News ask for no more looks than that: nearly all of them are of messages that wait for nothing, and what waits is rarely due so soon.
const PACE: Duration = Duration::from_millis(50);
/// How often old messages are deleted.
const FORGET_EVERY: Duration = Duration::from_mins(10);

/// Keeps the outbox.
pub(super) async fn run(parts: Arc<Parts>) {
    let mut announced = parts.config.store.announcements();
    let mut known = Known::new(&parts.config.store, &parts.config.home, "scheduled");
    let is_sqlite = parts.config.store.dialect().is_ok_and(|dialect| dialect == Dialect::Sqlite);
    let mut scheduled = if is_sqlite { candidates(&parts, &known).await } else { BTreeSet::from([None]) };
    let mut forget = Instant::now() + FORGET_EVERY;
    loop {
        let next = match move_all(&parts, &mut scheduled).await {
            Ok(next) => next,
            Err(error) => {
                let module = parts.config.store.module();
                tracing::warn!(target: "drystone::events", module, %error, "scheduled messages cannot be looked at");
                Instant::now() + LOOK_EVERY
            }
        };
        if is_sqlite {
            // Notes are for the next process: one that is not taken costs it some looking.
            let _ = known.rest(scheduled.iter().flatten().cloned().collect()).await;
        }
        if let Ok(tenants) = timeout_at(next, announced.next()).await
            && is_sqlite
        {
            known.work();
            scheduled.extend(tenants.into_iter().map(Some));
        }
        sleep(PACE).await;
        if Instant::now() >= forget {
            forget = Instant::now() + FORGET_EVERY;
            let RelayParts { pumps, keep } = RelayParts::of(&parts);
            if let Err(error) = forget_sent(&parts.config.store, &parts.config.home, keep, &pumps).await {
                let module = parts.config.store.module();
                tracing::warn!(target: "drystone::events", module, %error, "old messages were not deleted");
            }
        }
    }
}

struct RelayParts {
    pumps: Vec<String>,
    keep: Duration,
}

impl RelayParts {
    fn of(parts: &Parts) -> Self {
        let pumps = parts.config.targets.iter().map(|target| target.name.clone()).collect();
        Self { pumps, keep: parts.config.retention.outbox() }
    }
}

/// The tenants that may have scheduled messages.
async fn candidates(parts: &Parts, known: &Known) -> BTreeSet<Option<TenantId>> {
    let candidates = match known.candidates().await {
        Ok(candidates) => candidates,
        Err(_) => parts.config.store.tenants().list().await.unwrap_or_default().into_iter().collect(),
    };
    candidates.into_iter().map(Some).collect()
}

/// Moves what is due, keeps the lanes that have more for later, and says when to look again.
async fn move_all(parts: &Parts, scheduled: &mut BTreeSet<Option<TenantId>>) -> Result<Instant> {
    let (store, home, now) = (&parts.config.store, &parts.config.home, parts.clock().now());
    let mut earliest = LOOK_EVERY;
    for lane in std::mem::take(scheduled) {
        let next = async {
            let mut next = next_scheduled(store, home, lane.as_ref()).await?;
            while next.is_some_and(|due| due <= now) {
                move_due(store, home, lane.as_ref(), now).await?;
                next = next_scheduled(store, home, lane.as_ref()).await?;
            }
            Ok::<_, drystone_call::Error>(next)
        };
        match next.await {
            Ok(None) if lane.is_some() => {}
            Ok(next) => {
                if let Some(due) = next {
                    let left = due.saturating_sub(now).max(1000);
                    earliest = earliest.min(Duration::from_micros(left.unsigned_abs()));
                }
                scheduled.insert(lane);
            }
            Err(error) => {
                scheduled.insert(lane);
                return Err(error);
            }
        }
    }
    Ok(Instant::now() + earliest)
}
