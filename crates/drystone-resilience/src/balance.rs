//! Balancing: each call goes to the less loaded of two replicas drawn at random, and a replica that fails more than its peers gets none for a while.
//!
//! *Power of two choices* (Mitzenmacher, "The power of two choices in randomized load balancing", 2001): the best of two drawn at random is nearly as
//! good as the best of all, and callers that know nothing of each other do not all run to the same one.
//!
//! *Load* is what Finagle calls peak EWMA (twitter.github.io/finagle, "Clients", `Balancers`): the calls in flight and one more, times a moving average of the time
//! that calls took, which jumps up at once and comes down slowly. A replica of which no time is known gets one call, and more when that is answered.
//!
//! *Outlier ejection* is after Envoy's ("Outlier detection") and gRPC's (proposal A50): a replica that fails several calls in a row, or far more often than
//! the others, is left out for a while, and longer every time. When it comes back it is on probation: one call at a time, and one failure is enough.
//! Only some of the replicas can be out at a time, and never the last: when everybody fails, it is not the replicas.

mod member;
mod outlier;
mod service;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::{Observe, tell};
use crate::random::Random;
use member::Member;
use outlier::Outlook;

pub use member::MemberStats;
pub use service::{Balance, BalanceError};

/// How members are compared, and when one is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceConfig {
    /// In what time a slow call is forgotten by about two thirds.
    pub decay: Duration,
    /// After how many failures in a row a member is left out; 0: however many.
    pub failures_in_row: u32,
    /// By how many points of a hundred a member's share of failures must be above that of all the others together for it to be left out;
    /// more than 100: never.
    pub excess_percent: f64,
    /// How many calls the member, and the others together, must have had lately for their shares to be compared.
    pub minimum_calls: u32,
    /// How long `lately` is at least; at most it is twice as long.
    pub window: Duration,
    /// For how long a member is left out the first time, and how much longer each time that follows.
    pub base: Duration,
    /// For how long a member is left out at most.
    pub longest: Duration,
    /// How many of a hundred members may be out at a time.
    pub max_ejected_percent: u32,
}

impl Default for BalanceConfig {
    /// 10 s of memory; out after 5 failures in a row, or at 40 points above the others with at least 20 calls in 10 s; for 10 s, 20 s, ... up to 5 min; at most half.
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
            failures_in_row: 5,
            excess_percent: 40.0,
            minimum_calls: 20,
            window: Duration::from_secs(10),
            base: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            max_ejected_percent: 50,
        }
    }
}

/// What a balancer tells its hook.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BalanceEvent {
    /// A member is left out.
    Ejected {
        /// Its address.
        address: Arc<str>,
        /// For how long.
        lasts: Duration,
        /// Why.
        why: Ejection,
    },
}

/// Why a member is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// It failed too many calls in a row.
    FailuresInRow,
    /// It failed far more often than the others.
    FailureRate,
    /// It had just come back, and failed again.
    OnProbation,
}

/// Members, usually replicas of one process, and what is known of each; clones share it.
///
/// One short lock: a call takes it when it picks and when it reports.
pub struct Balancer<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    config: BalanceConfig,
    random: Arc<dyn Random>,
    observe: Option<Observe<BalanceEvent>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    members: Vec<Member<T>>,
    next_id: u64,
}

impl<T> Balancer<T> {
    /// A balancer without members.
    #[must_use]
    pub fn new(config: BalanceConfig, random: Arc<dyn Random>) -> Self {
        let state = Mutex::new(State { members: Vec::new(), next_id: 0 });
        Self { shared: Arc::new(Shared { config, random, observe: None, state }) }
    }

