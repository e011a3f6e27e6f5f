//! Who waits, and who is next: a lane for each key, served in turn by weight.
//!
//! Weighted deficit round robin (Shreedhar and Varghese, "Efficient fair queuing using deficit round robin", 1995) with one call as the unit: a lane whose
//! turn it is may send as many calls as its weight, and then goes to the end. A key that floods fills its own lane. As in FQ-CoDel (RFC 8290, section 4.2), a lane
//! that was empty comes before those that have been waiting, with one round's worth of calls: a key that asks seldom does not wait for a round of those that
//! ask always. To have that again it must have gone through the line once without a call, so asking often in small bites gains nothing.
//!
//! Within a lane the oldest is next, unless the queue stands: then the newest is (adaptive LIFO; Maurer, "Fail at scale", ACM Queue 2015). As many are served either way, and as many
//! wait until they are shed; but who is served has hardly waited, instead of nearly as long as it may.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::waiter::Waiter;

/// Empty lanes beyond this number and the number of waiters are swept away.
const IDLE_LANES: usize = 64;

/// How long calls may wait, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) target: Duration,
    pub(crate) interval: Duration,
    pub(crate) length: u32,
    /// How many while the queue stands.
    pub(crate) standing: u32,
}

/// A call that wants to wait.
#[derive(Debug)]
pub(crate) struct Arrival<'a, K> {
    pub(crate) key: &'a K,
    pub(crate) weight: u32,
    pub(crate) now: Instant,
}

/// A call that joined the queue.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) waiter: Arc<Waiter>,
    /// When it will have waited too long.
    pub(crate) until: Instant,
    /// Whom it displaced, and how much was ahead of it.
    pub(crate) displaced: Option<(Arc<Waiter>, u32)>,
}

/// The queue was full; so much is ahead of the next call of that key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) ahead: u32,
}

/// Calls that wait, by key.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    ids: HashMap<K, u64>,
    lanes: BTreeMap<u64, Lane<K>>,
    /// Lanes that were empty, in order of arrival; they come first.
    fresh: VecDeque<u64>,
    /// The other lanes, in turn.
    round: VecDeque<u64>,
    /// The weights of the lanes in which somebody waits, together.
    weights: u64,
    waiting: u32,
    quiet: Quiet,
    numbers: u64,
}

/// For how long the queue was empty and has not stood since: a burst is what comes after quiet, and lasts no longer than it.
#[derive(Debug, Default)]
struct Quiet {
    /// How much there was at the last change, and when that was; until the first one, as much as counts.
    known: Option<(Duration, Instant)>,
}

impl Quiet {
    /// The queue is no longer empty.
    fn ends(&mut self, now: Instant, most: Duration) {
        let left = self.known.map_or(most, |(left, since)| left + now.saturating_duration_since(since));
        self.known = Some((left.min(most), now));
    }

    /// What is left while the queue is not empty.
    fn left(&self, now: Instant) -> Duration {
        self.known
            .map_or(Duration::ZERO, |(left, since)| left.saturating_sub(now.saturating_duration_since(since)))
    }

    /// The queue is empty again.
    fn begins(&mut self, now: Instant) {
        self.known = Some((self.left(now), now));
    }
}

#[derive(Debug)]
struct Lane<K> {
    key: K,
    weight: u32,
    /// How many calls it may still send in this turn.
    credit: u32,
    waiters: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    waiter: Arc<Waiter>,
    since: Instant,
    until: Instant,
    /// Whether it came to a queue that stands, and its key has a part in that.
    standing: bool,
}

impl<K> Lane<K> {
    /// The number of the next call, and until when it may wait.
    fn next(&self) -> Option<(u64, Instant)> {
        let newest = self.waiters.last_key_value()?;
        let next = if newest.1.standing { newest } else { self.waiters.first_key_value()? };
        Some((*next.0, next.1.until))
    }
}

