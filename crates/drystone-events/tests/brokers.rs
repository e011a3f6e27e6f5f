//! What every broker keeps, on the real stores: from publishing to applying.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use drystone_call::TenantId;
use drystone_events::Publish as _;
use world::{By, LATE, On, Posted, World, check_order};

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        cases!(@ sqlite_by_call, Sqlite, Call, $($name),+);
        cases!(@ sqlite_by_grpc, Sqlite, Grpc, $($name),+);
        cases!(@ sqlite_by_nats, Sqlite, Nats, $($name),+);
        cases!(@ postgres_by_call, Postgres, Call, $($name),+);
        cases!(@ postgres_by_grpc, Postgres, Grpc, $($name),+);
        cases!(@ postgres_by_nats, Postgres, Nats, $($name),+);
    };
    (@ $module:ident, $on:ident, $by:ident, $($name:ident),+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::World::new(super::On::$on, super::By::$by).await).await;
            })+
        }
    };
}

cases! {
    what_is_published_is_applied_once_and_in_order,
    what_was_published_before_the_relay_ran_is_applied,
    nothing_of_a_transaction_that_was_dropped_is_applied,
    a_poisoned_key_waits_and_the_others_go_on,
    a_statement_that_fails_after_its_handler_holds_back_its_key_alone,
    a_refused_tenant_waits_and_the_others_go_on,
    a_scheduled_message_comes_when_it_is_due,
    what_no_broker_carries_is_refused,
}

async fn what_is_published_is_applied_once_and_in_order(world: World) {
    let running = world.run().await;
    for n in 1..=50 {
        for account in ["a", "b", "c"] {
            world.post("acme", account, n).await.unwrap();
        }
        world.post("bolt", "a", n).await.unwrap();
    }
    let applied = world.applied_at_least("acme", 150).await;
    assert_eq!(applied.len(), 150);
    check_order(&applied);
    check_order(&world.applied_at_least("bolt", 50).await);
    let applied = || running.consumer.metrics().applied.get();
    counted(|| applied() >= 200).await;
    assert_eq!(applied(), 200);
    running.stop().await;
}

/// Waits for a count, half a minute at most: what is committed is counted a moment after it is seen.
async fn counted(is: impl Fn() -> bool) {
    for _ in 0..3000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn what_was_published_before_the_relay_ran_is_applied(world: World) {
    for n in 1..=20 {
        world.post("acme", "a", n).await.unwrap();
    }
    let running = world.run().await;
    check_order(&world.applied_at_least("acme", 20).await);
    running.stop().await;
    // A second life repeats at most what was not stored as carried, and applies nothing again.
    let running = world.run().await;
    world.post("acme", "a", 21).await.unwrap();
    check_order(&world.applied_at_least("acme", 21).await);
    running.stop().await;
}

async fn nothing_of_a_transaction_that_was_dropped_is_applied(world: World) {
    let running = world.run().await;
    let mut cx = world.cx("ledger", "acme");
    let mut tx = world.ledger.begin(&mut cx).await.unwrap();
    tx.publish(Posted { account: "a".to_owned(), n: 7 }).unwrap();
    drop(tx);
    world.post("acme", "a", 1).await.unwrap();
    assert_eq!(world.applied_at_least("acme", 1).await, [("a".to_owned(), 1)]);
    running.stop().await;
}

async fn what_no_broker_carries_is_refused(world: World) {
    let mut cx = world.cx("ledger", "acme");
    let mut tx = world.ledger.begin(&mut cx).await.unwrap();
    let error = tx.publish(Posted { account: "two\nlines".to_owned(), n: 1 }).unwrap_err();
    assert!(error.message().contains("U+000A"), "{}", error.message());
    let error = tx.publish(Posted { account: "x".repeat(2000), n: 1 }).unwrap_err();
    assert!(error.message().contains("2000 bytes"), "{}", error.message());
}

async fn poison(world: &World, account: &str, poisoned: bool) {
    let mut cx = world.cx("mirror", "acme");
    let mut tx = world.mirror.begin(&mut cx).await.unwrap();
    let sql = if poisoned {
        "insert into poison (account) values ($1)"
    } else {
        "delete from poison where account = $1"
    };
    tx.query(sql).bind((account,)).execute().await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_poisoned_key_waits_and_the_others_go_on(world: World) {
    poison(&world, "a", true).await;
    let running = world.run().await;
    for n in 1..=10 {
        for account in ["a", "b"] {
            world.post("acme", account, n).await.unwrap();
        }
    }
    let applied = world.applied_at_least("acme", 10).await;
    assert!(applied.iter().all(|(account, _)| account == "b"), "{applied:?}");
    poison(&world, "a", false).await;
    // Parked by now or about to be tried again; an operator's replay is the same as a later attempt. An attempt that began before the cure may
    // still fail and park the key after a replay, so the operator looks again.
    for _ in 0..100 {
        replay_what_is_parked(&world).await;
        running.consumer.look_again(&TenantId::new("acme").unwrap());
        if world.applied("acme").await.len() >= 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    check_order(&world.applied_at_least("acme", 20).await);
    running.stop().await;
}

async fn replay_what_is_parked(world: &World) {
    let mut cx = world.cx("mirror", "acme");
    let mut tx = world.mirror.begin(&mut cx).await.unwrap();
    tx.query("update drystone_held set state = 'retrying', due = 0 where state = 'parked'")
        .execute()
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn a_statement_that_fails_after_its_handler_holds_back_its_key_alone(world: World) {
    for n in 1..=5 {
        for account in ["a", LATE.0, "b"] {
            world.post("acme", account, n).await.unwrap();
        }
    }
    let running = world.run().await;
    let applied = world.applied_at_least("acme", 12).await;
    check_order(&applied);
    assert_eq!(applied.iter().filter(|(account, _)| account == LATE.0).count(), 2, "{applied:?}");
    // It comes to its last attempt; nothing of its key is applied before it.
    let parked = || running.consumer.metrics().parked.get();
    counted(|| parked() > 0).await;
    assert_eq!(parked(), 1);
    assert_eq!(world.applied("acme").await.len(), 12);
    running.stop().await;
}

async fn a_refused_tenant_waits_and_the_others_go_on(world: World) {
    let bolt = TenantId::new("bolt").unwrap();
    world.mirror.tenants().suspend(&bolt).await.unwrap();
    let running = world.run().await;
    for n in 1..=5 {
        world.post("bolt", "a", n).await.unwrap();
        world.post("acme", "a", n).await.unwrap();
    }
    check_order(&world.applied_at_least("acme", 5).await);
    world.mirror.tenants().resume(&bolt).await.unwrap();
    check_order(&world.applied_at_least("bolt", 5).await);
    world.post("bolt", "a", 6).await.unwrap();
    check_order(&world.applied_at_least("bolt", 6).await);
    running.stop().await;
}

async fn a_scheduled_message_comes_when_it_is_due(world: World) {
    let running = world.run().await;
    let mut cx = world.cx("ledger", "acme");
    let mut tx = world.ledger.begin(&mut cx).await.unwrap();
    let due = tx.caller().now() + Duration::from_millis(300);
    tx.publish_at(Posted { account: "a".to_owned(), n: 2 }, due).unwrap();
    tx.publish(Posted { account: "a".to_owned(), n: 1 }).unwrap();
    tx.commit().await.unwrap();
    check_order(&world.applied_at_least("acme", 2).await);
    assert!(world.cx("ledger", "acme").now() >= due);
    running.stop().await;
}
