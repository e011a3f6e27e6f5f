//! What a rehearsal found, for people and for tests.

use std::fmt;

use drystone_call::{FaultKind, FaultReport, Injected, Profile};

/// How many of a seed's faults are printed; the command repeats the seed, and the trace has them all.
const SHOWN: usize = 60;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub invariant: String,
    /// The numbers.
    pub said: String,
}

/// What one seed has shown.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// The seed.
    pub seed: u64,
    /// What was let go wrong.
    pub profile: Profile,
    /// The invariants that did not hold; none, if all is well.
    pub broken: Vec<Broken>,
    /// What the runners injected.
    pub faults: FaultReport,
    /// The faults one by one.
    pub injected: Vec<Injected>,
    /// How often the application was stopped and started again.
    pub restarts: u32,
    /// Calls, answers and faults in order, with the time of the run in microseconds; at its end the content of every store.
    pub trace: Vec<String>,
    /// A digest of the trace. Two runs of a seed by one build have the same.
    pub digest: u64,
}

impl Rehearsed {
    /// Whether every invariant held.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.broken.is_empty()
    }

    /// Whether this invariant did not hold.
    #[must_use]
    pub fn broke(&self, invariant: &str) -> bool {
        self.broken.iter().any(|broken| broken.invariant == invariant)
    }
}

/// For a seed that failed: what did not hold, what was injected, how to see it again.
pub(super) struct Failure<'a> {
    pub(super) app: &'a str,
    pub(super) rehearsed: &'a Rehearsed,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rehearsed { seed, profile, broken, injected, faults, restarts, .. } = self.rehearsed;
        writeln!(f, "seed {seed} breaks what must hold:")?;
        for Broken { invariant, said } in broken {
            writeln!(f, "  {invariant}")?;
            for line in said.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        writeln!(f, "  faults of {faults}, {restarts} restarts:")?;
        let telling: Vec<_> = injected
            .iter()
            .filter(|fault| !matches!(fault.kind, FaultKind::Delay | FaultKind::Reorder))
            .collect();
        for fault in telling.iter().take(SHOWN) {
            writeln!(f, "    {fault}")?;
        }
        if telling.len() > SHOWN {
            writeln!(f, "    and {} more", telling.len() - SHOWN)?;
        }
        write!(
            f,
            "  to see it again, with all that happened: {} rehearse --profile {profile} --seed {seed} --trace",
            self.app
        )
    }
}

/// What all seeds have shown together.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) seeds: u64,
    pub(super) failed: Vec<u64>,
    pub(super) restarts: u64,
    faults: Option<FaultReport>,
}

impl Summary {
    pub(super) fn add(&mut self, one: &Rehearsed) {
        self.seeds += 1;
        self.restarts += u64::from(one.restarts);
        if !one.is_well() {
            self.failed.push(one.seed);
        }
        match &mut self.faults {
            Some(all) => all.add(&one.faults),
            None => self.faults = Some(one.faults.clone()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, failed, restarts, faults } = self;
        write!(f, "{seeds} seeds, {} well", seeds - failed.len() as u64)?;
        let Some(faults) = faults else { return Ok(()) };
        write!(f, "; {} calls, {restarts} restarts, {} faults", faults.calls, faults.counts().total())?;
        for kind in FaultKind::ALL {
            let count = faults.counts().of(kind);
            if count > 0 {
                write!(f, "\n  {:<18} {count}", kind.name().replace('_', " "))?;
            }
        }
        Ok(())
    }
}
