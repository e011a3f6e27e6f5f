//! The module that the suite `postgres` measures: an order's row and a row of an outbox in one transaction, on PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use drystone::prelude::*;
use drystone::store::{Location, Migrations, Migrator, Steps, StoreConfig};
use drystone::{Code, Principal, TenantId, micros};
use drystone_call::{AnyChannel as _, Channel, ContractClient, Home, Target};
use drystone_testkit::Database;
use prost::Message as _;

use crate::api::{
    Money, OrderRequest, OrderResponse, Prices, PricesClient, PricesServer, QuoteRequest, QuoteResponse,
};
use crate::prices::{UNIT, key, order_request, quote, said};
use crate::suites::Failure;

pub(crate) use drystone::store::Isolation;

/// The name of the module.
const MODULE: &str = "sales";
const MIGRATIONS: Migrations = migrations!("migrations/sales");
/// What the rows of the outbox are about.
pub(crate) const TOPIC: &str = "bench.sales.v1.OrderPlaced";

const ORDER: &str =
    "insert into orders (id, user_id, sku, quantity, currency_code, total_minor, state, created)
    values ($1, $2, $3, $4, $5, $6, $7, $8) returning *";
const OUTBOX: &str = "insert into outbox (topic, key, payload, created) values ($1, $2, $3, $4)";

/// What is kept in one transaction.
pub(crate) struct Order {
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) currency: String,
    pub(crate) total: i64,
    pub(crate) state: i32,
    pub(crate) created: i64,
}

impl Order {
    fn of(tenant: &str, req: OrderRequest, created: i64) -> Self {
        let OrderRequest { id, user_id: user, sku, quantity } = req;
        let (tenant, currency) = (tenant.to_owned(), "EUR".to_owned());
        Self {
            tenant,
            id,
            user,
            sku,
            quantity,
            currency,
            total: UNIT * i64::from(quantity),
            state: 1,
            created,
        }
    }

    /// What the row of the outbox carries.
    pub(crate) fn event(&self) -> Vec<u8> {
        self.answer().encode_to_vec()
    }

    fn answer(&self) -> OrderResponse {
        let total = Money { currency_code: self.currency.clone(), minor_units: self.total };
        OrderResponse { id: self.id.clone(), total: Some(total) }
    }

    /// Whether the row that came back is this order's.
    pub(crate) fn check(&self, total: i64) -> Result<(), Failure> {
        if total == self.total { Ok(()) } else { Err(format!("the order came back with {total}").into()) }
    }
}

/// The row as it comes back.
#[derive(Row)]
#[expect(dead_code, reason = "read whole, as a handler reads it")]
struct OrderRow {
    id: String,
    user_id: String,
    sku: String,
    quantity: i32,
    currency_code: String,
    total_minor: i64,
    state: i32,
    created: i64,
}

/// How the transaction is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    pub(crate) isolation: Isolation,
    /// In a tenant's tables, with row-level security, or in those of no tenant.
    pub(crate) walled: bool,
    /// Whether the outbox's row waits for the commit instead of being awaited.
    pub(crate) queued: bool,
}

/// The module's store and a client to its service.
pub(crate) struct Sales {
    walled: Store,
    shared: Store,
    client: PricesClient,
    home: Arc<Home>,
}

impl Sales {
    /// Migrates the database and opens the store with the platform's defaults.
    pub(crate) async fn open(database: &Database) -> Result<Self, Failure> {
        let home = Home::of_system(MODULE);
        let config = config(database, &home);
        let migrator = Migrator::connect(&database.owner_url.clone().into()).await.map_err(said)?;
        migrator.migrate(&config, Steps::All).await.map_err(said)?;
        let store = Store::unopened(MODULE);
        store.open(config).await.map_err(said)?;
        let served = PricesServer::new(SalesService { store: store.clone() });
        let channel = Channel::<<PricesClient as ContractClient>::Service>::unbound(Some("bench"), "bench");
        channel.bind_to(Target::Direct(served.mount(Arc::clone(&home), Some(store.gate())))).map_err(said)?;
        Ok(Self { shared: store.shared(), walled: store, client: PricesClient::from_channel(channel), home })
    }

    /// How many connections the store's transactions share.
    pub(crate) fn connections(database: &Database) -> usize {
        config(database, &Home::of_system(MODULE)).max_connections
    }

    /// A new order of a tenant.
    pub(crate) fn order(&self, tenant: &str) -> Order {
        Order::of(tenant, order_request(self.home.new_id().to_string()), micros(self.home.now()))
    }

    /// Keeps an order, beginning again when a concurrent transaction got in the way; says how often.
    pub(crate) async fn keep(&self, how: How, order: &Order) -> Result<u64, Failure> {
        let store = if how.walled { &self.walled } else { &self.shared };
        let mut again = 0;
        loop {
            let mut cx = self.context(&order.tenant)?;
            match kept(store, &mut cx, how, order).await {
                Err(error) if error.code() == Code::Aborted => again += 1,
                outcome => {
                    outcome.map_err(said)?;
                    return Ok(again);
                }
            }
        }
    }

    /// Makes the whole call under an idempotency key; the platform itself runs it again where it must, and only its counter says so.
    pub(crate) async fn call(&self, order: &Order) -> Result<(), Failure> {
        let cx = self.context(&order.tenant)?.with_key(key(&order.id)?);
        let answer = self.client.order(&cx, order_request(order.id.clone())).await.map_err(said)?;
        order.check(answer.total.unwrap_or_default().minor_units)
    }

    /// How often the database refused a transaction because of a concurrent one, so far.
    pub(crate) fn conflicts(&self) -> u64 {
        self.walled.metrics().conflicts
    }

    fn context(&self, tenant: &str) -> Result<Context, Failure> {
        let tenant = TenantId::new(tenant).map_err(said)?;
        let principal = Principal::new("user:bench").map_err(said)?;
        Ok(Context::mint(Arc::clone(&self.home), tenant, principal).with_timeout(Duration::from_secs(60)))
    }
}

fn config(database: &Database, home: &Arc<Home>) -> StoreConfig {
    StoreConfig::new(Location::postgres(database.url.clone()), MIGRATIONS, Arc::clone(home))
}

/// The two rows and their commit.
async fn kept(store: &Store, cx: &mut Context, how: How, order: &Order) -> Result<()> {
    let mut tx = store.begin_with(cx, how.isolation).await?;
    write(&mut tx, how.queued, order).await?;
    tx.commit().await
}

async fn write(tx: &mut Tx<'_>, queued: bool, order: &Order) -> Result<()> {
    let Order { id, user, sku, quantity, currency, total, state, created, .. } = order;
    let row: OrderRow =
        tx.query(ORDER).bind((id, user, sku, quantity, currency, total, state, created)).one().await?;
    order.check(row.total_minor).map_err(|error| Error::internal(error.to_string()))?;
    let outbox = tx.query(OUTBOX).bind((TOPIC, id.clone(), order.event(), *created));
    if queued {
        outbox.queue();
    } else {
        outbox.execute().await?;
    }
    Ok(())
}

struct SalesService {
    store: Store,
}

impl Prices for SalesService {
    async fn quote(&self, _: &mut Context, req: QuoteRequest) -> Result<QuoteResponse> {
        Ok(quote(req))
    }

    async fn order(&self, cx: &mut Context, req: OrderRequest) -> Result<OrderResponse> {
        let order = Order::of(cx.tenant().as_str(), req, micros(cx.now()));
        let mut tx = self.store.begin(cx).await?;
        write(&mut tx, true, &order).await?;
        tx.commit_with(order.answer()).await
    }
}
