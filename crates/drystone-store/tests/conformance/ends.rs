//! How transactions end, and what a key makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drystone_call::{Code, Error, PlatformReason, Result};
use drystone_store::{Isolation, Tx};
use tokio::sync::{Barrier, Notify};

use crate::keyed::{Client, keyed, text};
use crate::world::World;

pub(crate) async fn a_commit_is_there_after_reopening(mut world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "stone", 3).await.unwrap();
    assert_eq!(world.skus(&mut cx).await, ["stone"]);
    world.reopen().await;
    assert_eq!(world.skus(&mut world.cx()).await, ["stone"]);
}

pub(crate) async fn what_is_dropped_is_gone(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    let insert = "insert into items (id, sku, quantity) values ($1, 'gone', 1)";
    assert_eq!(tx.query(insert).bind((id,)).execute().await.unwrap(), 1);
    drop(tx);
    world.add(&mut cx, "kept", 1).await.unwrap();
    assert_eq!(world.skus(&mut cx).await, ["kept"]);
    assert_eq!(world.store.metrics().open_transactions, 0);
}

/// A method that adds an item named by the request, and counts how often it ran.
fn adding(world: &World) -> (Client, Arc<AtomicUsize>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let (count, store) = (Arc::clone(&ran), world.store.clone());
    let client = Client::of(world, move |cx, req| {
        count.fetch_add(1, Ordering::SeqCst);
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            let insert = "insert into items (id, sku, quantity) values ($1, $2, 1)";
            tx.query(insert).bind((id, &req.text)).execute().await?;
            if req.text.starts_with("bad") {
                return tx.refuse(Error::failed_precondition("no such stone").with("sku", req.text)).await;
            }
            tx.commit_with(text(&id.to_string())).await
        })
    });
    (client, ran)
}

pub(crate) async fn a_repeated_call_is_one_effect(mut world: World) {
    let (client, ran) = adding(&world);
    let (first, replayed) = client.call(&keyed(&world, "k1"), "a").await;
    let first = first.unwrap();
    assert!(!replayed);
    let (again, replayed) = client.call(&keyed(&world, "k1"), "a").await;
    assert_eq!((again.unwrap(), replayed), (first.clone(), true));
    let (other, _) = client.call(&keyed(&world, "k2"), "b").await;
    assert_ne!(other.unwrap(), first);
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    assert_eq!(world.skus(&mut world.cx()).await, ["a", "b"]);
    assert_eq!(world.store.metrics().claims, 0);
    world.reopen().await;
    let (client, ran) = adding(&world);
    let (again, replayed) = client.call(&keyed(&world, "k1"), "a").await;
    assert_eq!((again.unwrap(), replayed, ran.load(Ordering::SeqCst)), (first, true, 0));
}

pub(crate) async fn a_key_with_another_payload(world: World) {
    let (client, ran) = adding(&world);
    client.call(&keyed(&world, "k"), "a").await.0.unwrap();
    let error = client.call(&keyed(&world, "k"), "b").await.0.unwrap_err();
    assert!(error.is(PlatformReason::KeyReused), "{error}");
    assert_eq!((error.http_status(), ran.load(Ordering::SeqCst)), (422, 1));
}

pub(crate) async fn a_key_in_use(world: World) {
    let (inside, leave) = (Arc::new(Barrier::new(2)), Arc::new(Notify::new()));
    let (entered, left, store) = (Arc::clone(&inside), Arc::clone(&leave), world.store.clone());
    let client = Client::of(&world, move |cx, req| {
        let (entered, left, store) = (Arc::clone(&entered), Arc::clone(&left), store.clone());
        Box::pin(async move {
            entered.wait().await;
            left.notified().await;
            store.begin(cx).await?.commit_with(req).await
        })
    });
    let (first, cx) = (client.clone(), keyed(&world, "k"));
    let first = tokio::spawn(async move { first.call(&cx, "a").await.0 });
    inside.wait().await;
    let error = client.call(&keyed(&world, "k"), "a").await.0.unwrap_err();
    assert!(error.is(PlatformReason::KeyInUse), "{error}");
    assert_eq!(world.store.metrics().claims, 1);
    leave.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), "a");
    assert_eq!(client.call(&keyed(&world, "k"), "a").await.0.unwrap(), "a");
}

pub(crate) async fn a_refusal_is_replayed(world: World) {
    let (client, ran) = adding(&world);
    let (first, replayed) = client.call(&keyed(&world, "k"), "bad").await;
    let first = first.unwrap_err();
    assert!(!replayed);
    let (again, replayed) = client.call(&keyed(&world, "k"), "bad").await;
    let again = again.unwrap_err();
    assert!(replayed);
    assert_eq!(again.to_status_bytes(), first.to_status_bytes());
    assert_eq!((first.code(), first.metadata()["sku"].as_str()), (Code::FailedPrecondition, "bad"));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(world.skus(&mut world.cx()).await.is_empty(), "the effect is rolled back");
}

