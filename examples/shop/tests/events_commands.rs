//! `shop events ...`: what an operator sees of events and does about them, beside a shop that runs, whole and taken apart, and without one; on both databases.

#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;

use std::path::Path;

use drystone_testkit::{Database, Http, On, Postgres, Program, eventually};
use serde_json::Value;
use support::{SPLIT, Shape, migrated_database, order};
use tempfile::TempDir;

/// What cannot be told about.
const UNSPEAKABLE: &str = "tea-assam";
const SPEAKABLE: &str = "tea-sencha";
/// No message is tried twice: the clock of these tests stands still, and nothing would ever be due.
const ONCE: (&str, &str) = ("DRYSTONE__EVENTS__ATTEMPTS", "1");

/// A shop of which any process may be gone.
struct Site {
    shape: Shape,
    data: TempDir,
    database: Option<Database>,
    running: Option<(Program, Http)>,
    orders: usize,
}

impl Site {
    async fn start(shape: Shape, on: On) -> Self {
        let database = (on == On::Postgres).then(migrated_database);
        let data = TempDir::new().expect("a temporary directory");
        let mut site = Self { shape, data, database, running: None, orders: 0 };
        site.start_again().await;
        site
    }

    async fn start_again(&mut self) {
        let args: &[&str] = if self.shape == Shape::Split { &["up", "--topology", SPLIT] } else { &["run"] };
        let mut program = support::run(args, self.data.path(), &self.env());
        let url = program.wait_for("REST and gRPC");
        let http = Http::new(url.trim_end_matches('/'));
        eventually("the shop is ready", async || (http.get("/readyz").await.status == 200).then_some(()))
            .await;
        self.running = Some((program, http));
    }

    fn kill(&mut self) {
        self.running.take().expect("it runs").0.kill();
    }

    fn env(&self) -> Vec<(&str, &str)> {
        let mut env = vec![ONCE];
        env.extend(self.database.as_ref().map(|database| ("DRYSTONE__STORE__URL", &*database.url)));
        env
    }

    fn http(&self) -> &Http {
        &self.running.as_ref().expect("it runs").1
    }

    /// Runs `shop events ...` and gives what it said.
    fn command(&self, args: &[&str]) -> (bool, String) {
        let args: Vec<&str> = ["events"].iter().chain(args).copied().collect();
        let (status, said) = support::run(&args, self.data.path(), &self.env()).wait_for_end();
        (status.success(), said)
    }

    fn done(&self, args: &[&str]) -> String {
        let (ok, said) = self.command(args);
        assert!(ok, "{args:?}: {said}");
        said
    }

    fn refused(&self, args: &[&str]) -> String {
        let (ok, said) = self.command(args);
        assert!(!ok, "{args:?}: {said}");
        said
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(args)).expect("JSON")
    }

    /// Makes notifications about one item impossible, or possible again, behind the back of the shop.
    fn break_notifications(&self, broken: bool) {
        if let Some(database) = &self.database {
            let sql = if broken {
                format!(
                    "alter table notifications.notifications add constraint unspeakable check (sku <> '{UNSPEAKABLE}') not valid"
                )
            } else {
                "alter table notifications.notifications drop constraint unspeakable".to_owned()
            };
            Postgres::of_process().query(database, &sql).expect("the server does it");
            return;
        }
        let file = self.data.path().join("modules/notifications/tenants/demo.db");
        let connection = rusqlite::Connection::open(file).expect("the tenant's file");
        connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a time limit");
        let sql = if broken {
            format!(
                "create trigger unspeakable before insert on notifications when new.sku = '{UNSPEAKABLE}' \
                 begin select raise(abort, 'unspeakable'); end"
            )
        } else {
            "drop trigger unspeakable".to_owned()
        };
        connection.execute_batch(&sql).expect("the file takes it");
    }

    /// Places an order and gives its id.
    async fn order(&mut self, sku: &str) -> String {
        self.orders += 1;
        let key = format!("\"o{}\"", self.orders);
        let placed = self
            .http()
            .send("POST", "/v1/orders", &[("idempotency-key", &key)], &order(sku, 1, "tok_visa"))
            .await;
        assert_eq!(placed.status, 200, "{placed:?}");
        placed.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until the key of an order is parked with its second event behind it, and gives the message's id.
    async fn parked(&self, order: &str) -> String {
        eventually("the order's key is parked", async || {
            let held = self.json(&["list", "--consumer", "notifications", "--state", "parked", "--json"]);
            let held = held.as_array().expect("a list").iter().find(|key| key["key"] == order)?.clone();
            (held["behind"] == 1).then(|| held["id"].as_str().expect("an id").to_owned())
        })
        .await
    }

    /// Waits until exactly this is told about an order.
    async fn told(&self, order: &str, kinds: &[&str]) {
        eventually(format!("{kinds:?} of {order}"), async || {
            let told = told::all(self.http(), "demo", &format!("orderId={order}")).await?;
            let mut seen: Vec<&str> = told.iter().map(|told| &*told.kind).collect();
            seen.reverse();
            (seen == kinds).then_some(())
        })
        .await;
    }

    fn consumer(&self, name: &str) -> Value {
        let status = self.json(&["status", "--json"]);
        let modules = status.as_array().expect("a list").iter();
        let mut lines = modules.flat_map(|module| module["consumers"].as_array().expect("a list").clone());
        lines.find(|line| line["consumer"] == name).unwrap_or_else(|| panic!("no {name}: {status:#}"))
    }
}

