//! The writer of a file: its connection, and the group of transactions that commit together.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::conn::Conn;
use crate::metrics::Counters;

/// The most transactions of one group, which bounds what one failure takes along.
const MOST_MEMBERS: usize = 256;
/// A group older than this is committed before the next writer starts, which bounds how long the first member waits.
pub(crate) const OLDEST: Duration = Duration::from_millis(10);

/// How a group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupEnd {
    /// Its members are durable.
    Committed,
    /// Its members are rolled back.
    Lost,
    /// Its members are rolled back, for want of space.
    DiskFull,
    /// The disk failed in the middle of it: its members are rolled back here, but what was written of them may be found there after a crash.
    Unknown,
}

/// One who waits for the end of a group: a transaction in it, or an answer that rests on one.
struct Member {
    ended: oneshot::Sender<GroupEnd>,
    /// Keeps the idempotency key claimed though the caller may be gone.
    claim: Option<Arc<dyn Any + Send + Sync>>,
}

struct Group {
    members: Vec<Member>,
    effects: usize,
    since: Instant,
}

/// Where the transaction that holds the writer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// No transaction holds it, or the one that does has lost what it did.
    None,
    /// It is the first of its group and needs no savepoint: undoing it is undoing all.
    First,
    /// It has neighbours in the group and a savepoint of its own.
    Savepoint,
}

/// The one writer of a file.
pub(crate) struct Writer {
    pub(crate) conn: Conn,
    pub(crate) keys_recorded: u32,
    group: Option<Group>,
    level: Level,
    counters: Arc<Counters>,
    group_age: Duration,
}

impl Writer {
    pub(crate) fn new(conn: Conn, counters: Arc<Counters>, group_age: Duration) -> Self {
        Self { conn, keys_recorded: 0, group: None, level: Level::None, counters, group_age }
    }

    /// Begins a transaction, in the group that is open or in a new one.
    pub(crate) fn start(&mut self) -> rusqlite::Result<()> {
        if self.group.is_some() {
            self.conn.run("savepoint tx")?;
            self.level = Level::Savepoint;
        } else {
            self.conn.run("begin immediate")?;
            self.group = Some(Group { members: Vec::new(), effects: 0, since: Instant::now() });
            self.level = Level::First;
        }
        Ok(())
    }

    /// Makes the transaction part of the group; it commits with it, whatever becomes of the caller.
    pub(crate) fn submit(
        &mut self,
        claim: Option<Arc<dyn Any + Send + Sync>>,
    ) -> rusqlite::Result<oneshot::Receiver<GroupEnd>> {
        self.conn.limit.clear();
        if self.level == Level::Savepoint {
            self.conn.run("release tx")?;
        }
        self.level = Level::None;
        let (ended, end) = oneshot::channel();
        if let Some(group) = &mut self.group {
            group.effects += 1;
            group.members.push(Member { ended, claim });
        }
        Ok(end)
    }

    /// Rolls the transaction back and says what an answer has to wait for, if it may have seen a neighbour's rows.
    pub(crate) fn undo(&mut self) -> Option<oneshot::Receiver<GroupEnd>> {
        self.conn.limit.clear();
        let level = std::mem::replace(&mut self.level, Level::None);
        let undone = match level {
            Level::None => return None,
            Level::First => {
                self.group = None;
                self.conn.run("rollback")
            }
            Level::Savepoint => self.conn.run("rollback to tx").and_then(|()| self.conn.run("release tx")),
        };
        self.counters.rollbacks.add(1);
        if undone.is_err() {
            self.lose(GroupEnd::Lost);
        }
        let group = self.group.as_mut()?;
        let (ended, end) = oneshot::channel();
        group.members.push(Member { ended, claim: None });
        Some(end)
    }

    /// After a failed statement: whether the database has rolled back all that was open. If so, every member learns it.
    ///
    /// Without this look the next savepoint would open a transaction of its own and commit alone.
    pub(crate) fn survived(&mut self, disk_full: bool) -> bool {
        if self.group.is_none() || !self.conn.db.is_autocommit() {
            return true;
        }
        self.level = Level::None;
        self.lose(if disk_full { GroupEnd::DiskFull } else { GroupEnd::Lost });
        false
    }

    /// Whether another transaction may still join the open group.
    pub(crate) fn may_pass(&self) -> bool {
        self.group
            .as_ref()
            .is_none_or(|group| group.effects < MOST_MEMBERS && group.since.elapsed() < self.group_age)
    }

    /// Whether something waits to be committed.
    pub(crate) fn has_effects(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.effects > 0)
    }

    /// Commits the group, with its fsync; for the commit thread.
    pub(crate) fn commit(&mut self) {
        let Some(group) = self.group.take() else { return };
        match self.conn.run("commit") {
            Ok(()) => {
                self.counters.groups.add(1);
                self.counters.group_members.add(group.effects);
                self.counters.largest_group.at_least(group.effects);
                self.counters.commits.add(group.effects);
                end(group, GroupEnd::Committed);
            }
            Err(cause) => {
                tracing::error!(target: "drystone::store", %cause, members = group.effects, "a group commit failed");
                self.group = Some(group);
                self.lose(match cause.sqlite_error_code() {
                    Some(ErrorCode::DiskFull) => GroupEnd::DiskFull,
                    Some(ErrorCode::SystemIoFailure) => GroupEnd::Unknown,
                    _ => GroupEnd::Lost,
                });
            }
        }
    }

    /// Rolls everything open back and tells the members.
    fn lose(&mut self, how: GroupEnd) {
        if !self.conn.db.is_autocommit()
            && let Err(cause) = self.conn.run("rollback")
        {
            tracing::error!(target: "drystone::store", %cause, "a rollback failed");
        }
        if let Some(group) = self.group.take() {
            if group.effects > 0 {
                self.counters.groups_lost.add(1);
            }
            self.counters.rollbacks.add(group.effects);
            end(group, how);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lose(GroupEnd::Lost);
    }
}

fn end(group: Group, how: GroupEnd) {
    for Member { ended, claim } in group.members {
        // The key is free before the caller knows, so that an immediate repeat is not told that the call still runs.
        drop(claim);
        // A receiver that is gone belongs to a caller that is gone.
        let _ = ended.send(how);
    }
}
