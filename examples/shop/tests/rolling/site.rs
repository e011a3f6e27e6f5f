//! The shop as `main` and two replicas of `inventory`, each a process with a data directory of its own, on one database; the replicas are found by a file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use drystone_testkit::{Answer, Database, Http, Program, eventually};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{migrated_database, run};
use crate::told;

/// The items that are ordered, with so many units of each.
const ITEMS: [&str; 3] = ["tea-assam", "tea-sencha", "pot-clay"];
const UNITS: i64 = 100_000;

/// Which of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// It listens where it did before.
    First,
    /// It takes a free port at each start.
    Second,
}

/// A running shop.
pub(crate) struct Site {
    pub(crate) http: Http,
    /// Stopped first, since it is declared first: callers before those they call.
    _main: Program,
    replicas: BTreeMap<usize, Replica>,
    /// Units of each item at the beginning.
    before: BTreeMap<&'static str, i64>,
    env: Vec<(String, String)>,
    dir: TempDir,
}

struct Replica {
    program: Program,
    address: String,
    data: TempDir,
}

impl Site {
    /// Starts everything on a new database, with units enough of every item and more settings.
    pub(crate) async fn start(more: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let database = tokio::task::block_in_place(migrated_database);
        let mut env = settings(&dir, &database);
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let replicas: BTreeMap<usize, Replica> = [Slot::First, Slot::Second]
            .map(|slot| (slot as usize, Replica::start(&dir, &env, "127.0.0.1:0")))
            .into();
        write_addresses(&dir, &replicas);
        let data = dir.path().join("main");
        std::fs::create_dir(&data).expect("a new directory");
        let mut main = start_process("main", &dir, &data, &env);
        let http = Http::new(&tokio::task::block_in_place(|| main.wait_for("REST and gRPC")));
        eventually("the shop is ready", async || (http.get("/readyz").await.status == 200).then_some(()))
            .await;
        let mut site = Self { http, _main: main, replicas, before: BTreeMap::new(), env, dir };
        site.all_are_well().await;
        site.fill().await;
        site
    }

    async fn fill(&mut self) {
        for sku in ITEMS {
            let price = json!({"currencyCode": "EUR", "minorUnits": "1250"});
            let body = json!({"quantity": UNITS, "title": sku, "price": price}).to_string();
            let answer = self.http.post(&format!("/v1/stock/{sku}:add"), &format!("fill-{sku}"), &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            self.before.insert(sku, answer.json()["available"].as_i64().expect("a number"));
        }
    }

    /// Ends a replica by a signal and starts it again; comes back when its callers have found it.
    pub(crate) async fn restart(&mut self, slot: Slot, signal: i32) {
        let mut old = self.replicas.remove(&(slot as usize)).expect("both replicas run");
        old.program.signal(signal);
        let (status, said) = tokio::task::block_in_place(|| old.program.wait_for_end());
        assert!(status.success() || signal == 9, "{status}: {said}");
        assert!(!said.contains("calls of other processes were cut off"), "{said}");
        let listen = match slot {
            Slot::First => old.address.clone(),
            Slot::Second => "127.0.0.1:0".to_owned(),
        };
        let new = tokio::task::block_in_place(|| Replica::start(&self.dir, &self.env, &listen));
        assert_eq!(new.address == old.address, slot == Slot::First, "{} after {}", new.address, old.address);
        self.replicas.insert(slot as usize, new);
        write_addresses(&self.dir, &self.replicas);
        self.all_are_well().await;
    }

    /// Waits until `main` knows both replicas and calls them.
    async fn all_are_well(&self) {
        eventually("both replicas are well", async || {
            let well = self.metric("drystone_replicas{module=\"inventory\",state=\"well\"}").await;
            (well == 2).then_some(())
        })
        .await;
    }

    /// A counter of `main`.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.http.get("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    }

    /// Asserts that each of these orders happened once, and nothing else did.
    pub(crate) async fn holds(&self, placed: &BTreeMap<String, Answer>) {
        let mut sold: BTreeMap<String, i64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for (key, answer) in placed {
            let order = answer.json();
            assert_eq!(order["state"], "ORDER_STATE_CONFIRMED", "{key}: {answer:?}");
            let id = order["id"].as_str().expect("an id").to_owned();
            let charge = self.http.get(&format!("/v1/charges/{id}")).await.json();
            assert_eq!(charge["state"], "CHARGE_STATE_CAPTURED", "{key}");
            *sold.entry(order["sku"].as_str().expect("an item").to_owned()).or_default() += 1;
            assert!(ids.insert(id), "{key} has the order of another key");
        }
        for (sku, before) in &self.before {
            let stock = self.http.get(&format!("/v1/stock/{sku}")).await.json();
            let expected = before - sold.get(*sku).copied().unwrap_or_default();
            let number = |name: &str| stock[name].as_i64();
            assert_eq!((number("available"), number("reserved")), (Some(expected), Some(0)), "{sku}");
        }
        for state in ["PLACING", "DECLINED", "CANCELLED"] {
            let left = self.http.get(&format!("/v1/orders?state=ORDER_STATE_{state}")).await.json();
            assert_eq!(left["orders"].as_array().map(Vec::len), Some(0), "{state}");
        }
        told::orders_are_told(&self.http, "demo", ids).await;
    }
}

impl Replica {
    fn start(dir: &TempDir, env: &[(String, String)], listen: &str) -> Self {
        let data = TempDir::new_in(dir.path()).expect("a new directory");
        let mut env = env.to_vec();
        env.push(("DRYSTONE__PROCESSES__INVENTORY__LISTEN".to_owned(), listen.to_owned()));
        let mut program = start_process("inventory", dir, data.path(), &env);
        let said = program.wait_for("other processes");
        let address = said.split(' ').next().expect("an address").to_owned();
        Self { program, address, data }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Its data are in the database: what it leaves in its directory is its process file and its socket.
        assert!(!self.data.path().join("modules").exists(), "the replica has files of SQLite");
    }
}

/// Settings of all processes: one database, one authority for their certificates, and where they find each other.
fn settings(dir: &TempDir, database: &Database) -> Vec<(String, String)> {
    let main = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut topology = format!(
        "[processes.main]\nlisten = \"{main}\"\n[processes.inventory]\nmodules = [\"inventory\"]\nreach = \"file:{}\"\n",
        path("replicas"),
    );
    // A machine that is busy with other tests shall fail no call for its slowness alone.
    for contract in ["orders.v1.Orders", "inventory.v1.Inventory", "payments.v1.Payments", "users.v1.Users"] {
        topology += &format!("[calls.contract.\"shop.{contract}\"]\ntimeout = \"20s\"\n");
    }
    std::fs::write(dir.path().join("topology.toml"), topology).expect("a new file");
    [("DRYSTONE__STORE__URL", database.url.clone()), ("DRYSTONE__APP__CERTIFICATES", path("certificates"))]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// Written whole, by rename, as whoever keeps such a file should.
fn write_addresses(dir: &TempDir, replicas: &BTreeMap<usize, Replica>) {
    let lines: String = replicas.values().map(|replica| format!("{}\n", replica.address)).collect();
    let (path, fresh) = (dir.path().join("replicas"), dir.path().join("replicas.new"));
    std::fs::write(&fresh, lines)
        .and_then(|()| std::fs::rename(&fresh, &path))
        .expect("a file of the test's own");
}

fn start_process(name: &str, dir: &TempDir, data: &std::path::Path, env: &[(String, String)]) -> Program {
    let topology = dir.path().join("topology.toml").display().to_string();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    run(&["run", "--process", name, "--topology", &topology], data, &env)
}
