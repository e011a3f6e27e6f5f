//! The disk below SQLite fails: full, or failing its syncs. Nothing is acknowledged that is not durable, and what is said of the rest is true.
//!
//! The store runs in a child process on such a disk: this very binary, asked for the one test that is ignored otherwise. It is told what to do line by line.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use drystone_call::{Context, Home, Principal, Result, TenantId};
use drystone_store::{Location, Migration, Migrations, Step, Store, StoreConfig};
use drystone_testkit::Disk;
use tempfile::TempDir;

const MODULE: &str = "load";
const MIGRATIONS: Migrations = Migrations {
    sqlite: &[Migration {
        version: 1,
        step: Step::Expand,
        name: "V0001__expand_create",
        sql: "create table orders (id bigint primary key, note text not null);",
    }],
    ..Migrations::NONE
};
/// More than one page: each order lengthens the file's log.
const NOTE: usize = 10_000;

async fn open(dir: &Path) -> Result<Store> {
    let location = Location::Sqlite { dir: dir.to_owned() };
    let store = Store::unopened(MODULE);
    store.open(StoreConfig::new(location, MIGRATIONS, Home::of_system(MODULE))).await?;
    Ok(store)
}

fn context() -> Context {
    Context::mint(Home::of_system(MODULE), TenantId::new("acme").unwrap(), Principal::ANONYMOUS)
        .with_timeout(Duration::from_secs(60))
}

async fn order(store: &Store, id: i64) -> Result<()> {
    let mut cx = context();
    let mut tx = store.begin(&mut cx).await?;
    let note = "x".repeat(NOTE);
    tx.query("insert into orders (id, note) values ($1, $2)").bind((id, note)).execute().await?;
    tx.commit().await
}

async fn orders(store: &Store) -> Result<Vec<i64>> {
    let mut cx = context();
    let rows: Vec<(i64,)> =
        store.read(&mut cx).await?.query("select id from orders order by id").all().await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// What a line of the script asks for, and what comes of it.
async fn obey(store: &Store, line: &str) -> Result<String> {
    match line.split_once(' ') {
        Some(("order", id)) => order(store, id.parse().unwrap()).await.map(|()| "done".to_owned()),
        // So many at once, which commit as one group or a few.
        Some(("orders", ids)) => {
            let (from, to) = ids.split_once(' ').unwrap();
            let ids = from.parse::<i64>().unwrap()..to.parse().unwrap();
            let all = ids.map(|id| {
                tokio::spawn({
                    let store = store.clone();
                    async move { order(&store, id).await }
                })
            });
            let mut outcomes = Vec::new();
            for one in all.collect::<Vec<_>>() {
                outcomes.push(
                    one.await.unwrap().map_or_else(|error| format!("{:?}", error.code()), |()| "done".into()),
                );
            }
            outcomes.sort();
            outcomes.dedup();
            Ok(outcomes.join(" "))
        }
        _ => orders(store).await.map(|ids| format!("{ids:?}")),
    }
}

/// The child: opens the store and does line by line what it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the tests beside it, which start it in a process of its own"]
async fn child() {
    let dir =
        PathBuf::from(std::env::var("DRYSTONE_LOAD").expect("the tests beside this one say where to work"));
    let store = open(&dir).await;
    for line in std::io::stdin().lines() {
        let told = match &store {
            Ok(store) => obey(store, &line.unwrap()).await,
            Err(error) => Err(drystone_call::Error::new(error.code(), error.message().to_owned())),
        };
        println!(
            "\nsaid {}",
            told.unwrap_or_else(|error| format!("{:?}: {}", error.code(), error.message()))
        );
    }
}

/// A store on a disk that fails at will.
struct Site {
    disk: Disk,
    dir: TempDir,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Site {
    fn start() -> Self {
        let (disk, dir) = (Disk::new().unwrap(), TempDir::new().unwrap());
        let (child, said) = launch(&disk, dir.path());
        Self { disk, dir, child, said }
    }

    /// Has the child do something; gives what it says of it.
    fn ask(&mut self, what: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.said.by_ref().find_map(|line| line.unwrap().strip_prefix("said ").map(str::to_owned)).unwrap()
    }

    /// Kills the child in whatever state its files are, and starts another.
    fn killed_and_started(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.said) = launch(&self.disk, self.dir.path());
        self
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(disk: &Disk, dir: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env("DRYSTONE_LOAD", dir).envs(disk.env());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, said)
}

#[test]
fn a_full_disk_refuses_and_keeps_what_was_acknowledged() {
    let mut site = Site::start();
    assert_eq!(site.ask("order 1"), "done");
    site.disk.fill(".db").unwrap();
    let full = "Unavailable: the database's disk is full; free space on it";
    for id in 2..4 {
        assert_eq!(site.ask(&format!("order {id}")), full);
    }
    // A group that is lost is lost for all.
    assert_eq!(site.ask("orders 10 74"), "Unavailable");
    assert_eq!(site.ask("list"), "[1]");
    site.disk.heal().unwrap();
    assert_eq!(site.ask("order 4"), "done");
    assert_eq!(site.ask("list"), "[1, 4]");
    // What was refused is not found after a crash either.
    site.disk.fill(".db").unwrap();
    assert_eq!(site.ask("order 5"), full);
    site.disk.heal().unwrap();
    let mut site = site.killed_and_started();
    assert_eq!(site.ask("list"), "[1, 4]");
    assert_eq!(site.ask("order 5"), "done");
}

#[test]
fn a_commit_without_its_sync_is_unknown() {
    let unknown = "Unknown: whether the transaction committed is not known; ask again with the same key";
    let mut site = Site::start();
    assert_eq!(site.ask("order 1"), "done");
    site.disk.fail_syncs("-wal").unwrap();
    assert_eq!(site.ask("order 2"), unknown);
    assert_eq!(site.ask("orders 10 74"), "Unknown");
    assert_eq!(site.ask("list"), "[1]", "who reads must not see what may not be there");
    site.disk.heal().unwrap();
    // What comes next takes the place of what failed.
    assert_eq!(site.ask("order 3"), "done");
    assert_eq!(site.ask("list"), "[1, 3]");
    let mut site = site.killed_and_started();
    assert_eq!(site.ask("list"), "[1, 3]");
    // Why it is unknown: if nothing comes next, a crash brings it to light.
    site.disk.fail_syncs("-wal").unwrap();
    assert_eq!(site.ask("order 4"), unknown);
    assert_eq!(site.ask("list"), "[1, 3]");
    site.disk.heal().unwrap();
    let mut site = site.killed_and_started();
    assert_eq!(site.ask("list"), "[1, 3, 4]");
}

#[test]
fn a_store_that_cannot_open_says_where_and_what_to_do() {
    let mut site = Site::start();
    assert_eq!(site.ask("order 1"), "done");
    site.disk.fill(".db").unwrap();
    let mut site = site.killed_and_started();
    let said = site.ask("list");
    let file = site.dir.path().join(MODULE).join("shared.db");
    assert!(said.starts_with(&format!("Unavailable: {} cannot be used", file.display())), "{said}");
    assert!(said.contains("free space"), "{said}");
    site.disk.heal().unwrap();
    let mut site = site.killed_and_started();
    assert_eq!(site.ask("list"), "[1]");
}
