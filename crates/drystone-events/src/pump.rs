//! The pump: carries one lane of an outbox to one target.
//!
//! It reads behind the fence, hands over in order, and then stores how far it has come. A crash between the last two costs repeats, which the target's inbox
//! leaves out; nothing is lost, since the position never runs ahead of what the target has. It works under a claim: a pump that was paused and comes back
//! finds that its position no longer counts. What such a stale pump still hands over does no harm either, for it is a run of messages in their order, each of which the newer
//! one hands over as well.
//!
//! A tenant that the target refuses is left behind with a position of its own, and the others go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Error, PlatformReason, Result, TenantId};

use crate::Envelope;
use crate::clock::{Clock, after};
use crate::engine::{Claim, Link, Outbox, Progress, Scan};
use crate::failpoint::{broken, failpoint};
use crate::metrics::PumpMetrics;

/// How many messages are read at once,
const MOST: usize = 256;
/// from a lane of all tenants more, since each tenant's are applied in a transaction of their own,
const MOST_OF_ALL: usize = 1024;
/// and how many bytes that should not be more than.
const MOST_BYTES: usize = 4 << 20;
/// After so many messages the position is stored while there is more to carry. A crash repeats at most as many and one batch.
const SAVE_AFTER: u64 = 1024;
/// And after so long: a claim that is not renewed is taken away, however busy its pump is.
const SAVE_EVERY: Duration = Duration::from_secs(4);
/// How long a refused tenant waits before it is tried again.
const STALLED: Duration = Duration::from_secs(2);

/// Carries one lane of an outbox to one target.
pub struct Pump<O, L, C> {
    name: String,
    outbox: O,
    link: L,
    clock: C,
    types: Option<Vec<String>>,
    metrics: Arc<PumpMetrics>,
    save_every: Duration,
    claimed: Option<Claimed>,
}

/// What a pump knows while it has its claim.
struct Claimed {
    epoch: i64,
    progress: Progress,
    stalled: BTreeMap<TenantId, Stalled>,
    unsaved: u64,
    /// When the position was stored or learned, in microseconds since 1970.
    saved: i64,
    /// How many rows the next read takes.
    limit: usize,
}

struct Stalled {
    position: i64,
    next: i64,
}

/// How a pump's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything that is settled is with the target.
    Dry,
    /// Some tenants are refused; they are tried again at this moment, in microseconds since 1970.
    Stalled(i64),
    /// Another process has the claim.
    Elsewhere,
}

impl<O: Outbox, L: Link, C: Clock> Pump<O, L, C> {
    /// A pump of this name; `types` are those that the target wants, all if `None`.
    pub fn new(
        name: impl Into<String>,
        outbox: O,
        link: L,
        clock: C,
        types: Option<Vec<String>>,
        metrics: Arc<PumpMetrics>,
    ) -> Self {
        Self { name: name.into(), outbox, link, clock, types, metrics, save_every: SAVE_EVERY, claimed: None }
    }

    /// The same pump, which stores its position after so long at most while it carries.
    #[must_use]
    pub fn saving_every(self, time: Duration) -> Self {
        Self { save_every: time, ..self }
    }

    /// The pump's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Carries what is settled.
    ///
    /// # Errors
    /// What keeps the outbox or the target from working. The next turn begins from the last stored position.
    pub async fn drain(&mut self) -> Result<Drained> {
        let done = self.turn().await;
        if done.is_err() {
            self.metrics.failures.add(1);
            self.claimed = None;
        }
        done
    }

    /// Stores how far the pump has come, if the target has more than is stored; with `renew` in any case, for the claim's sake.
    ///
    /// # Errors
    /// What keeps the outbox from working.
    pub async fn save(&mut self, renew: bool) -> Result<()> {
        let Some(claimed) = &self.claimed else { return Ok(()) };
        if claimed.unsaved == 0 && !renew {
            return Ok(());
        }
        let done = self.store().await.map(drop);
        if done.is_err() {
            // What the database has now is what counts; it may have come back from a crash.
            self.claimed = None;
        }
        done
    }

    /// Whether everything that the target has is stored.
    pub fn is_saved(&self) -> bool {
        self.claimed.as_ref().is_none_or(|claimed| claimed.unsaved == 0)
    }

