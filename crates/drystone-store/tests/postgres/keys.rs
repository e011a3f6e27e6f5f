//! Keys among processes: one effect whatever becomes of the locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drystone_call::PlatformReason;
use tokio::sync::{Barrier, Notify};

use crate::Site;
use crate::keyed::{Client, keyed, text};
use crate::world::World;

const HELD: &str = "select count(*) from pg_locks where locktype = 'advisory' and \
    database = (select oid from pg_database where datname = current_database())";
const ITEMS: &str = "select count(*) from stock.items";

/// A method whose first run waits inside, between its effect and its commit.
struct Waiting {
    client: Client,
    inside: Arc<Barrier>,
    leave: Arc<Notify>,
    runs: Arc<AtomicUsize>,
}

fn waiting(world: &World) -> Waiting {
    let (inside, leave, runs) =
        (Arc::new(Barrier::new(2)), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (entered, left, count, store) =
        (Arc::clone(&inside), Arc::clone(&leave), Arc::clone(&runs), world.store.clone());
    let client = Client::of(world, move |cx, _| {
        let (entered, left, count, store) =
            (Arc::clone(&entered), Arc::clone(&left), Arc::clone(&count), store.clone());
        Box::pin(async move {
            let run = count.fetch_add(1, Ordering::SeqCst);
            if run == 0 {
                entered.wait().await;
                left.notified().await;
            }
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            let insert = "insert into items (id, sku, quantity) values ($1, $2, 1)";
            // Twins make ids of the same seed; what they share is the key and nothing else.
            let own = uuid::Uuid::new_v4();
            tx.query(insert).bind((own, own.to_string())).execute().await?;
            tx.commit_with(text(&id.to_string())).await
        })
    });
    Waiting { client, inside, leave, runs }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_use_in_another_process_is_refused_and_then_replayed() {
    let site = Site::open().await;
    let other = site.another_process().await;
    let (here, there) = (waiting(&site.world), waiting(&other));
    let (client, cx) = (here.client.clone(), keyed(&site.world, "k"));
    let first = tokio::spawn(async move { client.call(&cx, "a").await.0 });
    here.inside.wait().await;
    let error = there.client.call(&keyed(&other, "k"), "a").await.0.unwrap_err();
    assert!(error.is(PlatformReason::KeyInUse), "{error:?}");
    here.leave.notify_one();
    let answer = first.await.unwrap().unwrap();
    let again = there.client.call(&keyed(&other, "k"), "a").await;
    assert_eq!((again.0.unwrap(), again.1, there.runs.load(Ordering::SeqCst)), (answer, true, 0));
    site.until(HELD, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_loses_claims_and_makes_no_second_effect() {
    let site = Site::open().await;
    let other = site.another_process().await;
    let (here, there) = (waiting(&site.world), waiting(&other));
    there.runs.store(1, Ordering::SeqCst);
    let (client, cx) = (here.client.clone(), keyed(&site.world, "k"));
    let first = tokio::spawn(async move { client.call(&cx, "a").await.0 });
    here.inside.wait().await;
    assert_eq!(site.count(HELD).await, 1);
    let lost = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and \
        database = (select oid from pg_database where datname = current_database())";
    site.owner.execute(lost, &[]).await.unwrap();
    site.until(HELD, 0).await;
    let twin = there.client.call(&keyed(&other, "k"), "a").await.0.unwrap();
    here.leave.notify_one();
    let error = first.await.unwrap().unwrap_err();
    assert!(error.is(PlatformReason::KeyInUse), "the twin was faster: {error:?}");
    assert_eq!(site.count(ITEMS).await, 1, "one effect");
    for (client, world) in [(&here.client, &site.world), (&there.client, &other)] {
        let (answer, replayed) = client.call(&keyed(world, "k"), "a").await;
        assert_eq!((answer.unwrap(), replayed), (twin.clone(), true));
    }
    assert_eq!((here.runs.load(Ordering::SeqCst), there.runs.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_leaves_no_claim() {
    let site = Site::open().await;
    let method = waiting(&site.world);
    let (client, cx) = (method.client.clone(), keyed(&site.world, "k"));
    let call = tokio::spawn(async move { client.call(&cx, "a").await.0 });
    method.inside.wait().await;
    assert_eq!(site.count(HELD).await, 1);
    call.abort();
    site.until(HELD, 0).await;
    method.client.call(&keyed(&site.world, "k"), "a").await.0.unwrap();
    assert_eq!(site.count(ITEMS).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_forgotten_after_their_time() {
    let site = Site::open().await;
    let method = waiting(&site.world);
    method.runs.store(1, Ordering::SeqCst);
    let records = "select count(*) from stock.drystone_idempotency";
    method.client.call(&keyed(&site.world, "old"), "a").await.0.unwrap();
    site.world.clock.advance(Duration::from_hours(6 * 24));
    method.client.call(&keyed(&site.world, "young"), "a").await.0.unwrap();
    assert!(method.client.call(&keyed(&site.world, "old"), "a").await.1, "kept for a week");
    site.world.clock.advance(Duration::from_hours(2 * 24));
    site.until(records, 1).await;
    assert!(method.client.call(&keyed(&site.world, "young"), "a").await.1);
    assert!(!method.client.call(&keyed(&site.world, "old"), "a").await.1, "a new call");
    assert_eq!(site.count(ITEMS).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_twins_in_two_processes_make_one_effect() {
    let site = Site::open().await;
    let other = site.another_process().await;
    let methods = [waiting(&site.world), waiting(&other)];
    methods.iter().for_each(|method| method.runs.store(1, Ordering::SeqCst));
    let mut calls = tokio::task::JoinSet::new();
    // In each process as many as a method lets in before it knows how long they take.
    for at in 0..128 {
        let (client, cx) = (methods[at % 2].client.clone(), keyed([&site.world, &other][at % 2], "k"));
        calls.spawn(async move { client.call(&cx, "a").await.0 });
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        match answer.unwrap() {
            Ok(answer) => answers.push(answer),
            Err(error) => assert!(error.is(PlatformReason::KeyInUse), "{error:?}"),
        }
    }
    assert_eq!(site.count(ITEMS).await, 1);
    answers.dedup();
    assert_eq!(answers.len(), 1, "all who were answered got the same");
    site.until(HELD, 0).await;
}
