//! The yardstick of the store: a group commit written by hand for these rows and no others.
//!
//! One thread owns the connection. It takes what is waiting, runs it in one `BEGIN IMMEDIATE`, commits at `synchronous=FULL` and tells everyone.
//! There is no tenant, no isolation between members of a group, no deadline and no interruption: it is as fast as the same rows can be kept.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::oneshot;

use crate::prices::INSERT;
use crate::suites::Failure;

/// The most orders that commit together, as in the platform.
const MOST: usize = 256;

const SCHEMA: &str = include_str!("../migrations/sqlite/V0001__expand_orders.sql");
const KEYS: &str = "create table keys (
    id integer primary key, tenant text not null, principal text not null, method text not null, key text not null,
    fingerprint blob not null, descriptor_hash integer not null, kind integer not null, body blob not null,
    created integer not null, unique (tenant, principal, method, key)
) strict";
const FIND: &str = "select body from keys where tenant = ? and principal = ? and method = ? and key = ?";
const RECORD: &str = "insert into keys
    (tenant, principal, method, key, fingerprint, descriptor_hash, kind, body, created) values (?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// An order to keep.
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) total: i64,
    pub(crate) created: i64,
    /// The key and the answer to record under it.
    pub(crate) keyed: Option<(String, Vec<u8>)>,
}

struct Job {
    order: Order,
    done: oneshot::Sender<()>,
}

/// The way to the thread; it ends when the last way is gone.
#[derive(Clone)]
pub(crate) struct GroupCommit(Sender<Job>);

impl GroupCommit {
    /// Makes the file and starts the thread.
    pub(crate) fn start(path: &Path) -> Result<Self, Failure> {
        let db = Connection::open(path)?;
        db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "full")?;
        db.execute_batch(SCHEMA)?;
        db.execute_batch(KEYS)?;
        let (sender, jobs) = channel();
        thread::Builder::new().name("by-hand".to_owned()).spawn(move || {
            if let Err(error) = serve(&db, &jobs) {
                // Whoever waits learns it by the closed channel.
                eprintln!("the group commit written by hand failed: {error}");
            }
        })?;
        Ok(Self(sender))
    }

    /// Keeps an order and returns when it is durable.
    pub(crate) async fn keep(&self, order: Order) -> Result<(), Failure> {
        let (done, wait) = oneshot::channel();
        self.0.send(Job { order, done }).map_err(|_| "the thread has ended")?;
        Ok(wait.await?)
    }
}

fn serve(db: &Connection, jobs: &Receiver<Job>) -> rusqlite::Result<()> {
    let mut group = Vec::with_capacity(MOST);
    while let Ok(first) = jobs.recv() {
        db.prepare_cached("begin immediate")?.raw_execute()?;
        let mut next = Some(first);
        while let Some(job) = next {
            keep(db, &job.order)?;
            group.push(job.done);
            next = if group.len() < MOST { jobs.try_recv().ok() } else { None };
        }
        db.prepare_cached("commit")?.raw_execute()?;
        for done in group.drain(..) {
            // One who is gone needs no answer.
            let _ = done.send(());
        }
    }
    Ok(())
}

fn keep(db: &Connection, order: &Order) -> rusqlite::Result<()> {
    let Order { id, user, sku, quantity, total, created, keyed } = order;
    let scope = ("demo", "user:bench", "/bench.prices.v1.Prices/Order");
    if let Some((key, _)) = keyed {
        let found: Option<Vec<u8>> = db
            .prepare_cached(FIND)?
            .query_row(params![scope.0, scope.1, scope.2, key], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(());
        }
    }
    db.prepare_cached(INSERT)?.execute(params![id, user, sku, quantity, "EUR", total, 1, created])?;
    if let Some((key, body)) = keyed {
        let record = params![scope.0, scope.1, scope.2, key, [7_u8; 32], 7_i64, 0, body, created / 1000];
        db.prepare_cached(RECORD)?.execute(record)?;
    }
    Ok(())
}
