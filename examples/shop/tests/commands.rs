//! The commands of the shop's binary, beside a shop that runs whole or taken apart, and from one database to another.

#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;

use std::path::Path;

use drystone_testkit::Answer;
use serde_json::Value;
use support::{Shape, Shop, migrated_database, order};
use tempfile::TempDir;

const TENANT: (&str, &str) = ("drystone-tenant", "bolt");

/// Runs a command of the binary on a data directory and gives what it said.
fn command(args: &[&str], data: &Path, store: Option<&str>) -> (bool, String) {
    let env: Vec<(&str, &str)> = store.map(|url| ("DRYSTONE__STORE__URL", url)).into_iter().collect();
    let (status, said) = support::run(args, data, &env).wait_for_end();
    (status.success(), said)
}

/// As [`command`], of one that succeeds.
fn done(args: &[&str], data: &Path, store: Option<&str>) -> String {
    let (ok, said) = command(args, data, store);
    assert!(ok, "{args:?}: {said}");
    said
}

async fn post(shop: &Shop, path: &str, key: &str, body: &str) -> Answer {
    let key = format!("\"{key}\"");
    shop.http.send("POST", path, &[TENANT, ("idempotency-key", &key)], body).await
}

async fn get(shop: &Shop, path: &str) -> Answer {
    shop.http.send("GET", path, &[TENANT], "").await
}

