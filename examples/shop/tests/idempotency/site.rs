//! A shop of this suite: started, killed and started again with what a case needs around it.

use std::time::{Duration, Instant};

use drystone_testkit::{Database, Http, Program};
use tempfile::TempDir;

use crate::door::{Ask, Door, Outcome};
use crate::support::{SPLIT, Shape, migrated_database, run};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The variable that says where the modules' data are.
const STORE_URL: &str = "DRYSTONE__STORE__URL";

/// A running shop.
pub(crate) struct Site {
    pub(crate) program: Program,
    pub(crate) http: Http,
    /// Where it listens, as in `127.0.0.1:8080`.
    pub(crate) address: String,
    shape: Shape,
    env: Vec<(String, String)>,
    data: TempDir,
}

/// What the environment says of the database.
pub(crate) fn on_postgres(database: &Database) -> Vec<(String, String)> {
    vec![(STORE_URL.to_owned(), database.url.clone())]
}

/// A database of the process's server, with the shop's schemas.
pub(crate) fn migrated() -> Database {
    tokio::task::block_in_place(migrated_database)
}

impl Site {
    /// Starts a shop with more settings, on an empty data directory, all its processes ready.
    pub(crate) async fn start(shape: Shape, env: &[(String, String)]) -> Self {
        Self::start_in(TempDir::new().expect("a temporary directory"), shape, env.to_vec()).await
    }

    async fn start_in(data: TempDir, shape: Shape, env: Vec<(String, String)>) -> Self {
        let args: &[&str] = match shape {
            Shape::Split | Shape::SplitFaulty => &["up", "--topology", SPLIT],
            Shape::Whole | Shape::Encoded | Shape::Faulty => &["run"],
        };
        let mut all: Vec<(&str, &str)> = vec![("DRYSTONE__TENANTS__CREATE", r#"["demo", "acme"]"#)];
        all.extend(env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut program = run(args, data.path(), &all);
        let url = tokio::task::block_in_place(|| program.wait_for("REST and gRPC"));
        let http = Http::new(&url);
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let site = Self { program, http, address, shape, env, data };
        site.ready().await;
        let on_postgres = site.env.iter().any(|(name, _)| name == STORE_URL);
        assert_ne!(site.data.path().join("modules").exists(), on_postgres, "files of SQLite or none");
        site
    }

    /// Waits until all its processes are ready.
    pub(crate) async fn ready(&self) {
        let ready = || async {
            self.http.try_send("GET", "/readyz", &[], "").await.is_some_and(|answer| answer.status == 200)
        };
        until("the shop is ready", ready).await;
    }

    /// Kills it as `kill -9` does, unless that has happened, and starts it again on the same data.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        self.program.kill();
        let Self { shape, env, data, .. } = self;
        Self::start_in(data, shape, env).await
    }

    /// Available and reserved units, as a tenant sees them.
    pub(crate) async fn stock(&self, tenant: &str, sku: &str) -> (i64, i64) {
        let path = format!("/v1/stock/{sku}");
        let json = self.http.send("GET", &path, &[("drystone-tenant", tenant)], "").await.json();
        let number = |name: &str| json[name].as_i64().unwrap_or_else(|| panic!("{name}: {json}"));
        (number("available"), number("reserved"))
    }

    /// The ids of tenant `demo`'s orders in a state, checked for those confirmed to be charged.
    pub(crate) async fn orders(&self, state: &str) -> Vec<String> {
        let listed =
            self.http.get(&format!("/v1/orders?pageSize=100&state=ORDER_STATE_{state}")).await.json();
        let orders = listed["orders"].as_array().unwrap_or_else(|| panic!("{listed}"));
        let ids: Vec<String> =
            orders.iter().map(|order| order["id"].as_str().expect("an id").to_owned()).collect();
        for id in &ids {
            let charge = self.http.get(&format!("/v1/charges/{id}")).await;
            let expected = if state == "CONFIRMED" { 200 } else { 404 };
            assert_eq!(charge.status, expected, "{state}: the charge of {id}: {charge:?}");
        }
        ids
    }

    /// Asserts what stands there: so many confirmed orders and sold units, nothing reserved, nothing half done.
    pub(crate) async fn stands(&self, confirmed: usize, units_sold: i64) {
        assert_eq!(self.orders("CONFIRMED").await.len(), confirmed, "confirmed orders");
        assert_eq!(self.orders("PLACING").await, [""; 0], "half-placed orders");
        assert_eq!(self.stock("demo", "tea-assam").await, (100 - units_sold, 0), "available and reserved");
    }
}

/// Waits until something is so.
///
/// # Panics
/// If it is not within a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// Asks until the call's own outcome is there; gives it, and whether it came from the record.
pub(crate) async fn settled(door: Door, to: &str, ask: &Ask) -> (Vec<u8>, bool) {
    let began = Instant::now();
    loop {
        match door.ask(to, ask).await {
            Outcome::Own { bytes, replayed } => return (bytes, replayed),
            other => assert!(began.elapsed() < PATIENCE, "still {other:?} after {PATIENCE:?}"),
        }
        tokio::task::yield_now().await;
    }
}
