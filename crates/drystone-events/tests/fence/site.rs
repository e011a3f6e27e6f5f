//! Two modules in one database: `ledger`, whose accounts count what is published of them, and `mirror`, which reacts.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Context, Event, Home, ManualClock, Principal, RandomIds, Result, TenantId};
use drystone_events::{
    Consumer, Deliver, Handlers, Publish as _, Relay, RelayConfig, Retention, Schedule, Target, Way,
};
use drystone_store::{Isolation, Location, Migrations, Migrator, Steps, Store, StoreConfig, Tx, migrations};
use drystone_testkit::{Database, Postgres};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

const LEDGER: Migrations = migrations!("tests/fence/ledger");
const MIRROR: Migrations = migrations!("tests/support/mirror");

/// Longer than any transaction of these tests is open, so that no busy machine ends one.
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// The event of the tests.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Posted {
    /// What orders it.
    #[prost(string, tag = "1")]
    pub(crate) account: String,
    /// Its place among those of its account, by the lock on the account's row.
    #[prost(int64, tag = "2")]
    pub(crate) n: i64,
}

impl Event for Posted {
    const TYPE: &'static str = "test.ledger.v1.Posted";

    fn key(&self) -> String {
        self.account.clone()
    }
}

/// The two modules.
pub(crate) struct Site {
    pub(crate) ledger: Store,
    pub(crate) mirror: Store,
    pub(crate) ledger_home: Arc<Home>,
    pub(crate) mirror_home: Arc<Home>,
    pub(crate) database: Option<Database>,
    _dir: Option<TempDir>,
}

impl Site {
    /// On the PostgreSQL of this process, with tenant `acme` and its accounts `a`, `b` and `c`.
    pub(crate) async fn new() -> Self {
        let database = blocking(|| Postgres::of_process().database().unwrap()).await;
        Self::in_database(database).await
    }

    /// The same in a database of any server.
    pub(crate) async fn in_database(database: Database) -> Self {
        let mut site = Self::empty(None);
        site.open(database).await;
        site.create(&["acme"], &["a", "b", "c"]).await;
        site
    }

    /// The modules as they are in a database.
    pub(crate) async fn found_in(database: Database) -> Self {
        let mut site = Self::empty(None);
        site.open(database).await;
        site
    }

    /// With a clock to turn, on PostgreSQL or in files.
    pub(crate) async fn with_clock(on_postgres: bool, clock: &Arc<ManualClock>) -> Self {
        let mut site = Self::empty(Some(clock));
        if on_postgres {
            let database = blocking(|| Postgres::of_process().database().unwrap()).await;
            site.open(database).await;
        } else {
            let dir = TempDir::new().unwrap();
            let location = Location::Sqlite { dir: dir.path().to_owned() };
            site._dir = Some(dir);
            site.open_at(&location, None).await;
        }
        site.create(&["acme", "bolt"], &["a", "b"]).await;
        site
    }

    fn empty(clock: Option<&Arc<ManualClock>>) -> Self {
        let home = |module| match clock {
            Some(clock) => Home::new(module, Arc::clone(clock) as Arc<_>, Arc::new(RandomIds)),
            None => Home::of_system(module),
        };
        Self {
            ledger: Store::unopened("ledger"),
            mirror: Store::unopened("mirror"),
            ledger_home: home("ledger"),
            mirror_home: home("mirror"),
            database: None,
            _dir: None,
        }
    }

    async fn open(&mut self, database: Database) {
        let location = Location::postgres(database.url.clone());
        let migrator = Migrator::connect(&database.owner_url.clone().into()).await.unwrap();
        self.database = Some(database);
        self.open_at(&location, Some(&migrator)).await;
    }

    async fn open_at(&self, location: &Location, migrator: Option<&Migrator>) {
        let modules = [(&self.ledger, LEDGER, &self.ledger_home), (&self.mirror, MIRROR, &self.mirror_home)];
        for (store, migrations, home) in modules {
            let mut config = StoreConfig::new(location.clone(), migrations, Arc::clone(home));
            config.create_tenants = false;
            config.hold_limit = HOLD_LIMIT;
            config.max_connections = 16;
            if let Some(migrator) = migrator {
                migrator.migrate(&config, Steps::All).await.unwrap();
            }
            store.open(config).await.unwrap();
        }
    }

    /// Creates tenants, each with these accounts.
    pub(crate) async fn create(&self, tenants: &[&str], accounts: &[&str]) {
        for tenant in tenants {
            let name = TenantId::new(tenant).unwrap();
            self.ledger.tenants().create(&name).await.unwrap();
            self.mirror.tenants().create(&name).await.unwrap();
            let mut cx = self.cx(tenant);
            let mut tx = self.ledger.begin(&mut cx).await.unwrap();
            for account in accounts {
                tx.query("insert into accounts (account, n) values ($1, 0)")
                    .bind(((*account).to_owned(),))
                    .queue();
            }
            tx.commit().await.unwrap();
        }
    }

    /// A context of the ledger.
    pub(crate) fn cx(&self, tenant: &str) -> Context {
        context(&self.ledger_home, tenant)
    }

    /// A context of the mirror, or of the ledger.
    pub(crate) fn cx_of(&self, mirror: bool, tenant: &str) -> Context {
        context(if mirror { &self.mirror_home } else { &self.ledger_home }, tenant)
    }