/// Makes a user and stock in the tenant and places an order; the order's answer and its body.
async fn place_order(shop: &Shop) -> (Answer, String) {
    let user = post(shop, "/v1/users", "u", r#"{"email":"bo@example.com","displayName":"Bo"}"#).await;
    assert_eq!(user.status, 200, "{user:?}");
    let stock = r#"{"quantity":5,"title":"Assam","price":{"currencyCode":"EUR","minorUnits":"1250"}}"#;
    let stock = post(shop, "/v1/stock/tea-assam:add", "s", stock).await;
    assert_eq!(stock.status, 200, "{stock:?}");
    let id = user.json()["id"].as_str().expect("an id").to_owned();
    let body = order("tea-assam", 2, "tok_visa").replace("ada", &id);
    let placed = post(shop, "/v1/orders", "o", &body).await;
    assert_eq!(placed.status, 200, "{placed:?}");
    (placed, body)
}

fn rest(archive: &Path) -> String {
    let text = std::fs::read_to_string(archive).expect("an archive");
    text.split_once('\n').expect("a header").1.to_owned()
}

/// A tenant's life beside a running shop: created, worked for, suspended, exported, deleted, imported, all there.
async fn a_tenants_life(shape: Shape) -> (Shop, TempDir) {
    let shop = Shop::start(shape).await;
    let files = TempDir::new().expect("a temporary directory");
    let (first, again) = (files.path().join("first"), files.path().join("again"));
    let tell = |args: &[&str]| done(args, shop.data(), None);

    let unknown = get(&shop, "/v1/orders?userId=bo").await;
    assert_eq!((unknown.status, &unknown.json()["reason"]), (404, &Value::from("TENANT_UNKNOWN")));
    let said = tell(&["tenants", "create", "bolt"]);
    assert!(said.contains("tenant bolt is created in orders, "), "{said}");
    let (placed, body) = place_order(&shop).await;
    let path = format!("/v1/orders/{}", placed.json()["id"].as_str().expect("an id"));
    // Placed, confirmed, and its item is low.
    told::so_many(&shop.http, TENANT.1, "", 3).await;

    tell(&["tenants", "suspend", "bolt"]);
    let refused = get(&shop, &path).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (403, &Value::from("TENANT_SUSPENDED")));
    assert!(tell(&["tenants", "list"]).contains("bolt    suspended  2026-01-01T00:00:00Z"));
    tell(&["tenants", "export", "bolt", "--to", first.to_str().expect("UTF-8")]);
    tell(&["tenants", "delete", "bolt", "--yes", "bolt"]);
    assert_eq!(get(&shop, &path).await.status, 404);
    tell(&["tenants", "import", first.to_str().expect("UTF-8")]);

    let read = get(&shop, &path).await;
    assert_eq!((read.status, &read.body), (200, &placed.body));
    let replayed = post(&shop, "/v1/orders", "o", &body).await;
    assert_eq!((&replayed.body, replayed.header("idempotency-replayed")), (&placed.body, "true"));
    told::so_many(&shop.http, TENANT.1, "", 3).await;
    tell(&["tenants", "suspend", "bolt"]);
    tell(&["tenants", "export", "bolt", "--to", again.to_str().expect("UTF-8")]);
    assert_eq!(rest(&first), rest(&again), "row for row");
    (shop, files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_lives_beside_the_whole_shop_moves_to_postgres_and_back() {
    let (shop, files) = a_tenants_life(Shape::Whole).await;
    let database = migrated_database();
    let there = Some(&*database.url);
    let said = done(&["tenants", "move", "bolt", "--to", &database.url], shop.data(), None);
    assert!(said.contains("tenant bolt is at postgres://"), "{said}");
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let orders = said.lines().map(cells).find(|cells| cells.len() == 6 && cells[2] == "orders");
    let orders = orders.unwrap_or_else(|| panic!("no line of the orders: {said}"));
    assert_eq!(
        (&*orders[0], &*orders[1], &*orders[3], &*orders[5]),
        ("bolt", "orders", "1", "yes"),
        "{said}"
    );

    // Where it was suspended it is suspended there; nobody has to be asked on PostgreSQL.
    let nowhere = files.path();
    done(&["tenants", "resume", "bolt"], nowhere, there);
    done(&["tenants", "suspend", "bolt"], nowhere, there);
    let back = files.path().join("back");
    let url = format!("sqlite:{}", back.join("modules").display());
    done(&["tenants", "move", "bolt", "--to", &url], nowhere, there);
    let last = files.path().join("last");
    done(&["tenants", "export", "bolt", "--to", last.to_str().expect("UTF-8")], &back, None);
    assert_eq!(rest(&files.path().join("first")), rest(&last), "row for row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_lives_beside_the_shop_taken_apart() {
    let (shop, _files) = a_tenants_life(Shape::Split).await;
    let status = done(&["db", "status"], shop.data(), None);
    for (module, process) in [
        ("orders", "main"),
        ("inventory", "inventory"),
        ("payments", "payments"),
        ("notifications", "notifications"),
    ] {
        let of_module = |line: &&str| line.starts_with(module);
        let line = status.lines().find(of_module).unwrap_or_else(|| panic!("no {module}: {status}"));
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert!(cells[1] == process && cells.contains(&"yes"), "{status}");
    }
    assert!(status.lines().all(|line| line.len() <= 110), "{status}");
    let json: Value =
        serde_json::from_str(&done(&["db", "status", "--json"], shop.data(), None)).expect("JSON");
    let orders =
        json.as_array().expect("a list").iter().find(|one| one["module"] == "orders").expect("orders");
    assert_eq!(orders["processes"][0]["pid"], shop.pid_of("main"), "{json:#}");
    assert_eq!(orders["status"]["tenants"]["suspended"], 1, "{json:#}");
    assert_eq!(orders["status"]["tenants"]["active"], 2, "{json:#}");
    let migrated = done(&["migrate"], shop.data(), None);
    assert!(migrated.contains("owns the files, and migrates each when it opens it"), "{migrated}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_shop_the_commands_work_all_the_same() {
    let data = TempDir::new().expect("a temporary directory");
    let (ok, said) = command(&["tenants", "suspend", "bolt"], data.path(), None);
    assert!(!ok && said.contains("there is no tenant bolt; `shop tenants list` shows them"), "{said}");
    assert!(done(&["tenants", "list"], data.path(), None).contains("there are no tenants"));
    done(&["tenants", "create", "bolt"], data.path(), None);
    assert!(done(&["tenants", "list"], data.path(), None).contains("bolt    active"));
    let migrated = done(&["migrate"], data.path(), None);
    assert!(migrated.contains("the shared file and 1 files of tenants are at this version"), "{migrated}");
    let (ok, said) = command(&["migrate", "--module", "stock"], data.path(), None);
    assert!(!ok && said.contains("there is no module `stock`; there are users, inventory,"), "{said}");
    let status = done(&["db", "status"], data.path(), None);
    assert!(status.starts_with("shop at sqlite:"), "{status}");
}