    /// The same, without members, that tells `observe` what it does.
    #[must_use]
    pub fn observe(self, observe: Observe<BalanceEvent>) -> Self {
        let Shared { config, random, .. } = &*self.shared;
        let state = Mutex::new(State { members: Vec::new(), next_id: 0 });
        Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                random: random.clone(),
                observe: Some(observe),
                state,
            }),
        }
    }

    /// These are the members from now on. What is known of an address that stays is kept, its value is the new one; an address that comes twice counts once.
    pub fn set(&self, members: Vec<(Arc<str>, T)>) {
        let mut values =
            members.into_iter().map(|(address, value)| (address, Some(value))).collect::<Vec<_>>();
        self.replace(values.len(), |at, _| {
            let (address, value) = &mut values[at];
            (address.clone(), value.take())
        });
    }

    /// These are the addresses of the members from now on. An address that stays keeps its value as well; `make` makes those of the others.
    pub fn set_with(&self, addresses: &[Arc<str>], mut make: impl FnMut(&Arc<str>) -> T) {
        self.replace(addresses.len(), |at, known| {
            let address = &addresses[at];
            (address.clone(), (!known(address)).then(|| make(address)))
        });
    }

    /// `member` gives the n-th address, and a value unless the known one stays.
    fn replace(
        &self,
        count: usize,
        mut member: impl FnMut(usize, &dyn Fn(&str) -> bool) -> (Arc<str>, Option<T>),
    ) {
        let mut state = self.shared.lock();
        let mut members: Vec<Member<T>> = Vec::with_capacity(count);
        for at in 0..count {
            let known = |address: &str| {
                state.members.iter().chain(&members).any(|member| &**member.address() == address)
            };
            let (address, value) = member(at, &known);
            if members.iter().any(|member| member.address() == &address) {
                continue;
            }
            let kept = state.members.iter().position(|member| member.address() == &address);
            match (kept.map(|at| state.members.swap_remove(at)), value) {
                (Some(kept), Some(value)) => members.push(kept.with(value)),
                (Some(kept), None) => members.push(kept),
                (None, Some(value)) => {
                    members.push(Member::new(state.next_id, address, value));
                    state.next_id += 1;
                }
                (None, None) => {}
            }
        }
        let gone = std::mem::replace(&mut state.members, members);
        drop(state);
        // What a value does when it is dropped is its own: not under the lock.
        drop(gone);
    }

    /// A member for a call that starts now, none of `except`; `None` if no other is left.
    ///
    /// One that is out or said to be unhealthy is picked only when there is no better one.
    #[must_use]
    pub fn pick(&self, now: Instant, except: &[Arc<str>]) -> Option<Picked<T>> {
        let mut state = self.shared.lock();
        let at = self.shared.choose(&state.members, now, except)?;
        let member = &mut state.members[at];
        member.picked();
        let (id, entry) = (member.id(), member.entry());
        drop(state);
        Some(Picked { shared: self.shared.clone(), id, entry, since: now, reported: false })
    }

    /// A health check of `address` says so; one that is unknown is of no interest. A member is healthy until it is said not to be.
    pub fn report_health(&self, address: &str, healthy: bool) {
        let mut state = self.shared.lock();
        if let Some(member) = state.members.iter_mut().find(|member| &**member.address() == address) {
            member.healthy = healthy;
        }
    }

    /// What is known of each member.
    #[must_use]
    pub fn members(&self, now: Instant) -> Vec<MemberStats> {
        self.shared.lock().members.iter().map(|member| member.stats(now)).collect()
    }

    /// The values of all members, with their addresses: what a health check goes through.
    #[must_use]
    pub fn values(&self) -> Vec<(Arc<str>, T)>
    where
        T: Clone,
    {
        let state = self.shared.lock();
        state.members.iter().map(|member| (member.address().clone(), member.entry().value.clone())).collect()
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &BalanceConfig {
        &self.shared.config
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The less loaded of two drawn from the best tier that is not empty.
    fn choose(&self, members: &[Member<T>], now: Instant, except: &[Arc<str>]) -> Option<usize> {
        let open = |member: &Member<T>| !except.contains(member.address());
        let tier = members.iter().filter(|member| open(member)).map(|member| member.tier(now)).min()?;
        let in_tier = || {
            members
                .iter()
                .enumerate()
                .filter(|(_, member)| open(member) && member.tier(now) == tier)
                .map(|(at, _)| at)
        };
        let count = in_tier().count() as u64;
        let nth = |n: u64| in_tier().nth(usize::try_from(n).unwrap_or(usize::MAX));
        let first = self.random.below(count);
        if count == 1 {
            return nth(first);
        }
        let second = self.random.below(count - 1);
        let second = if second >= first { second + 1 } else { second };
        let (first, second) = (nth(first)?, nth(second)?);
        let least = members.iter().filter_map(Member::cost).fold(f64::INFINITY, f64::min);
        let load = |at: usize| members[at].load(now, self.config.decay, least);
        Some(if load(second) < load(first) { second } else { first })
    }

    fn report(&self, id: u64, since: Instant, now: Instant, failed: bool) {
        let mut state = self.lock();
        let Some(at) = state.members.iter().position(|member| member.id() == id) else { return };
        let member = &mut state.members[at];
        member.returned();
        let took = now.saturating_duration_since(since);
        if !failed {
            member.succeeded(&self.config, now, took);
            return;
        }
        member.failed(&self.config, now, took);
        let outlook = Outlook::of(&state.members, at, now, &self.config);
        let Some(why) = outlook.verdict(&self.config) else { return };
        let member = &mut state.members[at];
        let lasts = member.eject(&self.config, now);
        let address = member.address().clone();
        drop(state);
        tell(self.observe.as_ref(), &BalanceEvent::Ejected { address, lasts, why });
    }
}

impl<T> Clone for Balancer<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Balancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        let addresses = state.members.iter().map(Member::address).collect::<Vec<_>>();
        f.debug_struct("Balancer").field("members", &addresses).finish_non_exhaustive()
    }
}

/// A member that a call goes to. Dropped without a report it is neither a success nor a failure; the call no longer counts as in flight.
#[must_use = "a member that is not reported on teaches nothing"]
pub struct Picked<T> {
    shared: Arc<Shared<T>>,
    id: u64,
    entry: Arc<member::Entry<T>>,
    since: Instant,
    reported: bool,
}

impl<T> Picked<T> {
    /// The member.
    #[must_use]
    pub fn member(&self) -> &T {
        &self.entry.value
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        &self.entry.address
    }

    /// The call was answered at `now`; a refusal is an answer.
    pub fn succeeded(mut self, now: Instant) {
        self.reported = true;
        self.shared.report(self.id, self.since, now, false);
    }

    /// The member failed the call at `now`: it was not there, broke, or did not answer in time.
    pub fn failed(mut self, now: Instant) {
        self.reported = true;
        self.shared.report(self.id, self.since, now, true);
    }
}

impl<T> Drop for Picked<T> {
    fn drop(&mut self) {
        if self.reported {
            return;
        }
        let mut state = self.shared.lock();
        if let Some(member) = state.members.iter_mut().find(|member| member.id() == self.id) {
            member.returned();
        }
    }
}

impl<T> fmt::Debug for Picked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picked").field("address", self.address()).finish_non_exhaustive()
    }
}
