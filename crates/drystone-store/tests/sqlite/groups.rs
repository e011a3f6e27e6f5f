//! Group commit and the hold limit, one step at a time.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use drystone_call::{Code, Context, Error, IdempotencyKey, PlatformReason, Result};
use drystone_store::Tx;
use drystone_testkit::poll_once;

use crate::keyed::{Client, keyed};
use crate::world::World;

const INSERT: &str = "insert into items (id, sku, quantity) values ($1, $2, 1)";
const COUNT: &str = "select count(*) from items";

async fn insert(tx: &mut Tx<'_>, sku: &str) {
    let id = tx.new_id();
    tx.query(INSERT).bind((id, sku)).execute().await.unwrap();
}

async fn count(tx: &mut Tx<'_>) -> i64 {
    tx.query(COUNT).one::<(i64,)>().await.unwrap().0
}

type Pinned<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

/// Starts something that cannot end yet.
fn started<'f, T>(future: impl Future<Output = T> + 'f) -> Pinned<'f, T> {
    let mut future: Pinned<'f, T> = Box::pin(future);
    assert!(poll_once(&mut future).is_pending(), "it should have to wait");
    future
}

/// A world whose tenant's file is open, and contexts of that tenant.
async fn contended() -> (World, [Context; 3]) {
    let world = World::sqlite_with(|config| config.testing.group_age = Some(Duration::from_hours(1))).await;
    world.skus(&mut world.cx()).await;
    let contexts = [world.cx(), world.cx(), world.cx()];
    (world, contexts)
}

#[tokio::test]
async fn a_neighbour_joins_the_group() {
    let (world, [mut a, mut b, _]) = contended().await;
    let before = world.store.metrics();
    let mut first = world.store.begin(&mut a).await.unwrap();
    let second = started(world.store.begin(&mut b));
    insert(&mut first, "a").await;
    let commit = started(first.commit());
    let mut second = second.await.unwrap();
    assert_eq!(count(&mut second).await, 1, "it sees the rows that it commits with");
    insert(&mut second, "b").await;
    second.commit().await.unwrap();
    commit.await.unwrap();
    let after = world.store.metrics();
    assert_eq!((after.groups - before.groups, after.group_members - before.group_members), (1, 2));
    assert_eq!(after.largest_group, 2);
    assert_eq!(world.skus(&mut world.cx()).await, ["a", "b"]);
}

#[tokio::test]
async fn a_neighbour_that_is_dropped_leaves_the_others() {
    let (world, [mut a, mut b, mut c]) = contended().await;
    let mut first = world.store.begin(&mut a).await.unwrap();
    let (second, third) = (started(world.store.begin(&mut b)), started(world.store.begin(&mut c)));
    insert(&mut first, "a").await;
    let commit = started(first.commit());
    let mut second = second.await.unwrap();
    insert(&mut second, "b").await;
    drop(second);
    let mut third = third.await.unwrap();
    insert(&mut third, "c").await;
    third.commit().await.unwrap();
    commit.await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["a", "c"]);
}

#[tokio::test]
async fn a_cancelled_waiter_lets_the_group_commit() {
    for handed_over in [false, true] {
        let (world, [mut a, mut b, _]) = contended().await;
        let mut first = world.store.begin(&mut a).await.unwrap();
        let waiter = started(world.store.begin(&mut b));
        assert_eq!(world.store.metrics().writers_waiting, 1);
        insert(&mut first, "a").await;
        let commit = if handed_over {
            let commit = started(first.commit());
            drop(waiter);
            commit
        } else {
            drop(waiter);
            Box::pin(first.commit())
        };
        commit.await.unwrap();
        assert_eq!(world.skus(&mut world.cx()).await, ["a"]);
        let metrics = world.store.metrics();
        assert_eq!((metrics.writers_waiting, metrics.open_transactions), (0, 0));
    }
}

