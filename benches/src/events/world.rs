//! Two modules with stores of their own: `orders` keeps an order and publishes it, `packing` writes a row for each.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drystone::events::nats::{NatsBroker, NatsConfig};
use drystone::events::{
    Consumer, Handlers, Relay, RelayConfig, Retention, Schedule, Source, Subscription, Target, Way,
};
use drystone::prelude::*;
use drystone::store::{Location, Migrations, Migrator, Steps, StoreConfig};
use drystone::{Code, Principal, TenantId, micros};
use drystone_call::{Event, Home};
use drystone_testkit::{Database, Postgres};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::prices::{UNIT, said};
use crate::suites::Failure;

const ORDERS: Migrations = migrations!("migrations/events/orders");
const PACKING: Migrations = migrations!("migrations/events/packing");

const ORDER: &str = "insert into orders (id, user_id, sku, quantity, currency_code, total_minor, created)
    values ($1, $2, $3, $4, $5, $6, $7)";
const PACK: &str = "insert into packed (order_id, sku, total) values ($1, $2, $3)";

/// The tenants that events are spread over: the first alone, or all.
pub(crate) const TENANTS: [&str; 16] = [
    "acme", "bolt", "cork", "dune", "echo", "fern", "gale", "hull", "iris", "jade", "kiln", "loom", "moss",
    "nova", "opal", "pine",
];
/// How many events one transaction publishes where a backlog is made.
const FILLED_AT_ONCE: usize = 200;
/// How many such transactions are made at once.
const FILLERS: usize = 4;
/// What is not applied in this time never will be.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longer than a pump waits before it stores its position.
const SAVED: Duration = Duration::from_millis(400);

/// What is published.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct OrderPlaced {
    #[prost(string, tag = "1")]
    pub(crate) order_id: String,
    #[prost(string, tag = "2")]
    pub(crate) sku: String,
    #[prost(int64, tag = "3")]
    pub(crate) total: i64,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "bench.orders.v1.OrderPlaced";

    fn key(&self) -> String {
        self.order_id.clone()
    }
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

impl On {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// How the handler writes its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// With whatever the transaction does next.
    Queued,
    /// At once, and it waits for the database's answer.
    Awaited,
}

async fn pack_queued(tx: &mut Tx<'_>, event: OrderPlaced) -> Result<()> {
    let OrderPlaced { order_id, sku, total } = event;
    tx.query(PACK).bind((order_id, sku, total)).queue();
    Ok(())
}

/// Says, too, which order it was, and has the commit announced.
async fn pack_noted(noted: &Arc<Noted>, tx: &mut Tx<'_>, event: OrderPlaced) -> Result<()> {
    noted.lock().0.push(event.order_id.clone());
    tx.announce();
    pack_queued(tx, event).await
}

async fn pack_awaited(tx: &mut Tx<'_>, event: OrderPlaced) -> Result<()> {
    let OrderPlaced { order_id, sku, total } = event;
    tx.query(PACK).bind((order_id, sku, total)).execute().await.map(drop)
}

/// A module's store, opened.
struct Side {
    store: Store,
    home: Arc<Home>,
}

impl Side {
    async fn open(module: &str, migrations: Migrations, place: &Place) -> Result<Self, Failure> {
        let home = Home::of_system(module);
        let location = match place {
            Place::Directory(dir) => Location::Sqlite { dir: dir.clone() },
            Place::Database { url, .. } => Location::postgres(url.clone()),
        };
        let mut config = StoreConfig::new(location, migrations, Arc::clone(&home));
        config.create_tenants = false;
        if let Place::Database { owner_url, .. } = place {
            let migrator = Migrator::connect(&owner_url.clone().into()).await.map_err(said)?;
            migrator.migrate(&config, Steps::All).await.map_err(said)?;
        }
        let store = Store::unopened(module);
        store.open(config).await.map_err(said)?;
        for tenant in TENANTS {
            store.tenants().create(&TenantId::new(tenant).map_err(said)?).await.map_err(said)?;
        }
        Ok(Self { store, home })
    }

    fn context(&self, tenant: &str) -> Result<Context, Failure> {
        let tenant = TenantId::new(tenant).map_err(said)?;
        let principal = Principal::new("user:bench").map_err(said)?;
        Ok(Context::mint(Arc::clone(&self.home), tenant, principal).with_timeout(Duration::from_secs(60)))
    }
}

