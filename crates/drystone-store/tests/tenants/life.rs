//! From creation to deletion, in one process.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Code, Error, PlatformReason, reason_of};
use drystone_store::TenantState;
use futures_util::FutureExt as _;

use crate::keyed::{Client, keyed};
use crate::world::World;
use crate::{soon, tenant};

/// That calls for `acme` are refused with a reason, wherever they come in.
async fn check_refused(world: &World, reason: PlatformReason) {
    let client = Client::of(world, |_, req| Box::pin(async move { Ok(req) }));
    let errors: [Error; 3] = [
        world.store.begin(&mut world.cx()).await.unwrap_err(),
        world.store.read(&mut world.cx()).await.unwrap_err(),
        client.call(&keyed(world, "k"), "a").await.0.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(reason_of::<PlatformReason>(&error), Some(reason), "{error:?}");
        assert!(error.message().contains("acme"), "{error}");
    }
}

pub(crate) async fn a_tenant_lives(world: World) {
    let (tenants, acme) = (world.store.tenants(), tenant("acme"));
    assert!(tenants.create(&acme).await.unwrap());
    assert!(!tenants.create(&acme).await.unwrap());
    assert_eq!(tenants.list().await.unwrap(), std::slice::from_ref(&acme));
    world.add(&mut world.cx(), "stone", 1).await.unwrap();

    tenants.suspend(&acme).await.unwrap();
    check_refused(&world, PlatformReason::TenantSuspended).await;
    assert_eq!(tenants.list().await.unwrap(), []);
    assert_eq!(world.states().await, [("acme".to_owned(), TenantState::Suspended)]);
    tenants.suspend(&acme).await.unwrap();
    assert!(!tenants.create(&acme).await.unwrap(), "a suspended tenant is there");
    world.add(&mut world.cx_of("other"), "stone", 1).await.unwrap();

    tenants.resume(&acme).await.unwrap();
    tenants.resume(&acme).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["stone"]);

    tenants.suspend(&acme).await.unwrap();
    tenants.delete(&acme).await.unwrap();
    assert_eq!(world.states().await, [("other".to_owned(), TenantState::Active)]);
    assert!(!world.files().iter().any(|file| file.to_string_lossy().contains("acme")), "{:?}", world.files());
    assert_eq!(world.skus(&mut world.cx_of("other")).await, ["stone"]);
    assert_eq!(world.skus(&mut world.cx()).await, [""; 0], "created anew, and empty");
}

pub(crate) async fn what_is_not_allowed_says_why(world: World) {
    let (tenants, acme, nobody) = (world.store.tenants(), tenant("acme"), tenant("nobody"));
    tenants.create(&acme).await.unwrap();
    let error = tenants.delete(&acme).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::FailedPrecondition, "tenant acme is active: suspend it first")
    );
    let unknown = [
        tenants.suspend(&nobody).await.unwrap_err(),
        tenants.resume(&nobody).await.unwrap_err(),
        tenants.delete(&nobody).await.unwrap_err(),
        tenants.export(&nobody, &mut Vec::new()).await.unwrap_err(),
    ];
    for error in unknown {
        assert_eq!(reason_of(&error), Some(PlatformReason::TenantUnknown), "{error:?}");
        assert_eq!(error.message(), "there is no tenant nobody; create it with `tenants create nobody`");
    }
}

pub(crate) async fn a_tenant_that_nobody_created_leaves_nothing(mut world: World) {
    world.reopen_as(|config| config.create_tenants = false).await;
    check_refused(&world, PlatformReason::TenantUnknown).await;
    assert_eq!(world.states().await, []);
    assert_eq!(world.files(), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(world.store.metrics().open_files, 0);
    world.store.tenants().create(&tenant("acme")).await.unwrap();
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
}

pub(crate) async fn a_suspension_waits_for_those_at_work(world: World) {
    let world = Arc::new(world);
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let (mut writing, mut reading) = (world.cx(), world.cx());
    let mut tx = world.store.begin(&mut writing).await.unwrap();
    let id = tx.new_id();
    let insert = "insert into items (id, sku, quantity) values ($1, 'late', 1)";
    tx.query(insert).bind((id,)).execute().await.unwrap();
    let mut read = world.store.read(&mut reading).await.unwrap();
    read.query("select count(*) from items").one::<(i64,)>().await.unwrap();
    let suspending = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.store.tenants().suspend(&tenant("acme")).await }
    });
    // Refused from the moment at which the suspension is known, though it still waits.
    soon(async {
        while world.states().await[0].1 == TenantState::Active {
            tokio::task::yield_now().await;
        }
    })
    .await;
    check_refused(&world, PlatformReason::TenantSuspended).await;
    assert!(!suspending.is_finished());
    tx.commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!suspending.is_finished(), "somebody still reads");
    assert_eq!(
        read.query("select count(*) from items").one::<(i64,)>().await.unwrap(),
        (1,),
        "on its snapshot"
    );
    drop(read);
    suspending.await.unwrap().unwrap();
    world.store.tenants().resume(&tenant("acme")).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["late", "stone"]);
}

