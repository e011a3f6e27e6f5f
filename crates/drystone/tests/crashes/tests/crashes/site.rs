//! Where the application runs: one process or two, over files or over a database, with or without a broker.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use drystone_testkit::{Answer, Database, Http, Nats, Postgres};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, pause};

/// The tenants; a lane each, where a tenant has a file.
pub(crate) const TENANTS: [&str; 2] = ["one", "two"];
/// How long something may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

/// How the application is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Everything in one process.
    Whole,
    /// The ledger in one, the copies in another.
    Split,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Within the process, or by a call to another.
    Call,
    /// By a NATS server.
    Nats,
}

/// What a process hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The ledger, and the gateway; when the application is whole, everything.
    Ledger,
    /// The mirror and the audit.
    Copies,
}

/// The application, its data, and its processes.
pub(crate) struct Site {
    shape: Shape,
    by: By,
    env: Vec<(String, String)>,
    _nats: Option<Nats>,
    database: Option<Database>,
    dir: TempDir,
    ledger: Option<Process>,
    copies: Option<Process>,
    http: Option<Http>,
}

impl Site {
    /// Makes the place, with these settings beside; nothing runs yet.
    pub(crate) fn new(on: On, shape: Shape, by: By, more: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let data = dir.path().display().to_string();
        let mut env = vec![
            ("DRYSTONE__APP__DATA".to_owned(), data),
            ("DRYSTONE__GATEWAY__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("DRYSTONE__TENANTS__CREATE".to_owned(), format!("{TENANTS:?}")),
            // What fails is tried again soon, and not given up before the test says so.
            ("DRYSTONE__EVENTS__RETRY_BASE_MS".to_owned(), "20".to_owned()),
            ("DRYSTONE__EVENTS__RETRY_CAP_S".to_owned(), "1".to_owned()),
            ("DRYSTONE__EVENTS__ATTEMPTS".to_owned(), "1000".to_owned()),
        ];
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if shape == Shape::Split {
            std::fs::write(
                dir.path().join("split.toml"),
                "[processes.copies]\nmodules = [\"mirror\", \"audit\"]\n",
            )
            .expect("the directory is there");
            for process in ["MAIN", "COPIES"] {
                env.push((
                    format!("DRYSTONE__PROCESSES__{process}__LISTEN"),
                    format!("127.0.0.1:{}", free_port()),
                ));
            }
        }
        let nats = (by == By::Nats).then(|| {
            let nats = Nats::start().expect("the broker starts");
            env.push(("DRYSTONE__EVENTS__BROKER".to_owned(), nats.url()));
            nats
        });
        let database = (on == On::Postgres).then(|| {
            let database = Postgres::of_process().database().expect("the server makes a database");
            env.push(("DRYSTONE__STORE__URL".to_owned(), database.url.clone()));
            let owner = ("DRYSTONE__STORE__OWNER_URL".to_owned(), database.owner_url.clone());
            Process::succeeds(&["migrate"], &[env.clone(), vec![owner]].concat(), dir.path());
            database
        });
        Self { shape, by, env, _nats: nats, database, dir, ledger: None, copies: None, http: None }
    }

    /// The sides that are processes of their own.
    pub(crate) fn sides(&self) -> &'static [Side] {
        match self.shape {
            Shape::Whole => &[Side::Ledger],
            Shape::Split => &[Side::Copies, Side::Ledger],
        }
    }

