//! Exported and imported: on one database, and from one to the other.

use std::time::Duration;

use drystone_call::Code;
use drystone_store::{Section, TenantState};

use crate::keyed::{Client, keyed};
use crate::rows::{all, fill};
use crate::world::World;
use crate::{exported, soon, tenant};

/// A keyed method that stores an item named as its request.
fn client(world: &World) -> Client {
    let store = world.store.clone();
    Client::of(world, move |cx, req| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            let insert = "insert into items (id, sku, quantity) values ($1, $2, 1)";
            tx.query(insert).bind((id, &req.text)).execute().await?;
            tx.commit_with(req).await
        })
    })
}

fn rows_of(section: &Section, table: &str) -> u64 {
    section.tables.iter().find(|one| one.name == table).unwrap().rows
}

/// The lines of an archive behind its header, which names the database, and before its end, which depends on it.
fn lines(archive: &[u8]) -> Vec<&str> {
    let lines: Vec<&str> = std::str::from_utf8(archive).unwrap().lines().collect();
    lines[1..lines.len() - 1].to_vec()
}

pub(crate) async fn exported_deleted_and_imported_is_equal(world: World) {
    let (tenants, acme) = (world.store.tenants(), tenant("acme"));
    fill(&world, "acme", 7, 600).await;
    fill(&world, "other", 8, 3).await;
    client(&world).call(&keyed(&world, "k"), "keyed").await.0.unwrap();
    let before = all(&world, &world.store, "acme").await;
    tenants.suspend(&acme).await.unwrap();
    let (archive, section) = exported(&world.store, "acme").await;
    assert_eq!((rows_of(&section, "items"), rows_of(&section, "drystone_idempotency")), (601, 1));
    tenants.delete(&acme).await.unwrap();

    let mut from = [archive.as_slice(), b"what comes next"].concat();
    let mut from = from.as_mut_slice() as &[u8];
    assert_eq!(tenants.import(&acme, &mut from).await.unwrap(), section);
    assert_eq!(from, b"what comes next", "read up to its end and no further");
    assert_eq!(world.states().await[0], ("acme".to_owned(), TenantState::Importing));
    let error = world.store.begin(&mut world.cx()).await.unwrap_err();
    assert!(error.message().contains("tenant acme is being imported"), "{error}");
    tenants.resume(&acme).await.unwrap();

    assert_eq!(all(&world, &world.store, "acme").await, before);
    assert_eq!(exported(&world.store, "acme").await, (archive, section));
    let (answer, replayed) = client(&world).call(&keyed(&world, "k"), "keyed").await;
    assert_eq!((answer.unwrap().as_str(), replayed), ("keyed", true));
    assert_eq!(all(&world, &world.store, "other").await.items.len(), 3);
}

pub(crate) async fn under_another_name(world: World) {
    fill(&world, "acme", 9, 5).await;
    client(&world).call(&keyed(&world, "k"), "keyed").await.0.unwrap();
    let (archive, section) = exported(&world.store, "acme").await;
    let copied = world.store.tenants().import(&tenant("copy"), &mut archive.as_slice()).await.unwrap();
    assert_eq!(copied, section);
    world.store.tenants().resume(&tenant("copy")).await.unwrap();
    assert_eq!(all(&world, &world.store, "copy").await, all(&world, &world.store, "acme").await);
    assert_eq!(exported(&world.store, "copy").await, (archive, section));
}

