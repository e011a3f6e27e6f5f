//! The shop's binary as a test starts it: real processes, a data directory of its own, seeded ids, a clock that stands still.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::path::Path;
use std::time::{Duration, Instant};

use drystone_testkit::{Http, Program};
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
    /// Three processes.
    Split,
}

/// A running shop.
pub(crate) struct Shop {
    pub(crate) program: Program,
    pub(crate) http: Http,
    /// Where it listens, as in `127.0.0.1:8080`.
    pub(crate) address: String,
    shape: Shape,
    data: TempDir,
}

impl Shop {
    /// Starts a shop on an empty data directory, all its processes ready.
    pub(crate) async fn start(shape: Shape) -> Self {
        Self::start_on(shape, TempDir::new().expect("a temporary directory")).await
    }

    async fn start_on(shape: Shape, data: TempDir) -> Self {
        let (program, address) = launch(shape, data.path());
        let http = Http::new(&format!("http://{address}"));
        let began = Instant::now();
        while http.get("/readyz").await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", http.get("/readyz").await);
            tokio::task::yield_now().await;
        }
        Self { program, http, address, shape, data }
    }

    /// Kills it as `kill -9` does, and starts it again on the same data.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.program.kill();
        let Self { shape, data, .. } = self;
        Self::start_on(shape, data).await
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

fn launch(shape: Shape, data: &Path) -> (Program, String) {
    let (args, env): (&[&str], &[(&str, &str)]) = match shape {
        Shape::Whole => (&["run"], &[]),
        Shape::Encoded => (&["run"], &[("DRYSTONE__CALLS__RUNNER", "encoded")]),
        Shape::Split => (&["up", "--topology", SPLIT], &[]),
    };
    let mut program = run(args, data, env);
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
