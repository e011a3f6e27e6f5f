//! What holds on PostgreSQL alone: round trips, lost connections, keys among processes, leases, protected connections.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "postgres/connections.rs"]
mod connections;
#[path = "support/keyed.rs"]
mod keyed;
#[path = "postgres/keys.rs"]
mod keys;
#[path = "postgres/leases.rs"]
mod leases;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "postgres/relay.rs"]
mod relay;
#[path = "postgres/tls.rs"]
mod tls;
#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use drystone_store::Location;
use drystone_testkit::{Database, Postgres};
use tokio_postgres::{Client, NoTls};
use world::World;

/// A store on the server of this process, and its owner's connection.
struct Site {
    world: World,
    database: Database,
    owner: Client,
}

impl Site {
    async fn open() -> Self {
        let database =
            tokio::task::spawn_blocking(|| Postgres::of_process().database()).await.unwrap().unwrap();
        let world = World::postgres_in(&database).await;
        let owner = connect(&database.owner_url).await;
        Self { world, database, owner }
    }

    /// Another process on the same data: a store with memory and connections of its own.
    async fn another_process(&self) -> World {
        World::open(Location::postgres(self.database.url.clone()), None, |_| {}).await
    }

    /// One value that the owner reads.
    async fn count(&self, sql: &str) -> i64 {
        self.owner.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Waits until what the owner reads is `wanted`.
    async fn until(&self, sql: &str, wanted: i64) {
        for _ in 0..1_500 {
            if self.count(sql).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{sql} is not {wanted} but {}", self.count(sql).await);
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