pub(crate) async fn an_export_is_one_moment(world: World) {
    fill(&world, "acme", 10, 1500).await;
    let (mut to, mut archive) = tokio::io::duplex(1024);
    let exporting = tokio::spawn({
        let tenants = world.store.tenants();
        async move { tenants.export(&tenant("acme"), &mut to).await }
    });
    let mut first = [0; 512];
    tokio::io::AsyncReadExt::read_exact(&mut archive, &mut first).await.unwrap();
    // The export has begun and waits for its reader; what is written now is not in it.
    let item = world.add(&mut world.cx(), "later", 1).await.unwrap();
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    tx.query("insert into lines (id, item) values (9999, $1)").bind((item.id,)).execute().await.unwrap();
    tx.commit().await.unwrap();
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut archive, &mut rest).await.unwrap();
    let section = exporting.await.unwrap().unwrap();
    assert_eq!((rows_of(&section, "items"), rows_of(&section, "lines")), (1500, 1500));
    assert!(!String::from_utf8(rest).unwrap().contains("\"later\""));
    assert_eq!(rows_of(&exported(&world.store, "acme").await.1, "items"), 1501);
}

pub(crate) async fn data_of_no_tenant_moves(world: World) {
    let shared = world.store.shared();
    let mut cx = world.cx();
    let mut tx = shared.begin(&mut cx).await.unwrap();
    tx.query("insert into rates (currency, rate) values ('EUR', 100), ('USD', 90)").execute().await.unwrap();
    tx.commit().await.unwrap();
    let mut archive = Vec::new();
    let section = world.store.tenants().export_shared(&mut archive).await.unwrap();
    assert_eq!(rows_of(&section, "rates"), 2);
    let error = world.store.tenants().import_shared(&mut archive.as_slice()).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(error.message().contains("table rates"), "{error}");
    for other in [World::sqlite().await, World::postgres().await] {
        let imported = other.store.tenants().import_shared(&mut archive.as_slice()).await.unwrap();
        assert_eq!(imported, section);
        let mut cx = other.cx();
        let mut read = other.store.shared().read(&mut cx).await.unwrap_or_else(|error| panic!("{error:?}"));
        let rates: Vec<(String, i64)> =
            read.query("select currency, rate from rates order by currency").all().await.unwrap();
        assert_eq!(rates, [("EUR".to_owned(), 100), ("USD".to_owned(), 90)]);
    }
}

