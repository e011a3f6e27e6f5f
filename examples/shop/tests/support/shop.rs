//! The shop's binary as a test starts it: real processes, a data directory of its own, seeded ids, a clock that stands still.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::path::Path;
use std::time::{Duration, Instant};

use drystone_testkit::{Database, Http, On, Postgres, Program};
use tempfile::TempDir;

/// The topology that takes the shop apart.
pub(crate) const SPLIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/split.toml");

/// How the shop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One process, messages move.
    Whole,
    /// One process, messages are encoded and decoded.
    Encoded,
    /// One process, with the faults that the call stack absorbs between its modules.
    Faulty,
    /// Four processes.
    Split,
    /// Four processes, with the same faults on top of the wires between them.
    SplitFaulty,
}

/// A running shop.
pub(crate) struct Shop {
    pub(crate) program: Program,
    pub(crate) http: Http,
    /// Where it listens, as in `127.0.0.1:8080`.
    pub(crate) address: String,
    /// Where its modules' data are, if that is not the data directory; gone with the server of the test's process.
    pub(crate) database: Option<Database>,
    shape: Shape,
    data: TempDir,
}

impl Shop {
    /// Starts a shop on an empty data directory, all its processes ready.
    pub(crate) async fn start(shape: Shape) -> Self {
        Self::start_on(shape, On::Sqlite).await
    }

    /// Starts a shop without data, on a database of its own if that is PostgreSQL, all its processes ready.
    pub(crate) async fn start_on(shape: Shape, on: On) -> Self {
        let database = match on {
            On::Sqlite => None,
            On::Postgres => Some(migrated_database()),
        };
        Self::start_with(shape, database, empty()).await
    }

    /// Starts a second shop in one process: on a data directory of its own, in the database of this one.
    ///
    /// # Panics
    /// If this one is not on PostgreSQL.
    pub(crate) async fn replica(&self) -> Self {
        let database = self.database.clone().expect("replicas share a database of PostgreSQL");
        Self::start_with(Shape::Whole, Some(database), empty()).await
    }

    async fn start_with(shape: Shape, database: Option<Database>, data: TempDir) -> Self {
        let (program, address) = launch(shape, database.as_ref(), data.path());
        let http = Http::new(&format!("http://{address}"));
        let began = Instant::now();
        while http.get("/readyz").await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", http.get("/readyz").await);
            tokio::task::yield_now().await;
        }
        Self { program, http, address, database, shape, data }
    }

    /// On which database the running shop really is: whether it has files of SQLite, and connections to PostgreSQL.
    pub(crate) fn stands_on(&self) -> (bool, bool) {
        let connections = |database| Postgres::of_process().connections(database).expect("the server counts");
        let connected = self.database.as_ref().is_some_and(|database| connections(database) > 0);
        (self.data.path().join("modules").exists(), connected)
    }

    /// Kills it as `kill -9` does, and starts it again on the same data.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.program.kill();
        let Self { shape, database, data, .. } = self;
        Self::start_with(shape, database, data).await
    }

    /// Stops it in order, and starts it again on the same data.
    ///
    /// # Panics
    /// If it does not end well.
    pub(crate) async fn stop_and_restart(mut self) -> Self {
        self.program.signal(2);
        let (status, said) = self.program.wait_for_end();
        assert!(status.success(), "{status}: {said}");
        let Self { shape, database, data, .. } = self;
        Self::start_with(shape, database, data).await
    }

    /// The process id of one process of the topology.
    pub(crate) fn pid_of(&self, process: &str) -> u32 {
        pid_of(self.data.path(), process)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }
}

fn empty() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// A database of PostgreSQL that the binary has migrated, as an operator does it before the first start.
pub(crate) fn migrated_database() -> Database {
    let database = Postgres::of_process().database().expect("the server makes a database");
    let env =
        [("DRYSTONE__STORE__URL", &*database.url), ("DRYSTONE__STORE__OWNER_URL", &*database.owner_url)];
    let (status, said) = run(&["migrate"], empty().path(), &env).wait_for_end();
    assert!(status.success(), "{said}");
    database
}

fn launch(shape: Shape, database: Option<&Database>, data: &Path) -> (Program, String) {
    let args: &[&str] = match shape {
        Shape::Whole | Shape::Encoded | Shape::Faulty => &["run"],
        Shape::Split | Shape::SplitFaulty => &["up", "--topology", SPLIT],
    };
    let mut env = vec![("DRYSTONE__TENANTS__CREATE", r#"["demo", "acme"]"#)];
    match shape {
        Shape::Encoded => env.push(("DRYSTONE__CALLS__RUNNER", "encoded")),
        Shape::Faulty | Shape::SplitFaulty => env.push(("DRYSTONE__REHEARSAL__SEED", "7")),
        Shape::Whole | Shape::Split => {}
    }
    env.extend(database.map(|database| ("DRYSTONE__STORE__URL", &*database.url)));
    let mut program = run(args, data, &env);
    let url = program.wait_for("REST and gRPC");
    (program, url.trim_start_matches("http://").trim_end_matches('/').to_owned())
}

/// Starts the shop's binary with the settings of a test.
pub(crate) fn run(args: &[&str], data: &Path, more: &[(&str, &str)]) -> Program {
    let text = data.display().to_string();
    let mut env = vec![
        ("DRYSTONE__APP__DATA", text.as_str()),
        ("DRYSTONE__GATEWAY__LISTEN", "127.0.0.1:0"),
        ("DRYSTONE__DETERMINISM__SEED", "7"),
        ("DRYSTONE__DETERMINISM__CLOCK", "2026-01-01T00:00:00Z"),
    ];
    env.extend_from_slice(more);
    Program::start(env!("CARGO_BIN_EXE_shop"), args, &env, data)
}

/// The process id that a process left in its file.
pub(crate) fn pid_of(data: &Path, process: &str) -> u32 {
    let text =
        std::fs::read_to_string(data.join("run").join(format!("{process}.json"))).expect("the process file");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    file["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id")
}

/// The body of an order.
pub(crate) fn order(sku: &str, quantity: u32, card: &str) -> String {
    format!(r#"{{"userId":"ada","sku":"{sku}","quantity":{quantity},"cardToken":"{card}"}}"#)
}
