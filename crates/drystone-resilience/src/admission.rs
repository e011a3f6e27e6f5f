//! Admission: so many calls at once, the others in a fair queue, and shed before they are stale.
//!
//! Three answers to overload in one place, for they need each other. The *limit* ([`AdaptiveLimit`](crate::AdaptiveLimit) explains it) finds how many
//! calls at once the callee can do well. The *queue* takes what comes beyond that in a burst, a lane for each key, served in turn by weight: a tenant that
//! floods fills its own lane. *Shedding* keeps the queue from becoming a standing one, which would cost every call its wait and serve nobody one more.
//!
//! How long a call may wait is *controlled delay* (Nichols and Jacobson, "Controlling queue delay", ACM Queue 2012), nearly as Facebook put it in
//! front of services (Maurer, "Fail at scale", ACM Queue 2015): in a burst a call may wait for up to [`QueueConfig::interval`]; when the queue *stands*, for
//! [`QueueConfig::target`] only. There, a queue is a burst if it was empty at some moment within the interval. At twice the load that can be done it is, again and again, for a millisecond.
//! So here a burst is what comes after quiet, and lasts no longer than it: the time for which the queue was empty, up to the interval, is used up while it is not. The queue takes newcomers as long as the wait of those
//! before them is short, so what is served was served in time. Each call knows the moment at which it is shed when it joins, and is told then, by a timer.
//!
//! # Choices
//!
//! * A queue that stands because of others is not held against a key that has at most half of what the others have in it on average: its calls may wait for
//!   the interval. The queue's turns serve it before that.
//! * While the queue stands, the newest call of a key is its next one: who is served has hardly waited.
//! * Where calls are slow, `target` is stretched to two times the time between two calls that end: a call that is next is not shed while it waits for
//!   the first permit. (`CoDel`'s rule of one packet, for the same reason.)
//! * While the queue stands it is full with what is served in twice the target: what comes beyond that would wait in vain, and is told so at once.
//! * A full queue refuses at once, unless the call's key has less than its share of it: then the newest call of the key with most is shed instead.
//! * A call that is refused learns when to come again: what is ahead of it at the present rate, and not less than `interval`.

mod config;
mod layer;
mod line;
mod queue;
mod waiter;

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::limit::Limit;
use crate::sync::{AtomicU64, Ordering};
use crate::{Clock, TokioClock};
use line::Line;
use queue::{Arrival, Rules};
use waiter::{Verdict, Waiter};

pub use config::{AdmissionConfig, AdmissionStats, QueueConfig, Shed, ShedWhy};
pub use layer::{AdmissionEvent, AdmissionLayer};

/// The longest time after which a refused call is asked to come again.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

type Weights<K> = Arc<dyn Fn(&K) -> u32 + Send + Sync>;

/// Admits calls, queues what is too much, sheds what has waited too long; shared in an `Arc`. `K` is whom it is fair to.
pub struct Admission<K> {
    line: Line<K>,
    limit: Limit,
    queue: RwLock<QueueConfig>,
    clock: Arc<dyn Clock>,
    weights: Option<Weights<K>>,
    unsampled: AtomicU64,
    shed: AtomicU64,
    /// The greatest number of admissions told so far: it must not fall because two counters were read one after the other.
    told: AtomicU64,
}

