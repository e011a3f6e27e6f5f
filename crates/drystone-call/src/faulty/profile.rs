//! Profiles: how often what goes wrong, and the plan that a seed makes of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use drystone_resilience::{Random as _, SeededRandom};

use crate::key::digest;
use crate::{Effect, MethodInfo};

/// What a rehearsal lets go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What the call stack absorbs: every assertion that holds without faults holds under it, if its calls have time left.
    ///
    /// Of the faults that fail an attempt it has those after which the call stack tries again, for calls that may be repeated, and so seldom that the
    /// attempts and the budget of the default policy suffice: one call in [`SPACING`] of each method on each edge, of which every
    /// [`TWICE`]th fails twice in a row. A repeat in the background meets only reads, and calls with a key that were answered: a request that was refused without
    /// a record can do later what it was refused first, which no callee can tell from a new call.
    Absorbable,
    /// Everything, of every method: what an application survives with its invariants whole, though not every call with an answer.
    Hostile,
    /// A good network in one place: times below a millisecond, and something lost now and then.
    Lan,
    /// A network between places: 20 to 80 ms there and back, and one call in a hundred lost.
    Wan,
}

/// Of how many calls of a method on an edge one fails under [`Profile::Absorbable`].
pub const SPACING: u64 = 10;
/// Which of these calls fails twice in a row.
///
/// An eighth more attempts, and three for a window's edges, stay below the default budget of a fifth more and at least ten, however the window lies.
pub const TWICE: u64 = 4;

/// Among how many calls the first that fails under [`Profile::Absorbable`] is.
const FIRST: u64 = 3;

/// What happens to one attempt of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How long the request takes.
    pub request: Duration,
    /// How long the reply takes.
    pub reply: Duration,
    /// Whether the request takes so long that later ones overtake it.
    pub reordered: bool,
    /// What else happens.
    pub harm: Option<Harm>,
}

/// What goes wrong with an attempt, beyond taking time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The request is not delivered, and the caller is told at once.
    Lose,
    /// The request is not delivered, and nobody says so: the deadline ends the call.
    LoseSilently,
    /// The callee runs to its end, and its reply is lost.
    CutAfter,
    /// The callee is dropped after so many polls, at one of its awaits, and the caller is told.
    CutInTheMiddle(u32),
    /// The request arrives once more, so long after the answer.
    RepeatLate(Duration),
    /// The request arrives twice at once.
    RepeatAtOnce,
}

/// One attempt of one call, as a plan sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The calling module.
    pub from: &'a str,
    /// The method that is called.
    pub method: &'a MethodInfo,
    /// Whether the call carries an idempotency key.
    pub keyed: bool,
    /// The number of the call of this method on this edge, from 0.
    pub call: u64,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

/// Chances in ten thousand, and bounds of times in microseconds.
struct Table {
    slow: (u64, u64, u64),
    reorder: (u64, u64, u64),
    lose: u64,
    lose_silently: u64,
    cut_after: u64,
    cut_in_the_middle: u64,
    repeat_late: u64,
    repeat_at_once: u64,
}

const ABSORBABLE: Table = Table {
    slow: (2_500, 100, 4_000),
    reorder: (300, 5_000, 20_000),
    repeat_late: 500,
    // These fail one call in SPACING: shares, not chances.
    lose: 5_000,
    cut_after: 5_000,
    lose_silently: 0,
    cut_in_the_middle: 0,
    repeat_at_once: 0,
};

const HOSTILE: Table = Table {
    slow: (3_000, 100, 30_000),
    reorder: (500, 20_000, 120_000),
    lose: 300,
    lose_silently: 100,
    cut_after: 400,
    cut_in_the_middle: 400,
    repeat_late: 500,
    repeat_at_once: 300,
};

const LAN: Table = Table {
    slow: (10_000, 100, 900),
    reorder: (20, 2_000, 8_000),
    lose: 2,
    lose_silently: 0,
    cut_after: 2,
    cut_in_the_middle: 1,
    repeat_late: 0,
    repeat_at_once: 0,
};

const WAN: Table = Table {
    slow: (10_000, 20_000, 80_000),
    reorder: (100, 100_000, 250_000),
    lose: 40,
    lose_silently: 20,
    cut_after: 30,
    cut_in_the_middle: 10,
    repeat_late: 0,
    repeat_at_once: 0,
};

