//! What a balancer knows of one member.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::BalanceConfig;
use super::outlier::Recent;

/// More than any load that is known: a member of which nothing is known gets no second call before its first is answered.
const UNKNOWN: f64 = 1e18;

/// What is known of a member.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStats {
    /// Its address.
    pub address: Arc<str>,
    /// Calls that it has not answered yet.
    pub in_flight: u32,
    /// How long calls take, jumping up at once and coming down slowly; `None` before the first answer.
    pub latency: Option<Duration>,
    /// What the last health check said.
    pub healthy: bool,
    /// For how much longer it is left out, if it is.
    pub ejected_for: Option<Duration>,
    /// How often it has been left out.
    pub ejections: u64,
    /// How many calls it was picked for.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
}

/// A member's address and what is called.
pub(super) struct Entry<T> {
    pub(super) address: Arc<str>,
    pub(super) value: T,
}

/// One member.
pub(super) struct Member<T> {
    id: u64,
    entry: Arc<Entry<T>>,
    pub(super) healthy: bool,
    in_flight: u32,
    /// The time that calls take in nanoseconds, and when that was last heard of.
    cost: Option<(f64, Instant)>,
    /// Failures since the last success.
    pub(super) row: u32,
    /// What the calls of late came to.
    pub(super) recent: Recent,
    /// Until when it is, or was last, left out.
    out_until: Option<Instant>,
    /// How many times in not too long, which makes the next one longer.
    times: u32,
    /// It was left out and has not answered a call since.
    pub(super) on_probation: bool,
    ejections: u64,
    calls: u64,
    failures: u64,
}

impl<T> Member<T> {
    pub(super) fn new(id: u64, address: Arc<str>, value: T) -> Self {
        Self {
            id,
            entry: Arc::new(Entry { address, value }),
            healthy: true,
            in_flight: 0,
            cost: None,
            row: 0,
            recent: Recent::default(),
            out_until: None,
            times: 0,
            on_probation: false,
            ejections: 0,
            calls: 0,
            failures: 0,
        }
    }

    /// The same with another value.
    pub(super) fn with(self, value: T) -> Self {
        let entry = Arc::new(Entry { address: self.entry.address.clone(), value });
        Self { entry, ..self }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn address(&self) -> &Arc<str> {
        &self.entry.address
    }

    pub(super) fn entry(&self) -> Arc<Entry<T>> {
        self.entry.clone()
    }

    pub(super) fn picked(&mut self) {
        self.in_flight += 1;
        self.calls += 1;
    }

    /// A call is no longer in flight.
    pub(super) fn returned(&mut self) {
        self.in_flight -= 1;
    }

    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    pub(super) fn is_available(&self, now: Instant) -> bool {
        self.healthy && !self.is_out(now)
    }

    /// 0: to be picked; 1: left out; 2: said to be unhealthy.
    pub(super) fn tier(&self, now: Instant) -> u8 {
        if !self.healthy { 2 } else { u8::from(self.is_out(now)) }
    }

    /// The time that calls take in nanoseconds as last heard of, if ever.
    pub(super) fn cost(&self) -> Option<f64> {
        self.cost.map(|(cost, _)| cost)
    }

    /// What one more call would meet here. What was heard long ago counts less and less, but not below half of the `least` that anybody takes:
    /// so a member that was slow is tried again, and is not overrun.
    pub(super) fn load(&self, now: Instant, decay: Duration, least: f64) -> f64 {
        let waiting = f64::from(self.in_flight);
        match self.cost {
            None if self.in_flight == 0 => 0.0,
            None => UNKNOWN + waiting,
            Some((cost, heard)) => (cost * weight(now, heard, decay)).max(least / 2.0) * (waiting + 1.0),
        }
    }

    pub(super) fn succeeded(&mut self, config: &BalanceConfig, now: Instant, took: Duration) {
        let took = nanos(took);
        let cost = match self.cost {
            Some((cost, heard)) if took < cost => {
                let old = weight(now, heard, config.decay);
                cost * old + took * (1.0 - old)
            }
            _ => took,
        };
        self.cost = Some((cost, now));
        self.row = 0;
        self.on_probation = false;
        self.recent.count(now, config.window, false);
    }

    /// A failure is often fast, and must not look like a fast answer: it counts as a call that took twice as long as usual.
    pub(super) fn failed(&mut self, config: &BalanceConfig, now: Instant, took: Duration) {
        self.failures += 1;
        if let Some((cost, _)) = self.cost {
            self.cost = Some((nanos(took).max(cost * 2.0), now));
        }
        // A call from before it was left out says nothing new.
        if !self.is_out(now) {
            self.row = self.row.saturating_add(1);
            self.recent.count(now, config.window, true);
        }
    }

    /// Leaves it out and says for how long.
    pub(super) fn eject(&mut self, config: &BalanceConfig, now: Instant) -> Duration {
        let served = self.out_until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        let forgiven = served.as_nanos().checked_div(config.base.as_nanos()).unwrap_or(0);
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.times = self.times.saturating_sub(forgiven).saturating_add(1);
        let lasts = config.base.saturating_mul(self.times).min(config.longest);
        self.out_until = Some(now + lasts);
        self.ejections += 1;
        self.on_probation = true;
        self.cost = None;
        self.row = 0;
        self.recent = Recent::default();
        lasts
    }

    pub(super) fn stats(&self, now: Instant) -> MemberStats {
        MemberStats {
            address: self.entry.address.clone(),
            in_flight: self.in_flight,
            latency: self.cost.map(|(cost, _)| Duration::from_secs_f64((cost / 1e9).min(1e9))),
            healthy: self.healthy,
            ejected_for: self
                .out_until
                .map(|until| until.saturating_duration_since(now))
                .filter(|left| !left.is_zero()),
            ejections: self.ejections,
            calls: self.calls,
            failures: self.failures,
        }
    }
}

/// How much what was `heard` then counts now.
fn weight(now: Instant, heard: Instant, decay: Duration) -> f64 {
    let age = now.saturating_duration_since(heard).as_secs_f64();
    (-age / decay.as_secs_f64().max(1e-9)).exp()
}

/// At least one: a load of nothing would be the same for one call in flight and for a thousand.
fn nanos(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e9).max(1.0)
}
