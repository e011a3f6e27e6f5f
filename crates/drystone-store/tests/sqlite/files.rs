//! The files: who may read them, who owns them, how many are open.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use drystone_call::Code;
use drystone_store::{Location, Store};

use crate::keyed::{Client, keyed};
use crate::world::{MODULE, World};

impl World {
    /// Where the module's files are.
    fn files(&self) -> PathBuf {
        match self.config().location {
            Location::Sqlite { dir } => dir.join(MODULE),
            Location::Postgres { .. } => unreachable!("these tests open SQLite"),
        }
    }
}

#[tokio::test]
async fn files_are_their_owners_only() {
    let world = World::sqlite().await;
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    let mode = |path: &str| std::fs::metadata(world.files().join(path)).unwrap().permissions().mode() & 0o777;
    for (path, expected) in [
        ("", 0o700),
        ("tenants", 0o700),
        ("shared.db", 0o600),
        ("lock", 0o600),
        ("tenants/acme.db", 0o600),
        ("tenants/acme.db-wal", 0o600),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let world = World::sqlite().await;
    let second = Store::unopened(MODULE);
    let error = second.open(world.config()).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(
        error.message().contains(&world.files().join("lock").display().to_string()),
        "names the file: {error}"
    );
    assert!(error.message().contains("stop that process"), "names the remedy: {error}");
    world.store.close().await.unwrap();
    drop(world.store.clone());
    second.open(world.config()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_files_stay_open() {
    let world = World::sqlite_with(|config| config.max_open_files = 2).await;
    let tenants: Vec<String> = (0..7).map(|n| format!("tenant{n}")).collect();
    for round in 0..2 {
        for tenant in &tenants {
            world.add(&mut world.cx_of(tenant), &format!("{tenant}-{round}"), 1).await.unwrap();
            assert!(world.store.metrics().open_files <= 2);
        }
    }
    for tenant in &tenants {
        let expected = [format!("{tenant}-0"), format!("{tenant}-1")];
        assert_eq!(world.skus(&mut world.cx_of(tenant)).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_use_is_not_closed() {
    let world = World::sqlite_with(|config| config.max_open_files = 1).await;
    let mut held = world.cx_of("held");
    let mut tx = world.store.begin(&mut held).await.unwrap();
    let id = tx.new_id();
    tx.query("insert into items (id, sku, quantity) values ($1, 'kept', 1)")
        .bind((id,))
        .execute()
        .await
        .unwrap();
    for n in 0..3 {
        world.add(&mut world.cx_of(&format!("other{n}")), "x", 1).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(world.skus(&mut held).await, ["kept"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_opens_once_for_many() {
    let world = std::sync::Arc::new(World::sqlite().await);
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let world = std::sync::Arc::clone(&world);
            tokio::spawn(async move {
                world.add(&mut world.cx_of("fresh"), &format!("s{n:02}"), 1).await.map(drop)
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.skus(&mut world.cx_of("fresh")).await.len(), 16);
    assert_eq!(world.store.metrics().open_files, 1);
}

#[tokio::test]
async fn records_are_forgotten_after_their_time() {
    let mut world = World::sqlite().await;
    let make = |world: &World| {
        let store = world.store.clone();
        Client::of(world, move |cx, req| {
            let store = store.clone();
            Box::pin(async move { store.begin(cx).await?.commit_with(req).await })
        })
    };
    make(&world).call(&keyed(&world, "k"), "a").await.0.unwrap();
    for (days, replayed) in [(6, true), (2, false)] {
        world.clock.advance(Duration::from_hours(24 * days));
        world.reopen().await;
        let client = make(&world);
        assert_eq!(client.call(&keyed(&world, "k"), "a").await.1, replayed, "after {days} more days");
    }
}

/// The platform's tables as the previous release made them, in a tenant's file and in the shared one.
const PREVIOUS: &str = "
create table drystone_migrations (version integer primary key, name text not null, checksum text not null, applied integer not null) strict;
create table drystone_idempotency (
    id integer primary key, tenant text not null, principal text not null, method text not null, key text not null, fingerprint blob not null,
    descriptor_hash integer not null, kind integer not null, body blob not null, created integer not null, unique (tenant, principal, method, key)
) strict;
create table drystone_tenants (name text primary key, created integer not null, state text not null default 'active') strict, without rowid;";

/// What the platform keeps in a file.
fn platform(path: &std::path::Path) -> Vec<String> {
    let db = rusqlite::Connection::open(path).unwrap();
    let sql = "select name from sqlite_schema where name like 'drystone\\_%' escape '\\' and type = 'table' order by name";
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn files_of_the_previous_release_get_what_is_new() {
    let mut world = World::sqlite().await;
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    world.store.close().await.unwrap();
    let files = ["tenants/acme.db", "shared.db"].map(|name| world.files().join(name));
    let fresh = files.clone().map(|file| platform(&file));
    assert_eq!(fresh[0].len(), 7, "{fresh:?}");
    assert_eq!(fresh[1].len(), 4, "{fresh:?}");
    for file in &files {
        let db = rusqlite::Connection::open(file).unwrap();
        let rows = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert!(rows("select count(*) from drystone_migrations") > 0);
        let tables = platform(file);
        for table in &tables {
            db.execute_batch(&format!("alter table {table} rename to old_{table}")).unwrap();
        }
        db.execute_batch(PREVIOUS).unwrap();
        for table in &tables {
            if PREVIOUS.contains(table) {
                db.execute_batch(&format!("insert into {table} select * from old_{table}")).unwrap();
            }
            db.execute_batch(&format!("drop table old_{table}")).unwrap();
        }
        assert_eq!(platform(file).len(), 3);
    }
    world.reopen().await;
    assert_eq!(world.skus(&mut world.cx()).await, ["stone"]);
    let has = |file: &PathBuf, wanted: &[String]| {
        let there = platform(file);
        wanted.iter().all(|table| there.contains(table))
    };
    assert!(has(&files[0], &fresh[0]) && has(&files[1], &fresh[1]));
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    let sql = "insert into drystone_outbox (id, type, key, data, created) values ($1, 't', 'k', x'', 0) returning seq";
    assert_eq!(tx.query(sql).bind((id,)).one::<(i64,)>().await.unwrap(), (1,));
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_number_of_the_outbox_is_never_given_twice() {
    let mut world = World::sqlite().await;
    for wanted in 1..=4_i64 {
        let mut cx = world.cx();
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let id = tx.new_id();
        let sql = "insert into drystone_outbox (id, type, key, data, created) values ($1, 't', 'k', x'', 0) returning seq";
        assert_eq!(tx.query(sql).bind((id,)).one::<(i64,)>().await.unwrap(), (wanted,));
        tx.commit().await.unwrap();
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        tx.query("delete from drystone_outbox").execute().await.unwrap();
        tx.commit().await.unwrap();
        world.reopen().await;
    }
}

#[tokio::test]
async fn no_name_leads_out_of_the_directory() {
    let world = World::sqlite().await;
    for name in ["..", "a/b", "", "/etc", "a\0"] {
        assert!(drystone_call::TenantId::new(name).is_err(), "{name:?}");
        let store = Store::unopened(name);
        let mut config = world.config();
        config.home = drystone_call::Home::of_system(name);
        assert_eq!(store.open(config).await.unwrap_err().code(), Code::InvalidArgument, "{name:?}");
    }
}
