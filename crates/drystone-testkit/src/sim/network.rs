//! The network between processes: calls that arrive late, twice, or never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use drystone_call::{Error, Result, TenantId};
use drystone_events::{Deliver, Envelope};
use futures_util::future::BoxFuture;

use super::executor::Process;
use super::fault::Fault;
use super::plan::Broken;
use super::time::{MS, Signal};
use super::world::World;

/// How long a caller waits for an answer.
const PATIENCE: i64 = 1500 * MS;

/// An answer on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    value: Arc<Mutex<Option<Result<()>>>>,
    arrived: Signal,
}

impl Answer {
    fn give(&self, value: Result<()>) {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(value);
        self.arrived.raise();
    }

    fn take(&self) -> Option<Result<()>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) from: Process,
    pub(crate) consumer: String,
    pub(crate) tenant: TenantId,
    pub(crate) messages: Vec<Envelope>,
    answer: Answer,
}

/// What is on its way, and what does not reach what.
#[derive(Debug)]
pub(crate) struct Network {
    arrivals: BTreeMap<Process, BTreeMap<(i64, u64), Call>>,
    signals: BTreeMap<Process, Signal>,
    cuts: BTreeSet<(Process, Process)>,
    next: u64,
}

impl Network {
    pub(crate) fn new(processes: usize) -> Self {
        let all = 1..=processes;
        Self {
            arrivals: all.clone().map(|process| (process, BTreeMap::new())).collect(),
            signals: all.map(|process| (process, Signal::default())).collect(),
            cuts: BTreeSet::new(),
            next: 0,
        }
    }

    /// Cuts two processes off from each other, or joins them; a process and itself stand for the process and the broker.
    pub(crate) fn cut(&mut self, one: Process, other: Process, cut: bool) {
        let pair = (one.min(other), one.max(other));
        if cut {
            self.cuts.insert(pair)
        } else {
            self.cuts.remove(&pair)
        };
    }

    pub(crate) fn is_cut(&self, one: Process, other: Process) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }

    fn send(&mut self, to: Process, at: i64, call: &Call) {
        self.next += 1;
        if let Some(arrivals) = self.arrivals.get_mut(&to) {
            arrivals.insert((at, self.next), call.clone());
        }
        if let Some(signal) = self.signals.get(&to) {
            signal.raise();
        }
    }

    /// A call that has arrived at a process, or when the next will.
    fn arrived(&mut self, at: Process, now: i64) -> std::result::Result<Call, Option<i64>> {
        let Some(arrivals) = self.arrivals.get_mut(&at) else { return Err(None) };
        match arrivals.first_entry() {
            Some(first) if first.key().0 <= now => Ok(first.remove()),
            Some(first) => Err(Some(first.key().0)),
            None => Err(None),
        }
    }
}

/// Waits for the next call that arrives at a process.
pub(crate) async fn next_call(world: &World, process: Process) -> Call {
    loop {
        let signal = world.network().signals.get(&process).cloned().unwrap_or_default();
        let arrived = world.network().arrived(process, world.now());
        match arrived {
            Ok(call) => return call,
            Err(next) => {
                let until = next.unwrap_or(world.now() + 5000 * MS);
                signal.wait(&world.time, until).await;
            }
        }
    }
}

/// Answers a call, if the answer gets through.
pub(crate) async fn answer(world: &World, process: Process, call: &Call, value: Result<()>) {
    if call.from != process {
        if world.happens(process, Fault::LoseReply) {
            return;
        }
        let takes = world.between(100, 2000);
        world.time.sleep(takes).await;
        if world.network().is_cut(process, call.from) {
            world.count(process, Fault::Cut);
            return;
        }
    }
    call.answer.give(value);
}

/// The way from one process to a consumer, wherever that is.
pub(crate) struct SimDeliver {
    world: World,
    from: Process,
    consumer: String,
}

impl SimDeliver {
    pub(crate) fn new(world: &World, from: Process, consumer: &str) -> Self {
        Self { world: world.clone(), from, consumer: consumer.to_owned() }
    }

    /// A process that hosts the consumer; this one, if it does.
    fn choose(&self) -> Process {
        let hosts = self.world.plan.consuming();
        if hosts.contains(&self.from) {
            return self.from;
        }
        let (first, last) = (*hosts.start() as i64, *hosts.end() as i64);
        usize::try_from(self.world.between(first, last)).unwrap_or(1)
    }

    /// Sends the call on its way, which may be long, double, or lead nowhere.
    fn send(&self, call: &Call) {
        let (world, from, to) = (&self.world, self.from, self.choose());
        let now = world.now();
        if from == to {
            world.network().send(to, now, call);
            return;
        }
        if world.happens(from, Fault::Duplicate) {
            let (again, at) = (self.choose(), now + world.between(MS, 5000 * MS));
            world.network().send(again, at, call);
        }
        if world.network().is_cut(from, to) {
            world.count(from, Fault::Cut);
            return;
        }
        if world.happens(from, Fault::LoseRequest) {
            return;
        }
        let takes = if world.happens(from, Fault::Late) {
            world.between(PATIENCE, 3 * PATIENCE)
        } else if world.happens(from, Fault::Delay) {
            world.between(50 * MS, PATIENCE - 100 * MS)
        } else {
            world.between(100, 2000)
        };
        world.network().send(to, now + takes, call);
    }

    async fn call(&self, tenant: &TenantId, messages: &[Envelope]) -> Result<()> {
        let world = &self.world;
        let number = world.roll() % 10_000;
        let call = Call {
            number,
            from: self.from,
            consumer: self.consumer.clone(),
            tenant: tenant.clone(),
            messages: messages.to_vec(),
            answer: Answer::default(),
        };
        let ids =
            messages.iter().map(|message| message.id.as_u128().to_string()).collect::<Vec<_>>().join(" ");
        world.note(self.from, format_args!("call {number} to {}: {tenant}: {ids}", self.consumer));
        self.send(&call);
        if world.is_broken(Broken::AnswersBeforeDelivery) {
            return Ok(());
        }
        let arrived = call.answer.arrived.wait(&world.time, world.now() + PATIENCE).await;
        let answer = call.answer.take().filter(|_| arrived);
        let answer = answer.unwrap_or_else(|| Err(Error::unavailable("no answer came in time")));
        let how = answer.as_ref().map_or_else(|error| error.message(), |()| "taken");
        world.note(self.from, format_args!("call {number} ends: {how}"));
        answer
    }
}

impl Deliver for SimDeliver {
    fn deliver<'a>(&'a self, tenant: &'a TenantId, messages: &'a [Envelope]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(tenant, messages))
    }
}