#[tokio::test]
async fn a_submitted_commit_needs_no_caller() {
    let (world, [mut a, mut b, _]) = contended().await;
    let mut first = world.store.begin(&mut a).await.unwrap();
    insert(&mut first, "a").await;
    // Nobody waits for the writer, so the commit may be over before this poll is.
    let mut commit = Box::pin(first.commit());
    let _ = poll_once(&mut commit);
    drop(commit);
    // The next in the queue follows the first one's commit.
    world.store.begin(&mut b).await.unwrap().commit().await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["a"]);
}

/// A method that looks at its neighbours' rows and refuses, writing nothing.
fn looking(world: &World) -> Client {
    let store = world.store.clone();
    Client::of(world, move |cx, _| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let seen = count(&mut tx).await;
            drop(tx);
            Err(Error::failed_precondition(format!("saw {seen}")))
        })
    })
}

#[tokio::test]
async fn an_answer_waits_for_the_rows_that_it_rests_on() {
    let (world, [mut a, mut c, b]) = contended().await;
    let client = looking(&world);
    let mut first = world.store.begin(&mut a).await.unwrap();
    let mut look: Pinned<'_, _> = started(client.call(&b, ""));
    let third = started(world.store.begin(&mut c));
    insert(&mut first, "a").await;
    let commit = started(first.commit());
    assert!(poll_once(&mut look).is_pending(), "the row that it saw is not durable yet");
    third.await.unwrap().commit().await.unwrap();
    assert_eq!(look.await.0.unwrap_err().message(), "saw 1");
    commit.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_takes_the_group_along_and_nobody_is_lied_to() {
    let world = World::sqlite_with(|config| {
        config.testing.max_pages = Some(60);
        config.testing.group_age = Some(Duration::from_hours(1));
    })
    .await;
    world.skus(&mut world.cx()).await;
    let (mut a, b, mut c) = (world.cx(), world.cx(), world.cx());
    let client = looking(&world);
    let mut first = world.store.begin(&mut a).await.unwrap();
    let mut look: Pinned<'_, _> = started(client.call(&b, ""));
    let third = started(world.store.begin(&mut c));
    insert(&mut first, "a").await;
    let commit = started(first.commit());
    assert!(poll_once(&mut look).is_pending());
    let mut third = third.await.unwrap();
    let big = "insert into kinds (id, raw) values (1, zeroblob(1000000))";
    let error = third.query(big).execute().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("disk is full"), "{error}");
    assert_eq!(commit.await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(look.await.0.unwrap_err().code(), Code::Unavailable, "an answer that rested on the lost row");
    assert!(third.commit().await.is_err());
    assert_eq!(world.store.metrics().groups_lost, 1);
    world.add(&mut world.cx(), "small", 1).await.unwrap();
    assert_eq!(
        world.skus(&mut world.cx()).await,
        ["small"],
        "nothing of the lost group, and the writer works"
    );
}

#[tokio::test]
async fn an_interrupted_write_takes_the_group_along() {
    let (world, [mut a, mut b, mut c]) = contended().await;
    let mut first = world.store.begin(&mut a).await.unwrap();
    b = b.with_timeout(Duration::from_millis(200));
    let second = started(world.store.begin(&mut b));
    insert(&mut first, "a").await;
    let commit = started(first.commit());
    let mut second = second.await.unwrap();
    let endless = "insert into kinds (id) with recursive n (i) as (select 1 union all select i + 1 from n) select i from n";
    let error = second.query(endless).execute().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    assert_eq!(commit.await.unwrap_err().code(), Code::Aborted);
    drop(second);
    let mut next = world.store.begin(&mut c).await.unwrap();
    assert_eq!(count(&mut next).await, 0);
    insert(&mut next, "c").await;
    next.commit().await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["c"]);
}

