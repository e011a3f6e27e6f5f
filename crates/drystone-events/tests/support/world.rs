//! Two modules with stores of their own, on either database: `ledger` publishes, `mirror` reacts.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{
    Channel, Context, ContractClient as _, Event, Home, Principal, Result, Runner, TenantId,
};
use drystone_events::delivery::v1::{DeliveryClient, DeliveryServer};
use drystone_events::delivery::{self, Deliveries, RemoteConsumer};
use drystone_events::nats::{NatsBroker, NatsConfig};
use drystone_events::{
    Consumer, Deliver, Handlers, Publish as _, Relay, RelayConfig, Retention, Schedule, Source, Subscription,
    Target, Way,
};
use drystone_store::{Location, Migrations, Migrator, Steps, Store, StoreConfig, Tx, migrations};
use drystone_testkit::{Database, Nats, Postgres};
use drystone_transport::{DevAuthority, EdgeSet, InternalServer, RemoteProcess};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LEDGER: Migrations = migrations!("tests/support/ledger");
const MIRROR: Migrations = migrations!("tests/support/mirror");

/// The event of the tests.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Posted {
    /// What orders it.
    #[prost(string, tag = "1")]
    pub(crate) account: String,
    /// Its place among those of its account.
    #[prost(int64, tag = "2")]
    pub(crate) n: i64,
}

impl Event for Posted {
    const TYPE: &'static str = "test.ledger.v1.Posted";

    fn key(&self) -> String {
        self.account.clone()
    }
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Embedded broker, one process.
    Call,
    /// Embedded broker, as if between two processes: mutual TLS over a real port.
    Grpc,
    /// A real nats-server.
    Nats,
}

/// The two modules.
pub(crate) struct World {
    pub(crate) on: On,
    pub(crate) by: By,
    pub(crate) nats: Option<Nats>,
    pub(crate) ledger: Store,
    pub(crate) mirror: Store,
    pub(crate) ledger_home: Arc<Home>,
    pub(crate) mirror_home: Arc<Home>,
    pub(crate) database: Option<Database>,
    dir: TempDir,
}

impl World {
    pub(crate) async fn new(on: On, by: By) -> Self {
        let dir = TempDir::new().unwrap();
        let database = (on == On::Postgres).then(|| Postgres::of_process().database().unwrap());
        let mut world = Self {
            on,
            by,
            nats: (by == By::Nats).then(|| Nats::start().unwrap()),
            ledger: Store::unopened("ledger"),
            mirror: Store::unopened("mirror"),
            ledger_home: Home::of_system("ledger"),
            mirror_home: Home::of_system("mirror"),
            database,
            dir,
        };
        for (module, migrations) in [("ledger", LEDGER), ("mirror", MIRROR)] {
            world.open(module, migrations).await;
        }
        for tenant in ["acme", "bolt"] {
            let tenant = TenantId::new(tenant).unwrap();
            world.ledger.tenants().create(&tenant).await.unwrap();
            world.mirror.tenants().create(&tenant).await.unwrap();
        }
        world
    }

    fn location(&self) -> Location {
        match &self.database {
            Some(database) => Location::postgres(database.url.clone()),
            None => Location::Sqlite { dir: self.dir.path().to_owned() },
        }
    }

    async fn open(&mut self, module: &str, migrations: Migrations) {
        let home = if module == "ledger" { &self.ledger_home } else { &self.mirror_home };
        let mut config = StoreConfig::new(self.location(), migrations, Arc::clone(home));
        config.create_tenants = false;
        if let Some(database) = &self.database {
            let migrator = Migrator::connect(&database.owner_url.clone().into()).await.unwrap();
            migrator.migrate(&config, Steps::All).await.unwrap();
        }
        let store = Store::unopened(module);
        store.open(config).await.unwrap();
        if module == "ledger" { self.ledger = store } else { self.mirror = store }
    }