/// An operator's day, from the first message that fails.
async fn a_day(shape: Shape, on: On) {
    let mut site = Site::start(shape, on).await;
    let well = site.order(SPEAKABLE).await;
    site.told(&well, &["ORDER_PLACED", "ORDER_CONFIRMED"]).await;
    assert_eq!(site.done(&["list"]), "nothing is held back");
    site.break_notifications(true);
    let order = site.order(UNSPEAKABLE).await;
    let id = site.parked(&order).await;
    seen(&site, &id, &order).await;
    edited(&site, &id, &order).await;
    dropped(&mut site).await;
    replayed_while_nothing_runs(&mut site).await;
    sent_again(&mut site).await;
}

/// What is parked is seen from every side, and the rest goes on.
async fn seen(site: &Site, id: &str, order: &str) {
    let said = site.done(&["list", "--tenant", "demo"]);
    assert!(said.contains(id) && said.contains(order) && said.contains("parked"), "{said}");
    assert!(said.contains("shop.orders.v1.OrderPlaced failed: "), "{said}");
    let said = site.done(&["show", id]);
    for part in [
        "consumer     notifications of module notifications",
        "source       orders, number ",
        "\"sku\": \"tea-assam\"",
        order,
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let status = site.done(&["status"]);
    assert!(
        status.contains("! notifications: keys that are parked and wait for you: 1; `shop events list "),
        "{status}"
    );
    let checked = site.refused(&["status", "--check"]);
    assert!(
        checked.contains(
            "error[DRY-R010]: events status --check: notifications: keys that are parked and wait for you: 1"
        ),
        "{checked}"
    );
    let counted = site.consumer("notifications");
    assert_eq!(
        (&counted["parked_keys"], &counted["held_messages"]),
        (&Value::from(1), &Value::from(2)),
        "{counted}"
    );
    assert!(counted["counted"]["applied"].as_u64().expect("a process counts") >= 2, "{counted}");
    if site.shape == Shape::Whole {
        let gauge = "drystone_events_parked_keys{module=\"notifications\",consumer=\"notifications\"} 1";
        eventually("the gauge", async || {
            site.http().get("/metrics").await.body.contains(gauge).then_some(())
        })
        .await;
    }
    for (args, expected) in [
        (
            vec!["show", "00000000-0000-7000-8000-000000000000"],
            "is held back; `shop events list` shows those that are",
        ),
        (vec!["replay", "--consumer", "mail", "--all"], "there is no consumer `mail`; there are "),
        (
            vec!["replay", "--consumer", "inventory", "--key", "x"],
            "consumer inventory holds nothing like that",
        ),
        (vec!["redrive", "--since", "8d"], "messages are kept for 7 days (events.retention_days)"),
        (vec!["redrive", "--since", "soon"], "\"soon\" is neither a moment"),
        (vec!["redrive", "--since", "1h", "--consumer", "mail"], "there are "),
    ] {
        let said = site.refused(&args);
        assert!(said.contains(expected), "{args:?}: {said}");
    }
}

/// A message is given content that can be told, and its key goes on in order.
async fn edited(site: &Site, id: &str, order: &str) {
    let shown = site.json(&["show", id, "--json"]);
    let file = site.data.path().join("event.json");
    let edit = |event: &Value| {
        std::fs::write(&file, event.to_string()).expect("a file");
        site.command(&["edit", id, "--json", file.to_str().expect("UTF-8")])
    };
    let mut event = shown[0]["event"].clone();
    event["orderId"] = "another".into();
    let (ok, said) = edit(&event);
    assert!(!ok && said.contains("a message keeps its key"), "{said}");
    event["orderId"] = order.into();
    event["skew"] = "tea".into();
    let (ok, said) = edit(&event);
    assert!(!ok && said.contains("skew"), "{said}");
    event.as_object_mut().expect("an object").remove("skew");
    event["sku"] = SPEAKABLE.into();
    let (ok, said) = edit(&event);
    assert!(ok, "{said}");
    assert_eq!(site.consumer("notifications")["parked_keys"], 1, "an edit alone tries nothing");
    site.done(&["replay", "--consumer", "notifications", "--key", order]);
    site.told(order, &["ORDER_PLACED", "ORDER_CONFIRMED"]).await;
}

/// A message is given up, and what stands behind it goes on.
async fn dropped(site: &mut Site) {
    let order = site.order(UNSPEAKABLE).await;
    let id = site.parked(&order).await;
    let said = site.refused(&["drop", &id]);
    assert!(said.contains(&format!("confirm with --yes {id}")), "{said}");
    site.done(&["drop", &id, "--yes", &id]);
    site.told(&order, &["ORDER_CONFIRMED"]).await;
}

/// What an operator decides while no process runs is done when one runs again.
async fn replayed_while_nothing_runs(site: &mut Site) {
    let order = site.order(UNSPEAKABLE).await;
    site.parked(&order).await;
    site.kill();
    site.break_notifications(false);
    // Children end on their own when their parent is gone.
    eventually("all processes have ended", async || {
        let (ok, said) = site.command(&["status", "--json"]);
        let status: Value = serde_json::from_str(&said).ok().filter(|_| ok)?;
        status.as_array()?.iter().all(|module| module["processes"] == serde_json::json!([])).then_some(())
    })
    .await;
    let said = site.done(&["replay", "--consumer", "notifications", "--all"]);
    assert_eq!(
        said,
        "keys of notifications that are tried again once a process runs that hosts the module: 1"
    );
    assert!(site.done(&["status"]).contains("notifications"));
    site.start_again().await;
    site.told(&order, &["ORDER_PLACED", "ORDER_CONFIRMED"]).await;
}

/// Everything is sent again, and nothing is told twice.
async fn sent_again(site: &mut Site) {
    let everything = async |site: &Site| told::all(site.http(), "demo", "").await.expect("the shop answers");
    eventually("nothing waits", async || {
        let status = site.json(&["status", "--json"]);
        let modules = status.as_array().expect("a list").iter();
        let mut pumps = modules.flat_map(|module| module["pumps"].as_array().expect("a list").clone());
        pumps.all(|pump| pump["lag"] == 0).then_some(())
    })
    .await;
    let before = everything(site).await;
    let repeated = |site: &Site| {
        site.consumer("notifications")["counted"]["repeated"].as_u64().expect("a process counts")
    };
    let known = repeated(site);
    let said = site.done(&[
        "redrive",
        "--since",
        "2026-01-01T00:00:00Z",
        "--module",
        "orders",
        "--consumer",
        "notifications",
    ]);
    assert!(said.starts_with("orders to notifications") && !said.contains("to inventory"), "{said}");
    eventually("eight repeats", async || (repeated(site) >= known + 8).then_some(())).await;
    assert_eq!(everything(site).await, before);
    let next = site.order(SPEAKABLE).await;
    site.told(&next, &["ORDER_PLACED", "ORDER_CONFIRMED"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_day_beside_the_whole_shop_on_sqlite() {
    a_day(Shape::Whole, On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_day_beside_the_shop_taken_apart_on_sqlite() {
    a_day(Shape::Split, On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_day_beside_the_whole_shop_on_postgres() {
    a_day(Shape::Whole, On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_day_beside_the_shop_taken_apart_on_postgres() {
    a_day(Shape::Split, On::Postgres).await;
}

#[test]
fn nothing_is_needed_to_look_at_nothing() {
    let data = TempDir::new().expect("a temporary directory");
    let run = |args: &[&str], data: &Path| support::run(args, data, &[]).wait_for_end();
    let (status, said) = run(&["events", "status"], data.path());
    assert!(status.success() && said.contains("orders") && said.contains("notifications"), "{said}");
    let (status, said) = run(&["events", "redrive", "--since", "1h"], data.path());
    assert!(
        status.success() && said.starts_with("nothing that was published since 2025-12-31T23:00:00Z"),
        "{said}"
    );
    let (status, said) = run(&["events", "replay", "--consumer", "notifications"], data.path());
    assert!(!status.success() && said.contains("--key"), "{said}");
}

#[test]
fn the_graph_shows_what_modules_tell_each_other() {
    let data = TempDir::new().expect("a temporary directory");
    let (status, said) = support::run(&["graph", "--topology", SPLIT], data.path(), &[]).wait_for_end();
    assert!(
        status.success() && said.contains("    handles shop.orders.v1.OrderPlaced (orders, remote)\n"),
        "{said}"
    );
    let (status, said) = support::run(&["graph", "--mermaid"], data.path(), &[]).wait_for_end();
    assert!(status.success(), "{said}");
    assert!(
        said.contains("  orders -.->|OrderCancelled, OrderConfirmed, OrderPlaced| notifications"),
        "{said}"
    );
    assert!(said.contains("  inventory -.->|StockLow| notifications\n"), "{said}");
}
