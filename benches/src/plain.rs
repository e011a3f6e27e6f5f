//! The yardstick of the store on PostgreSQL: the same two inserts as plain SQL over tokio-postgres, statements prepared, on a fixed set of connections.
//!
//! There is no wall between tenants, no deadline, no limit on how long a transaction stays open, and no repeat after a conflict but the one that the
//! suite makes.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};

use crate::sales::{Order, TOPIC};
use crate::suites::Failure;

/// The role that the connections log in as.
const ROLE: &str = "plain";

const ORDER: &str = "insert into plain.orders
    (tenant, id, user_id, sku, quantity, currency_code, total_minor, state, created)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *";
const OUTBOX: &str =
    "insert into plain.outbox (tenant, topic, key, payload, created) values ($1, $2, $3, $4, $5)";
const BOTH: &str = "with written as (
        insert into plain.outbox (tenant, topic, key, payload, created) values ($1, $10, $2, $11, $9)
    )
    insert into plain.orders (tenant, id, user_id, sku, quantity, currency_code, total_minor, state, created)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *";

/// How the two inserts travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trips {
    /// BEGIN, insert, insert, COMMIT, each awaited.
    Four,
    /// The same, serializable.
    FourSerializable,
    /// BEGIN with the first insert, the second with COMMIT.
    Two,
    /// One statement that commits by itself.
    One,
}

/// Makes the tables in a schema of their own, as the owner.
pub(crate) async fn create(owner: &Client, schema: &str) -> Result<(), Failure> {
    let sql = format!(
        "create role {ROLE} login; create schema plain; set search_path = plain; {schema}
         grant usage on schema plain to {ROLE}; grant select, insert on all tables in schema plain to {ROLE};
         reset search_path;"
    );
    Ok(owner.batch_execute(&sql).await?)
}

/// Connects, and serves the connection in a task of its own.
pub(crate) async fn connect(config: &Config) -> Result<Client, Failure> {
    let (client, connection) = config.connect(NoTls).await?;
    // What it ends with, the statements that wait for it say.
    tokio::spawn(connection);
    Ok(client)
}

struct Prepared {
    client: Client,
    order: Statement,
    outbox: Statement,
    both: Statement,
}

/// So many connections, each used by one client at a time.
pub(crate) struct Plain {
    resting: Mutex<Vec<Prepared>>,
    permits: Semaphore,
}

impl Plain {
    /// Opens the connections and prepares the statements.
    pub(crate) async fn connect(url: &str, connections: usize) -> Result<Self, Failure> {
        let mut config: Config = url.parse()?;
        config.user(ROLE);
        let mut resting = Vec::with_capacity(connections);
        for _ in 0..connections {
            let client = connect(&config).await?;
            let (order, outbox) = (client.prepare(ORDER).await?, client.prepare(OUTBOX).await?);
            let both = client.prepare(BOTH).await?;
            resting.push(Prepared { client, order, outbox, both });
        }
        Ok(Self { resting: Mutex::new(resting), permits: Semaphore::new(connections) })
    }

    /// Keeps an order and its event, beginning again when a concurrent transaction got in the way; says how often.
    pub(crate) async fn keep(&self, trips: Trips, order: &Order) -> Result<u64, Failure> {
        let _permit = self.permits.acquire().await?;
        let resting = || self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = resting().pop().ok_or("as many connections as permits")?;
        let mut again = 0;
        let outcome = loop {
            match connection.once(trips, order).await {
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                    connection.client.batch_execute("rollback").await?;
                    again += 1;
                }
                outcome => break outcome,
            }
        };
        resting().push(connection);
        order.check(total(&outcome?)?)?;
        Ok(again)
    }
}

/// Reads the order that came back.
fn total(row: &Row) -> Result<i64, Error> {
    let _: (String, String, String, i32) =
        (row.try_get("id")?, row.try_get("user_id")?, row.try_get("sku")?, row.try_get("quantity")?);
    let _: (String, i32, i64) =
        (row.try_get("currency_code")?, row.try_get("state")?, row.try_get("created")?);
    row.try_get("total_minor")
}

impl Prepared {
    async fn once(&self, trips: Trips, order: &Order) -> Result<Row, Error> {
        match trips {
            Trips::Four => self.four("begin", order).await,
            Trips::FourSerializable => self.four("begin isolation level serializable", order).await,
            Trips::Two => self.two(order).await,
            Trips::One => self.one(order).await,
        }
    }

    async fn four(&self, begin: &str, order: &Order) -> Result<Row, Error> {
        self.client.batch_execute(begin).await?;
        let row = self.order(order).await?;
        self.outbox(order).await?;
        self.client.batch_execute("commit").await?;
        Ok(row)
    }

    /// What is polled together is sent together, in this order.
    async fn two(&self, order: &Order) -> Result<Row, Error> {
        let (begun, row) = tokio::join!(biased; self.client.batch_execute("begin"), self.order(order));
        begun?;
        let row = row?;
        let (kept, committed) = tokio::join!(biased; self.outbox(order), self.client.batch_execute("commit"));
        kept?;
        committed?;
        Ok(row)
    }

    async fn order(&self, order: &Order) -> Result<Row, Error> {
        let Order { tenant, id, user, sku, quantity, currency, total, state, created } = order;
        self.client
            .query_one(&self.order, &[tenant, id, user, sku, quantity, currency, total, state, created])
            .await
    }

    async fn outbox(&self, order: &Order) -> Result<u64, Error> {
        let payload = order.event();
        self.client.execute(&self.outbox, &[&order.tenant, &TOPIC, &order.id, &payload, &order.created]).await
    }

    async fn one(&self, order: &Order) -> Result<Row, Error> {
        let payload = order.event();
        let Order { tenant, id, user, sku, quantity, currency, total, state, created } = order;
        self.client
            .query_one(
                &self.both,
                &[tenant, id, user, sku, quantity, currency, total, state, created, &TOPIC, &payload],
            )
            .await
    }
}
