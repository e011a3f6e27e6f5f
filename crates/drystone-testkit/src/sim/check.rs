//! The checker: compares what was published with what was applied.
//!
//! It knows nothing of how messages travel. It has the committed rows of the outbox, the effects in the consumers' database, what is held, and what an operator
//! dropped; and each write to a position.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use drystone_call::TenantId;
use drystone_events::Envelope;
use drystone_events::engine::HeldState;
use uuid::Uuid;

use super::handling::Behaviour;
use super::outbox_db::Move;
use super::processes::{consumer, types};
use super::world::World;

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A committed message is neither applied nor held nor dropped.
    NoneLost,
    /// A message is applied twice in one consumer, or applied and held.
    NoneTwice,
    /// Messages of a key are applied or held in another order than that of publishing.
    NoneReordered,
    /// A message whose transaction did not commit is applied or held.
    NoneInvented,
    /// What is applied is not what was published.
    Unchanged,
    /// A key is held back whose first held message is well.
    ParksItsKeyOnly,
    /// A key is held back and nobody will go back to it.
    NoneStranded,
    /// A position was written under a claim that was not the newest.
    NewestClaimOnly,
    /// Something went on for ever.
    Ends,
}

/// A promise that was not kept, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.what)
    }
}

fn broken(promise: Promise, what: String) -> Result<(), Violation> {
    Err(Violation { promise, what })
}

fn name(message: &Envelope) -> String {
    format!("message {} of {}/{}", message.id.as_u128(), message.tenant, message.key)
}

/// What one consumer should have, and has.
struct Books {
    consumer: String,
    /// Committed messages of the consumer's types, with their places among those of their tenant's lane.
    published: BTreeMap<Uuid, (i64, Envelope)>,
    applied: Vec<Envelope>,
    /// In the order of their places.
    held: Vec<(HeldState, Envelope)>,
    dropped: BTreeSet<Uuid>,
}

impl Books {
    fn of(world: &World, number: usize) -> Self {
        let (consumer, types) = (consumer(number), types(number));
        let mut published = BTreeMap::new();
        for lane in 0..world.lanes() {
            for (seq, row) in &world.outbox(lane).rows {
                if types.as_ref().is_none_or(|types| types.contains(&row.message.event_type)) {
                    published.insert(row.message.id, (*seq, row.message.clone()));
                }
            }
        }
        let db = world.inbox();
        let applied = db.applied.iter().filter(|applied| applied.consumer == consumer);
        let held = db.held.values().filter(|row| row.consumer == consumer);
        Self {
            applied: applied.map(|applied| applied.message.clone()).collect(),
            held: held.map(|row| (row.held.hold.state, row.held.message.clone())).collect(),
            dropped: db.dropped.iter().filter(|(of, _)| *of == consumer).map(|(_, id)| *id).collect(),
            consumer,
            published,
        }
    }

    fn missing(&self, exempt: Option<&TenantId>) -> Option<&Envelope> {
        let here: BTreeSet<Uuid> = self
            .applied
            .iter()
            .map(|message| message.id)
            .chain(self.held.iter().map(|(_, message)| message.id))
            .chain(self.dropped.iter().copied())
            .collect();
        let missing = |message: &&Envelope| !here.contains(&message.id) && Some(&message.tenant) != exempt;
        self.published.values().map(|(_, message)| message).find(missing)
    }

