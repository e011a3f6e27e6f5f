//! What the engine needs of the world: an outbox to read, a link to hand over by, an inbox to apply in.
//!
//! The engine ([`crate::Pump`], [`crate::Receiver`], [`crate::Retrier`]) is written against these traits and does nothing else: the same code runs on the real
//! stores and on the simulator's.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use drystone_call::{Error, Result, TenantId};
use uuid::Uuid;

use crate::Envelope;

/// How far a pump has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to this number of the outbox is with the target.
    pub position: i64,
    /// Where the target stood then, if it has a place of its own.
    pub mark: Option<Mark>,
}

/// A place in an outside broker's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which stream it is: another one of the same name has another.
    pub stream: String,
    /// The number of the last message.
    pub last: u64,
}

/// The right to move a pump, until somebody else takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Grows with every claim; a write under an older one changes nothing.
    pub epoch: i64,
    /// How far the pump has come.
    pub progress: Progress,
    /// Tenants that the target refused, each with its own position.
    pub stalled: Vec<(TenantId, i64)>,
}

/// Which messages to read.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// Those after this number,
    pub after: i64,
    /// up to this one,
    pub upto: i64,
    /// of this tenant, if one is named,
    pub tenant: Option<&'a TenantId>,
    /// of these types, if any are named,
    pub types: Option<&'a [String]>,
    /// so many at most.
    pub limit: usize,
}

/// One lane of a module's outbox: a tenant's file on SQLite, the whole module on PostgreSQL.
pub trait Outbox: Send + Sync {
    /// The tenant, if the lane is one tenant's.
    fn tenant(&self) -> Option<&TenantId>;

    /// The greatest number up to which nothing can appear any more that is not there now.
    fn settled(&self) -> impl Future<Output = Result<i64>> + Send;

    /// Messages in the order of their numbers.
    fn read(&self, scan: Scan<'_>) -> impl Future<Output = Result<Vec<Envelope>>> + Send;

    /// The number after which the last `rows` messages up to `position` stand; zero if there are fewer.
    fn back(&self, position: i64, rows: u64) -> impl Future<Output = Result<i64>> + Send;

    /// Takes or renews the right to move a pump; `None` while somebody else has it.
    fn claim(&self, pump: &str) -> impl Future<Output = Result<Option<Claim>>> + Send;

    /// Stores how far a pump has come and renews the claim; `false` if the claim is no longer the newest.
    fn advance(&self, pump: &str, epoch: i64, to: &Progress) -> impl Future<Output = Result<bool>> + Send;

    /// Gives a refused tenant a position of its own, or takes it away; `false` if the claim is no longer the newest.
    fn stall(
        &self,
        pump: &str,
        epoch: i64,
        tenant: &TenantId,
        position: Option<i64>,
    ) -> impl Future<Output = Result<bool>> + Send;
}

/// A way to hand messages over to a target.
pub trait Link: Send {
    /// Learns where the target stands, given where it stood, and says how many of the messages that it had taken it does not have any more.
    fn resume(&mut self, mark: Option<&Mark>) -> impl Future<Output = Result<u64>> + Send;

    /// Hands messages over, in order. When it returns, they are durable with the target, but for those of the tenants that it names.
    ///
    /// # Errors
    /// If nobody knows what the target has: they are to be handed over again.
    fn carry(&mut self, batch: &[Envelope]) -> impl Future<Output = Result<Vec<TenantId>>> + Send;

    /// Where the target stands, if it has a place of its own.
    fn mark(&self) -> Option<Mark>;
}

/// Why a message is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldState {
    /// It failed, and will be tried again.
    Retrying,
    /// It stands behind another of its key.
    Waiting,
    /// It failed for good: its key waits for an operator.
    Parked,
}

impl HeldState {
    /// The state's name, as the store keeps it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Retrying, Self::Waiting, Self::Parked].into_iter().find(|state| state.as_str() == name)
    }
}

/// How a message is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub state: HeldState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, in microseconds since 1970.
    pub due: i64,
    /// What the last attempt met.
    pub reason: String,
}

/// A message that is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its place among those of its consumer and tenant; greater is later.
    pub place: i64,
    /// The message.
    pub message: Envelope,
    /// How it is held back.
    pub hold: Hold,
}

/// Why a message was not applied.
#[derive(Debug)]
pub enum ApplyError {
    /// It is not what its type says: no attempt will ever succeed.
    Undecodable(Error),
    /// Its handler failed.
    Handler(Error),
}

impl ApplyError {
    /// The error.
    #[must_use]
    pub const fn error(&self) -> &Error {
        match self {
            Self::Undecodable(error) | Self::Handler(error) => error,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Undecodable(error) | Self::Handler(error) => error,
        }
    }
}

/// A consumer's side of its module's store.
pub trait Inbox: Send + Sync {
    /// A transaction for one tenant.
    type Tx: InboxTx;

    /// The consumer's name.
    fn consumer(&self) -> &str;

    /// Begins a transaction for a tenant.
    fn begin(&self, tenant: &TenantId) -> impl Future<Output = Result<Self::Tx>> + Send;
}

/// One transaction in which messages are applied. Dropping it rolls it back.
pub trait InboxTx: Send {
    /// Records messages as handled and says which of them were not before.
    fn record(&mut self, ids: &[Uuid]) -> impl Future<Output = Result<HashSet<Uuid>>> + Send;

    /// Which of these keys of a source are held.
    fn held_keys(
        &mut self,
        source: &str,
        keys: BTreeSet<&str>,
    ) -> impl Future<Output = Result<BTreeSet<String>>> + Send;

    /// Runs the handler of a message.
    fn apply(&mut self, message: &Envelope) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Holds a message back, behind those of its key.
    fn hold(&mut self, message: &Envelope, hold: &Hold) -> impl Future<Output = Result<()>> + Send;

    /// The first message of a key that is held.
    fn first(&mut self, source: &str, key: &str) -> impl Future<Output = Result<Option<Held>>> + Send;

    /// Changes how a message is held.
    fn change(&mut self, place: i64, hold: &Hold) -> impl Future<Output = Result<()>> + Send;

    /// Holds a message no longer; the next of its key, if there is one, is due now.
    fn release(&mut self, held: &Held) -> impl Future<Output = Result<()>> + Send;

    /// How long the transaction has been open.
    fn held_for(&self) -> Duration;

    /// Commits.
    fn commit(self) -> impl Future<Output = Result<()>> + Send;
}
