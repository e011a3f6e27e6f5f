//! One flight: a future that whoever waits for it drives.
//!
//! It is not `futures_util`'s `Shared`, which fits but for two cases. A waiter that is woken while another one polls goes back to sleep there, and if
//! the polling one is dropped before it polls again, nobody is left to poll. And a panic there wakes nobody. So here a wake-up is a note (`news`)
//! that stays until somebody has polled for it, and a flight that panics tells all.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use slab::Slab;

use crate::sync::{Mutex, MutexGuard};

/// A flight in the air, and those aboard.
pub(super) struct Course<G, V> {
    ground: G,
    state: Mutex<State<V>>,
}

/// Where a course can be found by those who want to come aboard.
pub(super) trait Ground<V>: Sized + Send + Sync + 'static {
    /// From here on nobody finds `course`; `keep` is its answer, if others may have it later.
    fn close(course: &Course<Self, V>, keep: Option<&Arc<V>>);
}

struct State<V> {
    stage: Stage<V>,
    /// The call; absent while somebody polls it, and before it has taken off.
    call: Option<BoxFuture<'static, (V, bool)>>,
    /// The call may go on, and nobody has polled it since.
    news: bool,
    /// Those aboard, and whom to wake of them.
    seats: Slab<Option<Waker>>,
}

enum Stage<V> {
    Aloft,
    Landed(Arc<V>),
    /// It panicked, or everybody left.
    Lost,
}

/// A course as those aboard see it: they need not know where it lands.
pub(super) trait Aboard<V>: Send + Sync {
    fn poll(self: Arc<Self>, seat: usize, waker: &Waker) -> Poll<Arc<V>>;
    fn leave(&self, seat: usize);
}

impl<G, V> Course<G, V> {
    /// A course that has not taken off yet, with one aboard.
    pub(super) fn new(ground: G) -> (Arc<Self>, usize) {
        let mut seats = Slab::with_capacity(1);
        let seat = seats.insert(None);
        let state = Mutex::new(State { stage: Stage::Aloft, call: None, news: false, seats });
        (Arc::new(Self { ground, state }), seat)
    }

    pub(super) fn ground(&self) -> &G {
        &self.ground
    }

    /// A place aboard, unless the flight is over.
    pub(super) fn board(&self) -> Option<usize> {
        let mut state = self.lock();
        matches!(state.stage, Stage::Aloft).then(|| state.seats.insert(None))
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        // Nothing of a caller's runs under this lock but the clone of a waker.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G, V> Course<G, V>
where
    G: Ground<V>,
    V: Send + Sync + 'static,
{
    /// Starts the call, and wakes those who have come aboard meanwhile.
    pub(super) fn take_off(&self, start: impl FnOnce() -> BoxFuture<'static, (V, bool)>) {
        match catch_unwind(AssertUnwindSafe(start)) {
            Ok(call) => {
                let mut state = self.lock();
                state.call = Some(call);
                state.news = true;
                let wakers = state.wakers();
                drop(state);
                wake(wakers);
            }
            Err(panic) => {
                self.end(Stage::Lost, None);
                resume_unwind(panic);
            }
        }
    }

    /// Polls the call, which this caller has taken out.
    fn drive(self: &Arc<Self>, mut call: BoxFuture<'static, (V, bool)>) -> Poll<Arc<V>> {
        let waker = Waker::from(self.clone());
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(&waker))));
        match polled {
            Ok(Poll::Pending) => {
                let mut state = self.lock();
                state.call = Some(call);
                // What came while nobody could poll is passed on to all, for the one that polled may not come again.
                let wakers = if state.news { state.wakers() } else { Vec::new() };
                drop(state);
                wake(wakers);
                Poll::Pending
            }
            Ok(Poll::Ready((value, keep))) => {
                let value = Arc::new(value);
                self.end(Stage::Landed(value.clone()), keep.then_some(&value));
                Poll::Ready(value)
            }
            Err(panic) => {
                self.end(Stage::Lost, None);
                resume_unwind(panic);
            }
        }
    }

    /// First nobody can come aboard any more, then those aboard are told: so nobody joins what is over.
    fn end(&self, stage: Stage<V>, keep: Option<&Arc<V>>) {
        G::close(self, keep);
        let mut state = self.lock();
        state.stage = stage;
        let wakers = state.wakers();
        drop(state);
        wake(wakers);
    }
}

impl<G, V> Aboard<V> for Course<G, V>
where
    G: Ground<V>,
    V: Send + Sync + 'static,
{
    fn poll(self: Arc<Self>, seat: usize, waker: &Waker) -> Poll<Arc<V>> {
        let mut state = self.lock();
        match &state.stage {
            Stage::Landed(value) => return Poll::Ready(value.clone()),
            Stage::Lost => {
                drop(state);
                panic!("the flight that this call was aboard of has panicked");
            }
            Stage::Aloft => {}
        }
        match &mut state.seats[seat] {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if !state.news {
            return Poll::Pending;
        }
        let Some(call) = state.call.take() else { return Poll::Pending };
        state.news = false;
        drop(state);
        self.drive(call)
    }

    fn leave(&self, seat: usize) {
        let mut state = self.lock();
        let left = state.seats.remove(seat);
        let over = state.seats.is_empty().then(|| mem::replace(&mut state.stage, Stage::Lost));
        let call = if over.is_some() { state.call.take() } else { None };
        // What a waker, an answer and a call do when they are dropped is theirs: not under the lock.
        drop(state);
        if matches!(over, Some(Stage::Aloft)) {
            G::close(self, None);
        }
        drop((left, over, call));
    }
}

impl<V> State<V> {
    fn wakers(&mut self) -> Vec<Waker> {
        self.seats.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl<G, V> Wake for Course<G, V>
where
    G: Ground<V>,
    V: Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        state.news = true;
        // Somebody polls it at this moment and will look at the news.
        let wakers = if state.call.is_some() { state.wakers() } else { Vec::new() };
        drop(state);
        wake(wakers);
    }
}
