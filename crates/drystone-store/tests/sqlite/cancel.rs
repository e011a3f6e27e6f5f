//! A caller that goes away at each point of a call leaves no half transaction, no lost writer and no claimed key.

use std::cell::RefCell;

use drystone_call::{Error, Result};
use drystone_testkit::{Dropped, drop_at_every_await};
use tokio::task::JoinHandle;

use crate::keyed::{Client, keyed, text};
use crate::world::World;

/// A method that writes two rows which belong together; what is refused writes none.
fn writing(world: &World) -> Client {
    let store = world.store.clone();
    Client::of(world, move |cx, req| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            let item = "insert into items (id, sku, quantity) values ($1, $2, 1)";
            tx.query(item).bind((id, &req.text)).execute().await?;
            tokio::task::yield_now().await;
            let line = "insert into lines (id, item) select coalesce(max(id), 0) + 1, $1 from lines";
            tx.query(line).bind((id,)).execute().await?;
            tokio::task::yield_now().await;
            if req.text.starts_with("bad") {
                return tx.refuse(Error::failed_precondition("bad")).await;
            }
            tx.commit_with(text(&id.to_string())).await
        })
    })
}

/// Nothing is open, nothing is claimed, and the next transaction goes through.
async fn check_clean(world: &World) {
    let store = world.store.clone();
    let mut cx = world.cx();
    // Whatever was submitted before stands in the queue before this one.
    store.begin(&mut cx).await.unwrap().commit().await.unwrap();
    let metrics = store.metrics();
    assert_eq!(
        (metrics.open_transactions, metrics.writers_waiting, metrics.claims),
        (0, 0, 0),
        "{metrics:?}"
    );
    let mut read = store.read(&mut cx).await.unwrap();
    let sql = "select (select count(*) from items), (select count(*) from lines)";
    let (items, lines): (i64, i64) = read.query(sql).one().await.unwrap();
    assert_eq!(items, lines, "a half transaction");
}

/// Another writer, so that there is somebody to wait for.
fn rival(world: &World) -> JoinHandle<Result<()>> {
    let (store, mut cx) = (world.store.clone(), world.cx());
    tokio::spawn(async move {
        let tx = store.begin(&mut cx).await?;
        tokio::task::yield_now().await;
        tx.commit().await
    })
}

async fn drop_everywhere(kind: &str, with_rivals: bool) {
    let world = World::sqlite().await;
    world.skus(&mut world.cx()).await;
    let client = writing(&world);
    let rivals = RefCell::new(Vec::new());
    let (mut calls, mut points) = (0, Vec::new());
    let make = || {
        calls += 1;
        let (client, cx, req) =
            (client.clone(), keyed(&world, &format!("k{calls}")), format!("{kind}{calls}"));
        if with_rivals {
            rivals.borrow_mut().extend([rival(&world), rival(&world)]);
        }
        async move {
            tokio::task::yield_now().await;
            client.call(&cx, &req).await.0
        }
    };
    let check = |dropped| {
        points.push(dropped);
        let running = rivals.take();
        async {
            for rival in running {
                rival.await.unwrap().unwrap();
            }
            check_clean(&world).await;
        }
    };
    drop_at_every_await(100, make, check).await;
    assert!(points.contains(&Dropped::After(3)), "the call has several points: {points:?}");
    // Each call that was cut off can be repeated under its key, and is then there once.
    for n in 1..=calls {
        let outcome = client.call(&keyed(&world, &format!("k{n}")), &format!("{kind}{n}")).await.0;
        assert_eq!(outcome.is_ok(), kind == "good", "{outcome:?}");
    }
    let kept = if kind == "good" { calls } else { 0 };
    assert_eq!(world.skus(&mut world.cx()).await.len(), kept);
    check_clean(&world).await;
}

#[tokio::test]
async fn dropping_a_call_at_each_point() {
    drop_everywhere("good", false).await;
}

#[tokio::test]
async fn dropping_a_call_at_each_point_among_others() {
    drop_everywhere("good", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_call_at_each_point_among_others_on_threads() {
    drop_everywhere("good", true).await;
}

#[tokio::test]
async fn dropping_a_refusal_at_each_point() {
    drop_everywhere("bad", true).await;
}