    fn check(&self, exempt: Option<&TenantId>, rolled_back: &BTreeSet<Uuid>) -> Result<(), Violation> {
        let consumer = &self.consumer;
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(&TenantId, &str), i64> = BTreeMap::new();
        let held = self.held.iter().map(|(_, message)| message);
        for message in self.applied.iter().chain(held) {
            let Some((place, published)) = self.published.get(&message.id) else {
                let why =
                    if rolled_back.contains(&message.id) { "was rolled back" } else { "was never published" };
                return broken(
                    Promise::NoneInvented,
                    format!("{consumer} has {}, which {why}", name(message)),
                );
            };
            if !seen.insert(message.id) {
                return broken(Promise::NoneTwice, format!("{consumer} has {} twice", name(message)));
            }
            if message.data != published.data
                || message.key != published.key
                || message.tenant != published.tenant
            {
                return broken(
                    Promise::Unchanged,
                    format!("{consumer} has {} with other contents", name(message)),
                );
            }
            let before = last.insert((&message.tenant, &message.key), *place);
            if before.is_some_and(|before| before > *place) {
                return broken(
                    Promise::NoneReordered,
                    format!("{consumer} has {} behind a later one of its key", name(message)),
                );
            }
        }
        match self.missing(exempt) {
            Some(message) => broken(Promise::NoneLost, format!("{consumer} does not have {}", name(message))),
            None => self.check_held(exempt),
        }
    }

    fn check_held(&self, exempt: Option<&TenantId>) -> Result<(), Violation> {
        for (state, first) in self.heads() {
            if *state == HeldState::Waiting {
                let what = format!("{}: {} waits behind nothing", self.consumer, name(first));
                return broken(Promise::NoneStranded, what);
            }
            if !Behaviour::of(first).is_poison() && Some(&first.tenant) != exempt {
                let what = format!("{}: {} is {} and well", self.consumer, name(first), state.as_str());
                return broken(Promise::ParksItsKeyOnly, what);
            }
            if *state == HeldState::Retrying && Some(&first.tenant) != exempt {
                let what = format!("{}: {} is tried for ever", self.consumer, name(first));
                return broken(Promise::Ends, what);
            }
        }
        Ok(())
    }

    /// The first held message of each key.
    fn heads(&self) -> Vec<&(HeldState, Envelope)> {
        let mut keys = BTreeSet::new();
        self.held.iter().filter(|(_, message)| keys.insert((&message.tenant, &message.key))).collect()
    }

    fn is_drained(&self, exempt: Option<&TenantId>) -> bool {
        self.missing(exempt).is_none()
            && self
                .heads()
                .iter()
                .all(|(state, first)| *state != HeldState::Retrying || Some(&first.tenant) == exempt)
    }
}

/// Whether there is nothing left to do, but for an exempt tenant and for the operator.
pub(crate) fn is_drained(world: &World, exempt: Option<&TenantId>) -> bool {
    (0..world.lanes()).all(|lane| world.outbox(lane).is_quiet())
        && (0..world.plan.consumers).all(|number| Books::of(world, number).is_drained(exempt))
}

/// Checks every promise, once nothing goes wrong any more and everything had the time to drain.
pub(crate) fn check(world: &World, exempt: Option<&TenantId>) -> Result<(), Violation> {
    let mut rolled_back = BTreeSet::new();
    for lane in 0..world.lanes() {
        let db = world.outbox(lane);
        rolled_back.extend(db.rolled_back.iter().copied());
        newest_claim_only(&db.pumps.moves)?;
    }
    newest_claim_only(&world.inbox().pumps.moves)?;
    for number in 0..world.plan.consumers {
        Books::of(world, number).check(exempt, &rolled_back)?;
    }
    Ok(())
}

/// Epochs of a pump never fall.
fn newest_claim_only(moves: &[Move]) -> Result<(), Violation> {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for Move { pump, epoch } in moves {
        let before = newest.insert(pump, *epoch).unwrap_or(0);
        if before > *epoch {
            let what = format!("{pump} was moved under epoch {epoch}, after epoch {before} had been claimed");
            return broken(Promise::NewestClaimOnly, what);
        }
    }
    Ok(())
}

/// After everything was mended and replayed, nothing is held any more.
pub(crate) fn nothing_is_held(world: &World) -> Result<(), Violation> {
    match world.inbox().held.values().next() {
        None => Ok(()),
        Some(row) => broken(
            Promise::NoneStranded,
            format!(
                "{}: {} is still {} after its replay",
                row.consumer,
                name(&row.held.message),
                row.held.hold.state.as_str()
            ),
        ),
    }
}
