//! The faults that a simulation knows, and the count of those that happened.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $rate:literal,)*) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How often it happens where it can, in a thousand; zero for those that happen at planned moments.
            #[must_use]
            pub const fn rate(self) -> u32 {
                match self { $(Self::$name => $rate,)* }
            }
        }
    };
}

faults! {
    /// A call takes long, but less long than its caller waits.
    Delay 60,
    /// A call never arrives.
    LoseRequest 40,
    /// A call is answered, and the answer never arrives.
    LoseReply 40,
    /// A call arrives a second time.
    Duplicate 50,
    /// A call arrives when its caller has given up and sent another.
    Late 30,
    /// A call meets a partition.
    Cut 0,
    /// A process ends, at any moment.
    Crash 0,
    /// A process ends just before or just after a commit took effect.
    CrashAtCommit 3,
    /// A process stands still for longer than its claims live.
    Pause 0,
    /// A store refuses a commit because of another one.
    Aborted 20,
    /// A commit took effect and nobody heard of it.
    UnknownCommitted 15,
    /// A commit did not take effect and nobody can tell.
    UnknownRefused 15,
    /// A store is not there for a while.
    Outage 0,
    /// A publishing transaction is rolled back after it took its numbers.
    RolledBack 120,
    /// A publishing transaction stays open long after it took its id.
    LongOpen 100,
    /// A commit takes effect long after its client has gone.
    LateCommit 40,
    /// A broker loses its newest messages.
    ForgetTail 0,
    /// A broker loses everything and begins anew.
    ForgetAll 0,
    /// A tenant is suspended at the consumers.
    Suspend 0,
    /// A handler fails some times.
    Fails 60,
    /// A handler fails until somebody mends it.
    FailsUntilFixed 30,
    /// A message is not what its type says.
    Undecodable 15,
    /// A handler meets conflicts some times.
    Aborts 20,
    /// A handler meets conflicts until somebody mends it.
    AbortsUntilFixed 10,
    /// A handler takes its time.
    Slow 25,
    /// An operator replays a parked key.
    Replay 0,
    /// An operator drops a parked message.
    Drop 0,
    /// An operator sets a pump back.
    Redrive 0,
}

/// What was seen to follow from faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// A position was not written, since a newer claim exists.
    StaleWrite,
    /// A transaction was refused because of another one.
    Conflict,
    /// A message had arrived before.
    Repeat,
    /// A message was put behind another of its key that is held back.
    Waiting,
    /// A key was parked.
    Parked,
    /// A target refused a tenant, which then had a position of its own.
    Stalled,
    /// A pump went back because the broker had forgotten.
    WentBack,
    /// A reader began anew because the broker had forgotten.
    ReadAnew,
    /// An append was refused because the stream had another last message.
    ChainBroken,
    /// The fence waited for an older transaction.
    FenceWaited,
}

impl Seen {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::StaleWrite,
        Self::Conflict,
        Self::Repeat,
        Self::Waiting,
        Self::Parked,
        Self::Stalled,
        Self::WentBack,
        Self::ReadAnew,
        Self::ChainBroken,
        Self::FenceWaited,
    ];
}

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The faults that were injected.
    pub faults: BTreeMap<Fault, u64>,
    /// What was seen to follow.
    pub seen: BTreeMap<Seen, u64>,
    /// Messages whose transaction committed.
    pub published: u64,
    /// Messages that were applied, in all consumers.
    pub applied: u64,
    /// Steps of the executor.
    pub steps: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (seen, count) in &other.seen {
            *self.seen.entry(*seen).or_default() += count;
        }
        self.published += other.published;
        self.applied += other.applied;
        self.steps += other.steps;
    }

    /// The faults that never happened, and what was never seen.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let faults =
            Fault::ALL.iter().filter(|fault| !self.faults.contains_key(fault)).map(|f| format!("{f:?}"));
        let seen = Seen::ALL.iter().filter(|seen| !self.seen.contains_key(seen)).map(|s| format!("{s:?}"));
        faults.chain(seen).collect()
    }
}

/// Decides where faults happen, each kind from a stream of chance of its own.
#[derive(Debug)]
pub(crate) struct Injector {
    chances: BTreeMap<Fault, Random>,
    off: BTreeSet<Fault>,
    left_out: BTreeSet<(Fault, u64)>,
    /// Counts those that were left out as well: it names them.
    ordinals: BTreeMap<Fault, u64>,
    healed: bool,
}

impl Injector {
    pub(crate) fn new(seed: u64, off: BTreeSet<Fault>, left_out: BTreeSet<(Fault, u64)>) -> Self {
        let chances = Fault::ALL.iter().map(|fault| (*fault, Random::new(seed, 1000 + *fault as u64)));
        Self { chances: chances.collect(), off, left_out, ordinals: BTreeMap::new(), healed: false }
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
    }

    /// Whether a fault happens here.
    pub(crate) fn happens(&mut self, fault: Fault) -> bool {
        if self.healed || self.off.contains(&fault) {
            return false;
        }
        let hit = self.chances.get_mut(&fault).is_some_and(|chance| chance.chance(fault.rate()));
        if !hit {
            return false;
        }
        let ordinal = self.ordinals.entry(fault).or_default();
        *ordinal += 1;
        !self.left_out.contains(&(fault, *ordinal))
    }

    /// How often each fault could have happened, by number.
    pub(crate) fn ordinals(&self) -> BTreeMap<Fault, u64> {
        self.ordinals.clone()
    }
}