    /// A connection as the database's owner, who sees everything.
    pub(crate) async fn owner(&self) -> Client {
        connect(&self.database.as_ref().unwrap().owner_url).await
    }

    /// Commits the next event of an account.
    pub(crate) async fn post(&self, tenant: &str, account: &str) -> i64 {
        let mut cx = self.cx(tenant);
        let mut tx = self.ledger.begin_with(&mut cx, Isolation::ReadCommitted).await.unwrap();
        let n = publish_next(&mut tx, account).await.unwrap();
        tx.commit().await.unwrap();
        n
    }

    /// What the mirror has applied of a tenant, in order.
    pub(crate) async fn applied(&self, tenant: &str) -> Vec<(String, i64)> {
        let mut cx = context(&self.mirror_home, tenant);
        let mut tx = self.mirror.read(&mut cx).await.unwrap();
        tx.query("select account, n from applied order by place").all().await.unwrap()
    }

    /// Waits until the mirror has applied so many of a tenant.
    pub(crate) async fn applied_at_least(&self, tenant: &str, count: usize) -> Vec<(String, i64)> {
        for _ in 0..6000 {
            let applied = self.applied(tenant).await;
            if applied.len() >= count {
                return applied;
            }
            pause().await;
        }
        panic!("only {} of {count} messages of {tenant} were applied", self.applied(tenant).await.len());
    }

    /// The mirror's consumer.
    pub(crate) fn consumer(&self) -> Consumer {
        let mut handlers = Handlers::default();
        assert!(handlers.add::<Posted>(on_posted));
        let (home, retention) = (Arc::clone(&self.mirror_home), Retention::default());
        Consumer::new("mirror", handlers, self.mirror.clone(), home, Schedule::default(), retention)
    }

    /// What a relay of the ledger is made of, as the process of this name runs it.
    pub(crate) fn relay_config(&self, owner: &str, to: &Arc<dyn Deliver>) -> RelayConfig {
        let types = Some(vec![Posted::TYPE.to_owned()]);
        RelayConfig {
            store: self.ledger.clone(),
            home: Arc::clone(&self.ledger_home),
            targets: vec![Target { name: "mirror".to_owned(), types, way: Way::Push(Arc::clone(to)) }],
            retention: Retention::default(),
            owner: owner.into(),
        }
    }

    /// A consumer and a relay to it, at work.
    pub(crate) fn run(&self) -> Running {
        let to: Arc<dyn Deliver> = Arc::new(self.consumer());
        Running::of(Relay::new(self.relay_config("one", &to)))
    }
}

/// A relay at work.
pub(crate) struct Running {
    pub(crate) relay: Relay,
    stopper: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn of(relay: Relay) -> Self {
        let (stopper, stopping) = watch::channel(false);
        let tasks = relay.start(&stopping).unwrap();
        Self { relay, stopper, tasks }
    }

    pub(crate) async fn stop(self) {
        self.stopper.send(true).unwrap();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn context(home: &Arc<Home>, tenant: &str) -> Context {
    let principal = Principal::new("user:ada").unwrap();
    Context::mint(Arc::clone(home), TenantId::new(tenant).unwrap(), principal)
        .with_timeout(Duration::from_secs(120))
}

async fn on_posted(tx: &mut Tx<'_>, event: Posted) -> Result<()> {
    let Posted { account, n } = event;
    tx.query("insert into applied (account, n) values ($1, $2)").bind((account, n)).execute().await?;
    Ok(())
}

/// Locks an account's row, takes its next number and publishes it; the event goes with the next statement.
pub(crate) async fn publish_next(tx: &mut Tx<'_>, account: &str) -> Result<i64> {
    let next = "update accounts set n = n + 1 where account = $1 returning n";
    let (n,) = tx.query(next).bind((account,)).one::<(i64,)>().await?;
    tx.publish(Posted { account: account.to_owned(), n })?;
    Ok(n)
}

/// Sends what waits to be sent.
pub(crate) async fn send(tx: &mut Tx<'_>) -> Result<()> {
    tx.query("select 1").one::<(i32,)>().await.map(drop)
}

/// A transaction's first write, which gives it its id.
pub(crate) async fn first_write(tx: &mut Tx<'_>) -> Result<()> {
    tx.query("insert into entries (account) values ('first')").execute().await.map(drop)
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One number that a connection reads.
pub(crate) async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Waits until what a connection reads is `wanted`.
pub(crate) async fn until(client: &Client, sql: &str, wanted: i64) {
    for _ in 0..3000 {
        if count(client, sql).await == wanted {
            return;
        }
        pause().await;
    }
    panic!("{sql} is not {wanted} but {}", count(client, sql).await);
}

/// Waits until something holds.
pub(crate) async fn until_it(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        pause().await;
    }
    panic!("not within 30 s: {what}");
}

/// Between two looks at a condition.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Fails unless the numbers of each account are 1, 2, 3 and so on, in order and each once.
pub(crate) fn check_order(applied: &[(String, i64)]) {
    let mut last = std::collections::BTreeMap::new();
    for (account, n) in applied {
        let before: i64 = last.insert(account, *n).unwrap_or(0);
        assert_eq!(*n, before + 1, "{account}: {n} came after {before}");
    }
}