pub(crate) async fn a_refusal_without_a_key(world: World) {
    let (client, ran) = adding(&world);
    for _ in 0..2 {
        let error = client.call(&world.cx(), "bad").await.0.unwrap_err();
        assert_eq!(error.message(), "no such stone");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    assert!(world.skus(&mut world.cx()).await.is_empty());
}

pub(crate) async fn an_answer_without_a_record(world: World) {
    let store = world.store.clone();
    let client = Client::of(&world, move |cx, req| {
        let store = store.clone();
        Box::pin(async move {
            store.begin(cx).await?.commit().await?;
            Ok(req)
        })
    });
    let error = client.call(&keyed(&world, "k"), "a").await.0.unwrap_err();
    assert!(error.is(PlatformReason::AnswerNotRecorded), "{error}");
    client.call(&world.cx(), "a").await.0.unwrap();
}

pub(crate) async fn a_snapshot_does_not_move(world: World) {
    let (mut reading, mut writing) = (world.cx(), world.cx());
    world.add(&mut writing, "before", 1).await.unwrap();
    let mut read = world.store.read(&mut reading).await.unwrap();
    let count = "select count(*) from items";
    assert_eq!(read.query(count).one::<(i64,)>().await.unwrap(), (1,));
    world.add(&mut writing, "after", 1).await.unwrap();
    assert_eq!(read.query(count).one::<(i64,)>().await.unwrap(), (1,));
    drop(read);
    let mut read = world.store.read(&mut reading).await.unwrap();
    assert_eq!(read.query(count).one::<(i64,)>().await.unwrap(), (2,));
}

pub(crate) async fn a_transaction_held_too_long(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    tx.query("insert into items (id, sku, quantity) values ($1, 'slow', 1)")
        .bind((tx_id(),))
        .execute()
        .await
        .unwrap();
    // Real time: the server, or the commit thread, knows no other.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let error = tx.query("select 1").one::<(i32,)>().await.unwrap_err();
    assert!(error.is(PlatformReason::TxHeldTooLong), "{error}");
    let error = tx.commit().await.unwrap_err();
    assert!(error.is(PlatformReason::TxHeldTooLong), "{error}");
    world.add(&mut cx, "next", 1).await.unwrap();
    assert_eq!(world.skus(&mut cx).await, ["next"]);
    assert_eq!(world.store.metrics().held_too_long, 1);
}

fn tx_id() -> uuid::Uuid {
    uuid::Uuid::from_u128(99)
}

/// What one of two does who each look at the other's row before they take their own.
async fn look(tx: &mut Tx<'_>, theirs: &str) -> Result<i64> {
    let sql = "select quantity from items where sku = $1";
    tx.query(sql).bind((theirs,)).one::<(i64,)>().await.map(|row| row.0)
}

async fn take(mut tx: Tx<'_>, other: i64, mine: &str) -> Result<()> {
    if other == 1 {
        tx.query("update items set quantity = 0 where sku = $1").bind((mine,)).execute().await?;
    }
    tx.commit().await
}

/// On PostgreSQL both look before one takes, and the second to end must lose. On SQLite the second looks when the first has taken.
pub(crate) async fn write_skew_does_not_happen(world: World) {
    let (mut cx, mut a, mut b) = (world.cx(), world.cx(), world.cx());
    for sku in ["left", "right"] {
        world.add(&mut cx, sku, 1).await.unwrap();
    }
    let mut left = world.store.begin(&mut a).await.unwrap();
    let seen_left = look(&mut left, "right").await.unwrap();
    if world.is_on_postgres() {
        let mut right = world.store.begin(&mut b).await.unwrap();
        let seen_right = look(&mut right, "left").await.unwrap();
        take(left, seen_left, "left").await.unwrap();
        assert_eq!(take(right, seen_right, "right").await.unwrap_err().code(), Code::Aborted);
    } else {
        let (second, first) = tokio::join!(
            async {
                let mut right = world.store.begin(&mut b).await?;
                let seen_right = look(&mut right, "left").await?;
                take(right, seen_right, "right").await
            },
            take(left, seen_left, "left"),
        );
        first.unwrap();
        second.unwrap();
    }
    let mut read = world.store.read(&mut cx).await.unwrap();
    let left: (i64,) = read.query("select count(*) from items where quantity = 1").one().await.unwrap();
    assert_eq!(left.0, 1);
}

pub(crate) async fn read_committed_locks_rows_where_asked(world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "stone", 1).await.unwrap();
    let mut tx = world.store.begin_with(&mut cx, Isolation::ReadCommitted).await.unwrap();
    assert_eq!(tx.query("update items set quantity = quantity + 1").execute().await.unwrap(), 1);
    tx.commit().await.unwrap();
}

pub(crate) async fn keys_of_shared_data_are_found(mut world: World) {
    let make = |world: &World| {
        let store = world.store.shared();
        Client::of(world, move |cx, req| {
            let store = store.clone();
            Box::pin(async move {
                let mut tx = store.begin(cx).await?;
                tx.query("insert into rates (currency, rate) values ($1, 1)")
                    .bind((&req.text,))
                    .execute()
                    .await?;
                tx.commit_with(req).await
            })
        })
    };
    make(&world).call(&keyed(&world, "k"), "EUR").await.0.unwrap();
    assert!(make(&world).call(&keyed(&world, "k"), "EUR").await.1);
    world.reopen().await;
    assert!(make(&world).call(&keyed(&world, "k"), "EUR").await.1);
}

pub(crate) async fn a_failed_statement_ends_the_transaction(world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "stone", 1).await.unwrap();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let (id, again) = (tx.new_id(), tx.new_id());
    let insert = "insert into items (id, sku, quantity) values ($1, $2, 1)";
    tx.query(insert).bind((id, "other")).execute().await.unwrap();
    let error = tx.query(insert).bind((again, "stone")).execute().await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let error = tx.query("select 1").one::<(i32,)>().await.unwrap_err();
    assert!(error.message().contains("on conflict do nothing"), "{error}");
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(world.skus(&mut cx).await, ["stone"]);
}

pub(crate) async fn times_are_whole_microseconds(world: World) {
    world.clock.advance(Duration::from_nanos(1_234_567_891));
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let now = tx.now();
    let row: (time::OffsetDateTime,) =
        tx.query("insert into kinds (id, at) values (1, $1) returning at").bind((now,)).one().await.unwrap();
    assert_eq!((row.0, now.nanosecond() % 1_000), (now, 0));
}
