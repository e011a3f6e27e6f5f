//! What `db status` shows.

use std::time::Duration;

use drystone_store::{Location, TenantCounts};

use crate::tenant;
use crate::world::World;

pub(crate) async fn the_status_says_how_it_is(world: World) {
    for name in ["acme", "other", "third"] {
        world.add(&mut world.cx_of(name), "stone", 1).await.unwrap();
    }
    world.store.tenants().suspend(&tenant("other")).await.unwrap();
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let insert = "insert into lines (id, item) select 1, id from items";
    tx.query(insert).execute().await.unwrap();
    let status = world.store.status().await.unwrap();
    assert!(status.oldest_transaction.is_some_and(|age| age < Duration::from_secs(60)), "{status:?}");
    drop(tx);
    assert_eq!(status.module, "stock");
    assert!(status.bytes > 10_000, "{status:?}");
    assert_eq!(status.tenants, TenantCounts { active: 2, suspended: 1, ..TenantCounts::default() });
    let schemas: Vec<_> =
        status.schemas.iter().map(|one| (one.of.as_str(), one.applied, one.pending.len())).collect();
    assert_eq!(schemas, [("tenants", 2, 0), ("shared", 1, 0)]);
    match world.config().location {
        Location::Sqlite { dir } => {
            assert_eq!(
                (status.kind.as_str(), status.place),
                ("sqlite", dir.join("stock").display().to_string())
            );
            assert_eq!(status.open_files, 2);
        }
        Location::Postgres { .. } => {
            assert_eq!(status.kind, "postgres");
            assert!(status.place.contains("test") && status.place.contains("stock"), "{}", status.place);
            assert!(status.connections >= 1, "{}", status.connections);
        }
    }
}
