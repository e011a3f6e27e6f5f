//! A broker that dies, comes back, and has forgotten: nothing is lost, nothing happens twice, order stays.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "support/world.rs"]
mod world;

use std::time::{Duration, SystemTime};

use drystone_events::operate::{Operator, Redrive, Wanted};
use drystone_events::{Retention, Way};
use tokio::sync::watch;
use world::{By, On, World, check_order};

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            super::$name(super::World::new(super::On::Sqlite, super::By::Nats).await).await;
        })+ }
        mod postgres { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() {
            super::$name(super::World::new(super::On::Postgres, super::By::Nats).await).await;
        })+ }
    };
}

on_both! {
    a_server_that_is_killed_and_started_again_loses_nothing,
    what_a_wiped_server_had_acknowledged_is_sent_again,
    a_lost_end_is_sent_again,
    a_redrive_sends_everything_again_and_nothing_happens_twice,
}

/// Posts `n` of two accounts for both tenants.
async fn post(world: &World, n: std::ops::RangeInclusive<i64>) {
    for n in n {
        for (tenant, account) in [("acme", "a"), ("acme", "b"), ("bolt", "a")] {
            world.post(tenant, account, n).await.unwrap();
        }
    }
}

/// Waits until everything was applied, `n` of each account, and checks that it was once and in order.
async fn all_applied(world: &World, n: usize) {
    for (tenant, accounts) in [("acme", 2), ("bolt", 1)] {
        let applied = world.applied_at_least(tenant, n * accounts).await;
        assert_eq!(applied.len(), n * accounts, "{tenant}");
        check_order(&applied);
    }
}

async fn a_server_that_is_killed_and_started_again_loses_nothing(world: World) {
    let nats = world.nats.as_ref().unwrap();
    let running = world.run().await;
    post(&world, 1..=20).await;
    nats.kill();
    post(&world, 21..=40).await;
    nats.start_again().unwrap();
    post(&world, 41..=60).await;
    all_applied(&world, 60).await;
    running.stop().await;
}

/// A relay alone: what it sends, nobody reads yet.
async fn relay_alone(world: &World, messages: u64) -> (watch::Sender<bool>, drystone_events::Relay) {
    let relay = world.relay("nats", Way::Nats(world.broker().await));
    let (stopper, stopping) = watch::channel(false);
    drop(relay.start(&stopping).unwrap());
    carried(&relay, messages).await;
    (stopper, relay)
}

/// Waits until a relay's target has acknowledged so many messages.
async fn carried(relay: &drystone_events::Relay, messages: u64) {
    let carried = || relay.pumps()[0].1.carried.get();
    for _ in 0..3000 {
        if carried() >= messages {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the broker has {} of {messages} messages after 30 s", carried());
}

async fn what_a_wiped_server_had_acknowledged_is_sent_again(world: World) {
    let nats = world.nats.as_ref().unwrap();
    post(&world, 1..=30).await;
    let (stopper, _relay) = relay_alone(&world, 90).await;
    nats.wipe().unwrap();
    let running = world.run_subscription().await;
    post(&world, 31..=35).await;
    all_applied(&world, 35).await;
    let tail = world.broker().await.writer("ledger").tail().await.unwrap();
    assert!(tail.last >= 105, "the new stream has {} messages", tail.last);
    stopper.send(true).unwrap();
    running.stop().await;
}

async fn a_lost_end_is_sent_again(world: World) {
    let nats = world.nats.as_ref().unwrap();
    post(&world, 1..=10).await;
    let (stopper, relay) = relay_alone(&world, 30).await;
    let then = nats.snapshot().unwrap();
    post(&world, 11..=20).await;
    carried(&relay, 60).await;
    nats.go_back(&then).unwrap();
    let running = world.run_subscription().await;
    post(&world, 21..=30).await;
    all_applied(&world, 30).await;
    stopper.send(true).unwrap();
    running.stop().await;
}

async fn a_redrive_sends_everything_again_and_nothing_happens_twice(world: World) {
    let running = world.run().await;
    post(&world, 1..=20).await;
    all_applied(&world, 20).await;
    let operator = Operator::new(world.ledger.clone(), std::sync::Arc::clone(&world.ledger_home));
    let pumps = vec![Wanted { pump: "mirror".to_owned(), types: None }];
    let days_ago = |days: u64| {
        let at = world.cx("ledger", "acme").now() - Duration::from_hours(24 * days);
        let since = i64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros()).unwrap();
        Redrive { since, pumps: pumps.clone(), tenant: None }
    };
    let error = operator.redrive(&days_ago(8), Retention::default()).await.unwrap_err();
    assert!(error.message().contains("7 days"), "{}", error.message());
    let before = running.consumer.metrics().repeated.get();
    // Positions are stored a moment after they are reached.
    for _ in 0..300 {
        if !operator.redrive(&days_ago(1), Retention::default()).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.relay.look_again();
    post(&world, 21..=25).await;
    all_applied(&world, 25).await;
    for _ in 0..3000 {
        if running.consumer.metrics().repeated.get() >= before + 60 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(running.consumer.metrics().repeated.get() >= before + 60, "everything came again");
    all_applied(&world, 25).await;
    running.stop().await;
}