/// The most polls that a callee gets before it is cut in the middle.
const MOST_POLLS: u64 = 12;
/// The longest time from an answer to the late repeat of its request.
const LATEST_REPEAT: Duration = Duration::from_millis(50);

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 4] = [Self::Absorbable, Self::Hostile, Self::Lan, Self::Wan];

    /// The name, as in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absorbable => "absorbable",
            Self::Hostile => "hostile",
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }

    /// What happens to an attempt: a function of its arguments and of nothing else.
    #[must_use]
    pub fn plan(self, seed: u64, attempt: &Attempt<'_>) -> Fault {
        let table = match self {
            Self::Absorbable => &ABSORBABLE,
            Self::Hostile => &HOSTILE,
            Self::Lan => &LAN,
            Self::Wan => &WAN,
        };
        let dice = Dice::of(seed, attempt, &[attempt.call, attempt.attempt.into()]);
        let mut fault = time(table, &dice, attempt);
        fault.harm = match self {
            Self::Absorbable => absorbable_harm(table, &dice, seed, attempt),
            Self::Hostile | Self::Lan | Self::Wan => harm(table, &dice),
        };
        fault
    }
}

/// The random numbers of one attempt, or of what several have in common.
struct Dice(SeededRandom);

impl Dice {
    fn of(seed: u64, attempt: &Attempt<'_>, numbers: &[u64]) -> Self {
        let mut bytes = seed.to_be_bytes().to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        let digest = digest(&[&bytes, attempt.from.as_bytes(), attempt.method.path.as_bytes()]);
        Self(SeededRandom::new(digest[..8].iter().fold(0, |all, byte| (all << 8) | u64::from(*byte))))
    }

    fn chance(&self, in_ten_thousand: u64) -> bool {
        self.0.below(10_000) < in_ten_thousand
    }

    fn between(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.0.below(to - from + 1))
    }
}

/// The first call of each method on each edge takes its time under every profile, so that no run is without a fault.
fn time(table: &Table, dice: &Dice, attempt: &Attempt<'_>) -> Fault {
    let mut fault = Fault::default();
    let (chance, from, to) = table.reorder;
    if dice.chance(chance) {
        (fault.request, fault.reordered) = (dice.between(from, to), true);
        return fault;
    }
    let (chance, from, to) = table.slow;
    if dice.chance(chance) || (attempt.call, attempt.attempt) == (0, 1) {
        let both = dice.between(from, to);
        fault.request = both.mul_f64(dice.0.unit());
        fault.reply = both - fault.request;
    }
    fault
}

/// Each at its chance; at most one of them.
fn harm(table: &Table, dice: &Dice) -> Option<Harm> {
    let polls = u32::try_from(1 + dice.0.below(MOST_POLLS)).unwrap_or(1);
    let late = dice.0.within(LATEST_REPEAT);
    let mut drawn = dice.0.below(10_000);
    let all = [
        (table.lose, Harm::Lose),
        (table.lose_silently, Harm::LoseSilently),
        (table.cut_after, Harm::CutAfter),
        (table.cut_in_the_middle, Harm::CutInTheMiddle(polls)),
        (table.repeat_late, Harm::RepeatLate(late)),
        (table.repeat_at_once, Harm::RepeatAtOnce),
    ];
    for (chance, harm) in all {
        if drawn < chance {
            return Some(harm);
        }
        drawn -= chance;
    }
    None
}

/// What the stack absorbs: see [`Profile::Absorbable`].
fn absorbable_harm(table: &Table, dice: &Dice, seed: u64, attempt: &Attempt<'_>) -> Option<Harm> {
    let Attempt { method, keyed, call, .. } = *attempt;
    let by_key = method.is_keyed() && keyed;
    if !by_key && method.effect == Effect::Mutating {
        return None;
    }
    let block = call / SPACING;
    let which = Dice::of(seed, attempt, &[block]);
    let failing = if block % TWICE == TWICE - 1 { 2 } else { 1 };
    // Early in the first block, for many a test makes few calls.
    let place = which.0.below(if block == 0 { FIRST } else { SPACING });
    if call % SPACING == place && attempt.attempt <= failing {
        return Some(if dice.chance(table.lose) { Harm::Lose } else { Harm::CutAfter });
    }
    let repeatable_late = by_key || method.effect == Effect::NoSideEffects;
    (repeatable_late && dice.chance(table.repeat_late))
        .then(|| Harm::RepeatLate(dice.0.within(LATEST_REPEAT)))
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    /// # Errors
    /// Names the profiles that there are.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no profile {name:?}; the profiles are {known}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_by_their_names() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse::<Profile>().unwrap(), profile);
        }
        let error = "lossy".parse::<Profile>().unwrap_err();
        assert!(error.contains("lossy") && error.contains("absorbable, hostile, lan, wan"), "{error}");
    }
}
