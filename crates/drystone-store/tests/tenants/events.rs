//! What is known of a tenant's events goes along with it, in its order; numbers and positions are each database's own.

use drystone_store::Store;
use uuid::Uuid;

use crate::rows::Seeded;
use crate::world::World;
use crate::{exported, tenant};

type Published = (Uuid, String, String, Vec<u8>, i64, Option<String>);
type Scheduled = (Uuid, String, String, Vec<u8>, i64, i64, Option<String>);
type Handled = (String, Uuid, i64);
type Held = (String, String, String, Uuid, String, Vec<u8>, i64);
type HeldState = (Option<String>, i64, String, i64, Option<i64>, Option<String>, i64);

/// Everything that is known of a tenant's events, in order, without numbers.
#[derive(Debug, PartialEq)]
struct Events {
    outbox: Vec<Published>,
    scheduled: Vec<Scheduled>,
    inbox: Vec<Handled>,
    held: Vec<Held>,
    states: Vec<HeldState>,
}

async fn events(world: &World, store: &Store, name: &str) -> Events {
    let mut cx = world.cx_of(name);
    let mut read = store.read(&mut cx).await.unwrap();
    let outbox = "select id, type, key, data, created, trace from drystone_outbox order by seq";
    let scheduled = "select id, type, key, data, due, created, trace from drystone_scheduled order by id";
    let inbox = "select consumer, id, handled from drystone_inbox order by consumer, id";
    let held = "select consumer, source, key, id, type, data, created from drystone_held order by place";
    let states = "select trace, seq, state, attempts, due, reason, since from drystone_held order by place";
    Events {
        outbox: read.query(outbox).all().await.unwrap(),
        scheduled: read.query(scheduled).all().await.unwrap(),
        inbox: read.query(inbox).all().await.unwrap(),
        held: read.query(held).all().await.unwrap(),
        states: read.query(states).all().await.unwrap(),
    }
}

/// Gives a tenant events of all kinds, whose ids and keys are in another order than they came.
async fn publish(world: &World, name: &str, seed: u64, count: i64) {
    let mut seeded = Seeded(seed);
    let mut id = || Uuid::from_u128(u128::from(seeded.next()) << 64 | u128::from(seeded.next()));
    let mut cx = world.cx_of(name);
    for n in 0..count {
        let trace = (n % 3 == 0).then(|| format!("00-{n}"));
        let (key, data) = (format!("k{}", (n * 7) % 5), vec![0, 0xff, u8::try_from(n % 256).unwrap()]);
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        tx.query("insert into drystone_outbox (id, type, key, data, created, trace) values ($1, $2, $3, $4, $5, $6)")
            .bind((id(), "shop.v1.Placed", key.clone(), data.clone(), n, trace.clone()))
            .queue();
        tx.query("insert into drystone_scheduled (id, type, key, data, due, created, trace) values ($1, $2, $3, $4, $5, $6, $7)")
            .bind((id(), "shop.v1.Due", key.clone(), data.clone(), n * 10, n, trace.clone()))
            .queue();
        tx.query("insert into drystone_inbox (consumer, id, handled) values ($1, $2, $3)")
            .bind((format!("c{}", n % 2), id(), n))
            .queue();
        let state = ["retrying", "waiting", "parked"][usize::try_from(n % 3).unwrap()];
        let due = (state == "retrying").then_some(n * 100);
        let reason = (state != "waiting").then(|| format!("no {n}"));
        tx.query(
            "insert into drystone_held (consumer, source, key, id, type, data, created, trace, seq, state, attempts, due, since) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 77)",
        )
        .bind(("c", "orders", key, id(), "t", data, n, trace, n + 1000, state, n % 4, due))
        .queue();
        tx.query("update drystone_held set reason = $1 where seq = $2").bind((reason, n + 1000)).queue();
        tx.commit().await.unwrap();
    }
}

/// A position of a pump, which is the data of no tenant on PostgreSQL.
async fn remember(store: &Store, world: &World, name: &str) {
    let mut cx = world.cx_of(name);
    let mut tx = store.begin(&mut cx).await.unwrap();
    tx.query("insert into drystone_pumps (name, position) values ('c', 9)").execute().await.unwrap();
    tx.commit().await.unwrap();
}