    pub(crate) fn cx(&self, module: &str, tenant: &str) -> Context {
        let home = if module == "ledger" { &self.ledger_home } else { &self.mirror_home };
        let principal = Principal::new("user:ada").unwrap();
        Context::mint(Arc::clone(home), TenantId::new(tenant).unwrap(), principal)
            .with_timeout(Duration::from_secs(60))
    }

    /// Commits an entry with its event.
    pub(crate) async fn post(&self, tenant: &str, account: &str, n: i64) -> Result<()> {
        let mut cx = self.cx("ledger", tenant);
        let mut tx = self.ledger.begin(&mut cx).await?;
        tx.query("insert into entries (account, n) values ($1, $2)").bind((account, n)).execute().await?;
        tx.publish(Posted { account: account.to_owned(), n })?;
        tx.commit().await
    }

    /// What the mirror has applied of a tenant, in order.
    pub(crate) async fn applied(&self, tenant: &str) -> Vec<(String, i64)> {
        let mut cx = self.cx("mirror", tenant);
        let mut tx = self.mirror.read(&mut cx).await.unwrap();
        tx.query("select account, n from applied order by place").all().await.unwrap()
    }

    /// Waits until the mirror has applied so many of a tenant.
    pub(crate) async fn applied_at_least(&self, tenant: &str, count: usize) -> Vec<(String, i64)> {
        for _ in 0..3000 {
            let applied = self.applied(tenant).await;
            if applied.len() >= count {
                return applied;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "only {} of {count} messages of {tenant} were applied in 30 s",
            self.applied(tenant).await.len()
        );
    }

    /// The mirror's consumer.
    pub(crate) fn consumer(&self) -> Consumer {
        let mut handlers = Handlers::default();
        assert!(handlers.add::<Posted>(on_posted));
        let schedule =
            Schedule { base: Duration::from_millis(10), cap: Duration::from_millis(100), attempts: 5 };
        let home = Arc::clone(&self.mirror_home);
        Consumer::new("mirror", handlers, self.mirror.clone(), home, schedule, Retention::default())
    }

    /// The ledger's relay, to one target.
    pub(crate) fn relay(&self, name: &str, way: Way) -> Relay {
        let types = Some(vec![Posted::TYPE.to_owned()]);
        Relay::new(RelayConfig {
            store: self.ledger.clone(),
            home: Arc::clone(&self.ledger_home),
            targets: vec![Target { name: name.to_owned(), types, way }],
            retention: Retention::default(),
            owner: "test".into(),
        })
    }

    /// A consumer and a relay to it, at work.
    pub(crate) async fn run(&self) -> Running {
        let consumer = self.consumer();
        match self.by {
            By::Call => self.run_with(consumer.clone(), Way::Push(Arc::new(consumer))),
            By::Grpc => {
                let (to, server) = self.serve(&consumer).await;
                let mut running = self.run_with(consumer, Way::Push(to));
                running.tasks.push(server);
                running
            }
            By::Nats => {
                let broker = self.broker().await;
                let mut running = self.run_with(consumer.clone(), Way::Nats(broker.clone()));
                running.subscribe(consumer, broker);
                running
            }
        }
    }

    /// The broker, by a connection of its own.
    pub(crate) async fn broker(&self) -> NatsBroker {
        let config = NatsConfig {
            url: self.nats.as_ref().unwrap().url().into(),
            application: "test".to_owned(),
            retention: Retention::default().outbox(),
        };
        NatsBroker::connect(config).await.unwrap()
    }

    /// Serves a consumer as a process of its own does, and gives the ledger's way to it.
    async fn serve(&self, consumer: &Consumer) -> (Arc<dyn Deliver>, JoinHandle<()>) {
        let authority = DevAuthority::open(self.dir.path().join("certs")).unwrap();
        let identity = |module: &str| authority.issue("test", module, &[module.to_owned()]).unwrap();
        let server = InternalServer::bind("127.0.0.1:0", &identity("mirror")).await.unwrap();
        let address = server.local_addr().to_string();
        let served = DeliveryServer::new(Deliveries::new("test", [consumer.clone()]));
        let mount = served.mount(Home::of_system("events"), None);
        let edges: EdgeSet = [("ledger", delivery::contract())].into_iter().collect();
        let services = vec![Arc::clone(mount.dispatch())];
        let serving = tokio::spawn(async move {
            let never = std::future::pending();
            server.serve(services, edges, never, Duration::ZERO).await;
        });
        let remote = RemoteProcess::new(address, &identity("ledger")).module("mirror").unwrap();
        let channel = Channel::unbound(Some("ledger"), "ledger");
        channel.bind(Runner::Remote(remote));
        let client = DeliveryClient::from_channel(channel);
        (Arc::new(RemoteConsumer::new("test", "mirror", client, Arc::clone(&self.ledger_home))), serving)
    }

    /// A consumer that reads the broker, at work without a relay.
    pub(crate) async fn run_subscription(&self) -> Running {
        let (consumer, broker) = (self.consumer(), self.broker().await);
        let relay = self.relay("nowhere", Way::Push(Arc::new(consumer.clone())));
        let (stopper, stopping) = watch::channel(false);
        let tasks = consumer.start(&stopping);
        let mut running = Running { consumer: consumer.clone(), relay, stopper, tasks };
        running.subscribe(consumer, broker);
        running
    }

    /// A consumer, and a relay that reaches it in some way, at work.
    pub(crate) fn run_with(&self, consumer: Consumer, way: Way) -> Running {
        let relay = self.relay("mirror", way);
        let (stopper, stopping) = watch::channel(false);
        let mut tasks = consumer.start(&stopping);
        tasks.extend(relay.start(&stopping).unwrap());
        Running { consumer, relay, stopper, tasks }
    }
}

/// A consumer and a relay at work.
pub(crate) struct Running {
    pub(crate) consumer: Consumer,
    pub(crate) relay: Relay,
    stopper: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    fn subscribe(&mut self, consumer: Consumer, broker: NatsBroker) {
        let subscription = Subscription {
            consumer,
            broker,
            source: Source::Module("ledger".to_owned()),
            types: vec![Posted::TYPE.to_owned()],
            owner: "test".into(),
            metrics: Arc::default(),
        };
        self.tasks.push(subscription.start(&self.stopper.subscribe()));
    }

