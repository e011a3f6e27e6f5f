//! Where releases run: files or a database that they share, and the real binary.

use std::time::{Duration, Instant};

use drystone_testkit::{Answer, Database, Http, Postgres, Program};
use tempfile::TempDir;

/// Data that releases share.
pub(crate) struct Site {
    database: Option<Database>,
    dir: TempDir,
}

/// A release that runs.
pub(crate) struct Ledger {
    pub(crate) http: Http,
    program: Program,
    _data: Option<TempDir>,
}

impl Site {
    /// One directory of files: one process after another.
    pub(crate) fn sqlite() -> Self {
        Self { database: None, dir: empty() }
    }

    /// One database: processes side by side.
    pub(crate) fn postgres() -> Self {
        let database = Postgres::of_process().database().expect("the server makes a database");
        Self { database: Some(database), dir: empty() }
    }

    fn run(&self, release: u32, args: &[&str], data: &str) -> Program {
        let release = release.to_string();
        let mut env = vec![
            ("LEDGER_RELEASE", release.as_str()),
            ("DRYSTONE__APP__DATA", data),
            ("DRYSTONE__GATEWAY__LISTEN", "127.0.0.1:0"),
            ("DRYSTONE__TENANTS__CREATE", r#"["demo"]"#),
        ];
        if let Some(database) = &self.database {
            env.push(("DRYSTONE__STORE__URL", &database.url));
            if args.contains(&"migrate") {
                env.push(("DRYSTONE__STORE__OWNER_URL", &database.owner_url));
            }
        }
        Program::start(env!("CARGO_BIN_EXE_ledger"), args, &env, self.dir.path())
    }

    fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// Starts a release and waits until it is ready.
    pub(crate) async fn start(&self, release: u32) -> Ledger {
        // Processes that share a database have a directory each.
        let own = self.database.is_some().then(empty);
        let data = own.as_ref().map_or_else(|| self.path(), |dir| dir.path().display().to_string());
        let mut program = self.run(release, &["run"], &data);
        let http = Http::new(&program.wait_for("REST and gRPC"));
        let began = Instant::now();
        while http.get("/readyz").await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", http.get("/readyz").await);
            tokio::task::yield_now().await;
        }
        Ledger { http, program, _data: own }
    }

    /// What a release says that does not start.
    pub(crate) fn does_not_start(&self, release: u32) -> String {
        let own = empty();
        let (status, said) = self.run(release, &["run"], &own.path().display().to_string()).wait_for_end();
        assert!(!status.success(), "{said}");
        said
    }

    /// Migrates as a release does it.
    pub(crate) fn migrates(&self, release: u32, more: &[&str]) {
        let args = [&["migrate"], more].concat();
        let (status, said) = self.run(release, &args, &self.path()).wait_for_end();
        assert!(status.success(), "{said}");
    }

    /// What `migrate` says that fails.
    pub(crate) fn refuses_to_migrate(&self, release: u32) -> String {
        let (status, said) = self.run(release, &["migrate"], &self.path()).wait_for_end();
        assert!(!status.success(), "{said}");
        said
    }

    /// Migrates as soon as no lease keeps it from doing so.
    pub(crate) fn migrates_when_leases_have_run_out(&self, release: u32) {
        let began = Instant::now();
        loop {
            let (status, said) = self.run(release, &["migrate"], &self.path()).wait_for_end();
            if status.success() {
                return;
            }
            assert!(said.contains("DRY-M012") && began.elapsed() < Duration::from_secs(60), "{said}");
        }
    }
}

fn empty() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

impl Ledger {
    /// Books an amount on the account that is called as the key.
    pub(crate) async fn book(&self, key: &str, amount: i64) -> Answer {
        let body = format!(r#"{{"account":"{key}","amount":"{amount}"}}"#);
        self.http.post("/v1/entries", key, &body).await
    }

    /// Books as [`Ledger::book`] does, again where a connection that rested too long was closed in the middle.
    pub(crate) async fn book_on_a_fresh_connection(&self, key: &str, amount: i64) -> Answer {
        let body = format!(r#"{{"account":"{key}","amount":"{amount}"}}"#);
        let headers = [("idempotency-key", key)];
        let began = Instant::now();
        loop {
            if let Some(answer) = self.http.try_send("POST", "/v1/entries", &headers, &body).await {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "no answer");
        }
    }

    /// Entries and their sum.
    pub(crate) async fn balance(&self, account: &str) -> (i64, i64) {
        let answer = self.http.get(&format!("/v1/balances/{account}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let number =
            |name: &str| answer.json()[name].as_str().and_then(|text| text.parse().ok()).expect("a number");
        (number("entries"), number("total"))
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(mut self) {
        self.program.signal(15);
        let (status, said) = self.program.wait_for_end();
        assert!(status.success(), "{said}");
    }

    /// Pauses it as a machine does that swaps or sleeps.
    pub(crate) fn pause(&self) {
        self.program.signal(19);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.program.signal(18);
    }
}
