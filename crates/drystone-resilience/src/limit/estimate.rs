//! Finds the limit: windows, probes, and what follows from them.

use std::time::Duration;

use tokio::time::Instant;

use super::LimitConfig;
use super::samples::{Samples, Sum};

/// A window is over after this time, if enough calls ended in it ...
const WINDOW: Duration = Duration::from_millis(100);
/// ... which are so many, and so many in a probe: what decides is measured better than what is averaged.
const ENOUGH: u32 = 32;
const ENOUGH_PROBED: u32 = 100;
/// A window as long as this is over with fewer.
const LONG_WINDOW: Duration = Duration::from_secs(1);
const FEW: u32 = 16;
/// How much longer than twice what it should take a probe waits until no more run than it lets.
const DRAIN: Duration = Duration::from_millis(100);
/// How long after the first pressure comes the first probe: a process may begin its life with more to do than it can.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long after one probe comes the next: the first while the limit moves, up to the last while it does not.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(4)];
/// How long the lowest latency is believed.
const LOWEST_LASTS: Duration = Duration::from_secs(10);

/// Under pressure, so much of the limit is in use on average: more than the half that a probe lets.
const PRESSED: f64 = 0.6;
/// Half as many calls doing this share of the work: the limit stays. More: it falls, less: it rises.
const EVEN: f64 = 0.85;
/// A share at which fewer calls do as much.
const SAME: f64 = 0.97;
/// How far the limit falls at once.
const FALL: f64 = 0.75;
/// The lowest part of the limit at which a guess is tried: the fastest call may have had nothing to do.
const DEEPEST: f64 = 1.0 / 8.0;
/// Where nothing waits, so much of the limit would be in flight at this rate: calls hardly wait for each other.
const HARDLY_WAITS: f64 = 0.7;
/// A guess far below the limit is given up once it has done less than half the work for as long as so many calls took before.
const DOUBTED: f64 = 32.0;

/// The limit, and what was measured since it last changed.
#[derive(Debug)]
pub(super) struct Estimate {
    bounds: LimitConfig,
    limit: f64,
    phase: Phase,
    since: Option<Instant>,
    /// Of the windows under pressure since the last probe: calls, and seconds.
    base: (f64, f64),
    /// The lowest latency of a call in seconds, and when it was seen.
    lowest: Option<(f64, Instant)>,
    pause: Duration,
    /// Whether a probe has been made: until then nobody knows how long a call takes outside a crowd.
    probed: bool,
    /// Whether to try far below the limit.
    descending: bool,
    /// How often in a row half as many calls did as much.
    same: u32,
    pace: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// At the limit; the next probe is due then.
    Steady { probe_at: Option<Instant> },
    /// So many are let, until no more run; it is given up then.
    Draining { to: u32, give_up: Instant },
    /// So many are let, and measured.
    Probing { to: u32 },
}

impl Estimate {
    pub(super) fn new(config: LimitConfig) -> Self {
        let bounds = config.ordered();
        Self {
            bounds,
            limit: f64::from(bounds.initial),
            phase: Phase::Steady { probe_at: None },
            since: None,
            base: (0.0, 0.0),
            lowest: None,
            pause: FIRST_PAUSE,
            probed: false,
            descending: true,
            same: 0,
            pace: Duration::ZERO,
        }
    }

    /// The limit as learned.
    pub(super) fn learned(&self) -> u32 {
        whole(self.limit)
    }

    /// How many may run now.
    pub(super) fn effective(&self) -> u32 {
        match self.phase {
            Phase::Steady { .. } => self.learned(),
            Phase::Draining { to, .. } | Phase::Probing { to } => to,
        }
    }

    /// The time between two calls that end, under pressure; zero if it is not known.
    pub(super) fn pace(&self) -> Duration {
        self.pace
    }

    /// New bounds; what was learned stays within them, unless the limit was fixed or becomes so.
    pub(super) fn configure(&mut self, config: LimitConfig) {
        let bounds = config.ordered();
        if self.bounds == bounds {
            return;
        }
        let learned = if self.is_fixed() { f64::from(bounds.initial) } else { self.limit };
        *self = Self { lowest: self.lowest, ..Self::new(config) };
        self.set(learned);
    }

