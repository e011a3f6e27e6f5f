//! Writers: tasks that publish in transactions, some of which take long, are rolled back, or end in a commit that nobody hears of.

use drystone_call::{Code, Error, Result};
use drystone_events::{Data, Envelope};

use super::executor::Process;
use super::fault::Fault;
use super::handling::Behaviour;
use super::plan::Database;
use super::random::Random;
use super::time::MS;
use super::world::{SOURCE, Side, World};

/// The types of event; the second consumer takes the first of them only.
pub(crate) const TYPES: [&str; 2] = ["sim.v1.Placed", "sim.v1.Moved"];

/// A transaction on a publishing store; dropping it rolls it back, on PostgreSQL once the server notices.
pub(crate) struct OutboxTx {
    world: World,
    process: Process,
    lane: usize,
    session: u64,
    over: bool,
}

impl OutboxTx {
    pub(crate) async fn begin(world: &World, process: Process, lane: usize, writes: bool) -> Result<Self> {
        world.statement(process, Side::Publisher).await?;
        loop {
            let session = world.outbox(lane).begin(writes);
            if let Some(session) = session {
                return Ok(Self { world: world.clone(), process, lane, session, over: false });
            }
            // Another has the file: first come, first served is not promised here.
            let wait = world.between(MS, 5 * MS);
            world.time.sleep(wait).await;
        }
    }

    /// The transaction's id, which the first write takes.
    pub(crate) async fn write(&self) -> Result<i64> {
        self.world.statement(self.process, Side::Publisher).await?;
        Ok(self.world.outbox(self.lane).xid(self.session))
    }

    async fn lock(&self, message: &Envelope) -> Result<()> {
        let what = (message.tenant.clone(), message.key.clone());
        loop {
            self.world.statement(self.process, Side::Publisher).await?;
            if self.world.outbox(self.lane).lock(self.session, &what) {
                return Ok(());
            }
            let wait = self.world.between(MS, 20 * MS);
            self.world.time.sleep(wait).await;
        }
    }

    async fn insert(&self, message: Envelope) -> Result<i64> {
        self.world.statement(self.process, Side::Publisher).await?;
        Ok(self.world.outbox(self.lane).insert(self.session, message))
    }

    fn roll_back(mut self) {
        self.over = true;
        self.world.outbox(self.lane).roll_back(self.session);
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        let (world, lane, session) = (self.world.clone(), self.lane, self.session);
        if world.plan.database == Database::Postgres && world.happens(self.process, Fault::LateCommit) {
            self.over = true;
            let at = world.now() + world.between(MS, 4000 * MS);
            world.outbox(lane).abandon(session, at, true);
            return Err(Error::new(Code::Unknown, "the connection broke in a commit"));
        }
        let done = world
            .commit(self.process, Side::Publisher, || {
                world.outbox(lane).commit(session);
                Ok(())
            })
            .await;
        if let Err(error) = &done
            && error.code() == Code::Aborted
        {
            self.over = true;
            world.outbox(lane).roll_back(session);
        }
        done
    }
}

impl Drop for OutboxTx {
    fn drop(&mut self) {
        if !self.over {
            let at = self.world.now() + self.world.between(0, 3000 * MS);
            self.world.outbox(self.lane).abandon(self.session, at, false);
        }
    }
}

/// Publishes what is left to publish of one writer.
pub(crate) async fn write(world: World, process: Process, writer: usize) {
    let mut random = Random::new(world.plan.seed, 10_000 + (process * 100 + writer) as u64);
    let gap = world.plan.window / (world.plan.transactions as i64 + 1);
    loop {
        let begun = {
            let mut state = world.state();
            let begun = state.written.entry((process, writer)).or_default();
            *begun += 1;
            *begun
        };
        if begun > world.plan.transactions {
            return;
        }
        let wait = random.between(0, 2 * gap);
        world.time.sleep(wait).await;
        if world.now() >= world.plan.window {
            return;
        }
        if let Err(error) = publish(&world, process, &mut random).await {
            world.note(process, format_args!("publishing failed: {}", error.message()));
        }
    }
}

async fn publish(world: &World, process: Process, random: &mut Random) -> Result<()> {
    let tenant = random.below(world.plan.tenants);
    let key = format!("k{}", random.below(world.plan.keys));
    let count = 1 + random.below(3);
    let lane = world.lane_of(tenant);
    let tx = OutboxTx::begin(world, process, lane, true).await?;
    tx.write().await?;
    if world.happens(process, Fault::LongOpen) {
        let longest = if world.plan.database == Database::Postgres { 4000 } else { 300 };
        let wait = world.between(10 * MS, longest * MS);
        world.time.sleep(wait).await;
    }
    for _ in 0..count {
        let message = message(world, process, random, tenant, &key);
        let (id, behaviour) = (message.id, Behaviour::of(&message));
        tx.lock(&message).await?;
        let seq = tx.insert(message).await?;
        world.note(process, format_args!("publishes {} {seq} t{tenant}/{key} {behaviour:?}", id.as_u128()));
    }
    if world.happens(process, Fault::RolledBack) {
        tx.roll_back();
        return Ok(());
    }
    tx.commit().await?;
    world.note(process, format_args!("committed t{tenant}/{key}"));
    if let Some(signal) = world.announced.get(&process) {
        signal.raise();
    }
    Ok(())
}

fn message(world: &World, process: Process, random: &mut Random, tenant: usize, key: &str) -> Envelope {
    let behaviour = Behaviour::draw(world, process, random);
    Envelope {
        id: world.new_id(),
        source: SOURCE.to_owned(),
        event_type: TYPES[random.below(TYPES.len())].to_owned(),
        tenant: world.tenant(tenant),
        key: key.to_owned(),
        seq: 0,
        time: world.now(),
        trace: None,
        data: Data::Protobuf(behaviour.bytes().into()),
    }
}
