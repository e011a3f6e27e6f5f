//! Several processes on one PostgreSQL: two stores in a test are two of them.

use drystone_call::{PlatformReason, reason_of};
use drystone_store::{Store, TenantState};

use crate::world::{MODULE, World};
use crate::{exported, soon, tenant};

/// Another process on the same database.
async fn another(world: &World) -> Store {
    let store = Store::unopened(MODULE);
    store.open(world.config()).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_changes_the_other_follows() {
    let world = World::postgres().await;
    let second = another(&world).await;
    let (tenants, acme) = (world.store.tenants(), tenant("acme"));
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    second.begin(&mut world.cx()).await.unwrap().commit().await.unwrap();

    tenants.suspend(&acme).await.unwrap();
    let error = second.begin(&mut world.cx()).await.unwrap_err();
    assert_eq!(reason_of(&error), Some(PlatformReason::TenantSuspended), "{error:?}");
    assert_eq!(error.message(), "tenant acme is suspended; `tenants resume acme` lets calls in again");

    // At once, without waiting for a turn.
    second.tenants().resume(&acme).await.unwrap();
    world.store.begin(&mut world.cx()).await.unwrap().commit().await.unwrap();

    tenants.suspend(&acme).await.unwrap();
    let (archive, section) = exported(&second, "acme").await;
    tenants.delete(&acme).await.unwrap();
    assert_eq!(second.tenants().all().await.unwrap(), []);
    assert_eq!(second.tenants().import(&acme, &mut archive.as_slice()).await.unwrap(), section);
    let error = world.store.begin(&mut world.cx()).await.unwrap_err();
    assert!(error.message().contains("is being imported"), "{error}");
    second.tenants().resume(&acme).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["stone"]);
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_waits_for_the_work_of_the_other() {
    let world = World::postgres().await;
    let mut config = world.config();
    config.hold_limit = std::time::Duration::from_secs(60);
    let second = Store::unopened(MODULE);
    second.open(config).await.unwrap();
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let mut held = world.cx();
    let mut tx = second.begin(&mut held).await.unwrap();
    let id = tx.new_id();
    let insert = "insert into items (id, sku, quantity) values ($1, 'late', 1)";
    tx.query(insert).bind((id,)).execute().await.unwrap();

    let suspending = tokio::spawn({
        let tenants = world.store.tenants();
        async move { tenants.suspend(&tenant("acme")).await }
    });
    // The other process has followed when it refuses what is new; what is open keeps the suspension waiting.
    soon(async {
        while second.begin(&mut world.cx()).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(!suspending.is_finished());
    tx.commit().await.unwrap();
    suspending.await.unwrap().unwrap();
    assert_eq!(world.states().await, [("acme".to_owned(), TenantState::Suspended)]);
    world.store.tenants().resume(&tenant("acme")).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["late", "stone"]);
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_tenant_keeps_the_suspension_of_another_from_nothing() {
    let world = World::postgres().await;
    let second = another(&world).await;
    for name in ["acme", "other"] {
        world.add(&mut world.cx_of(name), "stone", 1).await.unwrap();
    }
    let mut reading = world.cx_of("other");
    let mut read = second.read(&mut reading).await.unwrap();
    read.query("select count(*) from items").one::<(i64,)>().await.unwrap();
    world.store.tenants().suspend(&tenant("acme")).await.unwrap();
    drop(read);
    second.close().await.unwrap();
}
