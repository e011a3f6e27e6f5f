//! Simulated time: timers, waiting with a bound, and which processes are down or paused.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::executor::Process;

/// A thousand microseconds, which is what time is counted in.
pub(crate) const MS: i64 = 1000;

/// The clock of a simulation, shared by all its parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Time(Arc<Mutex<Core>>);

#[derive(Debug, Default)]
struct Core {
    now: i64,
    timers: BTreeMap<(i64, u64), Waker>,
    next: u64,
    paused: BTreeSet<Process>,
    killed: Vec<Process>,
    restarts: BTreeSet<(i64, Process)>,
}

impl Time {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the simulation began.
    pub(crate) fn now(&self) -> i64 {
        self.core().now
    }

    pub(crate) fn sleep(&self, micros: i64) -> Sleep {
        Sleep { time: self.clone(), at: self.now() + micros, entry: None }
    }

    pub(crate) fn sleep_until(&self, at: i64) -> Sleep {
        Sleep { time: self.clone(), at, entry: None }
    }

    /// Ends a process as `kill -9` does; it starts again after so many microseconds.
    pub(crate) fn kill(&self, process: Process, down: i64) {
        let mut core = self.core();
        if core.restarts.iter().any(|(_, other)| *other == process) {
            return;
        }
        let at = core.now + down;
        core.killed.push(process);
        core.paused.remove(&process);
        core.restarts.insert((at, process));
    }

    pub(crate) fn pause(&self, process: Process) {
        self.core().paused.insert(process);
    }

    pub(crate) fn resume(&self, process: Process) {
        self.core().paused.remove(&process);
    }

    pub(crate) fn is_paused(&self, process: Process) -> bool {
        self.core().paused.contains(&process)
    }

    pub(crate) fn take_killed(&self) -> Vec<Process> {
        std::mem::take(&mut self.core().killed)
    }

    /// Moves on to the next moment at which something happens, and says which processes start then; `None` if nothing will.
    pub(crate) fn advance(&self) -> Option<Vec<Process>> {
        let mut core = self.core();
        let timer = core.timers.first_key_value().map(|((at, _), _)| *at);
        let restart = core.restarts.first().map(|(at, _)| *at);
        let next = timer.into_iter().chain(restart).min()?;
        core.now = core.now.max(next);
        let mut started = Vec::new();
        while let Some((at, process)) = core.restarts.first().copied()
            && at <= next
        {
            core.restarts.remove(&(at, process));
            started.push(process);
        }
        let later = core.timers.split_off(&(next + 1, 0));
        let due = std::mem::replace(&mut core.timers, later);
        drop(core);
        due.into_values().for_each(Waker::wake);
        Some(started)
    }
}

/// Waits for a moment.
#[derive(Debug)]
pub(crate) struct Sleep {
    time: Time,
    at: i64,
    entry: Option<(i64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut core = time.core();
        if core.now >= self.at {
            return Poll::Ready(());
        }
        let entry = self.entry.unwrap_or_else(|| {
            core.next += 1;
            (self.at, core.next)
        });
        self.entry = Some(entry);
        core.timers.insert(entry, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            self.time.core().timers.remove(&entry);
        }
    }
}

/// Something for one task to wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal(Arc<Mutex<(bool, Option<Waker>)>>);

impl Signal {
    fn inner(&self) -> MutexGuard<'_, (bool, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn raise(&self) {
        let mut inner = self.inner();
        inner.0 = true;
        if let Some(waker) = inner.1.take() {
            waker.wake();
        }
    }

    /// Waits until it is raised, and takes it, or until a moment; says whether it was raised.
    pub(crate) fn wait(&self, time: &Time, until: i64) -> Wait {
        Wait { signal: self.clone(), sleep: time.sleep_until(until) }
    }
}

/// Waits for a signal.
pub(crate) struct Wait {
    signal: Signal,
    sleep: Sleep,
}

impl Future for Wait {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        {
            let mut inner = self.signal.inner();
            if std::mem::take(&mut inner.0) {
                return Poll::Ready(true);
            }
            inner.1 = Some(cx.waker().clone());
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| false)
    }
}
