//! Relaying on SQLite: a lane for each tenant's file, in order of the single writer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use drystone_call::TenantId;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::{Parts, back_off};
use crate::clock::Clock as _;
use crate::clock::HomeClock;
use crate::engine::Link;
use crate::pump::{Drained, Pump};
use crate::stored::{Known, SqliteLane};

/// How many lanes are worked on at once.
const AT_ONCE: usize = 4;
/// How many lanes are kept in memory when they have nothing to do.
const KEPT: usize = 256;
/// How long a drained lane waits before it stores its position, since more may come at once.
const SAVE_AFTER: Duration = Duration::from_millis(200);
/// How often all tenants are looked at, whatever is known of them.
const SWEEP: Duration = Duration::from_hours(12);

type Lane<L> = Pump<SqliteLane, L, HomeClock>;

/// What a lane has to wait for.
#[derive(Clone, Copy)]
enum Next {
    Nothing,
    Save(Instant),
    Again(Instant),
}

/// Carries to one target.
pub(super) async fn pump<L: Link + Clone>(parts: Arc<Parts>, at: usize, link: L) {
    let config = &parts.config;
    let mut known = Known::new(&config.store, &config.home, &config.targets[at].name);
    let mut lanes =
        Lanes { parts: Arc::clone(&parts), at, link, idle: HashMap::new(), failures: HashMap::new() };
    let mut announced = lanes.parts.config.store.announcements();
    let mut changed = lanes.parts.changed.subscribe();
    let mut ready = match known.candidates().await {
        Ok(candidates) => candidates,
        Err(_) => lanes.all().await,
    };
    let mut waiting: BTreeMap<TenantId, (Instant, bool)> = BTreeMap::new();
    let mut working = FuturesUnordered::new();
    let mut busy = BTreeSet::new();
    // Lanes at work while an operator changes positions: what they know then counts no more.
    let mut outdated = BTreeSet::new();
    let mut sweep = Instant::now() + SWEEP;
    loop {
        while working.len() < AT_ONCE {
            let Some(tenant) = ready.iter().find(|tenant| !busy.contains(*tenant)).cloned() else { break };
            ready.remove(&tenant);
            let only_save = waiting.remove(&tenant).is_some_and(|(due, save)| save && due <= Instant::now());
            busy.insert(tenant.clone());
            known.work();
            working.push(turn(lanes.take(&tenant), tenant, only_save));
        }
        let next = waiting.values().map(|(due, _)| *due).min();
        // Notes are for the next process: one that is not taken costs it some looking.
        if working.is_empty() && ready.is_empty() && waiting.values().all(|(_, save)| !save) {
            let _ = known.rest(waiting.keys().cloned().collect()).await;
        }
        tokio::select! {
            biased;
            Some((tenant, mut lane, done)) = working.next(), if !working.is_empty() => {
                busy.remove(&tenant);
                if outdated.remove(&tenant) {
                    lane.forget();
                }
                match lanes.put_back(tenant.clone(), lane, done) {
                    Next::Nothing => {}
                    Next::Save(due) => drop(waiting.insert(tenant, (due, true))),
                    Next::Again(due) => drop(waiting.insert(tenant, (due, false))),
                }
            }
            tenants = announced.next() => {
                // News of a lane that waits only to store its position begins a turn.
                for tenant in tenants {
                    if waiting.get(&tenant).is_none_or(|(_, save)| *save) {
                        waiting.remove(&tenant);
                        ready.insert(tenant);
                    }
                }
            }
            _ = changed.changed() => {
                lanes.idle.clear();
                waiting.clear();
                outdated.clone_from(&busy);
                ready = lanes.all().await;
            }
            () = sleep_until(next.unwrap_or(sweep)), if next.is_some() => {
                let now = Instant::now();
                ready.extend(waiting.iter().filter(|(_, (due, _))| *due <= now).map(|(tenant, _)| tenant.clone()));
            }
            () = sleep_until(sweep) => {
                sweep = Instant::now() + SWEEP;
                ready.extend(lanes.all().await);
            }
        }
    }
}

/// One turn of a lane: carries what there is, or only stores how far it has come.
async fn turn<L: Link>(
    mut lane: Lane<L>,
    tenant: TenantId,
    only_save: bool,
) -> (TenantId, Lane<L>, drystone_call::Result<Drained>) {
    let done = if only_save { lane.save(false).await.map(|()| Drained::Dry) } else { lane.drain().await };
    (tenant, lane, done)
}

struct Lanes<L> {
    parts: Arc<Parts>,
    at: usize,
    link: L,
    idle: HashMap<TenantId, Lane<L>>,
    failures: HashMap<TenantId, u32>,
}

impl<L: Link + Clone> Lanes<L> {
    async fn all(&self) -> BTreeSet<TenantId> {
        match self.parts.config.store.tenants().list().await {
            Ok(all) => all.into_iter().collect(),
            Err(error) => {
                tracing::warn!(target: "drystone::events", module = self.parts.config.store.module(), %error, "the tenants cannot be listed");
                BTreeSet::new()
            }
        }
    }

    fn take(&mut self, tenant: &TenantId) -> Lane<L> {
        self.idle.remove(tenant).unwrap_or_else(|| {
            let (parts, at) = (&self.parts, self.at);
            let config = &parts.config;
            let lane = SqliteLane::new(config.store.clone(), Arc::clone(&config.home), tenant.clone());
            let target = &config.targets[at];
            let metrics = Arc::clone(&parts.pumps[at].1);
            Pump::new(&*target.name, lane, self.link.clone(), parts.clock(), target.types.clone(), metrics)
        })
    }

    fn put_back(&mut self, tenant: TenantId, lane: Lane<L>, done: drystone_call::Result<Drained>) -> Next {
        let clock = self.parts.clock();
        match done {
            Ok(drained) => {
                self.failures.remove(&tenant);
                let saved = lane.is_saved();
                if !saved || self.idle.len() < KEPT {
                    self.idle.insert(tenant, lane);
                }
                match drained {
                    Drained::Dry if saved => Next::Nothing,
                    Drained::Dry => Next::Save(Instant::now() + SAVE_AFTER),
                    Drained::Stalled(due) => {
                        let left = due.saturating_sub(clock.now()).max(1000);
                        Next::Again(Instant::now() + Duration::from_micros(left.unsigned_abs()))
                    }
                    Drained::Elsewhere => Next::Again(Instant::now() + SAVE_AFTER),
                }
            }
            Err(error) => {
                let failures = self.failures.entry(tenant.clone()).or_default();
                *failures += 1;
                if *failures == 3 {
                    let (module, pump) = (self.parts.config.store.module(), lane.name());
                    tracing::warn!(target: "drystone::events", module, pump, tenant = tenant.as_str(), %error,
                        "messages cannot be handed over; they wait in the outbox");
                }
                Next::Again(Instant::now() + back_off(*failures, &clock))
            }
        }
    }
}