    /// The pumps that carry what the ledger publishes.
    pub(crate) fn pumps(&self) -> &'static [&'static str] {
        if self.by == By::Nats { &["nats"] } else { &["mirror", "audit"] }
    }

    /// The process that hosts what this side has.
    pub(crate) fn host_of(&self, side: Side) -> Side {
        if self.shape == Shape::Whole { Side::Ledger } else { side }
    }

    /// Starts a process, with a failpoint if one is named.
    pub(crate) fn start(&mut self, side: Side, failpoint: Option<&str>) {
        let mut env = self.env.clone();
        env.extend(failpoint.map(|name| ("DRYSTONE_FAILPOINT".to_owned(), name.to_owned())));
        let split = ["run", "--topology", "split.toml", "--process"];
        let args = match (self.shape, side) {
            (Shape::Whole, _) => vec!["run"],
            (Shape::Split, Side::Ledger) => [&split[..], &["main"]].concat(),
            (Shape::Split, Side::Copies) => [&split[..], &["copies"]].concat(),
        };
        let process = Process::start(&args, &env, self.dir.path());
        match side {
            Side::Ledger => (self.ledger, self.http) = (Some(process), None),
            Side::Copies => self.copies = Some(process),
        }
    }

    /// Kills a process as `kill -9` does.
    pub(crate) fn kill(&mut self, side: Side) {
        self.process(side).kill();
    }

    pub(crate) fn process(&mut self, side: Side) -> &mut Process {
        let process = if side == Side::Ledger { &mut self.ledger } else { &mut self.copies };
        process.as_mut().expect("it was started")
    }

    /// Starts everything, without failpoints.
    pub(crate) async fn start_all(&mut self) {
        for side in self.sides() {
            self.start(*side, None);
        }
        self.wait_for_all().await;
    }

    /// Waits until every process serves.
    pub(crate) async fn wait_for_all(&mut self) {
        for side in self.sides() {
            self.process(*side).says(" runs: process ").await;
        }
        self.http().await;
    }

    /// The way into the application.
    pub(crate) async fn http(&mut self) -> Http {
        if self.http.is_none() {
            let base = self.process(Side::Ledger).says("REST and gRPC").await;
            self.http = Some(Http::new(&base));
        }
        self.http.clone().expect("set on the line above")
    }

    /// What all processes that run have said.
    pub(crate) fn said(&self) -> String {
        let said = |process: &Option<Process>| process.as_ref().map_or_else(String::new, |p| p.said().all());
        format!("ledger:\n{}\ncopies:\n{}", said(&self.ledger), said(&self.copies))
    }

    /// A document, asked for until it comes.
    pub(crate) async fn get(&mut self, tenant: &str, path: &str) -> Value {
        let http = self.http().await;
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            match http.try_send("GET", path, &[("drystone-tenant", tenant)], "").await {
                Some(answer) if answer.status == 200 => return answer.json(),
                answer => last = answer,
            }
            pause().await;
        }
        panic!("GET {path}: {last:?}\n{}", self.said());
    }
}

/// A call that may be interrupted: sent again with the same key, it has one effect.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) tenant: &'static str,
    pub(crate) path: &'static str,
    pub(crate) key: String,
    pub(crate) body: String,
    /// How it must end.
    pub(crate) status: u16,
}

impl Call {
    /// Sends it once; true if its outcome is known.
    pub(crate) async fn send(&self, http: &Http) -> bool {
        match self.answer(http).await {
            Some(answer) if answer.status == self.status => true,
            // Busy, in use, or not to be reached: nobody knows, so it is sent again.
            Some(answer) if [409, 499, 500, 503, 504].contains(&answer.status) => false,
            Some(answer) => panic!("{self:?}: {answer:?}"),
            None => false,
        }
    }

    async fn answer(&self, http: &Http) -> Option<Answer> {
        let key = format!("\"{}\"", self.key);
        let headers = [("drystone-tenant", self.tenant), ("idempotency-key", &*key)];
        http.try_send("POST", self.path, &headers, &self.body).await
    }

    /// Sends it until its outcome is known.
    pub(crate) async fn settle(&self, site: &mut Site) {
        let http = site.http().await;
        let began = Instant::now();
        while !self.send(&http).await {
            let last = self.answer(&http).await;
            assert!(began.elapsed() < PATIENCE, "{self:?} has no outcome: {last:?}\n{}", site.said());
            pause().await;
        }
    }
}

/// A port of those that no system gives to outgoing connections: a process that is started again finds it free.
fn free_port() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    loop {
        let offset = RandomState::new().hash_one(0) % 12_000;
        let port = 20_000 + u16::try_from(offset).expect("less than 12,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        (self.ledger, self.copies) = (None, None);
        if let Some(database) = &self.database {
            // The server goes with the test; a database that stays does no harm.
            let _ = Postgres::of_process().drop_database(database);
        }
    }
}
