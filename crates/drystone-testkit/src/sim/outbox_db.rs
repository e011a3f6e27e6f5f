//! The publisher's database: numbers and transaction ids as PostgreSQL takes them, or one writer as on SQLite.
//!
//! What matters is the order of events. A transaction takes its id at its first write, a number when it publishes, and the lock of what it changes in between; it
//! commits in an order that follows from none of these. A session whose client is gone lives on until the server notices.

use std::collections::{BTreeMap, BTreeSet};

use drystone_call::TenantId;
use drystone_events::Envelope;
use drystone_events::engine::Progress;
use uuid::Uuid;

use super::executor::Process;
use super::plan::Database;
use super::time::MS;

/// How long a claim lives unless it is renewed.
pub(crate) const CLAIM_LIVES: i64 = 3000 * MS;

/// What a key's row lock is on.
pub(crate) type Lock = (TenantId, String);

/// A transaction that is open.
#[derive(Debug, Default)]
struct Session {
    xid: Option<i64>,
    rows: Vec<Envelope>,
    locks: BTreeSet<Lock>,
    /// Whether it is a writer's, and not one of the fence's looks.
    writes: bool,
    /// When it ends without its client, and whether it commits then.
    ends: Option<(i64, bool)>,
}

/// A message that is committed.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) xid: i64,
    pub(crate) message: Envelope,
}

/// How far a pump has come, and who may move it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PumpRow {
    pub(crate) epoch: i64,
    pub(crate) progress: Progress,
    pub(crate) owner: Process,
    pub(crate) until: i64,
}

/// A write to a position, for the checker.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) pump: String,
    pub(crate) epoch: i64,
}

/// Positions under claims: the table `drystone_pumps`.
#[derive(Debug, Default)]
pub(crate) struct Pumps {
    pub(crate) rows: BTreeMap<String, PumpRow>,
    pub(crate) stalled: BTreeMap<(String, TenantId), i64>,
    /// Each write that took effect, in order.
    pub(crate) moves: Vec<Move>,
}

impl Pumps {
    /// Takes a pump for a process, unless another has it.
    pub(crate) fn claim(&mut self, pump: &str, owner: Process, now: i64) -> Option<PumpRow> {
        let row = self.rows.entry(pump.to_owned()).or_default();
        if row.epoch > 0 && row.owner != owner && row.until >= now {
            return None;
        }
        row.epoch += 1;
        (row.owner, row.until) = (owner, now + CLAIM_LIVES);
        self.moves.push(Move { pump: pump.to_owned(), epoch: row.epoch });
        Some(row.clone())
    }

    /// Where a pump stands, for the one process that SQLite's files have.
    pub(crate) fn read(&self, pump: &str) -> PumpRow {
        self.rows.get(pump).cloned().unwrap_or_default()
    }

    /// Sets a pump back, as an operator does: what was claimed before counts no more.
    pub(crate) fn set_back(&mut self, pump: &str, position: i64) {
        let row = self.rows.entry(pump.to_owned()).or_default();
        row.epoch += 1;
        row.progress.position = row.progress.position.min(position);
        self.moves.push(Move { pump: pump.to_owned(), epoch: row.epoch });
        for ((name, _), stalled) in &mut self.stalled {
            if name == pump {
                *stalled = (*stalled).min(position);
            }
        }
    }

    /// Moves a pump if the claim is the newest, or in any case if `any` says so.
    pub(crate) fn advance(&mut self, pump: &str, epoch: i64, to: &Progress, now: i64, any: bool) -> bool {
        // Without a claim that is written, as on SQLite, the first position makes the row.
        let row = self.rows.entry(pump.to_owned()).or_default();
        if row.epoch != epoch && !any {
            return false;
        }
        row.progress = to.clone();
        row.until = now + CLAIM_LIVES;
        self.moves.push(Move { pump: pump.to_owned(), epoch });
        true
    }

    /// Gives a tenant a position of its own, or takes it away, if the claim is the newest.
    pub(crate) fn stall(&mut self, pump: &str, epoch: i64, tenant: &TenantId, position: Option<i64>) -> bool {
        if self.rows.get(pump).is_none_or(|row| row.epoch != epoch) {
            return false;
        }
        let name = (pump.to_owned(), tenant.clone());
        match position {
            Some(position) => drop(self.stalled.insert(name, position)),
            None => drop(self.stalled.remove(&name)),
        }
        true
    }

    /// Sets a pump and the tenants that it left behind to the beginning, under the claim that was just taken.
    pub(crate) fn begin_anew(&mut self, pump: &str, with_stalled: bool) {
        if let Some(row) = self.rows.get_mut(pump) {
            row.progress = Progress::default();
        }
        for ((name, _), stalled) in &mut self.stalled {
            if name == pump && with_stalled {
                *stalled = 0;
            }
        }
    }

