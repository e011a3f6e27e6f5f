//! The engine's inbox on the consumers' simulated database.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use drystone_call::{Error, PlatformReason, Result, TenantId};
use drystone_events::Envelope;
use drystone_events::engine::{ApplyError, Held, Hold, Inbox, InboxTx};
use uuid::Uuid;

use super::executor::Process;
use super::fault::Seen;
use super::handling::handle;
use super::inbox_db::{Item, Write, key_item};
use super::plan::{Broken, Database};
use super::time::MS;
use super::world::{Side, World};

/// One consumer, as one process sees it.
#[derive(Clone)]
pub(crate) struct SimInbox {
    world: World,
    process: Process,
    consumer: String,
}

impl SimInbox {
    pub(crate) fn new(world: &World, process: Process, consumer: &str) -> Self {
        Self { world: world.clone(), process, consumer: consumer.to_owned() }
    }
}

/// A transaction; dropping it rolls it back.
pub(crate) struct SimTx {
    world: World,
    process: Process,
    consumer: String,
    tenant: TenantId,
    number: u64,
    began: i64,
    reads: BTreeMap<Item, u64>,
    recorded: BTreeSet<Uuid>,
    writes: Vec<Write>,
}

impl Inbox for SimInbox {
    type Tx = SimTx;

    fn consumer(&self) -> &str {
        &self.consumer
    }

    async fn begin(&self, tenant: &TenantId) -> Result<SimTx> {
        let world = &self.world;
        world.statement(self.process, Side::Consumer).await?;
        if self.process != 0 && world.state().suspended.contains(tenant) {
            return Err(PlatformReason::TenantSuspended.error("the tenant is suspended"));
        }
        loop {
            if let Some(tx) = self.try_begin(tenant) {
                return Ok(tx);
            }
            let wait = world.between(MS, 5 * MS);
            world.time.sleep(wait).await;
        }
    }
}

impl SimInbox {
    /// Begins, unless another writer has the tenant's file.
    fn try_begin(&self, tenant: &TenantId) -> Option<SimTx> {
        let mut db = self.world.inbox();
        if self.world.plan.database == Database::Sqlite && db.writers.contains_key(tenant) {
            return None;
        }
        db.next_tx += 1;
        let number = db.next_tx;
        db.writers.insert(tenant.clone(), number);
        Some(SimTx {
            world: self.world.clone(),
            process: self.process,
            consumer: self.consumer.clone(),
            tenant: tenant.clone(),
            number,
            began: self.world.now(),
            reads: BTreeMap::new(),
            recorded: BTreeSet::new(),
            writes: Vec::new(),
        })
    }
}

impl SimTx {
    async fn statement(&self) -> Result<()> {
        self.world.statement(self.process, Side::Consumer).await
    }

    fn key(&self, source: &str, key: &str) -> Item {
        Item::Key(self.consumer.clone(), source.to_owned(), self.tenant.clone(), key.to_owned())
    }

    /// Holds a message no longer, without having applied it: an operator's act.
    pub(crate) async fn drops(&mut self, held: &Held) -> Result<()> {
        self.statement().await?;
        self.has_read(key_item(&self.consumer, &held.message));
        self.writes.push(Write::Drop(Box::new(held.clone())));
        Ok(())
    }

    /// Remembers what an item was like when it was first read.
    fn has_read(&mut self, item: Item) {
        let version = self.world.inbox().version(&item);
        self.reads.entry(item).or_insert(version);
    }
}

impl InboxTx for SimTx {
    async fn record(&mut self, ids: &[Uuid]) -> Result<HashSet<Uuid>> {
        self.statement().await?;
        let mut fresh = HashSet::new();
        for id in ids {
            self.has_read(Item::Handled(self.consumer.clone(), *id));
            let handled = self.world.inbox().is_handled(&self.consumer, *id);
            if handled || !self.recorded.insert(*id) {
                self.world.saw(self.process, Seen::Repeat);
            } else {
                self.writes.push(Write::Record(*id));
                fresh.insert(*id);
            }
        }
        Ok(fresh)
    }