fn rows_of(archive: &drystone_store::Section) -> Vec<(&str, u64)> {
    let all = archive.tables.iter().map(|one| (one.name.as_str(), one.rows));
    all.filter(|(name, _)| name.starts_with("drystone_")).collect()
}

/// An archive has the order of what is numbered and not the numbers.
fn check_unnumbered(archive: &[u8]) {
    let text = std::str::from_utf8(archive).unwrap();
    for (table, number) in [("drystone_outbox", "seq"), ("drystone_held", "place")] {
        let columns =
            text.lines().find(|line| line.starts_with(&format!("{{\"table\":\"{table}\""))).unwrap();
        assert!(!columns.contains(&format!("\"name\":\"{number}\"")), "{columns}");
    }
}

pub(crate) async fn events_go_along_and_positions_do_not(world: World) {
    let acme = tenant("acme");
    // Others publish in between, so that the tenant's numbers have gaps where all tenants share them.
    for (seed, name) in [(1, "acme"), (2, "other"), (3, "acme"), (4, "other")] {
        publish(&world, name, seed, 300).await;
    }
    let on_sqlite = !world.files().is_empty();
    remember(&if on_sqlite { world.store.clone() } else { world.store.shared() }, &world, "acme").await;
    let (before, theirs) =
        (events(&world, &world.store, "acme").await, events(&world, &world.store, "other").await);
    assert_eq!((before.outbox.len(), before.held.len()), (600, 600));
    world.store.tenants().suspend(&acme).await.unwrap();
    let (archive, section) = exported(&world.store, "acme").await;
    let expected = ["held", "idempotency", "inbox", "outbox", "scheduled"];
    let expected: Vec<_> = expected
        .iter()
        .map(|name| (format!("drystone_{name}"), if *name == "idempotency" { 0 } else { 600 }))
        .collect();
    let rows: Vec<_> = rows_of(&section).into_iter().map(|(name, rows)| (name.to_owned(), rows)).collect();
    assert_eq!(rows, expected);
    check_unnumbered(&archive);
    let mut all = Vec::new();
    world.store.tenants().export_shared(&mut all).await.unwrap();
    assert!(!String::from_utf8(all).unwrap().contains("drystone_pumps"));

    world.store.tenants().delete(&acme).await.unwrap();
    world.store.tenants().create(&acme).await.unwrap();
    let nothing = events(&world, &world.store, "acme").await;
    assert!(
        nothing.outbox.is_empty() && nothing.scheduled.is_empty() && nothing.inbox.is_empty(),
        "{nothing:?}"
    );
    assert!(nothing.held.is_empty());
    assert_eq!(events(&world, &world.store, "other").await, theirs);
    world.store.tenants().suspend(&acme).await.unwrap();
    world.store.tenants().delete(&acme).await.unwrap();

    assert_eq!(world.store.tenants().import(&acme, &mut archive.as_slice()).await.unwrap(), section);
    world.store.tenants().resume(&acme).await.unwrap();
    assert_eq!(events(&world, &world.store, "acme").await, before);
    assert_eq!(exported(&world.store, "acme").await, (archive, section));
    // What is published now comes behind what came along, and behind everybody's.
    publish(&world, "acme", 5, 1).await;
    let after = events(&world, &world.store, "acme").await;
    assert_eq!((after.outbox[..600].to_vec(), after.outbox.len()), (before.outbox, 601));
    assert_eq!((after.held[..600].to_vec(), after.held.len()), (before.held, 601));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_from_one_database_to_the_other_and_back() {
    let (sqlite, postgres, back) = (World::sqlite().await, World::postgres().await, World::sqlite().await);
    publish(&postgres, "other", 1, 20).await;
    publish(&sqlite, "acme", 2, 60).await;
    let first = exported(&sqlite.store, "acme").await.0;
    let wanted = events(&sqlite, &sqlite.store, "acme").await;
    for (from, to) in [(&sqlite, &postgres), (&postgres, &back)] {
        let (archive, section) = exported(&from.store, "acme").await;
        let imported = to.store.tenants().import(&tenant("acme"), &mut archive.as_slice()).await.unwrap();
        assert_eq!(imported, section);
        to.store.tenants().resume(&tenant("acme")).await.unwrap();
        assert_eq!(events(to, &to.store, "acme").await, wanted);
    }
    assert_eq!(exported(&back.store, "acme").await.0, first);
    assert_eq!(events(&postgres, &postgres.store, "other").await.outbox.len(), 20);
}
