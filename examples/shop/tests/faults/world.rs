//! The shop of a case and the database below it, both of which the case may break.

use std::path::Path;
use std::time::{Duration, Instant};

use drystone_testkit::{Database, Disk, Http, Postgres, Program, ServerSetup};
use tempfile::TempDir;

use crate::support::run;

/// The tenants at work.
pub(crate) const TENANTS: [&str; 3] = ["demo", "acme", "bolt"];
/// Units of the one item that each tenant begins with.
pub(crate) const UNITS: i64 = 100_000;
/// How long anything may take that is waited for, on a machine that has other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A shop that runs whole.
pub(crate) struct Shop {
    pub(crate) program: Program,
    pub(crate) http: Http,
    data: TempDir,
    env: Vec<(String, String)>,
}

/// A PostgreSQL server of the case's own, with the shop's schemas.
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    pub(crate) database: Database,
}

impl Server {
    /// Starts a server that keeps what it acknowledged, and migrates it.
    pub(crate) async fn start(setup: ServerSetup) -> Self {
        blocking(move || {
            let postgres = Postgres::start_with(&setup).expect("the server starts");
            let database = postgres.database().expect("the server makes a database");
            let dir = TempDir::new().expect("a temporary directory");
            let env = [
                ("DRYSTONE__STORE__URL", database.url.as_str()),
                ("DRYSTONE__STORE__OWNER_URL", database.owner_url.as_str()),
            ];
            let (status, said) = run(&["migrate"], dir.path(), &env).wait_for_end();
            assert!(status.success(), "{status}: {said}");
            Self { postgres, database }
        })
        .await
    }

    /// Does something to the server that takes its time.
    pub(crate) fn does<T>(&self, work: impl FnOnce(&Postgres) -> std::io::Result<T>) -> T {
        tokio::task::block_in_place(|| work(&self.postgres)).expect("the server does it")
    }

    /// The rows of a statement that the server's owner runs.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        self.does(|postgres| postgres.query(&self.database, sql))
    }
}

impl Shop {
    /// Starts a shop on this database.
    pub(crate) async fn on(url: &str) -> Self {
        Self::start(vec![("DRYSTONE__STORE__URL".to_owned(), url.to_owned())]).await
    }

    /// Starts a shop with its files on a disk that fails at will.
    pub(crate) async fn on_disk(disk: &Disk) -> Self {
        let env = disk.env().map(|(name, value)| (name.to_owned(), value.display().to_string()));
        Self::start(env.into()).await
    }

    async fn start(env: Vec<(String, String)>) -> Self {
        let shop = Self::start_in(TempDir::new().expect("a temporary directory"), env).await;
        shop.stock_up().await;
        shop
    }

    async fn start_in(data: TempDir, env: Vec<(String, String)>) -> Self {
        let mut program = launch(data.path(), &env);
        let url = tokio::task::block_in_place(|| program.wait_for("REST and gRPC"));
        let shop = Self { program, http: Http::new(&url), data, env };
        until("the shop is ready", async || shop.http.get("/readyz").await.status == 200).await;
        shop
    }

    /// Kills it as `kill -9` does, and starts it again on the same data.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        self.program.kill();
        let Self { data, env, .. } = self;
        Self::start_in(data, env).await
    }

    /// Kills it and starts it again, where that is refused; gives what it says of it.
    pub(crate) async fn killed_and_refused(mut self) -> (String, Stopped) {
        self.program.kill();
        let Self { data, env, .. } = self;
        let (status, said) = tokio::task::block_in_place(|| launch(data.path(), &env).wait_for_end());
        assert!(!status.success(), "it started: {said}");
        (said, Stopped { data, env })
    }

    /// One item in every tenant's stock.
    async fn stock_up(&self) {
        for tenant in TENANTS {
            let body = format!(
                r#"{{"quantity":{UNITS},"title":"Brick","price":{{"currencyCode":"EUR","minorUnits":"100"}}}}"#
            );
            let headers = [("drystone-tenant", tenant), ("idempotency-key", "stock")];
            let added = self.http.send("POST", "/v1/stock/brick:add", &headers, &body).await;
            assert_eq!(added.status, 200, "{added:?}");
            let body = r#"{"email":"ida@example.com","displayName":"Ida"}"#;
            let headers = [("drystone-tenant", tenant), ("idempotency-key", "user")];
            let made = self.http.send("POST", "/v1/users", &headers, body).await;
            assert_eq!(made.status, 200, "{made:?}");
        }
    }

    /// The ids of the user who orders, a tenant each.
    pub(crate) async fn users(&self) -> Vec<(&'static str, String)> {
        let mut users = Vec::new();
        for tenant in TENANTS {
            let listed = self.http.send("GET", "/v1/users", &[("drystone-tenant", tenant)], "").await.json();
            let all = listed["users"].as_array().unwrap_or_else(|| panic!("{listed}"));
            let ida = all.iter().find(|user| user["email"] == "ida@example.com").expect("she was made");
            users.push((tenant, ida["id"].as_str().expect("an id").to_owned()));
        }
        users
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }
}

/// A shop that does not run.
pub(crate) struct Stopped {
    data: TempDir,
    env: Vec<(String, String)>,
}

impl Stopped {
    /// Starts it again.
    pub(crate) async fn started(self) -> Shop {
        Shop::start_in(self.data, self.env).await
    }
}

fn launch(data: &Path, env: &[(String, String)]) -> Program {
    let mut all = vec![("DRYSTONE__TENANTS__CREATE", r#"["demo", "acme", "bolt"]"#)];
    all.extend(env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    run(&["run"], data, &all)
}

/// Does something that keeps its thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Waits until something is so; says how long that took.
///
/// # Panics
/// If it is not within [`PATIENCE`].
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
    began.elapsed()
}