    async fn held_keys(&mut self, source: &str, keys: BTreeSet<&str>) -> Result<BTreeSet<String>> {
        let items: Vec<(String, Item)> =
            keys.into_iter().map(|key| (key.to_owned(), self.key(source, key))).collect();
        self.statement().await?;
        let mut held = BTreeSet::new();
        for (key, item) in items {
            if self.world.inbox().first(&item).is_some() && !self.world.is_broken(Broken::HeldKeyDoesNotHold)
            {
                held.insert(key);
            }
            self.has_read(item);
        }
        Ok(held)
    }

    async fn apply(&mut self, message: &Envelope) -> Result<(), ApplyError> {
        handle(&self.world, &self.consumer, message, self.began).await?;
        self.writes.push(Write::Effect(message.clone()));
        Ok(())
    }

    async fn hold(&mut self, message: &Envelope, hold: &Hold) -> Result<()> {
        self.statement().await?;
        self.writes.push(Write::Hold(message.clone(), hold.clone()));
        Ok(())
    }

    async fn first(&mut self, source: &str, key: &str) -> Result<Option<Held>> {
        let item = self.key(source, key);
        self.statement().await?;
        let first = self.world.inbox().first(&item).map(|row| row.held.clone());
        self.has_read(item);
        Ok(first)
    }

    async fn change(&mut self, place: i64, hold: &Hold) -> Result<()> {
        self.statement().await?;
        let item = self.world.inbox().key_at(place);
        if let Some(item) = item {
            self.has_read(item);
        }
        self.writes.push(Write::Change(place, hold.clone()));
        Ok(())
    }

    async fn release(&mut self, held: &Held) -> Result<()> {
        self.statement().await?;
        self.has_read(key_item(&self.consumer, &held.message));
        self.writes.push(Write::Release(Box::new(held.clone())));
        Ok(())
    }

    fn held_for(&self) -> Duration {
        Duration::from_micros((self.world.now() - self.began).unsigned_abs())
    }

    async fn commit(mut self) -> Result<()> {
        let (writes, mut reads) = (std::mem::take(&mut self.writes), std::mem::take(&mut self.reads));
        let world = self.world.clone();
        if world.is_broken(Broken::HeldKeysReadCommitted) {
            reads.retain(|item, _| matches!(item, Item::Handled(..)));
        }
        world
            .commit(self.process, Side::Consumer, || {
                if !world.inbox().still(&reads) {
                    world.saw(self.process, Seen::Conflict);
                    return Err(Error::aborted("another transaction came first"));
                }
                tell(&self, &writes);
                world.inbox().write(&self.consumer, writes, world.is_broken(Broken::InboxForgets));
                Ok(())
            })
            .await
    }
}

/// Notes what a commit does.
fn tell(tx: &SimTx, writes: &[Write]) {
    use drystone_events::engine::HeldState;

    let (world, process, consumer) = (&tx.world, tx.process, &tx.consumer);
    for write in writes {
        let (what, message) = match write {
            Write::Record(_) => continue,
            Write::Effect(message) => ("applies", message),
            Write::Release(held) => ("releases", &held.message),
            Write::Drop(held) => ("drops", &held.message),
            Write::Hold(message, hold) if hold.state == HeldState::Waiting => {
                world.saw(process, Seen::Waiting);
                ("holds, waiting", message)
            }
            Write::Hold(message, hold) => {
                if hold.state == HeldState::Parked {
                    world.saw(process, Seen::Parked);
                }
                ("holds", message)
            }
            Write::Change(place, hold) => {
                if hold.state == HeldState::Parked {
                    world.saw(process, Seen::Parked);
                }
                let state = hold.state.as_str();
                world.note(
                    process,
                    format_args!("{consumer}: place {place} is {state}, attempt {}", hold.attempts),
                );
                continue;
            }
        };
        let (id, tenant, key) = (message.id.as_u128(), &message.tenant, &message.key);
        world.note(process, format_args!("{consumer}: {what} {id} {tenant}/{key}"));
    }
}

impl Drop for SimTx {
    fn drop(&mut self) {
        let mut db = self.world.inbox();
        if db.writers.get(&self.tenant) == Some(&self.number) {
            db.writers.remove(&self.tenant);
        }
    }
}