    /// Looks at what has happened; at most at every eighth call.
    pub(super) fn look(&mut self, now: Instant, running: u32, samples: &Samples) {
        let Some(since) = self.since else { return self.begin(now, samples) };
        if let Phase::Draining { to, .. } = self.phase {
            if running <= to {
                self.phase = Phase::Probing { to };
                self.begin(now, samples);
            }
            return self.blocked(now, samples);
        }
        let lasted = now.saturating_duration_since(since);
        if self.is_in_doubt(lasted, samples) {
            return self.give_up(now, samples);
        }
        let enough = if matches!(self.phase, Phase::Probing { .. }) { ENOUGH_PROBED } else { ENOUGH };
        let calls = samples.calls();
        if (lasted >= WINDOW && calls >= enough) || (lasted >= LONG_WINDOW && calls >= FEW) {
            self.close(now, running, lasted.as_secs_f64(), samples.take());
            self.begin(now, samples);
        }
    }

    /// A call found no room. If that is because a probe waits for calls that do not end, or has guessed wrong, the probe is given up.
    pub(super) fn blocked(&mut self, now: Instant, samples: &Samples) {
        match self.phase {
            Phase::Draining { give_up, .. } if now > give_up => {
                self.pause = PAUSES[1];
                self.rest(now);
                self.begin(now, samples);
            }
            Phase::Probing { .. } => {
                let lasted = self.since.map(|since| now.saturating_duration_since(since));
                if lasted.is_some_and(|lasted| self.is_in_doubt(lasted, samples)) {
                    self.give_up(now, samples);
                }
            }
            _ => {}
        }
    }

    /// Whether a guess far below the limit does so much less that there is no need to measure by how much.
    fn is_in_doubt(&self, lasted: Duration, samples: &Samples) -> bool {
        let Phase::Probing { to } = self.phase else { return false };
        let expected = self.rate() * lasted.as_secs_f64();
        self.is_deep(to.into()) && expected > DOUBTED && f64::from(samples.calls()) < expected / 2.0
    }

    /// The guess was wrong: from here on, the limit is looked for in smaller steps.
    fn give_up(&mut self, now: Instant, samples: &Samples) {
        (self.probed, self.descending) = (true, false);
        self.pause = PAUSES[0];
        self.rest(now);
        self.begin(now, samples);
    }

    fn is_deep(&self, level: f64) -> bool {
        level < 0.4 * f64::from(self.learned())
    }

    /// A new window; what ended before it is forgotten.
    fn begin(&mut self, now: Instant, samples: &Samples) {
        samples.take();
        self.since = Some(now);
    }

    fn close(&mut self, now: Instant, running: u32, seconds: f64, sum: Sum) {
        let calls = f64::from(sum.calls);
        // Little's law: the times of the calls in a second are how many were in flight.
        let pressed = sum.seconds / seconds >= PRESSED * f64::from(self.effective());
        let expired = |seen: Instant| now.saturating_duration_since(seen) > LOWEST_LASTS;
        let standing = pressed && matches!(self.phase, Phase::Steady { .. });
        if let Some(fastest) = sum.fastest
            && self.lowest.is_none_or(|(lowest, seen)| fastest < lowest || (expired(seen) && !standing))
        {
            self.lowest = Some((fastest, now));
        }
        self.pace = if pressed { Duration::from_secs_f64(seconds / calls) } else { Duration::ZERO };
        match self.phase {
            Phase::Steady { .. } if pressed && self.hardly_wait(calls / seconds) => {
                self.set(self.limit * 2.0);
                self.pause = PAUSES[0];
                self.rest(now);
            }
            Phase::Steady { probe_at } if pressed => self.measured(now, running, probe_at, (calls, seconds)),
            // The limit was not what bounded the rate: nothing follows for it.
            Phase::Steady { .. } => self.base = (0.0, 0.0),
            Phase::Probing { to } => {
                if pressed {
                    self.judge(to, calls / seconds);
                }
                self.rest(now);
            }
            Phase::Draining { .. } => {}
        }
    }

