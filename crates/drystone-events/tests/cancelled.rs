//! A delivery whose caller goes away, at each point where it can.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use drystone_call::{Event as _, TenantId};
use drystone_events::{Data, Envelope};
use drystone_testkit::drop_at_every_await;
use prost::Message as _;
use tokio::sync::watch;
use uuid::Uuid;
use world::{By, On, Posted, World};

const TENANT: &str = "acme";

fn message(account: &str) -> Envelope {
    let event = Posted { account: account.to_owned(), n: 1 };
    Envelope {
        id: Uuid::now_v7(),
        source: "ledger".to_owned(),
        event_type: Posted::TYPE.to_owned(),
        tenant: TenantId::new(TENANT).unwrap(),
        key: event.key(),
        seq: 1,
        time: 1,
        trace: None,
        data: Data::Protobuf(event.encode_to_vec().into()),
    }
}

async fn execute(world: &World, sql: &str, account: &str) {
    let mut cx = world.cx("mirror", TENANT);
    let mut tx = world.mirror.begin(&mut cx).await.unwrap();
    tx.query(sql).bind((account,)).execute().await.unwrap();
    tx.commit().await.unwrap();
}

/// How many messages of an account are held back.
async fn held(world: &World, account: &str) -> i64 {
    let mut cx = world.cx("mirror", TENANT);
    let mut tx = world.mirror.read(&mut cx).await.unwrap();
    tx.query("select count(*) from drystone_held where key = $1")
        .bind((account,))
        .one::<(i64,)>()
        .await
        .unwrap()
        .0
}

/// The process that delivers may end between the commit that holds a message back and the moment at which the consumer would have noted that it is to be tried again.
async fn what_is_held_is_tried_again_though_the_delivery_was_dropped(on: On) {
    let world = World::new(on, By::Call).await;
    let consumer = world.consumer();
    let (_stopper, stopping) = watch::channel(false);
    let tasks = consumer.start(&stopping);
    let tenant = TenantId::new(TENANT).unwrap();
    let round = std::cell::Cell::new(0);
    let deliver = || {
        round.set(round.get() + 1);
        let (world, consumer, tenant, account) =
            (&world, &consumer, &tenant, format!("poisoned{}", round.get()));
        async move {
            execute(world, "insert into poison (account) values ($1)", &account).await;
            consumer.accept(tenant, &[message(&account)]).await.unwrap();
        }
    };
    let polls = drop_at_every_await(200, deliver, |_| {
        let (world, account) = (&world, format!("poisoned{}", round.get()));
        async move {
            execute(world, "delete from poison where account = $1", &account).await;
            for _ in 0..500 {
                if held(world, &account).await == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{account} is held and nobody tries it again");
        }
    });
    assert!(polls.await > 1, "nothing was dropped");
    for task in tasks {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_tried_again_though_the_delivery_was_dropped_on_sqlite() {
    what_is_held_is_tried_again_though_the_delivery_was_dropped(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_tried_again_though_the_delivery_was_dropped_on_postgres() {
    what_is_held_is_tried_again_though_the_delivery_was_dropped(On::Postgres).await;
}