impl<K: Eq + Hash + Clone> Queue<K> {
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            lanes: BTreeMap::new(),
            fresh: VecDeque::new(),
            round: VecDeque::new(),
            weights: 0,
            waiting: 0,
            quiet: Quiet::default(),
            numbers: 0,
        }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many keys are kept.
    #[cfg(test)]
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// When the one that waits longest came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.lanes.values().filter_map(|lane| Some(lane.waiters.first_key_value()?.1.since)).min()
    }

    /// How many calls are served before one more of this key would be, if each key gets its share.
    pub(crate) fn ahead(&self, key: &K, weight: u32) -> u32 {
        let weight = u64::from(weight.max(1));
        let own = u64::from(self.waiting_of(key)) + 1;
        let weights = if own > 1 { self.weights } else { self.weights + weight };
        // No more than all of them, and itself.
        let ahead = (own * weights / weight).min(u64::from(self.waiting) + 1);
        u32::try_from(ahead).unwrap_or(u32::MAX)
    }

    /// Lets a call wait, if there is room, or if its key has less than its share and another has more.
    pub(crate) fn join(&mut self, arrival: &Arrival<'_, K>, rules: Rules) -> Result<Joined, Full> {
        let now = arrival.now;
        if self.waiting == 0 {
            self.quiet.ends(now, rules.interval);
        }
        let burst = if self.is_modest(arrival) { rules.interval } else { self.quiet.left(now) };
        let stands = burst <= rules.target;
        let length = if stands { rules.standing.min(rules.length) } else { rules.length };
        let displaced = if self.waiting < length { None } else { Some(self.displace(arrival, length)?) };
        // Until it has waited for the target and the quiet before is used up. The second moment is known now: while this call waits the queue is not empty.
        let until = now + burst.max(rules.target);
        let waiter = self.insert(arrival, until, stands);
        Ok(Joined { waiter, until, displaced })
    }

    /// The next call, and whether it has waited too long (which costs its key nothing).
    pub(crate) fn next(&mut self, now: Instant) -> Option<(Arc<Waiter>, bool)> {
        if self.waiting == 0 {
            return None;
        }
        loop {
            let fresh = !self.fresh.is_empty();
            let line = if fresh { &mut self.fresh } else { &mut self.round };
            let id = *line.front()?;
            let lane = self.lanes.get_mut(&id)?;
            if let Some((number, until)) = lane.next()
                && lane.credit > 0
            {
                let expired = until <= now;
                lane.credit -= u32::from(!expired);
                return Some((self.take(id, number, now)?, expired));
            }
            line.pop_front();
            if lane.waiters.is_empty() && !fresh {
                self.forget(id);
            } else {
                lane.credit = lane.weight;
                self.round.push_back(id);
            }
        }
    }

    /// Takes a call out; none if it is not here any more.
    pub(crate) fn remove(&mut self, waiter: &Waiter, now: Instant) -> Option<Arc<Waiter>> {
        self.take(waiter.lane, waiter.number, now)
    }

    /// The key and the weight of a lane.
    pub(crate) fn lane(&self, id: u64) -> Option<(&K, u32)> {
        self.lanes.get(&id).map(|lane| (&lane.key, lane.weight))
    }

    /// Whether the key has, for its weight, at most half of what other keys have on average, with this call: then they make the queue stand.
    fn is_modest(&self, arrival: &Arrival<'_, K>) -> bool {
        let weight = u64::from(arrival.weight.max(1));
        let own = u64::from(self.waiting_of(arrival.key));
        let others = u64::from(self.waiting) - own;
        let weights = self.weights - if own > 0 { weight.min(self.weights) } else { 0 };
        others > 0 && (own + 1) * 2 * weights <= others * weight
    }

    fn waiting_of(&self, key: &K) -> u32 {
        let lane = self.ids.get(key).and_then(|id| self.lanes.get(id));
        lane.map_or(0, |lane| u32::try_from(lane.waiters.len()).unwrap_or(u32::MAX))
    }

    /// Takes out the newest of the key with most for its weight, if the arrival's key has less than its share, and still less than that key afterwards.
    fn displace(&mut self, arrival: &Arrival<'_, K>, length: u32) -> Result<(Arc<Waiter>, u32), Full> {
        let full = Full { ahead: self.ahead(arrival.key, arrival.weight) };
        let weight = u64::from(arrival.weight.max(1));
        let own = u64::from(self.waiting_of(arrival.key));
        let weights = if own > 0 { self.weights } else { self.weights + weight };
        if own * weights >= u64::from(length) * weight {
            return Err(full);
        }
        // Compared by cross-multiplication, so that there is nothing to round.
        let most = |a: &&Lane<K>, b: &&Lane<K>| {
            (a.waiters.len() as u64 * u64::from(b.weight))
                .cmp(&(b.waiters.len() as u64 * u64::from(a.weight)))
        };
        let lane = self.lanes.values().max_by(most).ok_or(full)?;
        if lane.waiters.len() as u64 * weight <= (own + 1) * u64::from(lane.weight) {
            return Err(full);
        }
        let newest = lane.waiters.last_key_value().map(|(_, entry)| entry.waiter.clone()).ok_or(full)?;
        let ahead = self.ahead(&lane.key, lane.weight);
        self.remove(&newest, arrival.now);
        Ok((newest, ahead))
    }

    fn insert(&mut self, arrival: &Arrival<'_, K>, until: Instant, standing: bool) -> Arc<Waiter> {
        self.numbers += 1;
        let number = self.numbers;
        let id = *self.ids.entry(arrival.key.clone()).or_insert(number);
        let weight = arrival.weight.max(1);
        let lane = self.lanes.entry(id).or_insert_with(|| {
            self.fresh.push_back(id);
            Lane { key: arrival.key.clone(), weight, credit: weight, waiters: BTreeMap::new() }
        });
        if lane.waiters.is_empty() {
            lane.weight = weight;
            self.weights += u64::from(weight);
        }
        let waiter = Arc::new(Waiter::new(id, number));
        lane.waiters.insert(number, Entry { waiter: waiter.clone(), since: arrival.now, until, standing });
        self.waiting += 1;
        waiter
    }

    fn take(&mut self, id: u64, number: u64, now: Instant) -> Option<Arc<Waiter>> {
        let lane = self.lanes.get_mut(&id)?;
        let entry = lane.waiters.remove(&number)?;
        self.waiting -= 1;
        if self.waiting == 0 {
            self.quiet.begins(now);
        }
        if lane.waiters.is_empty() {
            self.weights -= u64::from(lane.weight);
        }
        if self.lanes.len() > self.waiting as usize + IDLE_LANES {
            self.sweep();
        }
        Some(entry.waiter)
    }

    /// Forgets the lanes in which nobody waits: a line that does not move would collect them.
    fn sweep(&mut self) {
        self.lanes.retain(|_, lane| !lane.waiters.is_empty());
        let lanes = &self.lanes;
        self.ids.retain(|_, id| lanes.contains_key(id));
        self.fresh.retain(|id| lanes.contains_key(id));
        self.round.retain(|id| lanes.contains_key(id));
    }

    fn forget(&mut self, id: u64) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.ids.remove(&lane.key);
        }
    }
}