/// Moves a tenant and says that everything is the same there, for the module's code too.
async fn check_moved(from: &World, to: &World, name: &str) -> Vec<u8> {
    let (archive, section) = exported(&from.store, name).await;
    let imported = to.store.tenants().import(&tenant(name), &mut archive.as_slice()).await.unwrap();
    assert_eq!(imported, section);
    to.store.tenants().resume(&tenant(name)).await.unwrap();
    assert_eq!(all(to, &to.store, name).await, all(from, &from.store, name).await);
    archive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_database_to_the_other_and_back() {
    let (sqlite, postgres) = (World::sqlite().await, World::postgres().await);
    let (sqlite_again, postgres_again) = (World::sqlite().await, World::postgres().await);
    for seed in 0..12 {
        let name = format!("s{seed}");
        fill(&sqlite, &name, seed, 40).await;
        let first = check_moved(&sqlite, &postgres, &name).await;
        check_moved(&postgres, &sqlite_again, &name).await;
        let last = exported(&sqlite_again.store, &name).await.0;
        assert_eq!(lines(&first), lines(&last), "seed {seed}");
    }
    for seed in 100..112 {
        let name = format!("p{seed}");
        fill(&postgres, &name, seed, 40).await;
        let first = check_moved(&postgres, &sqlite, &name).await;
        check_moved(&sqlite, &postgres_again, &name).await;
        let last = exported(&postgres_again.store, &name).await.0;
        assert_eq!(lines(&first), lines(&last), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_is_answered_after_a_move() {
    let (sqlite, postgres, back) = (World::sqlite().await, World::postgres().await, World::sqlite().await);
    client(&sqlite).call(&keyed(&sqlite, "k"), "keyed").await.0.unwrap();
    let refused = client(&sqlite).call(&keyed(&sqlite, "k"), "another").await.0.unwrap_err();
    check_moved(&sqlite, &postgres, "acme").await;
    check_moved(&postgres, &back, "acme").await;
    for world in [postgres, back] {
        let (answer, replayed) = client(&world).call(&keyed(&world, "k"), "keyed").await;
        assert_eq!((answer.unwrap().as_str(), replayed), ("keyed", true));
        let again = client(&world).call(&keyed(&world, "k"), "another").await.0.unwrap_err();
        assert_eq!(again.message(), refused.message(), "the fingerprint came along");
        assert_eq!(all(&world, &world.store, "acme").await.items.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_database_cannot_keep_is_named() {
    let (sqlite, postgres) = (World::sqlite().await, World::postgres().await);
    let statements = [
        (
            "insert into kinds (id, words) values (1, char(97, 0, 98))",
            "kinds.words cannot be kept here: PostgreSQL keeps no text with the character U+0000",
        ),
        ("insert into kinds (id, yes) values (1, 2)", "kinds.yes cannot be kept here: an integer is no Bool"),
        ("insert into kinds (id, ident) values (1, x'00')", "kinds.ident cannot be kept here"),
        ("insert into kinds (id, at) values (1, 'soon')", "kinds.at cannot be kept here"),
        (
            "insert into kinds (id, at) values (1, '2020-01-01 00:00:00.000000001+00:00')",
            "PostgreSQL keeps times to the microsecond",
        ),
        ("insert into kinds (id, doc) values (1, '{')", "kinds.doc cannot be kept here"),
        (
            "insert into kinds (id, small) values (1, 99999999999)",
            "rows of table kinds are refused by the database",
        ),
    ];
    for (at, (sql, expected)) in statements.into_iter().enumerate() {
        let name = format!("t{at}");
        let mut cx = sqlite.cx_of(&name);
        let mut tx = sqlite.store.begin(&mut cx).await.unwrap();
        tx.query(sql).execute().await.unwrap();
        tx.commit().await.unwrap();
        let archive = exported(&sqlite.store, &name).await.0;
        let error =
            postgres.store.tenants().import(&tenant(&name), &mut archive.as_slice()).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(error.message().contains(expected), "{sql}: {error}");
        assert_eq!(postgres.states().await, []);
    }
    for (name, value) in [("nan", "real) values (1, 'NaN'"), ("inf", "at) values (1, 'infinity'")] {
        let mut cx = postgres.cx_of(name);
        let mut tx = postgres.store.begin(&mut cx).await.unwrap();
        tx.query(&format!("insert into kinds (id, {value})")).execute().await.unwrap();
        tx.commit().await.unwrap();
        let archive = exported(&postgres.store, name).await.0;
        let error = sqlite.store.tenants().import(&tenant(name), &mut archive.as_slice()).await.unwrap_err();
        assert!(error.message().contains("cannot be kept here: SQLite keeps no"), "{error}");
        // What only this database keeps survives within it.
        let again = World::postgres().await;
        again.store.tenants().import(&tenant(name), &mut archive.as_slice()).await.unwrap();
        again.store.tenants().resume(&tenant(name)).await.unwrap();
        assert_eq!(exported(&again.store, name).await.0, archive);
    }
}

/// A long export takes a piece at a time: who does not read keeps it waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_nobody_reads_can_be_given_up() {
    for world in [World::sqlite().await, World::postgres().await] {
        fill(&world, "acme", 11, 1000).await;
        let (mut to, _archive) = tokio::io::duplex(64);
        let tenants = world.store.tenants();
        let acme = tenant("acme");
        let given_up = tokio::time::timeout(Duration::from_millis(200), tenants.export(&acme, &mut to));
        assert!(given_up.await.is_err());
        // What the other half still has to notice takes a moment.
        soon(async {
            while let Err(error) = tenants.suspend(&acme).await {
                assert_eq!(error.code(), Code::Aborted, "{error:?}");
                tokio::task::yield_now().await;
            }
        })
        .await;
        tenants.delete(&acme).await.unwrap();
    }
}