#[tokio::test]
async fn the_hold_limit_takes_the_writer_away() {
    let (world, [mut a, mut b, _]) = contended().await;
    let mut slow = world.store.begin(&mut a).await.unwrap();
    insert(&mut slow, "slow").await;
    tokio::time::pause();
    let waiting = started(world.store.begin(&mut b));
    tokio::time::advance(Duration::from_millis(900)).await;
    insert(&mut slow, "still").await;
    tokio::time::advance(Duration::from_millis(200)).await;
    let mut next = waiting.await.unwrap();
    assert_eq!(count(&mut next).await, 0, "what the slow one did is rolled back");
    let error = slow.query(COUNT).one::<(i64,)>().await.unwrap_err();
    assert!(error.is(PlatformReason::TxHeldTooLong), "{error}");
    assert!(error.message().contains("1s"), "{error}");
    assert!(slow.commit().await.unwrap_err().is(PlatformReason::TxHeldTooLong));
    insert(&mut next, "next").await;
    tokio::time::resume();
    next.commit().await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["next"]);
    assert_eq!(world.store.metrics().held_too_long, 1);
}

#[tokio::test]
async fn a_waiter_that_nobody_polls_does_not_keep_the_writer() {
    let (world, [mut a, mut b, mut c]) = contended().await;
    let first = world.store.begin(&mut a).await.unwrap();
    let mut asleep = started(world.store.begin(&mut b));
    let third = started(world.store.begin(&mut c));
    drop(first);
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1_100)).await;
    let third: Result<Tx<'_>> = third.await;
    drop(third.unwrap());
    let Poll::Ready(late) = poll_once(&mut asleep) else { panic!("it was handed the writer") };
    assert!(late.unwrap_err().is(PlatformReason::TxHeldTooLong));
}

#[tokio::test]
async fn a_full_group_does_not_wait_for_those_behind() {
    let (world, [mut a, ..]) = contended().await;
    let before = world.store.metrics();
    let mut first = world.store.begin(&mut a).await.unwrap();
    insert(&mut first, "first").await;
    let mut tasks = Vec::new();
    for n in 0..600 {
        let (store, mut cx) = (world.store.clone(), world.cx());
        tasks.push(tokio::spawn(async move {
            let mut tx = store.begin(&mut cx).await?;
            insert(&mut tx, &format!("s{n}")).await;
            tx.commit().await
        }));
    }
    tokio::task::yield_now().await;
    first.commit().await.unwrap();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let after = world.store.metrics();
    assert_eq!(after.commits - before.commits, 601);
    assert!(after.largest_group <= 256 && after.largest_group > 16, "{after:?}");
    assert!(after.groups - before.groups < 300, "{after:?}");
}

#[tokio::test]
async fn a_key_stays_taken_while_its_commit_is_under_way() {
    let (world, [first, mut b, _]) = contended().await;
    let store = world.store.clone();
    let client = Client::of(&world, move |cx, req| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            insert(&mut tx, &req.text).await;
            tokio::task::yield_now().await;
            tx.commit_with(req).await
        })
    });
    let first = first.with_key(IdempotencyKey::new("k").unwrap());
    let mut call: Pinned<'_, _> = started(client.call(&first, "a"));
    let second = started(world.store.begin(&mut b));
    assert!(poll_once(&mut call).is_pending(), "submitted, and its neighbour has the writer");
    drop(call);
    drop(first);
    let error = client.call(&keyed(&world, "k"), "a").await.0.unwrap_err();
    assert!(error.is(PlatformReason::KeyInUse), "{error}");
    second.await.unwrap().commit().await.unwrap();
    let (answer, replayed) = client.call(&keyed(&world, "k"), "a").await;
    assert_eq!((answer.unwrap().as_str(), replayed), ("a", true));
    assert_eq!(world.skus(&mut world.cx()).await, ["a"]);
}

#[tokio::test]
async fn the_authorizer_sees_what_a_first_word_does_not_show() {
    let (world, [mut a, ..]) = contended().await;
    for sql in ["select * from pragma_journal_mode", "select * from pragma_user_version where 1 = 1"] {
        let mut tx = world.store.begin(&mut a).await.unwrap();
        let error = tx.query(sql).execute().await.unwrap_err();
        assert!(format!("{error:?}").contains("not authorized"), "{error:?}");
    }
}
