//! What runs in a process: writers and relay of the publishing module, consumers with their retriers, readers of the stream.

use std::sync::Arc;
use std::time::Duration;

use drystone_events::engine::{Link, Outbox};
use drystone_events::{ConsumerMetrics, Drained, Pump, PumpMetrics, Push, Receiver, Retrier, Schedule};

use super::executor::{Process, Spawner};
use super::inbox::SimInbox;
use super::lane::{Settled, SimOutbox};
use super::network::{SimDeliver, answer, next_call};
use super::plan::{Database, Route};
use super::publisher::{TYPES, write};
use super::reader::reader;
use super::stream::StreamLink;
use super::time::{MS, Signal};
use super::world::{SimClock, World};

/// How often an idle pump's claim is renewed.
const RENEW: i64 = 1200 * MS;
/// How often a pump that another process has is asked for.
const ELSEWHERE: i64 = 1000 * MS;
/// How long a drained pump waits before it stores its position.
const SAVE_AFTER: i64 = 200 * MS;
/// How often a stream is looked at, in case that it forgot.
const LOOK_EVERY: i64 = 1500 * MS;
/// How often anything idle looks by itself.
const POLL: i64 = 600 * MS;

type SimReceiver = Receiver<SimInbox, SimClock>;

/// Few attempts, close together, so that keys are parked while the simulation lasts.
pub(crate) const SCHEDULE: Schedule =
    Schedule { base: Duration::from_millis(60), cap: Duration::from_secs(1), attempts: 4 };

/// The name of a consumer.
pub(crate) fn consumer(number: usize) -> String {
    format!("c{number}")
}

/// The types that a consumer wants.
pub(crate) fn types(number: usize) -> Option<Vec<String>> {
    (number == 1).then(|| vec![TYPES[0].to_owned()])
}

/// Begins everything that a process does.
pub(crate) fn boot(world: &World, spawner: &Spawner) {
    let process = spawner.process();
    world.note(process, format_args!("starts"));
    if world.plan.publishing().contains(&process) {
        for writer in 0..world.plan.writers {
            spawner.spawn(write(world.clone(), process, writer));
        }
        relay(world, spawner);
    }
    if world.plan.consuming().contains(&process) {
        consumers(world, spawner);
    }
}

fn relay(world: &World, spawner: &Spawner) {
    let process = spawner.process();
    let settled = Settled::default();
    let mut moved = Vec::new();
    for lane in 0..world.lanes() {
        let lane = SimOutbox::new(world, process, lane, &settled);
        match world.plan.route {
            Route::Push => {
                for number in 0..world.plan.consumers {
                    let link = Push::new(Arc::new(SimDeliver::new(world, process, &consumer(number))));
                    let signal = Signal::default();
                    moved.push(signal.clone());
                    let pump = pump(world, &consumer(number), lane.clone(), link, types(number));
                    spawner.spawn(carry(world.clone(), pump, signal, None));
                }
            }
            Route::Stream => {
                let signal = Signal::default();
                moved.push(signal.clone());
                let link = StreamLink::new(world, process);
                let pump = pump(world, "stream", lane.clone(), link.clone(), None);
                spawner.spawn(carry(world.clone(), pump, signal, Some(link)));
            }
        }
    }
    if world.plan.database == Database::Postgres {
        spawner.spawn(settled.keep(world.clone(), process, moved));
    } else {
        spawner.spawn(wake(world.clone(), process, moved));
    }
}

fn pump<O: Outbox, L: Link>(
    world: &World,
    name: &str,
    outbox: O,
    link: L,
    types: Option<Vec<String>>,
) -> Pump<O, L, SimClock> {
    Pump::new(name, outbox, link, world.clock(), types, Arc::new(PumpMetrics::default()))
}

/// Wakes the lanes of a process when something was published there.
async fn wake(world: World, process: Process, moved: Vec<Signal>) {
    loop {
        let Some(announced) = world.announced.get(&process) else { return };
        if announced.wait(&world.time, world.now() + 5000 * MS).await {
            moved.iter().for_each(Signal::raise);
        }
    }
}