    /// Forgets the claim: the next turn takes it anew and learns where the pump stands.
    pub fn forget(&mut self) {
        self.claimed = None;
    }

    async fn turn(&mut self) -> Result<Drained> {
        if !self.claim().await? {
            return Ok(Drained::Elsewhere);
        }
        let settled = self.outbox.settled().await?;
        loop {
            let Some(claimed) = &self.claimed else { return Ok(Drained::Elsewhere) };
            if claimed.progress.position >= settled {
                break;
            }
            let (position, limit) = (claimed.progress.position, claimed.limit);
            let scan =
                Scan { after: position, upto: settled, tenant: None, types: self.types.as_deref(), limit };
            let batch = self.outbox.read(scan).await?;
            failpoint("relay.read");
            let more = batch.len() == limit;
            let reached = if more { batch.last().map_or(settled, |last| last.seq) } else { settled };
            if let Some(first) = batch.first() {
                self.metrics.behind.waits(
                    self.outbox.tenant(),
                    settled - position,
                    first.time,
                    self.clock.now(),
                );
            }
            if broken("ack-first") {
                self.moved(reached);
                self.store().await?;
            }
            self.hand_over(batch, position).await?;
            self.moved(reached);
            if self.is_to_save() && !self.store().await? {
                return Ok(Drained::Elsewhere);
            }
        }
        self.metrics.behind.dry(self.outbox.tenant());
        self.catch_up().await?;
        Ok(self.ended())
    }

    /// Makes sure of the claim, and of what the target has.
    async fn claim(&mut self) -> Result<bool> {
        if self.claimed.is_some() {
            return Ok(true);
        }
        let Some(Claim { epoch, mut progress, stalled }) = self.outbox.claim(&self.name).await? else {
            self.metrics.behind.dry(self.outbox.tenant());
            return Ok(false);
        };
        failpoint("relay.claimed");
        let lost = self.link.resume(progress.mark.as_ref()).await?;
        if lost > 0 {
            let from = progress.position;
            progress.position = self.outbox.back(from, lost).await?;
            self.metrics.forgotten.add(lost);
            tracing::warn!(target: "drystone::events", pump = self.name, lost, from, back_to = progress.position,
                "the broker no longer has messages that it had acknowledged: they are sent again");
        }
        progress.mark = self.link.mark();
        let tried = |(tenant, position)| (tenant, Stalled { position, next: 0 });
        let stalled = stalled.into_iter().map(tried).collect();
        let saved = self.clock.now();
        self.claimed = Some(Claimed { epoch, progress, stalled, unsaved: lost, saved, limit: self.most() });
        Ok(true)
    }

    fn most(&self) -> usize {
        if self.outbox.tenant().is_some() { MOST } else { MOST_OF_ALL }
    }

    /// Hands a batch over, but for the tenants that are left behind.
    async fn hand_over(&mut self, mut batch: Vec<Envelope>, position: i64) -> Result<()> {
        let most = self.most();
        let Some(claimed) = &mut self.claimed else { return Ok(()) };
        let bytes: usize = batch.iter().map(|message| message.data.bytes().len()).sum();
        if !batch.is_empty() {
            claimed.limit = (MOST_BYTES / (bytes / batch.len()).max(1)).clamp(1, most);
        }
        batch.retain(|message| !claimed.stalled.contains_key(&message.tenant));
        if batch.is_empty() {
            return Ok(());
        }
        let refused = self.link.carry(&batch).await?;
        failpoint("relay.carried");
        let waits = |tenant: &TenantId| {
            let oldest = batch.iter().find(|message| message.tenant == *tenant).map_or(0, |first| first.time);
            let count = batch.iter().filter(|message| message.tenant == *tenant).count();
            self.metrics.behind.refused(tenant, i64::try_from(count).unwrap_or(i64::MAX), oldest);
        };
        refused.iter().for_each(waits);
        if let (Some(tenant), Some(_)) = (refused.first(), self.outbox.tenant()) {
            return Err(refusal(tenant));
        }
        let taken = batch.iter().filter(|message| !refused.contains(&message.tenant)).count() as u64;
        self.metrics.carried.add(taken);
        if taken > 0 {
            self.metrics.behind.moved(self.clock.now());
        }
        claimed.unsaved += taken;
        let (epoch, next) = (claimed.epoch, after(self.clock.now(), STALLED));
        for tenant in refused {
            tracing::warn!(target: "drystone::events", pump = self.name, tenant = tenant.as_str(),
                "the target refuses the tenant: its messages wait, the others go on");
            if self.outbox.stall(&self.name, epoch, &tenant, Some(position)).await? {
                claimed.stalled.insert(tenant, Stalled { position, next });
            } else {
                self.lost_claim();
                return Ok(());
            }
        }
        Ok(())
    }