pub(crate) async fn a_suspended_tenant_is_listed_after_reopening(mut world: World) {
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let before = world.store.tenants().all().await.unwrap();
    world.store.tenants().suspend(&tenant("acme")).await.unwrap();
    world.reopen().await;
    let after = world.store.tenants().all().await.unwrap();
    assert_eq!((after[0].state, after[0].created), (TenantState::Suspended, before[0].created));
    assert_eq!(after[0].created, world.home.now(), "on the module's clock");
    check_refused(&world, PlatformReason::TenantSuspended).await;
    world.store.tenants().resume(&tenant("acme")).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["stone"]);
}

pub(crate) async fn one_operation_at_a_time(world: World) {
    let (tenants, acme) = (world.store.tenants(), tenant("acme"));
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let mut held = world.cx();
    let read = world.store.read(&mut held).await.unwrap();
    let suspending = tokio::spawn({
        let (tenants, acme) = (tenants.clone(), acme.clone());
        async move { tenants.suspend(&acme).await }
    });
    soon(async {
        while world.states().await[0].1 == TenantState::Active {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for error in [tenants.resume(&acme).await.unwrap_err(), tenants.delete(&acme).await.unwrap_err()] {
        assert_eq!(error.code(), Code::Aborted);
        assert_eq!(error.message(), "another operation on tenant acme is running; try again when it is done");
    }
    drop(read);
    suspending.await.unwrap().unwrap();
    tenants.delete(&acme).await.unwrap();
}

pub(crate) async fn a_thousand_tenants_are_listed_fast(mut world: World) {
    let names: Vec<String> = (0..1000).map(|n| format!("t{n:04}")).collect();
    for some in names.chunks(100) {
        let tenants = world.store.tenants();
        let created = some.iter().map(|name| {
            let (tenants, name) = (tenants.clone(), tenant(name));
            tokio::spawn(async move { tenants.create(&name).await })
        });
        for created in created.collect::<Vec<_>>() {
            assert!(created.await.unwrap().unwrap());
        }
    }
    world.reopen().await;
    let from = std::time::Instant::now();
    for _ in 0..10 {
        let listed = world.store.tenants().list().await.unwrap();
        assert!(listed.iter().map(|name| name.as_str()).eq(names.iter().map(String::as_str)));
    }
    println!("10 lists of 1,000 tenants: {:?}", from.elapsed());
    assert!(from.elapsed() < Duration::from_secs(2), "{:?}", from.elapsed());
}

/// A change that has begun goes on, though nobody waits for it.
pub(crate) async fn a_deletion_that_nobody_waits_for_goes_on(world: World) {
    let (tenants, acme) = (world.store.tenants(), tenant("acme"));
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    tenants.suspend(&acme).await.unwrap();
    assert!(tenants.delete(&acme).now_or_never().is_none());
    soon(async {
        while !world.states().await.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.files(), [""; 0].map(std::path::PathBuf::from));
}

/// Leaves a tenant as a crash would in the middle of an operation.
async fn crash(world: &mut World, state: &str) {
    let mut cx = world.cx();
    let shared = world.store.shared();
    let mut tx = shared.begin(&mut cx).await.unwrap();
    let update = "update drystone_tenants set state = $1 where name = 'acme'";
    assert_eq!(tx.query(update).bind((state,)).execute().await.unwrap(), 1);
    tx.commit().await.unwrap();
    world.reopen().await;
}

pub(crate) async fn what_a_crash_left_can_be_deleted(mut world: World) {
    for (state, expected) in [("deleting", TenantState::Deleting), ("importing", TenantState::Importing)] {
        let acme = tenant("acme");
        world.add(&mut world.cx(), "stone", 1).await.unwrap();
        crash(&mut world, state).await;
        assert_eq!(world.states().await, [("acme".to_owned(), expected)]);
        check_refused(&world, PlatformReason::TenantSuspended).await;
        let tenants = world.store.tenants();
        if expected == TenantState::Deleting {
            let error = tenants.resume(&acme).await.unwrap_err();
            assert_eq!(error.message(), "tenant acme is deleting: delete it to the end; it cannot come back");
        }
        tenants.delete(&acme).await.unwrap();
        assert_eq!(world.states().await, []);
        assert_eq!(world.files(), [""; 0].map(std::path::PathBuf::from));
        assert_eq!(world.skus(&mut world.cx()).await, [""; 0]);
    }
}
