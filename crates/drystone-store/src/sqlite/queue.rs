//! The queue of a file's writers: first come, first served, and what happens to the writer in between.
//!
//! [`Queue::release`] is the one place that decides: the next in the queue gets the writer while the group may still grow; otherwise the group goes to
//! the commit thread; otherwise the writer rests. A waiter that was cancelled is skipped there, so it triggers the flush like any other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use drystone_call::{Error, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::commit::Committer;
use super::writer::{GroupEnd, Writer};
use crate::error::too_late;
use crate::metrics::Counters;

/// Where a holder keeps the writer, and where the hold limit can take it away.
pub(crate) struct Slot(Mutex<Held>);

/// What is in a slot.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) writer: Option<Box<Writer>>,
    /// What an answer waits for, when the hold limit has taken the writer.
    left: Option<oneshot::Receiver<GroupEnd>>,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write; giving it up, in whatever way, rolls back what was not submitted and lets the next one start.
pub(crate) struct Hold {
    queue: Arc<Queue>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) since: Instant,
}

impl Hold {
    /// Gives the writer back; a transaction that is still open is rolled back. Says what an answer has to wait for.
    pub(crate) fn give_up(&mut self) -> Option<oneshot::Receiver<GroupEnd>> {
        let mut held = self.slot.lock();
        let Some(mut writer) = held.writer.take() else { return held.left.take() };
        drop(held);
        let end = writer.undo();
        self.queue.release(writer);
        end
    }

    /// How long the writer may be held.
    pub(crate) fn limit(&self) -> Duration {
        self.queue.hold_limit
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give_up();
    }
}

pub(crate) struct Queue {
    state: Mutex<State>,
    committer: Committer,
    counters: Arc<Counters>,
    hold_limit: Duration,
}

#[derive(Default)]
struct State {
    idle: Option<Box<Writer>>,
    waiters: VecDeque<oneshot::Sender<Hold>>,
    holder: Option<(Arc<Slot>, Instant)>,
    /// The watch that looks after holders, and how many there have been.
    watch: Option<u64>,
    watches: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(
        writer: Box<Writer>,
        committer: Committer,
        counters: Arc<Counters>,
        hold_limit: Duration,
    ) -> Arc<Self> {
        let state = State { idle: Some(writer), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), committer, counters, hold_limit })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the writer, until `deadline` at most.
    pub(crate) async fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<Hold> {
        let waiting = {
            let mut state = self.lock();
            if state.closed {
                return Err(closing());
            }
            if state.watch.is_none() {
                state.watches += 1;
                state.watch = Some(state.watches);
                Watch { queue: Arc::downgrade(self), id: state.watches, limit: self.hold_limit }.start();
            }
            match state.idle.take() {
                Some(writer) => return Ok(self.hold(&mut state, writer)),
                None => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiters.push_back(sender);
                    receiver
                }
            }
        };
        let _waiting = Waiting::new(&self.counters);
        match tokio::time::timeout_at(deadline, waiting).await {
            Ok(Ok(hold)) => Ok(hold),
            Ok(Err(_)) => Err(closing()),
            Err(_) => Err(too_late("the tenant's other writers")),
        }
    }

    fn hold(self: &Arc<Self>, state: &mut State, writer: Box<Writer>) -> Hold {
        let slot = Arc::new(Slot(Mutex::new(Held { writer: Some(writer), left: None })));
        let since = Instant::now();
        state.holder = Some((Arc::clone(&slot), since));
        Hold { queue: Arc::clone(self), slot, since }
    }

    /// Takes the writer back from whoever had it and decides what is next.
    pub(crate) fn release(self: &Arc<Self>, mut writer: Box<Writer>) {
        loop {
            let mut state = self.lock();
            state.holder = None;
            if writer.may_pass()
                && let Some(waiter) = state.waiters.pop_front()
            {
                let hold = self.hold(&mut state, writer);
                drop(state);
                let Err(mut unwanted) = waiter.send(hold) else { return };
                let Some(back) = unwanted.take_back() else { return };
                writer = back;
                continue;
            }
            if writer.has_effects() {
                drop(state);
                return self.committer.flush(self, writer);
            }
            state.idle = Some(writer);
            return;
        }
    }

    /// Lets what was begun end, until `deadline` at most, closes the file's writer and lets nobody else in. Can be repeated.
    pub(crate) async fn retire(self: &Arc<Self>, deadline: Instant) -> Result<()> {
        loop {
            let mut hold = match self.acquire(deadline).await {
                Err(_) if self.lock().closed => return Ok(()),
                hold => hold?,
            };
            let resting = hold.slot.lock().writer.take_if(|writer| !writer.has_effects());
            if let Some(writer) = resting {
                self.lock_out();
                // Closing the last connection copies the log into the file, which is work for a disk.
                let (done, closed) = oneshot::channel();
                self.committer.later(Box::new(move || {
                    drop(writer);
                    let _ = done.send(());
                }));
                return closed.await.map_err(|_| closing());
            }
            hold.give_up();
        }
    }

    /// Lets nobody else in; who waits is told so.
    fn lock_out(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.holder = None;
        state.waiters.clear();
    }

    /// How long the transaction that writes has been open.
    pub(crate) fn held_for(&self) -> Option<Duration> {
        self.lock().holder.as_ref().map(|(_, since)| since.elapsed())
    }

    /// Takes the writer from a holder who has held it too long; says when to look again, or `None` when nobody writes.
    fn look(self: &Arc<Self>) -> Option<Instant> {
        let mut state = self.lock();
        let Some((slot, since)) = state.holder.clone() else {
            if state.waiters.is_empty() {
                state.watch = None;
                return None;
            }
            return Some(Instant::now() + self.hold_limit);
        };
        drop(state);
        if since.elapsed() < self.hold_limit {
            return Some(since + self.hold_limit);
        }
        // A slot that is locked runs a statement, which its own limit interrupts.
        if let Ok(mut held) = slot.0.try_lock()
            && let Some(mut writer) = held.writer.take()
        {
            held.left = writer.undo();
            drop(held);
            tracing::warn!(target: "drystone::store", limit = ?self.hold_limit, "a transaction was held too long and rolled back");
            self.counters.held_too_long.add(1);
            self.release(writer);
        }
        Some(Instant::now() + self.hold_limit / 10)
    }
}

impl Hold {
    /// The writer, when nobody received this hold and no transaction began.
    fn take_back(&mut self) -> Option<Box<Writer>> {
        self.slot.lock().writer.take()
    }
}

fn closing() -> Error {
    Error::unavailable("the store is closing; try again when the process is back")
}

/// The task that keeps the hold limit while somebody writes; it does not keep the file open.
struct Watch {
    queue: Weak<Queue>,
    id: u64,
    limit: Duration,
}

impl Watch {
    fn start(self) {
        tokio::spawn(async move {
            let mut next = Instant::now() + self.limit;
            loop {
                tokio::time::sleep_until(next).await;
                let Some(queue) = self.queue.upgrade() else { return };
                let Some(later) = queue.look() else { return };
                next = later;
            }
        });
    }
}

impl Drop for Watch {
    /// A runtime that ends takes its tasks along; the next writer starts another watch.
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            let mut state = queue.lock();
            if state.watch == Some(self.id) {
                state.watch = None;
            }
        }
    }
}

/// Counts one who waits.
struct Waiting<'c>(&'c Counters);

impl<'c> Waiting<'c> {
    fn new(counters: &'c Counters) -> Self {
        counters.writers_waiting.add(1);
        Self(counters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.writers_waiting.one_less();
    }
}
