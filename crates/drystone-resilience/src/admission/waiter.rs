//! A call that waits: what was decided about it, and whom to wake.

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};

/// What became of a call that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds a permit.
    Granted,
    /// It was the newest of the key with most, and another key's call took its place. `ahead`: see [`Queue::ahead`](super::queue::Queue::ahead).
    Displaced { ahead: u32 },
    /// It waited too long.
    Expired { ahead: u32 },
}

/// A call that waits. The queue decides, under its lock and once; the call asks.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Where it stands: its lane in the queue, and its number there.
    pub(crate) lane: u64,
    pub(crate) number: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    verdict: Option<Verdict>,
    waker: Option<Waker>,
}

impl Waiter {
    pub(crate) fn new(lane: u64, number: u64) -> Self {
        Self { lane, number, state: Mutex::new(State::default()) }
    }

    /// The verdict, or the task is woken once there is one.
    pub(crate) fn poll(&self, task: &Context<'_>) -> Poll<Verdict> {
        let mut state = self.state();
        if let Some(verdict) = state.verdict {
            return Poll::Ready(verdict);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        Poll::Pending
    }

    /// The verdict, if there is one.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.state().verdict
    }

    /// Decides. The task learns it from [`Self::wake`], which is to be called without the queue's lock: a waker may run anything.
    pub(crate) fn decide(&self, verdict: Verdict) {
        self.state().verdict = Some(verdict);
    }

    /// Wakes the task.
    pub(crate) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