/// Keeps a pump going, as the relay does. If it goes to a stream, that is looked at now and then.
async fn carry<O: Outbox, L: Link>(
    world: World,
    mut pump: Pump<O, L, SimClock>,
    moved: Signal,
    watched: Option<StreamLink>,
) {
    let (mut renewed, mut looked) = (world.now(), world.now());
    loop {
        if let Some(stream) = &watched
            && world.now() - looked >= LOOK_EVERY
        {
            looked = world.now();
            if stream.is_forgotten().await {
                pump.forget();
            }
        }
        let wait = match pump.drain().await {
            Ok(Drained::Elsewhere) => ELSEWHERE,
            Ok(Drained::Stalled(next)) => (next - world.now()).clamp(MS, RENEW),
            Ok(Drained::Dry) if pump.is_saved() => POLL,
            Ok(Drained::Dry) => SAVE_AFTER,
            Err(_) => world.between(MS, 400 * MS),
        };
        if moved.wait(&world.time, world.now() + wait).await {
            continue;
        }
        let renew = world.now() - renewed >= RENEW;
        if pump.save(renew).await.is_ok() && renew {
            renewed = world.now();
        }
    }
}

fn consumers(world: &World, spawner: &Spawner) {
    let process = spawner.process();
    let mut receivers = Vec::new();
    for number in 0..world.plan.consumers {
        let name = consumer(number);
        let held = Signal::default();
        let tell = held.clone();
        let receiver = Arc::new(Receiver::new(
            SimInbox::new(world, process, &name),
            world.clock(),
            SCHEDULE,
            Arc::new(ConsumerMetrics::default()),
            move |_| tell.raise(),
        ));
        spawner.spawn(retry(world.clone(), name.clone(), Retrier::new(Arc::clone(&receiver)), held));
        if world.plan.route == Route::Stream {
            let push = Push::new(Arc::new(Local(Arc::clone(&receiver))));
            let (log, link) = reader(world, process, push);
            let pump = pump(world, &format!("stream>{name}"), log, link, types(number));
            spawner.spawn(carry(world.clone(), pump, Signal::default(), None));
        }
        receivers.push((name, receiver));
    }
    if world.plan.route == Route::Push {
        spawner.spawn(serve(world.clone(), spawner.clone(), receivers));
    }
}

/// A consumer of the same process.
struct Local(Arc<SimReceiver>);

impl drystone_events::Deliver for Local {
    fn deliver<'a>(
        &'a self,
        tenant: &'a drystone_call::TenantId,
        messages: &'a [drystone_events::Envelope],
    ) -> futures_util::future::BoxFuture<'a, drystone_call::Result<()>> {
        Box::pin(self.0.accept(tenant, messages))
    }
}

/// Takes the calls that arrive, each in a task of its own.
async fn serve(world: World, spawner: Spawner, receivers: Vec<(String, Arc<SimReceiver>)>) {
    let process = spawner.process();
    loop {
        let call = next_call(&world, process).await;
        let Some((_, receiver)) = receivers.iter().find(|(name, _)| *name == call.consumer) else { continue };
        let (world, receiver) = (world.clone(), Arc::clone(receiver));
        world.note(process, format_args!("call {} arrives", call.number));
        spawner.spawn(async move {
            let done = receiver.accept(&call.tenant, &call.messages).await;
            answer(&world, process, &call, done).await;
        });
    }
}

/// Goes back to held messages, as a consumer does.
async fn retry(world: World, consumer: String, retrier: Retrier<SimInbox, SimClock>, held: Signal) {
    loop {
        let due = world.inbox().due(&consumer, world.now());
        for (tenant, source, key) in due {
            if let Err(error) = retrier.retry(&tenant, &source, &key).await {
                world.note(
                    0,
                    format_args!("{consumer}: {tenant}/{key} could not be tried: {}", error.message()),
                );
            }
        }
        let next = world.inbox().next_due(&consumer).unwrap_or(i64::MAX);
        let until = next.clamp(world.now() + 10 * MS, world.now() + POLL);
        held.wait(&world.time, until).await;
    }
}