impl<K: Eq + Hash + Clone + Send + 'static> Admission<K> {
    /// Admits calls by tokio's clock, and every key has the weight one.
    #[must_use]
    pub fn new(config: AdmissionConfig) -> Self {
        Self {
            line: Line::new(),
            limit: Limit::new(config.limit),
            queue: RwLock::new(config.queue),
            clock: Arc::new(TokioClock),
            weights: None,
            unsampled: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// Reads the time from another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Asks `weights` what share a key has; zero counts as one. It is asked when a call has to wait.
    #[must_use]
    pub fn weights(self, weights: Arc<dyn Fn(&K) -> u32 + Send + Sync>) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// Admits a call if there is room and nobody waits: one exchange, no key, no allocation. Otherwise [`Self::enter`].
    pub fn try_enter(&self) -> Option<Admitted<'_, K>> {
        self.line.try_take(self.limit.effective()).then(|| Admitted { admission: Some(self) })
    }

    /// Admits a call of `key`, now or when its turn comes. A future that is dropped leaves the queue at once.
    ///
    /// # Errors
    ///
    /// [`Shed`] if the queue is full or the call has waited too long.
    pub async fn enter(&self, key: &K) -> Result<Admitted<'_, K>, Shed> {
        if let Some(admitted) = self.try_enter() {
            return Ok(admitted);
        }
        self.join(key)?.await
    }

    /// Changes the settings. What the limit has learned stays, within its new bounds; who waits does so under the rules under which it came.
    pub fn configure(&self, config: AdmissionConfig) {
        self.limit.configure(config.limit);
        *self.queue.write().unwrap_or_else(PoisonError::into_inner) = config.queue;
        self.give_turns();
    }

    /// What it does at this moment.
    pub fn stats(&self) -> AdmissionStats {
        let ended = self.limit.sampled() + self.unsampled.load(Ordering::Relaxed);
        let in_flight = self.line.running();
        let admitted = ended + u64::from(in_flight);
        let oldest = self.line.oldest().map(|since| self.clock.now().saturating_duration_since(since));
        AdmissionStats {
            in_flight,
            limit: self.limit.learned(),
            waiting: self.line.waiting(),
            admitted: self.told.fetch_max(admitted, Ordering::Relaxed).max(admitted),
            shed: self.shed.load(Ordering::Relaxed),
            oldest: oldest.unwrap_or_default(),
        }
    }

    fn join(&self, key: &K) -> Result<Waiting<'_, K>, Shed> {
        let weight = self.weights.as_ref().map_or(1, |weights| weights(key));
        let now = self.clock.now();
        self.limit.blocked(now);
        let rules = self.rules();
        let joined = self.line.join(&Arrival { key, weight, now }, rules);
        let joined = joined.map_err(|full| self.refused(full.ahead, ShedWhy::Full))?;
        let sleep = self.clock.sleep_until(joined.until);
        let waiting = Waiting { admission: Some(self), waiter: joined.waiter, sleep };
        if let Some((displaced, _)) = joined.displaced {
            displaced.wake();
        }
        // There may be room since the first look.
        self.give_turns();
        Ok(waiting)
    }

    fn rules(&self) -> Rules {
        let QueueConfig { target, interval, length } =
            *self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let (interval, pace) = (interval.max(target), self.limit.pace());
        let target = target.max(pace.saturating_mul(2)).min(interval);
        Rules { target, interval, length, standing: served_in(target * 2, pace) }
    }

    fn give_turns(&self) {
        while let Some(waiter) = self.line.turn(self.limit.effective(), self.clock.now()) {
            waiter.wake();
        }
    }

    fn give_back(&self) {
        if self.line.give_back() {
            self.give_turns();
        }
    }

    fn refused(&self, ahead: u32, why: ShedWhy) -> Shed {
        self.shed.fetch_add(1, Ordering::Relaxed);
        let served = self.limit.pace().saturating_mul(ahead);
        Shed { retry_after: served.clamp(self.rules().interval, LONGEST_RETRY), why }
    }
}

/// How many calls are served in a time, if one is at every `pace`; as many as there are, where that is not known.
fn served_in(time: Duration, pace: Duration) -> u32 {
    let served = time.as_nanos().checked_div(pace.as_nanos());
    served.map_or(u32::MAX, |served| u32::try_from(served).unwrap_or(u32::MAX).max(1))
}

impl<K> fmt::Debug for Admission<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A call that was admitted, until this is dropped.
#[must_use = "the place is free again when this is dropped"]
pub struct Admitted<'a, K: Eq + Hash + Clone + Send + 'static> {
    /// None once it has been given back.
    admission: Option<&'a Admission<K>>,
}

impl<K: Eq + Hash + Clone + Send + 'static> Admitted<'_, K> {
    /// The call did its work and took so long: the limit learns from it. Without this, it learns nothing from the call.
    pub fn done(self, took: Duration) {
        self.end(|limit| limit.sample(took));
    }

    /// As [`Self::done`], for calls that may be faster than a clock is read: asks how long it took only now and then.
    pub fn done_in(self, took: impl Fn() -> Duration) {
        self.end(|limit| limit.sample_some(took));
    }

    fn end(mut self, sample: impl FnOnce(&Limit) -> bool) {
        if let Some(admission) = self.admission.take() {
            if sample(&admission.limit) {
                admission.limit.look(admission.clock.now(), admission.line.running());
            }
            admission.give_back();
        }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Drop for Admitted<'_, K> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.unsampled.fetch_add(1, Ordering::Relaxed);
            admission.give_back();
        }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> fmt::Debug for Admitted<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").finish_non_exhaustive()
    }
}

/// A call that waits for its turn.
struct Waiting<'a, K: Eq + Hash + Clone + Send + 'static> {
    /// None once it has left the queue.
    admission: Option<&'a Admission<K>>,
    waiter: Arc<Waiter>,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<'a, K: Eq + Hash + Clone + Send + 'static> Future for Waiting<'a, K> {
    type Output = Result<Admitted<'a, K>, Shed>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(admission) = self.admission else { return Poll::Pending };
        let verdict = match self.waiter.poll(task) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => {
                std::task::ready!(self.sleep.as_mut().poll(task));
                admission.line.expire(&self.waiter, admission.clock.now())
            }
        };
        self.admission = None;
        Poll::Ready(match verdict {
            Verdict::Granted => Ok(Admitted { admission: Some(admission) }),
            Verdict::Displaced { ahead } => Err(admission.refused(ahead, ShedWhy::Full)),
            Verdict::Expired { ahead } => Err(admission.refused(ahead, ShedWhy::TooOld)),
        })
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take()
            && admission.line.expire(&self.waiter, admission.clock.now()) == Verdict::Granted
        {
            // It was woken with a permit that it did not live to take: the next one has it.
            admission.unsampled.fetch_add(1, Ordering::Relaxed);
            admission.give_back();
        }
    }
}

#[cfg(test)]
mod tests;
