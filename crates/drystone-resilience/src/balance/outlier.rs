//! When a member is left out.

use std::time::Duration;

use tokio::time::Instant;

use super::member::Member;
use super::{BalanceConfig, Ejection};

/// Calls of late and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    calls: u32,
    failures: u32,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
        }
    }

    fn percent(self) -> f64 {
        f64::from(self.failures) * 100.0 / f64::from(self.calls.max(1))
    }
}

/// The calls of the present window and of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    began: Option<Instant>,
    present: Tally,
    before: Tally,
}

impl Recent {
    pub(super) fn count(&mut self, now: Instant, window: Duration, failed: bool) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= window {
            self.before = if age < window * 2 { self.present } else { Tally::default() };
            self.present = Tally::default();
            self.began = Some(now);
        }
        self.present = self.present.add(Tally { calls: 1, failures: u32::from(failed) });
    }

    /// What is not too old by `now`.
    fn tally(&self, now: Instant, window: Duration) -> Tally {
        let age = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        match age {
            age if age < window => self.present.add(self.before),
            age if age < window * 2 => self.present,
            _ => Tally::default(),
        }
    }
}

/// One member beside the others.
pub(super) struct Outlook {
    own: Tally,
    others: Tally,
    row: u32,
    on_probation: bool,
    is_out: bool,
    /// One more may be out, and it would not be the last.
    can_spare: bool,
}

impl Outlook {
    pub(super) fn of<T>(members: &[Member<T>], at: usize, now: Instant, config: &BalanceConfig) -> Self {
        let member = &members[at];
        let others = || members.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        let out = others().filter(|other| other.is_out(now)).count();
        let most =
            members.len() * usize::try_from(config.max_ejected_percent).unwrap_or(usize::MAX).min(100) / 100;
        Self {
            own: member.recent.tally(now, config.window),
            others: others()
                .map(|other| other.recent.tally(now, config.window))
                .fold(Tally::default(), Tally::add),
            row: member.row,
            on_probation: member.on_probation,
            is_out: member.is_out(now),
            can_spare: out < most && others().any(|other| other.is_available(now)),
        }
    }

    /// Why the member is to be left out, if it is.
    pub(super) fn verdict(&self, config: &BalanceConfig) -> Option<Ejection> {
        if self.is_out || !self.can_spare {
            return None;
        }
        if self.on_probation {
            return Some(Ejection::OnProbation);
        }
        if config.failures_in_row > 0 && self.row >= config.failures_in_row {
            return Some(Ejection::FailuresInRow);
        }
        let known = self.own.calls.min(self.others.calls) >= config.minimum_calls.max(1);
        let far = self.own.percent() - self.others.percent() >= config.excess_percent;
        (known && far).then_some(Ejection::FailureRate)
    }
}
