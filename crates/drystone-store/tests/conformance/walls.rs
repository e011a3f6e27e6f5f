//! What a module cannot do, and what its callers do not learn.

use std::time::Duration;

use drystone_call::Code;
use drystone_store::{Migration, Migrations, Step, Store};

use crate::world::{MIGRATIONS, World};

pub(crate) async fn tenants_see_their_own(mut world: World) {
    let (mut acme, mut other) = (world.cx_of("acme"), world.cx_of("other"));
    world.add(&mut acme, "same", 1).await.unwrap();
    world.add(&mut other, "same", 2).await.unwrap();
    world.add(&mut other, "more", 2).await.unwrap();
    assert_eq!(world.skus(&mut acme).await, ["same"]);
    assert_eq!(world.skus(&mut other).await, ["more", "same"]);
    let mut tx = world.store.begin(&mut acme).await.unwrap();
    assert_eq!(tx.query("update items set quantity = 9").execute().await.unwrap(), 1);
    assert_eq!(tx.query("delete from items where sku = 'more'").execute().await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(world.skus(&mut world.cx_of("third")).await, [""; 0]);
    world.reopen().await;
    let names: Vec<String> =
        world.store.tenants().list().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["acme", "other", "third"]);
}

pub(crate) async fn shared_data_is_of_no_tenant(world: World) {
    let shared = world.store.shared();
    let (mut acme, mut other) = (world.cx_of("acme"), world.cx_of("other"));
    let mut tx = shared.begin(&mut acme).await.unwrap();
    tx.query("insert into rates (currency, rate) values ('EUR', 100)").execute().await.unwrap();
    tx.commit().await.unwrap();
    let mut read = shared.read(&mut other).await.unwrap();
    assert_eq!(read.query("select rate from rates").one::<(i64,)>().await.unwrap(), (100,));
    drop(read);
    let mut read = world.store.read(&mut other).await.unwrap();
    assert!(
        read.query("select rate from rates").all::<(i64,)>().await.is_err(),
        "a tenant's data has no such table"
    );
}

pub(crate) async fn a_conflict_is_already_exists(world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "stone", 1).await.unwrap();
    let error = world.add(&mut cx, "stone", 1).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    let insert = "insert into items (id, sku, quantity) values ($1, 'stone', 1) on conflict do nothing";
    assert_eq!(tx.query(insert).bind((id,)).execute().await.unwrap(), 0);
    tx.commit().await.unwrap();
}

pub(crate) async fn a_broken_rule_is_a_failed_precondition(world: World) {
    let mut cx = world.cx();
    let below_zero = world.add(&mut cx, "stone", -1).await.unwrap_err();
    assert_eq!(below_zero.code(), Code::FailedPrecondition);
    for sql in ["insert into items (id, sku) values ($1, 'x')", "insert into lines (id, item) values (1, $1)"]
    {
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let id = tx.new_id();
        let error = tx.query(sql).bind((id,)).execute().await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{sql}: {error:?}");
    }
}

pub(crate) async fn control_is_refused(world: World) {
    let mut cx = world.cx();
    for sql in [
        "commit",
        "rollback",
        "BEGIN",
        "savepoint a",
        "release a",
        " /* x */ -- y\n Commit",
        "attach database 'x' as y",
        "detach database y",
        "pragma user_version = 3",
        "vacuum",
    ] {
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let id = tx.new_id();
        let insert = "insert into items (id, sku, quantity) values ($1, 'left', 1)";
        tx.query(insert).bind((id,)).execute().await.unwrap();
        let error = tx.query(sql).execute().await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{sql}");
        assert!(format!("{error:?}").contains("is not for a transaction to say"), "{sql}: {error:?}");
        drop(tx);
        assert!(world.skus(&mut cx).await.is_empty(), "{sql} took effect");
    }
}

pub(crate) async fn several_statements_are_refused(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let two = "insert into lines (id, item) values (1, null); commit";
    assert_eq!(tx.query(two).execute().await.unwrap_err().code(), Code::Internal);
    drop(tx);
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    tx.query("select 1;").one::<(i32,)>().await.unwrap();
}

pub(crate) async fn a_snapshot_does_not_write(world: World) {
    let mut cx = world.cx();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let insert = "insert into kinds (id) values (1) returning id";
    assert!(read.query(insert).one::<(i64,)>().await.is_err());
    drop(read);
    let mut read = world.store.read(&mut cx).await.unwrap();
    assert_eq!(read.query("select count(*) from kinds").one::<(i64,)>().await.unwrap(), (0,));
}

pub(crate) async fn migrations_run_once(mut world: World) {
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    world.reopen().await;
    let mut cx = world.cx();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let row: (String,) = read.query("select note from items").one().await.unwrap();
    assert_eq!(row.0, "");
}

