//! What was acknowledged survives: real fsyncs are counted from outside, and a process is killed under load.
//!
//! The load runs in a child process: this very binary, asked for the one test that is ignored otherwise.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use drystone_call::{Context, Home, Principal, Result, TenantId};
use drystone_store::{Location, Migration, Migrations, Step, Store, StoreConfig};
use tempfile::TempDir;

const MODULE: &str = "load";
const MIGRATIONS: Migrations = Migrations {
    sqlite: &[Migration {
        version: 1,
        step: Step::Expand,
        name: "V0001__expand_create",
        sql: "create table orders (id bigint primary key); create table lines (id bigint not null references orders (id));",
    }],
    ..Migrations::NONE
};

async fn open(dir: &Path, synchronous_off: bool) -> Store {
    let location = Location::Sqlite { dir: dir.to_owned() };
    let mut config = StoreConfig::new(location, MIGRATIONS, Home::of_system(MODULE));
    config.testing.synchronous_off = synchronous_off;
    let store = Store::unopened(MODULE);
    store.open(config).await.unwrap();
    store
}

fn context() -> Context {
    Context::mint(Home::of_system(MODULE), TenantId::new("acme").unwrap(), Principal::ANONYMOUS)
        .with_timeout(Duration::from_secs(60))
}

async fn order(store: &Store, id: i64) -> Result<()> {
    let mut cx = context();
    let mut tx = store.begin(&mut cx).await?;
    tx.query("insert into orders (id) values ($1)").bind((id,)).execute().await?;
    tx.query("insert into lines (id) values ($1)").bind((id,)).execute().await?;
    tx.commit().await
}

/// The load: `count` orders one after another and as many at once, or orders without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the tests beside it, which start it in a process of its own"]
async fn load() {
    let dir =
        PathBuf::from(std::env::var("DRYSTONE_LOAD").expect("the tests beside this one say where to work"));
    let store = open(&dir, std::env::var_os("DRYSTONE_SYNC_OFF").is_some()).await;
    order(&store, 0).await.unwrap();
    if std::env::var_os("DRYSTONE_ENDLESS").is_some() {
        return endless(store).await;
    }
    let fsyncs = || std::fs::metadata(std::env::var("DRYSTONE_FSYNCS").unwrap()).map_or(0, |log| log.len());
    let (groups, synced) = (store.metrics().groups, fsyncs());
    for id in 1..=50 {
        order(&store, id).await.unwrap();
    }
    let tasks: Vec<_> = (51..=450)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { order(&store, id).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    println!("\ncounted {} {}", store.metrics().groups - groups, fsyncs() - synced);
}

async fn endless(store: Store) {
    let next = Arc::new(AtomicI64::new(1));
    for _ in 0..8 {
        let (store, next) = (store.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                order(&store, id).await.unwrap();
                println!("\nacknowledged {id}");
            }
        });
    }
    std::future::pending().await
}

fn child(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "load", "--ignored", "--nocapture"]).env("DRYSTONE_LOAD", dir);
    command
}

/// Commit groups and fsyncs of a run of the load, counted by a library that stands before the C library.
fn count(synchronous_off: bool) -> (u64, u64) {
    let dir = TempDir::new().unwrap();
    let shim = dir.path().join("fsync.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/fsync.c");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).status();
    assert!(cc.expect("cc is there, for SQLite was built with it").success());
    let mut command = child(&dir.path().join("data"));
    command.env("LD_PRELOAD", &shim).env("DRYSTONE_FSYNCS", dir.path().join("fsyncs"));
    if synchronous_off {
        command.env("DRYSTONE_SYNC_OFF", "1");
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("counted "));
    let (groups, fsyncs) =
        line.unwrap_or_else(|| panic!("the load failed: {output:?}")).split_once(' ').unwrap();
    (groups.parse().unwrap(), fsyncs.parse().unwrap())
}

/// The promise: no group is acknowledged without an fsync of its own.
fn is_durable((groups, fsyncs): (u64, u64)) -> bool {
    println!("{groups} groups, {fsyncs} fsyncs");
    groups >= 50 && fsyncs >= groups
}

#[test]
fn each_group_is_synced() {
    let (groups, fsyncs) = count(false);
    assert!(is_durable((groups, fsyncs)));
    assert!(groups < 450, "400 writers at once share commits: {groups}");
}

#[test]
fn the_count_would_show_a_commit_that_is_not_synced() {
    assert!(!is_durable(count(true)));
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = TempDir::new().unwrap();
    for round in 1..=3 {
        let data = dir.path().join(round.to_string());
        let mut load =
            Killed(child(&data).env("DRYSTONE_ENDLESS", "1").stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(load.0.stdout.take().unwrap()).lines().map_while(std::io::Result::ok);
        let mut acknowledged = HashSet::new();
        for line in lines {
            if let Some(id) = line.strip_prefix("acknowledged ") {
                acknowledged.insert(id.parse::<i64>().unwrap());
            }
            if acknowledged.len() == 300 * round {
                // SIGKILL, in the middle of whatever it does; what it had said before is still read.
                load.0.kill().unwrap();
            }
        }
        drop(load);
        check_after_kill(&data, &acknowledged, 300 * round).await;
    }
}

async fn check_after_kill(data: &Path, acknowledged: &HashSet<i64>, least: usize) {
    assert!(acknowledged.len() >= least);
    let store = open(data, false).await;
    let mut cx = context();
    let mut read = store.read(&mut cx).await.unwrap();
    let orders: Vec<(i64,)> = read.query("select id from orders").all().await.unwrap();
    let lines: Vec<(i64,)> = read.query("select id from lines").all().await.unwrap();
    let [orders, lines] = [orders, lines].map(|ids| ids.into_iter().map(|(id,)| id).collect::<HashSet<_>>());
    assert_eq!(orders, lines, "a half transaction");
    let lost: Vec<_> = acknowledged.difference(&orders).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}
