//! Redrive: positions go back beside pumps that run.

use drystone_call::Code;
use drystone_events::Retention;
use drystone_events::operate::{Redrive, Redriven};
use uuid::Uuid;

use crate::world::{By, On, World, check_order};
use crate::{dry, operator, published, until, wanted};

async fn redrive(world: &World, since: i64, tenant: Option<&str>) -> Vec<Redriven> {
    let what = Redrive { since, pumps: wanted(), tenant: tenant.map(str::to_owned) };
    operator(world, "ledger").redrive(&what, Retention::default()).await.unwrap()
}

pub(crate) async fn a_redrive_sends_again_what_was_carried_since_then(world: World) {
    let running = world.run().await;
    for n in 1..=10 {
        world.post("acme", "a", n).await.unwrap();
    }
    world.applied_at_least("acme", 10).await;
    let before = dry(&world).await;
    let published = published(&world, "acme").await;
    let (seq, since) = published[6];
    let done = redrive(&world, since, None).await;
    let last = published[9].0;
    assert_eq!(done.len(), 1);
    assert_eq!((&*done[0].pump, done[0].from, done[0].to), ("mirror", last, seq - 1));
    // On PostgreSQL a pump notices by itself when it stores its position; on SQLite the process is told.
    if world.on == On::Sqlite {
        running.relay.look_again();
    }
    until("four repeats", || async { (running.consumer.metrics().repeated.get() == 4).then_some(()) }).await;
    let after = dry(&world).await;
    assert!(after.epoch > before.epoch, "{after:?} {before:?}");
    assert_eq!(world.applied("acme").await.len(), 10);
    // What comes next comes once.
    world.post("acme", "a", 11).await.unwrap();
    check_order(&world.applied_at_least("acme", 11).await);
    assert_eq!(running.consumer.metrics().repeated.get(), 4);
    running.stop().await;
}

pub(crate) async fn a_redrive_brings_back_what_a_consumer_has_lost(world: World) {
    let running = world.run().await;
    for n in 1..=10 {
        world.post("acme", "a", n).await.unwrap();
        world.post("bolt", "a", n).await.unwrap();
    }
    world.applied_at_least("acme", 10).await;
    world.applied_at_least("bolt", 10).await;
    dry(&world).await;
    // The consumer's database is an older copy.
    for tenant in ["acme", "bolt"] {
        let mut cx = world.cx("mirror", tenant);
        let mut tx = world.mirror.begin(&mut cx).await.unwrap();
        tx.query("delete from applied where n > 4").execute().await.unwrap();
        let ids = "select id from drystone_inbox order by id";
        let ids: Vec<(Uuid,)> = tx.query(ids).all().await.unwrap();
        for (id,) in &ids[4..] {
            tx.query("delete from drystone_inbox where id = $1").bind((*id,)).execute().await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    assert!(!redrive(&world, published(&world, "acme").await[0].1, None).await.is_empty());
    running.relay.look_again();
    for tenant in ["acme", "bolt"] {
        let applied = world.applied_at_least(tenant, 10).await;
        assert_eq!(applied.len(), 10);
        check_order(&applied);
    }
    running.stop().await;
}

pub(crate) async fn a_redrive_of_one_tenant_leaves_the_others_alone(world: World) {
    let running = world.run().await;
    for n in 1..=5 {
        world.post("bolt", "a", n).await.unwrap();
        world.post("acme", "a", n).await.unwrap();
    }
    world.applied_at_least("acme", 5).await;
    world.applied_at_least("bolt", 5).await;
    dry(&world).await;
    let done = redrive(&world, published(&world, "acme").await[0].1, Some("acme")).await;
    assert_eq!(done.iter().map(|one| one.tenant.as_deref()).collect::<Vec<_>>(), [Some("acme")]);
    running.relay.look_again();
    until("five repeats", || async { (running.consumer.metrics().repeated.get() >= 5).then_some(()) }).await;
    world.post("acme", "a", 6).await.unwrap();
    check_order(&world.applied_at_least("acme", 6).await);
    dry(&world).await;
    assert_eq!(running.consumer.metrics().repeated.get(), 5);
    running.stop().await;
}

pub(crate) async fn a_redrive_skips_nothing_that_was_never_carried(world: World) {
    for n in 1..=5 {
        world.post("acme", "a", n).await.unwrap();
    }
    assert_eq!(redrive(&world, published(&world, "acme").await[3].1, None).await, []);
    let running = world.run().await;
    check_order(&world.applied_at_least("acme", 5).await);
    running.stop().await;
}

pub(crate) async fn a_redrive_beyond_the_retention_is_refused(world: World) {
    let ledger = operator(&world, "ledger");
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    let days = 24 * 3_600_000_000;
    let redrive = |since| Redrive { since, pumps: wanted(), tenant: None };
    let refused =
        ledger.redrive(&redrive(now - 7 * days - 1_000_000), Retention::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().starts_with("messages are kept for 7 days (events.retention_days)"),
        "{refused:?}"
    );
    ledger.redrive(&redrive(now - 6 * days), Retention::default()).await.unwrap();
}

/// What the epoch is for: a pump that runs writes its own position over one that went back without it, and nothing is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_goes_back_without_its_epoch_is_written_over() {
    let world = World::new(On::Postgres, By::Call).await;
    let running = world.run().await;
    for n in 1..=5 {
        world.post("acme", "a", n).await.unwrap();
    }
    world.applied_at_least("acme", 5).await;
    let before = dry(&world).await;
    let mut cx = world.cx("ledger", "acme");
    let mut tx = world.ledger.begin_across(&mut cx).await.unwrap();
    tx.query("update drystone_pumps set position = 0").execute().await.unwrap();
    tx.commit().await.unwrap();
    let after = dry(&world).await;
    assert_eq!((after.position, after.epoch), (before.position, before.epoch));
    assert_eq!(running.consumer.metrics().repeated.get(), 0);
    running.stop().await;
}
