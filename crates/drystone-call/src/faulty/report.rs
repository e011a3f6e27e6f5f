//! What a rehearsal really did: counted when it happened, not when it was planned.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Profile;

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Request or reply took time.
    Delay,
    /// The request took so long that later ones could overtake it.
    Reorder,
    /// The request was not delivered, and the caller was told.
    Lost,
    /// The request was not delivered, and nobody said so.
    LostSilently,
    /// The callee ran to its end, and its reply was lost.
    CutAfter,
    /// The callee was dropped at one of its awaits.
    CutInTheMiddle,
    /// The request arrived once more after the answer.
    RepeatedLate,
    /// The request arrived twice at once.
    RepeatedAtOnce,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Delay,
        Self::Reorder,
        Self::Lost,
        Self::LostSilently,
        Self::CutAfter,
        Self::CutInTheMiddle,
        Self::RepeatedLate,
        Self::RepeatedAtOnce,
    ];

    /// The name, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Reorder => "reorder",
            Self::Lost => "lost",
            Self::LostSilently => "lost_silently",
            Self::CutAfter => "cut_after",
            Self::CutInTheMiddle => "cut_in_the_middle",
            Self::RepeatedLate => "repeated_late",
            Self::RepeatedAtOnce => "repeated_at_once",
        }
    }

    /// One of it and several of it, in words.
    const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Delay => ["delay", "delays"],
            Self::Reorder => ["reordering", "reorderings"],
            Self::Lost => ["loss", "losses"],
            Self::LostSilently => ["silent loss", "silent losses"],
            Self::CutAfter => ["reply cut", "replies cut"],
            Self::CutInTheMiddle => ["callee cut", "callees cut"],
            Self::RepeatedLate => ["late repeat", "late repeats"],
            Self::RepeatedAtOnce => ["double delivery", "double deliveries"],
        }
    }
}

/// One fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The calling module.
    pub from: Arc<str>,
    /// The gRPC path of the method.
    pub method: &'static str,
    /// The number of the call of this method on this edge, from 0.
    pub call: u64,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// What happened to it.
    pub kind: FaultKind,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, method, call, attempt, kind } = self;
        write!(
            f,
            "{from} -> {} call {call} attempt {attempt}: {}",
            method.trim_start_matches('/'),
            kind.name()
        )
    }
}

/// How often which fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FaultKind::ALL.len()]);

impl FaultCounts {
    /// The faults of one kind.
    #[must_use]
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.0[kind as usize]
    }

    /// The faults of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn count(&mut self, kind: FaultKind) {
        self.0[kind as usize] += 1;
    }

    /// Adds other faults.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

/// What a rehearsal has injected so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// The seed that repeats it.
    pub seed: u64,
    /// What was let go wrong.
    pub profile: Profile,
    /// The calls that were made through the faulty runner, attempts of one call counted once.
    pub calls: u64,
    /// The faults by calling module and gRPC path of the method.
    pub edges: BTreeMap<(Arc<str>, &'static str), FaultCounts>,
}

impl FaultReport {
    /// The faults of all edges.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        let mut sum = FaultCounts::default();
        self.edges.values().for_each(|edge| sum.add(edge));
        sum
    }

    /// Adds what another process of the same rehearsal has injected.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        for (edge, counts) in &other.edges {
            self.edges.entry(edge.clone()).or_default().add(counts);
        }
    }
}

/// One line, as in `seed 7, absorbable: 14 delays, 3 losses in 52 calls`.
impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {}: ", self.seed, self.profile)?;
        let counts = self.counts();
        let mut said = false;
        for (kind, count) in FaultKind::ALL.map(|kind| (kind, counts.of(kind))) {
            if count > 0 {
                write!(
                    f,
                    "{}{count} {}",
                    if said { ", " } else { "" },
                    kind.words()[usize::from(count > 1)]
                )?;
                said = true;
            }
        }
        let calls = if self.calls == 1 { "call" } else { "calls" };
        write!(f, "{} in {} {calls}", if said { "" } else { "no faults" }, self.calls)
    }
}