    fn moved(&mut self, to: i64) {
        let mark = self.link.mark();
        if let Some(claimed) = &mut self.claimed {
            claimed.progress = Progress { position: to, mark };
        }
    }

    /// Whether the position is to be stored though there is more to carry.
    fn is_to_save(&self) -> bool {
        let Some(claimed) = &self.claimed else { return false };
        let now = self.clock.now();
        // Also if the clock was turned back.
        claimed.unsaved >= SAVE_AFTER
            || !(claimed.saved..after(claimed.saved, self.save_every)).contains(&now)
    }

    /// Stores how far the pump has come; `false` if its claim is no longer the newest.
    async fn store(&mut self) -> Result<bool> {
        let Some(claimed) = &mut self.claimed else { return Ok(false) };
        let stored = self.outbox.advance(&self.name, claimed.epoch, &claimed.progress).await?;
        failpoint("relay.advanced");
        if stored {
            claimed.unsaved = 0;
            claimed.saved = self.clock.now();
        } else {
            self.lost_claim();
        }
        Ok(stored)
    }

    fn lost_claim(&mut self) {
        self.metrics.claims_lost.add(1);
        self.claimed = None;
    }

    /// Carries what tenants have that were refused, where that is due.
    async fn catch_up(&mut self) -> Result<()> {
        let now = self.clock.now();
        let Some(claimed) = &self.claimed else { return Ok(()) };
        let due: Vec<TenantId> = claimed
            .stalled
            .iter()
            .filter(|(_, stalled)| stalled.next <= now)
            .map(|(t, _)| t.clone())
            .collect();
        for tenant in due {
            while self.catch_up_with(&tenant).await? {}
        }
        Ok(())
    }

    /// Carries one batch of a refused tenant; says whether there is more.
    async fn catch_up_with(&mut self, tenant: &TenantId) -> Result<bool> {
        let Some(claimed) = &mut self.claimed else { return Ok(false) };
        let (epoch, upto, limit) = (claimed.epoch, claimed.progress.position, claimed.limit);
        let Some(stalled) = claimed.stalled.get_mut(tenant) else { return Ok(false) };
        let scan =
            Scan { after: stalled.position, upto, tenant: Some(tenant), types: self.types.as_deref(), limit };
        let batch = self.outbox.read(scan).await?;
        let reached = batch.last().map(|last| last.seq);
        if reached.is_some() {
            let (count, oldest) = (batch.len(), batch.first().map_or(0, |first| first.time));
            self.metrics.behind.refused(tenant, i64::try_from(count).unwrap_or(i64::MAX), oldest);
            if !self.link.carry(&batch).await?.is_empty() {
                stalled.next = after(self.clock.now(), STALLED);
                return Ok(false);
            }
            self.metrics.carried.add(batch.len() as u64);
            stalled.position = reached.unwrap_or(upto);
        } else {
            claimed.stalled.remove(tenant);
            self.metrics.behind.dry(Some(tenant));
        }
        if !self.outbox.stall(&self.name, epoch, tenant, reached).await? {
            self.lost_claim();
            return Ok(false);
        }
        Ok(reached.is_some())
    }

    fn ended(&self) -> Drained {
        match &self.claimed {
            None => Drained::Elsewhere,
            Some(claimed) => {
                let next = claimed.stalled.values().map(|stalled| stalled.next).min();
                next.map_or(Drained::Dry, Drained::Stalled)
            }
        }
    }
}

fn refusal(tenant: &TenantId) -> Error {
    PlatformReason::TenantSuspended
        .error(format!("the consumer refuses tenant {tenant}: it is suspended or unknown there"))
}

impl<O, L, C> std::fmt::Debug for Pump<O, L, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("name", &self.name).finish_non_exhaustive()
    }
}