    /// The tenants that a pump has left behind.
    pub(crate) fn stalled_of(&self, pump: &str) -> Vec<(TenantId, i64)> {
        let of = self.stalled.iter().filter(|((name, _), _)| name == pump);
        of.map(|((_, tenant), position)| (tenant.clone(), *position)).collect()
    }
}

/// One publishing database.
#[derive(Debug)]
pub(crate) struct OutboxDb {
    kind: Database,
    next_seq: i64,
    next_xid: i64,
    next_session: u64,
    sessions: BTreeMap<u64, Session>,
    /// By number.
    pub(crate) rows: BTreeMap<i64, Row>,
    pub(crate) rolled_back: BTreeSet<Uuid>,
    pub(crate) pumps: Pumps,
}

impl OutboxDb {
    pub(crate) fn new(kind: Database) -> Self {
        Self {
            kind,
            next_seq: 1,
            next_xid: 100,
            next_session: 1,
            sessions: BTreeMap::new(),
            rows: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
            pumps: Pumps::default(),
        }
    }

    /// Ends the sessions whose clients are gone and whose moment has come.
    pub(crate) fn settle_sessions(&mut self, now: i64) {
        let mut due: Vec<(i64, u64, bool)> = self
            .sessions
            .iter()
            .filter_map(|(id, session)| session.ends.map(|(at, commits)| (at, *id, commits)))
            .filter(|(at, _, _)| *at <= now)
            .collect();
        due.sort_unstable();
        for (_, id, commits) in due {
            if commits { self.commit(id) } else { self.roll_back(id) }
        }
    }

    /// Begins, unless another writer has SQLite's file.
    pub(crate) fn begin(&mut self, writes: bool) -> Option<u64> {
        if self.kind == Database::Sqlite && !self.sessions.is_empty() {
            return None;
        }
        let id = self.next_session;
        self.next_session += 1;
        self.sessions.insert(id, Session { writes, ..Session::default() });
        Some(id)
    }

    /// The transaction's id, allocated if it has none yet.
    pub(crate) fn xid(&mut self, id: u64) -> i64 {
        let next = &mut self.next_xid;
        let Some(session) = self.sessions.get_mut(&id) else { return *next };
        *session.xid.get_or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    /// Locks what a key stands for, unless another transaction has.
    pub(crate) fn lock(&mut self, id: u64, what: &Lock) -> bool {
        if self.sessions.iter().any(|(other, session)| *other != id && session.locks.contains(what)) {
            return false;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.locks.insert(what.clone());
        }
        true
    }

    /// Publishes: the id was taken before, the number is taken now.
    pub(crate) fn insert(&mut self, id: u64, mut message: Envelope) -> i64 {
        self.xid(id);
        message.seq = self.next_seq;
        self.next_seq += 1;
        let seq = message.seq;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.rows.push(message);
        }
        seq
    }

    pub(crate) fn commit(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let xid = session.xid.unwrap_or(0);
        for message in session.rows {
            self.rows.insert(message.seq, Row { xid, message });
        }
    }

    pub(crate) fn roll_back(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.rolled_back.extend(session.rows.iter().map(|message| message.id));
        if self.kind == Database::Sqlite {
            // The counter is rolled back with the rest.
            self.next_seq -= session.rows.len() as i64;
        }
    }

    /// The client is gone; on PostgreSQL the server notices at `at`.
    pub(crate) fn abandon(&mut self, id: u64, at: i64, commits: bool) {
        match self.kind {
            Database::Sqlite => self.roll_back(id),
            Database::Postgres => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.ends.get_or_insert((at, commits));
                }
            }
        }
    }

    /// The greatest number that was taken.
    pub(crate) fn high(&self) -> i64 {
        self.next_seq - 1
    }

    /// The oldest transaction id that is running, or the next one.
    pub(crate) fn xmin(&self) -> i64 {
        self.sessions.values().filter_map(|session| session.xid).min().unwrap_or(self.next_xid)
    }

    /// The greatest number of a committed message.
    pub(crate) fn newest(&self) -> i64 {
        self.rows.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Whether no writer's transaction is open.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.sessions.values().any(|session| session.writes)
    }

    /// As the statement of the stores: the number after which the last `rows` messages up to `position` stand.
    pub(crate) fn back(&self, position: i64, rows: u64) -> i64 {
        let skip = usize::try_from(rows).unwrap_or(usize::MAX);
        self.rows.range(..=position).rev().nth(skip).map_or(0, |(seq, _)| *seq)
    }
}