/// Where the data of both modules is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Directory(std::path::PathBuf),
    Database { url: String, owner_url: String },
}

impl Place {
    pub(crate) fn below(data: &Path) -> Self {
        Self::Directory(data.join("modules"))
    }

    pub(crate) fn of(database: &Database) -> Self {
        Self::Database { url: database.url.clone(), owner_url: database.owner_url.clone() }
    }
}

/// Starts a server with its data below a directory, and makes a database.
pub(crate) async fn server(data: &Path, settings: &'static str) -> Result<(Postgres, Database), Failure> {
    let below = data.to_owned();
    let started = tokio::task::spawn_blocking(move || {
        let server = Postgres::start_durable(&below, settings)?;
        let database = server.database()?;
        Ok::<_, std::io::Error>((server, database))
    });
    Ok(started.await??)
}

/// Both modules, and the broker between them if it is not the embedded one.
pub(crate) struct World {
    orders: Side,
    packing: Side,
    nats: Option<String>,
    /// The streams of NATS are the application's, and each of the two databases has an application of its own.
    application: &'static str,
}

impl World {
    /// Opens both stores; `nats` is the broker's URL.
    pub(crate) async fn open(place: &Place, nats: Option<String>) -> Result<Self, Failure> {
        let application = match place {
            Place::Directory(_) => "bench-sqlite",
            Place::Database { .. } => "bench-postgres",
        };
        let orders = Side::open("orders", ORDERS, place).await?;
        Ok(Self { orders, packing: Side::open("packing", PACKING, place).await?, nats, application })
    }

    /// Keeps an order with its event, beginning again when a concurrent transaction got in the way, and gives its id.
    pub(crate) async fn place(&self, tenant: &str) -> Result<String, Failure> {
        loop {
            match self.place_once(&mut self.orders.context(tenant)?).await {
                Err(error) if error.code() == Code::Aborted => {}
                outcome => return outcome.map_err(said),
            }
        }
    }

    async fn place_once(&self, cx: &mut Context) -> Result<String> {
        let mut tx = self.orders.store.begin(cx).await?;
        let (order, created) = (placed(tx.new_id()), micros(tx.caller().now()));
        tx.query(ORDER)
            .bind((&*order.order_id, "ada", &*order.sku, 3, "EUR", order.total, created))
            .execute()
            .await?;
        let id = order.order_id.clone();
        tx.publish(order)?;
        tx.commit().await?;
        Ok(id)
    }