    pub(crate) async fn stop(self) {
        self.stopper.send(true).unwrap();
        for task in self.tasks {
            task.abort();
            // Cancelled or done.
            let _ = task.await;
        }
    }
}

/// The event whose handler succeeds, though a statement of it does not.
pub(crate) const LATE: (&str, i64) = ("late", 3);

async fn on_posted(tx: &mut Tx<'_>, event: Posted) -> Result<()> {
    let Posted { account, n } = event;
    let poisoned = tx
        .query("select 1 from poison where account = $1")
        .bind((&*account,))
        .optional::<(i32,)>()
        .await?
        .is_some();
    if poisoned {
        return Err(drystone_call::Error::internal(format!("{account} is poisoned")));
    }
    if (&*account, n) == LATE {
        // What it meets shows when the handler is done.
        tx.query("insert into applied (account, n) values (null, 0)").queue();
    }
    tx.query("insert into applied (account, n) values ($1, $2)").bind((account, n)).queue();
    Ok(())
}

/// Fails unless the numbers of each account are 1, 2, 3 and so on, in order and each once.
pub(crate) fn check_order(applied: &[(String, i64)]) {
    let mut last = std::collections::BTreeMap::new();
    for (account, n) in applied {
        let before: i64 = last.insert(account, *n).unwrap_or(0);
        assert_eq!(*n, before + 1, "{account}: {n} came after {before}");
    }
}
