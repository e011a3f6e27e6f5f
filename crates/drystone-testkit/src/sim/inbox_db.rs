//! The consumers' database: inbox, held messages, effects, and the positions of readers.
//!
//! Transactions are serializable by validation: what one has read must be as it was when it commits. That allows exactly the histories in which each
//! transaction happens at one moment, its commit, which is what the real stores promise by other means.

use std::collections::{BTreeMap, BTreeSet};

use drystone_call::TenantId;
use drystone_events::Envelope;
use drystone_events::engine::{Held, HeldState, Hold};
use uuid::Uuid;

use super::outbox_db::Pumps;

/// What a transaction can depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// Whether a consumer has handled a message.
    Handled(String, Uuid),
    /// What is held of a key: consumer, source, tenant, key.
    Key(String, String, TenantId, String),
}

/// A write, which takes effect with the commit.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Record(Uuid),
    Effect(Envelope),
    Hold(Envelope, Hold),
    Change(i64, Hold),
    Release(Box<Held>),
    Drop(Box<Held>),
}

/// A row of `drystone_held`.
#[derive(Clone, Debug)]
pub(crate) struct HeldRow {
    pub(crate) consumer: String,
    pub(crate) held: Held,
}

impl HeldRow {
    fn item(&self) -> Item {
        key_item(&self.consumer, &self.held.message)
    }
}

/// An effect of a handler.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) consumer: String,
    pub(crate) message: Envelope,
}

/// The consumers' database.
#[derive(Debug, Default)]
pub(crate) struct InboxDb {
    versions: BTreeMap<Item, u64>,
    next_version: u64,
    handled: BTreeSet<(String, Uuid)>,
    pub(crate) held: BTreeMap<i64, HeldRow>,
    next_place: i64,
    /// In the order of the commits.
    pub(crate) applied: Vec<Applied>,
    /// What an operator dropped.
    pub(crate) dropped: BTreeSet<(String, Uuid)>,
    /// The one writer on SQLite, for each tenant's file.
    pub(crate) writers: BTreeMap<TenantId, u64>,
    pub(crate) next_tx: u64,
    pub(crate) pumps: Pumps,
}

pub(crate) fn key_item(consumer: &str, message: &Envelope) -> Item {
    Item::Key(consumer.to_owned(), message.source.clone(), message.tenant.clone(), message.key.clone())
}

impl InboxDb {
    pub(crate) fn version(&self, item: &Item) -> u64 {
        self.versions.get(item).copied().unwrap_or(0)
    }

    pub(crate) fn is_handled(&self, consumer: &str, id: Uuid) -> bool {
        self.handled.contains(&(consumer.to_owned(), id))
    }

    /// The first message of a key that is held.
    pub(crate) fn first(&self, item: &Item) -> Option<&HeldRow> {
        self.held.values().find(|row| row.item() == *item)
    }

    /// What a place's key is.
    pub(crate) fn key_at(&self, place: i64) -> Option<Item> {
        self.held.get(&place).map(HeldRow::item)
    }

    /// Whether everything is still as it was read.
    pub(crate) fn still(&self, reads: &BTreeMap<Item, u64>) -> bool {
        reads.iter().all(|(item, version)| self.version(item) == *version)
    }

    /// Takes a transaction's writes in.
    pub(crate) fn write(&mut self, consumer: &str, writes: Vec<Write>, forgets: bool) {
        for write in writes {
            match write {
                Write::Record(id) => {
                    if !forgets {
                        self.handled.insert((consumer.to_owned(), id));
                        self.touch(Item::Handled(consumer.to_owned(), id));
                    }
                }
                Write::Effect(message) => {
                    self.applied.push(Applied { consumer: consumer.to_owned(), message });
                }
                Write::Hold(message, hold) => {
                    self.touch(key_item(consumer, &message));
                    self.next_place += 1;
                    let held = Held { place: self.next_place, message, hold };
                    self.held.insert(self.next_place, HeldRow { consumer: consumer.to_owned(), held });
                }
                Write::Change(place, hold) => {
                    if let Some(item) = self.key_at(place) {
                        self.touch(item);
                    }
                    if let Some(row) = self.held.get_mut(&place) {
                        row.held.hold = hold;
                    }
                }
                Write::Release(held) => self.release(consumer, &held),
                Write::Drop(held) => {
                    self.dropped.insert((consumer.to_owned(), held.message.id));
                    self.release(consumer, &held);
                }
            }
        }
    }

    fn release(&mut self, consumer: &str, held: &Held) {
        self.held.remove(&held.place);
        let item = key_item(consumer, &held.message);
        let next = self.held.values_mut().find(|row| row.item() == item);
        if let Some(next) = next {
            next.held.hold.state = HeldState::Retrying;
            // Its moment is now; the checker knows no clock.
            next.held.hold.due = 0;
        }
        self.touch(item);
    }

    fn touch(&mut self, item: Item) {
        self.next_version += 1;
        self.versions.insert(item, self.next_version);
    }

    /// The keys of a consumer that are due: tenant, source, key.
    pub(crate) fn due(&self, consumer: &str, now: i64) -> Vec<(TenantId, String, String)> {
        let due = |row: &&HeldRow| {
            row.consumer == consumer && row.held.hold.state == HeldState::Retrying && row.held.hold.due <= now
        };
        let mut rows: Vec<&HeldRow> = self.held.values().filter(due).collect();
        rows.sort_by_key(|row| row.held.hold.due);
        let key = |row: &HeldRow| {
            let Envelope { tenant, source, key, .. } = &row.held.message;
            (tenant.clone(), source.clone(), key.clone())
        };
        rows.into_iter().map(key).collect()
    }

    /// When the next key of a consumer is due.
    pub(crate) fn next_due(&self, consumer: &str) -> Option<i64> {
        let retrying =
            |row: &&HeldRow| row.consumer == consumer && row.held.hold.state == HeldState::Retrying;
        self.held.values().filter(retrying).map(|row| row.held.hold.due).min()
    }
}