    /// Publishes so many events, spread over tenants, while nothing carries them.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        count: usize,
        tenants: &'static [&'static str],
    ) -> Result<(), Failure> {
        let mut tasks = JoinSet::new();
        for filler in 0..FILLERS {
            let world = Arc::clone(self);
            let batches = (filler..count.div_ceil(FILLED_AT_ONCE)).step_by(FILLERS);
            tasks.spawn(async move {
                for batch in batches {
                    let events = FILLED_AT_ONCE.min(count - batch * FILLED_AT_ONCE);
                    world.publish(events, tenants[batch % tenants.len()]).await?;
                }
                Ok::<(), Failure>(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok(())
    }

    async fn publish(&self, events: usize, tenant: &str) -> Result<(), Failure> {
        let publish = async || {
            let mut cx = self.orders.context(tenant)?;
            let mut tx = self.orders.store.begin(&mut cx).await.map_err(said)?;
            for _ in 0..events {
                let order = placed(tx.new_id());
                tx.publish(order).map_err(said)?;
            }
            Ok::<_, Failure>(tx.commit().await)
        };
        while let Err(error) = publish().await? {
            if error.code() != Code::Aborted {
                return Err(said(error));
            }
        }
        Ok(())
    }

    /// A consumer at work, and the relay that carries to it; `noted` notes when what arrives is committed.
    pub(crate) async fn start(&self, writes: Writes, noted: Option<&Arc<Noted>>) -> Result<Engine, Failure> {
        let mut handlers = Handlers::default();
        match (writes, noted) {
            (_, Some(noted)) => handlers.add_with::<OrderPlaced, _>(Arc::clone(noted), pack_noted),
            (Writes::Queued, None) => handlers.add::<OrderPlaced>(pack_queued),
            (Writes::Awaited, None) => handlers.add::<OrderPlaced>(pack_awaited),
        };
        let (home, retention) = (Arc::clone(&self.packing.home), Retention::default());
        let consumer = Consumer::new(
            "packing",
            handlers,
            self.packing.store.clone(),
            home,
            Schedule::default(),
            retention,
        );
        let broker = match &self.nats {
            None => None,
            Some(url) => {
                let (url, application) = (url.clone().into(), self.application.to_owned());
                let config = NatsConfig { url, application, retention: retention.outbox() };
                Some(NatsBroker::connect(config).await.map_err(said)?)
            }
        };
        let way = match &broker {
            None => Way::Push(Arc::new(consumer.clone())),
            Some(broker) => Way::Nats(broker.clone()),
        };
        let types = vec![OrderPlaced::TYPE.to_owned()];
        let relay = Relay::new(RelayConfig {
            store: self.orders.store.clone(),
            home: Arc::clone(&self.orders.home),
            targets: vec![Target { name: "packing".to_owned(), types: Some(types.clone()), way }],
            retention,
            owner: "bench".into(),
        });
        let (stopper, stopping) = watch::channel(false);
        let mut tasks = consumer.start(&stopping);
        tasks.extend(relay.start(&stopping).map_err(said)?);
        if let Some(broker) = broker {
            let (consumer, source) = (consumer.clone(), Source::Module("orders".to_owned()));
            let owner = "bench".into();
            let subscription =
                Subscription { consumer, broker, source, types, owner, metrics: Arc::default() };
            tasks.push(subscription.start(&stopping));
        }
        if let Some(noted) = noted {
            tasks.push(tokio::spawn(Arc::clone(noted).watch(self.packing.store.clone())));
        }
        Ok(Engine { consumer, stopper, tasks })
    }

    /// How many rows the handlers have written.
    pub(crate) async fn packed(&self) -> Result<i64, Failure> {
        let mut all = 0;
        for tenant in TENANTS {
            let mut cx = self.packing.context(tenant)?;
            let mut tx = self.packing.store.read(&mut cx).await.map_err(said)?;
            all += tx.query("select count(*) from packed").one::<(i64,)>().await.map_err(said)?.0;
        }
        Ok(all)
    }

    /// Closes both stores.
    pub(crate) async fn close(&self) -> Result<(), Failure> {
        self.orders.store.close().await.map_err(said)?;
        self.packing.store.close().await.map_err(said)
    }
}

fn placed(id: Uuid) -> OrderPlaced {
    OrderPlaced { order_id: id.to_string(), sku: "tea-assam".to_owned(), total: 3 * UNIT }
}

/// Consumer and relay at work.
pub(crate) struct Engine {
    consumer: Consumer,
    stopper: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Engine {
    /// How many events were applied since it was started.
    pub(crate) fn applied(&self) -> u64 {
        self.consumer.metrics().applied.get()
    }

    /// Waits until so many events were applied.
    pub(crate) async fn reaches(&self, count: u64) -> Result<(), Failure> {
        let began = Instant::now();
        while self.applied() < count {
            if began.elapsed() > PATIENCE || self.consumer.metrics().held.get() > 0 {
                return Err(format!("{} of {count} events were applied", self.applied()).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Lets the pump store its position, and stops.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        tokio::time::sleep(SAVED).await;
        self.stopper.send(true)?;
        for task in self.tasks {
            task.abort();
            // Cancelled or done.
            let _ = task.await;
        }
        Ok(())
    }
}

/// When orders were committed by their consumer: as soon as its store announces a transaction.
#[derive(Default)]
pub(crate) struct Noted(Mutex<Notes>);

/// Orders of open transactions, and those that were committed, each with its moment.
type Notes = (Vec<String>, Vec<(String, Instant)>);

impl Noted {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Vec<(String, Instant)> {
        std::mem::take(&mut self.lock().1)
    }

    async fn watch(self: Arc<Self>, store: Store) {
        let mut announced = store.announcements();
        loop {
            announced.next().await;
            let (now, mut noted) = (Instant::now(), self.lock());
            let (handled, committed) = &mut *noted;
            committed.extend(handled.drain(..).map(|order| (order, now)));
        }
    }
}