    /// A window at the limit and under pressure: perhaps it is time for a probe.
    fn measured(&mut self, now: Instant, running: u32, probe_at: Option<Instant>, window: (f64, f64)) {
        self.base = (self.base.0 + window.0, self.base.1 + window.1);
        let probe_at = probe_at.unwrap_or(now + self.pause);
        self.phase = Phase::Steady { probe_at: Some(probe_at) };
        let measured = self.base.0 >= ENOUGH_PROBED.into() || self.base.1 >= LONG_WINDOW.as_secs_f64();
        if now < probe_at || !measured || self.is_fixed() {
            return;
        }
        let to = self.level();
        self.phase = if running <= to {
            Phase::Probing { to }
        } else {
            // Every eighth call looks, so there are as many more to wait for.
            let calls = 2 * (running - to).saturating_add(8);
            Phase::Draining { to, give_up: now + DRAIN + self.pace.saturating_mul(calls) }
        };
    }

    /// At how many calls to probe.
    fn level(&self) -> u32 {
        let limit = f64::from(self.learned());
        let min = f64::from(self.bounds.min);
        let half = limit / 2.0;
        if half < min.max(1.0) {
            // There is no room below: try above.
            return whole(limit * 2.0).min(self.bounds.max);
        }
        let level = match self.lowest {
            _ if !self.probed => limit * DEEPEST,
            // Little's law: what would be in flight at this rate if nothing waited.
            Some((lowest, _)) if self.descending => (self.rate() * lowest).clamp(limit * DEEPEST, half),
            _ => half,
        };
        whole(level.max(min))
    }

    /// What follows from the rate at another level.
    fn judge(&mut self, level: u32, rate: f64) {
        self.probed = true;
        let before = self.limit;
        let (level, limit) = (f64::from(level), f64::from(self.learned()));
        let (share, deep) = (rate / self.rate(), self.is_deep(level));
        if level > limit {
            // More calls did more work; or did not.
            self.set(if 1.0 / share < EVEN { level } else { limit * FALL });
        } else if share < 0.7 * level / limit {
            // Fewer calls cannot do so much less: something else happened.
        } else if deep {
            self.descending = share >= 0.9;
            if self.descending {
                self.set(2.0 * level);
            }
        } else {
            self.same = if share >= SAME { self.same + 1 } else { 0 };
            self.descending |= self.same >= 3;
            let above = (share - EVEN) / (1.0 - EVEN);
            let factor = if above > 0.0 { 1.0 - (1.0 - FALL) * above.min(1.0) } else { EVEN / share };
            self.set(self.limit * factor.min(2.0));
        }
        let moved = (self.limit / before - 1.0).abs() > 0.1;
        self.pause = match moved {
            true if deep => FIRST_PAUSE,
            true => PAUSES[0],
            false => (self.pause * 2).clamp(PAUSES[0], PAUSES[1]),
        };
    }

    /// Whether calls take about as long as one alone does: then more of them at once would not wait either.
    fn hardly_wait(&self, rate: f64) -> bool {
        let near = |lowest: f64| rate * lowest >= HARDLY_WAITS * self.limit;
        self.probed && !self.is_fixed() && self.lowest.is_some_and(|(lowest, _)| near(lowest))
    }

    /// Back to the limit; the next probe comes after a pause under pressure.
    fn rest(&mut self, now: Instant) {
        self.phase = Phase::Steady { probe_at: Some(now + self.pause) };
        self.base = (0.0, 0.0);
    }

    fn rate(&self) -> f64 {
        self.base.0 / self.base.1
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.bounds.min.into(), self.bounds.max.into());
    }

    fn is_fixed(&self) -> bool {
        self.bounds.min == self.bounds.max
    }
}

/// The nearest whole number, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at least one, and `as` cuts at the ends"
)]
fn whole(number: f64) -> u32 {
    number.round().max(1.0) as u32
}
