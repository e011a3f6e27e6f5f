//! Relaying on PostgreSQL: one lane for all tenants, behind the fence.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Parts, back_off};
use crate::Fence;
use crate::clock::Clock as _;
use crate::consumer::until;
use crate::engine::Link;
use crate::failpoint::or_in_haste;
use crate::pump::{Drained, Pump};
use crate::stored::{CLAIM_LIVES, PostgresLane, blocker, look, release};

/// How often the outbox is looked at when nothing wakes: other processes publish as well.
const POLL: Duration = Duration::from_millis(250);
/// Looks that news ask for follow one another at this distance: under load each settles more, and between few there is more time anyway.
const PACE: Duration = Duration::from_millis(2);
/// How often an older transaction is waited for: soon at first, then less often.
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// A fence that has waited this long is looked into.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// How often a pump that another process has is asked for.
const ELSEWHERE: Duration = or_in_haste(Duration::from_secs(2), Duration::from_millis(100));
/// How long a drained pump waits before it stores its position, since more may come at once.
const SAVE_AFTER: Duration = Duration::from_millis(200);
/// How often an idle pump's claim is renewed.
const RENEW: Duration = or_in_haste(Duration::from_secs(4), Duration::from_millis(100));

/// Settles what is published, and tells the pumps.
pub(super) async fn settle(parts: Arc<Parts>, settled: watch::Sender<i64>) {
    let mut announced = parts.config.store.announcements();
    let (mut fence, clock, mut failures) = (Fence::new(), parts.clock(), 0);
    let mut waiting = Waiting::default();
    loop {
        let looked = Instant::now();
        match look(&parts.config.store, &parts.config.home, &mut fence).await {
            Ok(high) => {
                failures = 0;
                parts.fence.high.set(high);
                parts.fence.settled.set(fence.settled());
                settled.send_if_modified(|seen| std::mem::replace(seen, fence.settled()) != fence.settled());
                if fence.pending().is_some() {
                    waiting.watch(&parts).await;
                    tokio::time::sleep(waiting.pause()).await;
                    continue;
                }
                waiting.over(&parts);
                if fence.wants(high) {
                    continue;
                }
            }
            Err(error) => {
                failures += 1;
                if failures == 3 {
                    tracing::warn!(target: "drystone::events", module = parts.config.store.module(), %error, "the outbox cannot be looked at");
                }
                tokio::time::sleep(back_off(failures, &clock)).await;
                continue;
            }
        }
        let _ = timeout_at(Instant::now() + POLL, announced.next()).await;
        sleep_until(looked + PACE).await;
    }
}

/// A fence that waits for an older transaction.
#[derive(Default)]
struct Waiting {
    since: Option<Instant>,
    looks: u32,
    told: bool,
}

impl Waiting {
    fn pause(&mut self) -> Duration {
        self.looks = self.looks.saturating_add(1);
        FIRST_WAIT.saturating_mul(1 << self.looks.min(10)).min(LONGEST_WAIT)
    }

    /// Finds out who is waited for, once that takes long.
    async fn watch(&mut self, parts: &Parts) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if parts.fence.waiting_since.get() == 0 {
            parts.fence.waiting_since.set(parts.clock().now());
        }
        if since.elapsed() < LONG_WAIT || !self.looks.is_multiple_of(10) {
            return;
        }
        let Ok(Some(who)) = blocker(&parts.config.store, &parts.config.home).await else { return };
        let pid = who.pid;
        parts.fence.blocker.set(i64::from(pid));
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(target: "drystone::events", module = parts.config.store.module(), pid, %who,
                "the relay waits for an older transaction: end it, or `select pg_terminate_backend({pid})`");
        }
    }

    fn over(&mut self, parts: &Parts) {
        *self = Self::default();
        parts.fence.waiting_since.set(0);
        parts.fence.blocker.set(0);
    }
}

/// Carries to one target until the process stops, and then lets go of the claim: another process need not wait until it is over.
pub(super) async fn pump_until<L: Link>(
    stopping: watch::Receiver<bool>,
    parts: Arc<Parts>,
    at: usize,
    link: L,
    settled: watch::Receiver<i64>,
) {
    until(stopping, pump(Arc::clone(&parts), at, link, settled)).await;
    let (config, name) = (&parts.config, &parts.config.targets[at].name);
    if let Err(error) = release(&config.store, &config.home, name, &config.owner).await {
        tracing::debug!(target: "drystone::events", pump = name, %error, "a claim was not let go of");
    }
}

/// Carries to one target.
async fn pump<L: Link>(parts: Arc<Parts>, at: usize, link: L, mut settled: watch::Receiver<i64>) {
    let (target, clock) = (&parts.config.targets[at], parts.clock());
    let claim_lives = parts.claim_lives.unwrap_or(CLAIM_LIVES);
    let (renew_every, elsewhere) = (RENEW.min(claim_lives / 4), ELSEWHERE.min(claim_lives / 8));
    let lane = PostgresLane::new(
        parts.config.store.clone(),
        Arc::clone(&parts.config.home),
        settled.clone(),
        Arc::clone(&parts.config.owner),
    )
    .claiming_for(claim_lives);
    let metrics = Arc::clone(&parts.pumps[at].1);
    let pump = Pump::new(&*target.name, lane, link, clock.clone(), target.types.clone(), metrics);
    let mut pump = pump.saving_every(renew_every);
    let mut changed = parts.changed.subscribe();
    let (mut failures, mut renewed) = (0, Instant::now());
    loop {
        settled.borrow_and_update();
        let wait = match pump.drain().await {
            Ok(drained) => {
                failures = 0;
                match drained {
                    Drained::Elsewhere => elsewhere,
                    Drained::Stalled(next) => {
                        let left = next.saturating_sub(clock.now()).max(1000);
                        Duration::from_micros(left.unsigned_abs()).min(renew_every)
                    }
                    Drained::Dry if pump.is_saved() => renew_every,
                    Drained::Dry => SAVE_AFTER,
                }
            }
            Err(error) => {
                failures += 1;
                if failures == 3 {
                    tracing::warn!(target: "drystone::events", module = parts.config.store.module(), pump = target.name, %error,
                        "messages cannot be handed over; they wait in the outbox");
                }
                back_off(failures, &clock)
            }
        };
        tokio::select! {
            _ = settled.changed(), if failures == 0 => {}
            _ = changed.changed() => pump.forget(),
            () = tokio::time::sleep(wait) => {
                let renew = renewed.elapsed() >= renew_every;
                if let Err(error) = pump.save(renew).await {
                    tracing::debug!(target: "drystone::events", pump = target.name, %error, "a position was not stored");
                } else if renew {
                    renewed = Instant::now();
                }
            }
        }
    }
}