/// The migrations with one more, or with the first one changed.
fn changed(change: impl Fn(&mut Vec<Migration>)) -> Migrations {
    let change = |all: &'static [Migration]| -> &'static [Migration] {
        let mut all = all.to_vec();
        change(&mut all);
        Vec::leak(all)
    };
    Migrations { sqlite: change(MIGRATIONS.sqlite), postgres: change(MIGRATIONS.postgres), ..MIGRATIONS }
}

/// Opens the world's data with other migrations and uses a tenant's.
async fn open_with(world: &mut World, migrations: Migrations) -> drystone_call::Result<()> {
    let mut config = world.config();
    config.migrations = migrations;
    world.reopen_with(config).await?;
    let mut cx = world.cx();
    world.store.read(&mut cx).await.map(drop)
}

pub(crate) async fn an_edited_migration_is_refused(mut world: World) {
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let edited = changed(|all| all[0].sql = "create table other (tenant text not null, id bigint not null)");
    let error = open_with(&mut world, edited).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("V0001__expand_create was edited"), "{error}");
    let broken =
        Migration { version: 3, step: Step::Expand, name: "V0003__expand_broken", sql: "create tabel x" };
    let error = open_with(&mut world, changed(|all| all.push(broken))).await.unwrap_err();
    assert!(error.message().contains("V0003__expand_broken failed"), "{error}");
    let more = Migration {
        version: 3,
        step: Step::Expand,
        name: "V0003__expand_more",
        sql: "create table more (tenant text not null, id bigint not null, primary key (tenant, id))",
    };
    open_with(&mut world, changed(|all| all.push(more))).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["stone"]);
}

pub(crate) async fn an_older_binary_works_until_something_is_taken_away(mut world: World) {
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let more = Migration {
        version: 3,
        step: Step::Expand,
        name: "V0003__expand_more",
        sql: "alter table items add column more bigint not null default 7",
    };
    let less = Migration {
        version: 4,
        step: Step::Contract,
        name: "V0004__contract_note",
        sql: "alter table items drop column note",
    };
    open_with(&mut world, changed(|all| all.push(more))).await.unwrap();
    open_with(&mut world, MIGRATIONS).await.unwrap();
    world.add(&mut world.cx(), "older", 1).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["older", "stone"]);
    // The older one holds its lease until it is closed, and its file's lock.
    open_with(&mut world, changed(|all| all.extend([more, less]))).await.unwrap();
    let error = open_with(&mut world, MIGRATIONS).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let says = "V0004__contract_note, which this binary does not know and which took something away";
    assert!(error.message().contains(says), "{error}");
}

pub(crate) async fn callers_see_no_sql(world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "secret-sku", 1).await.unwrap();
    let error = world.add(&mut cx, "secret-sku", 1).await.unwrap_err();
    assert!(!error.to_string().contains("items") && !error.to_string().contains("secret"), "{error}");
    assert!(format!("{error:?}").contains("insert into items"), "the cause has it: {error:?}");
}

pub(crate) async fn a_slow_statement_meets_the_deadline(world: World) {
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 2000000000) select count(*) from n";
    let mut cx = world.cx().with_timeout(Duration::from_millis(300));
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let error = tx.query(endless).one::<(i64,)>().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    drop(tx);
    let mut cx = world.cx().with_timeout(Duration::from_millis(300));
    let mut read = world.store.read(&mut cx).await.unwrap();
    let error = read.query(endless).one::<(i64,)>().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    drop(read);
    world.add(&mut world.cx(), "next", 1).await.unwrap();
}

pub(crate) async fn an_unopened_store_says_so(world: World) {
    let store = Store::unopened("early");
    let error = store.begin(&mut world.cx()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("early"), "{error}");
    assert!(store.health().await.is_err());
    assert_eq!(store.metrics(), drystone_store::StoreMetrics::default());
}

pub(crate) async fn a_closed_store_says_so(world: World) {
    world.store.health().await.unwrap();
    world.store.close().await.unwrap();
    for store in [world.store.clone(), world.store.shared()] {
        assert_eq!(store.begin(&mut world.cx()).await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(store.read(&mut world.cx()).await.unwrap_err().code(), Code::Unavailable);
    }
    assert!(world.store.health().await.is_err());
}

pub(crate) async fn tenants_are_visited_in_turn(world: World) {
    for tenant in ["beta", "alpha"] {
        world.add(&mut world.cx_of(tenant), tenant, 1).await.unwrap();
    }
    let mut seen = Vec::new();
    let outcome = world
        .store
        .tenants()
        .each(|mut cx| {
            seen.push(cx.tenant().to_string());
            let store = world.store.clone();
            async move {
                let mut read = store.read(&mut cx).await?;
                let (sku,): (String,) = read.query("select sku from items").one().await?;
                if sku == "alpha" { Err(drystone_call::Error::aborted("alpha fails")) } else { Ok(()) }
            }
        })
        .await;
    assert_eq!(outcome.unwrap_err().message(), "alpha fails");
    assert_eq!(seen, ["alpha", "beta"]);
}
