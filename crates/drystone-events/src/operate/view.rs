//! What an operator is shown, and how things are named in what an operator asks for. All of it crosses the admin socket as JSON. Times are microseconds since 1970.

use std::fmt;

use drystone_store::Row;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A pump as the application declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name: that of its target.
    pub pump: String,
    /// The types that the target wants; all if `None`.
    pub types: Option<Vec<String>>,
}

/// How far one pump has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PumpStatus {
    /// Its name.
    pub pump: String,
    /// Up to which number everything is with the target. `None` on SQLite, where each tenant's file has numbers of its own.
    pub position: Option<i64>,
    /// How often the right to move it was taken.
    pub epoch: i64,
    /// The process that has that right, on PostgreSQL.
    pub owner: Option<String>,
    /// Until when, unless it is renewed.
    pub until: Option<i64>,
    /// Messages that are not with the target.
    pub lag: i64,
    /// When the oldest of them was published.
    pub oldest: Option<i64>,
    /// Tenants with messages of their own that wait: on PostgreSQL those that the target refused, on SQLite all whose files have some.
    pub tenants: Vec<Stalled>,
}

/// A tenant that has messages that are not with a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalled {
    /// The tenant.
    pub tenant: String,
    /// Up to which number everything of it is with the target.
    pub position: i64,
    /// How many messages are not.
    pub lag: i64,
    /// When the oldest of them was published.
    pub oldest: Option<i64>,
}

/// Where the fence of a module on PostgreSQL stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceStatus {
    /// The greatest number that was taken.
    pub taken: i64,
    /// Everything up to this number is settled; `None` if older transactions are open and nobody here knows how far it had come.
    pub settled: Option<i64>,
    /// Since when it waits for an older transaction, if a running process has seen that.
    pub waiting_since: Option<i64>,
    /// The session that it waits for.
    pub blocker: Option<Blocker>,
}

/// A session with a transaction that the fence waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Row)]
pub struct Blocker {
    /// Its process id on the server.
    pub pid: i32,
    /// Who logged in.
    pub user: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// What it does, as far as the relay's role may see it.
    pub state: Option<String>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        let said = [("user", &self.user), ("application", &self.application), ("state", &self.state)];
        said.iter()
            .filter_map(|(what, value)| Some((what, value.as_ref()?)))
            .try_for_each(|(what, value)| write!(f, ", {what} {value}"))
    }
}

/// What one consumer holds back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Row)]
pub struct ConsumerStatus {
    /// Its name.
    pub consumer: String,
    /// Keys of which something is held back.
    pub held_keys: i64,
    /// Messages that are held back.
    pub held_messages: i64,
    /// Keys that wait for an operator.
    pub parked_keys: i64,
    /// When the next held message is tried.
    pub next_retry: Option<i64>,
}

/// Which held keys to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFilter {
    /// Those of this consumer,
    pub consumer: Option<String>,
    /// and of this tenant,
    pub tenant: Option<String>,
    /// that have a message in this state: `retrying`, `waiting` or `parked`;
    pub state: Option<String>,
    /// so many at most.
    pub limit: u32,
}

/// A key of which something is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Row)]
pub struct HeldKey {
    /// The tenant.
    pub tenant: String,
    /// The consumer that holds it back.
    pub consumer: String,
    /// The module that published it.
    pub source: String,
    /// The key.
    pub key: String,
    /// The first message: the one that failed.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
    /// `retrying` or `parked`.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next, if it is.
    pub due: Option<i64>,
    /// Since when it is held back.
    pub since: i64,
    /// What the last attempt met.
    pub reason: Option<String>,
    /// How many messages wait behind it.
    pub behind: i64,
}

/// One held message, with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Row)]
pub struct Held {
    /// The tenant.
    pub tenant: String,
    /// The consumer that holds it back.
    pub consumer: String,
    /// The module that published it.
    pub source: String,
    /// The key.
    pub key: String,
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
    /// `protobuf` or `json`.
    pub format: String,
    /// The event.
    pub data: Vec<u8>,
    /// When it was published.
    pub created: i64,
    /// The position in the trace that published it.
    pub trace: Option<String>,
    /// Its number in the publisher's outbox.
    pub seq: i64,
    /// `retrying`, `waiting` or `parked`.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next.
    pub due: Option<i64>,
    /// What the last attempt met.
    pub reason: Option<String>,
    /// Since when it is held back.
    pub since: i64,
    /// How many messages of its key stand before it.
    pub before: i64,
}

/// One held message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldId {
    /// Its tenant.
    pub tenant: String,
    /// The consumer that holds it back.
    pub consumer: String,
    /// Its id.
    pub id: Uuid,
}

/// How an event is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As protobuf.
    Protobuf,
    /// As canonical proto3 JSON.
    Json,
}

impl Format {
    /// The format's name, as the store keeps it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }
}

/// Which held keys of a consumer to try again now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The consumer.
    pub consumer: String,
    /// One key of it; all if `None`.
    pub key: Option<String>,
    /// Of this tenant only,
    pub tenant: Option<String>,
    /// and of this source.
    pub source: Option<String>,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many keys or messages were changed.
    pub count: u64,
    /// The tenants that they are of.
    pub tenants: Vec<String>,
    /// Tenants that have such but are refused, for they are suspended.
    pub skipped: Vec<String>,
}
