//! What an operator sees and changes, on the real stores and beside an engine that runs.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "operate/redrive.rs"]
mod redrive;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Error, Event as _, PlatformReason, Result, TenantId};
use drystone_events::operate::{
    Format, HeldFilter, HeldId, HeldKey, Operator, PumpStatus, Redrive, Replay, Wanted,
};
use drystone_events::{Deliver, Envelope, Publish as _, Retention, Way};
use futures_util::future::BoxFuture;
use redrive::{
    a_redrive_beyond_the_retention_is_refused, a_redrive_brings_back_what_a_consumer_has_lost,
    a_redrive_of_one_tenant_leaves_the_others_alone, a_redrive_sends_again_what_was_carried_since_then,
    a_redrive_skips_nothing_that_was_never_carried,
};
use uuid::Uuid;
use world::{By, On, Posted, World, check_order};

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        cases!(@ sqlite, Sqlite, $($name),+);
        cases!(@ postgres, Postgres, $($name),+);
    };
    (@ $module:ident, $on:ident, $($name:ident),+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::World::new(super::On::$on, super::By::Call).await).await;
            })+
        }
    };
}

cases! {
    held_keys_are_shown_with_what_is_behind_them,
    a_replay_tries_again_and_keeps_the_order,
    an_edited_message_is_applied_as_it_was_edited,
    a_dropped_message_is_never_applied_and_the_rest_goes_on,
    a_redrive_sends_again_what_was_carried_since_then,
    a_redrive_brings_back_what_a_consumer_has_lost,
    a_redrive_of_one_tenant_leaves_the_others_alone,
    a_redrive_skips_nothing_that_was_never_carried,
    a_redrive_beyond_the_retention_is_refused,
    what_waits_is_counted,
    what_a_target_does_not_take_shows_in_the_gauges,
    what_is_held_of_a_suspended_tenant_is_left_alone,
}

fn operator(world: &World, module: &str) -> Operator {
    match module {
        "ledger" => Operator::new(world.ledger.clone(), Arc::clone(&world.ledger_home)),
        _ => Operator::new(world.mirror.clone(), Arc::clone(&world.mirror_home)),
    }
}

fn wanted() -> Vec<Wanted> {
    vec![Wanted { pump: "mirror".to_owned(), types: Some(vec![Posted::TYPE.to_owned()]) }]
}

fn all() -> HeldFilter {
    HeldFilter { limit: 100, ..HeldFilter::default() }
}

fn replay(key: Option<&str>) -> Replay {
    Replay { consumer: "mirror".to_owned(), key: key.map(str::to_owned), ..Replay::default() }
}

fn id_of(key: &HeldKey) -> HeldId {
    HeldId { tenant: key.tenant.clone(), consumer: key.consumer.clone(), id: key.id }
}

async fn poison(world: &World, tenant: &str, account: &str, poisoned: bool) {
    let mut cx = world.cx("mirror", tenant);
    let mut tx = world.mirror.begin(&mut cx).await.unwrap();
    let sql = if poisoned {
        "insert into poison (account) values ($1)"
    } else {
        "delete from poison where account = $1"
    };
    tx.query(sql).bind((account,)).execute().await.unwrap();
    tx.commit().await.unwrap();
}

/// Waits until something is so, as the store shows it.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    for _ in 0..3000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s: {what}");
}

/// Waits until a key is parked with so many behind it.
async fn parked(world: &World, key: &str, behind: i64) -> HeldKey {
    let (mirror, key) = (operator(world, "mirror"), key.to_owned());
    until("the key is parked", || async {
        let held = mirror.held(&all()).await.unwrap();
        held.into_iter().find(|held| held.key == key && held.state == "parked" && held.behind == behind)
    })
    .await
}

/// Waits until nothing is behind, and says where the pump stands.
async fn dry(world: &World) -> PumpStatus {
    let ledger = operator(world, "ledger");
    until("nothing is behind", || async {
        let pump = ledger.pumps(&wanted()).await.unwrap().remove(0);
        (pump.lag == 0 && pump.tenants.is_empty()).then_some(pump)
    })
    .await
}

async fn held_keys_are_shown_with_what_is_behind_them(world: World) {
    poison(&world, "acme", "a", true).await;
    poison(&world, "bolt", "z", true).await;
    let running = world.run().await;
    for n in 1..=3 {
        world.post("acme", "a", n).await.unwrap();
        world.post("acme", "b", n).await.unwrap();
    }
    world.post("bolt", "z", 1).await.unwrap();
    let key = parked(&world, "a", 2).await;
    parked(&world, "z", 0).await;
    assert_eq!(
        (&*key.tenant, &*key.consumer, &*key.source, key.attempts, key.due),
        ("acme", "mirror", "ledger", 5, None)
    );
    assert_eq!(key.event_type, Posted::TYPE);
    assert!(key.reason.as_ref().unwrap().contains("INTERNAL: a is poisoned"), "{key:?}");

    let mirror = operator(&world, "mirror");
    let count = async |filter: HeldFilter| mirror.held(&filter).await.unwrap().len();
    assert_eq!(count(all()).await, 2);
    assert_eq!(count(HeldFilter { limit: 1, ..all() }).await, 1);
    assert_eq!(count(HeldFilter { tenant: Some("acme".into()), ..all() }).await, 1);
    assert_eq!(count(HeldFilter { consumer: Some("mirror".into()), ..all() }).await, 2);
    assert_eq!(count(HeldFilter { consumer: Some("other".into()), ..all() }).await, 0);
    assert_eq!(count(HeldFilter { state: Some("parked".into()), ..all() }).await, 2);
    assert_eq!(
        count(HeldFilter { state: Some("waiting".into()), ..all() }).await,
        1,
        "only one has messages behind it"
    );
    assert_eq!(count(HeldFilter { state: Some("retrying".into()), ..all() }).await, 0);

    let message = mirror.message(key.id).await.unwrap().remove(0);
    assert_eq!((&*message.state, message.before, &*message.format), ("parked", 0, "protobuf"));
    let event: Posted = prost::Message::decode(&*message.data).unwrap();
    assert_eq!(event, Posted { account: "a".to_owned(), n: 1 });
    assert!(mirror.message(Uuid::nil()).await.unwrap().is_empty());

    let status = mirror.consumers().await.unwrap();
    assert_eq!(status.len(), 1);
    let status = &status[0];
    assert_eq!(
        (&*status.consumer, status.held_keys, status.held_messages, status.parked_keys),
        ("mirror", 2, 4, 2)
    );
    until("the gauge", || async { (running.consumer.metrics().parked_keys.get() == 2).then_some(()) }).await;
    running.stop().await;
}

async fn a_replay_tries_again_and_keeps_the_order(world: World) {
    poison(&world, "acme", "a", true).await;
    poison(&world, "acme", "b", true).await;
    let running = world.run().await;
    for n in 1..=3 {
        world.post("acme", "a", n).await.unwrap();
        world.post("acme", "b", n).await.unwrap();
    }
    parked(&world, "a", 2).await;
    parked(&world, "b", 2).await;
    let mirror = operator(&world, "mirror");
    // Without a fix it fails again, as often as at first.
    let retried = running.consumer.metrics().retried.get();
    assert_eq!(mirror.replay(&replay(Some("a"))).await.unwrap().count, 1);
    running.consumer.look_again(&TenantId::new("acme").unwrap());
    until("five more attempts", || async {
        (running.consumer.metrics().retried.get() >= retried + 5).then_some(())
    })
    .await;
    parked(&world, "a", 2).await;

    poison(&world, "acme", "a", false).await;
    let done = mirror.replay(&replay(Some("a"))).await.unwrap();
    assert_eq!((done.count, done.tenants, done.skipped), (1, vec!["acme".to_owned()], Vec::new()));
    running.consumer.look_again(&TenantId::new("acme").unwrap());
    check_order(&world.applied_at_least("acme", 3).await);
    assert_eq!(parked(&world, "b", 2).await.attempts, 5, "another key is left alone");

    // By itself, without being told.
    poison(&world, "acme", "b", false).await;
    assert_eq!(
        mirror.replay(&Replay { source: Some("elsewhere".into()), ..replay(None) }).await.unwrap().count,
        0
    );
    assert_eq!(mirror.replay(&replay(None)).await.unwrap().count, 1);
    if world.on == On::Sqlite {
        running.consumer.look_again(&TenantId::new("acme").unwrap());
    }
    check_order(&world.applied_at_least("acme", 6).await);
    assert!(mirror.held(&all()).await.unwrap().is_empty());
    running.stop().await;
}

async fn an_edited_message_is_applied_as_it_was_edited(world: World) {
    poison(&world, "acme", "a", true).await;
    let running = world.run().await;
    world.post("acme", "a", 99).await.unwrap();
    world.post("acme", "a", 2).await.unwrap();
    let key = parked(&world, "a", 1).await;
    let mirror = operator(&world, "mirror");
    let data = prost::Message::encode_to_vec(&Posted { account: "a".to_owned(), n: 1 });
    mirror.edit(&id_of(&key), Format::Protobuf, data).await.unwrap();
    assert_eq!(parked(&world, "a", 1).await.id, key.id, "it stays parked where it is");
    poison(&world, "acme", "a", false).await;
    mirror.replay(&replay(None)).await.unwrap();
    running.consumer.look_again(&TenantId::new("acme").unwrap());
    check_order(&world.applied_at_least("acme", 2).await);
    let gone = mirror.edit(&id_of(&key), Format::Protobuf, Vec::new()).await.unwrap_err();
    assert!(gone.message().contains("was applied or dropped meanwhile"), "{gone:?}");
    running.stop().await;
}

async fn a_dropped_message_is_never_applied_and_the_rest_goes_on(world: World) {
    poison(&world, "acme", "a", true).await;
    let running = world.run().await;
    for n in [9, 1, 8, 2] {
        world.post("acme", "a", n).await.unwrap();
    }
    let key = parked(&world, "a", 3).await;
    let mirror = operator(&world, "mirror");
    // The one in the middle first: nothing moves.
    let waiting = middle(&world, 8).await;
    mirror.drop_message(&waiting).await.unwrap();
    assert_eq!(parked(&world, "a", 2).await.id, key.id);
    poison(&world, "acme", "a", false).await;
    mirror.drop_message(&id_of(&key)).await.unwrap();
    running.consumer.look_again(&TenantId::new("acme").unwrap());
    check_order(&world.applied_at_least("acme", 2).await);
    assert!(mirror.drop_message(&id_of(&key)).await.is_err());

    // Also when it is sent again.
    dry(&world).await;
    let redrive = Redrive { since: 0, pumps: wanted(), tenant: None };
    let done = operator(&world, "ledger").redrive(&redrive, forever()).await.unwrap();
    assert_eq!(done.len(), 1);
    running.relay.look_again();
    until("four repeats", || async { (running.consumer.metrics().repeated.get() >= 4).then_some(()) }).await;
    check_order(&world.applied("acme").await);
    running.stop().await;
}

/// The held message with this number.
async fn middle(world: &World, n: i64) -> HeldId {
    let mut cx = world.cx("mirror", "acme");
    let mut tx = world.mirror.read(&mut cx).await.unwrap();
    let rows: Vec<(Uuid, Vec<u8>)> = tx.query("select id, data from drystone_held").all().await.unwrap();
    let is_it = |(_, data): &&(Uuid, Vec<u8>)| <Posted as prost::Message>::decode(&**data).unwrap().n == n;
    let (id, _) = rows.iter().find(is_it).unwrap();
    HeldId { tenant: "acme".to_owned(), consumer: "mirror".to_owned(), id: *id }
}

fn forever() -> Retention {
    Retention::new(Duration::from_hours(24 * 365 * 100))
}

/// When each message was published, by number.
async fn published(world: &World, tenant: &str) -> Vec<(i64, i64)> {
    let mut cx = world.cx("ledger", tenant);
    let mut tx = world.ledger.read(&mut cx).await.unwrap();
    tx.query("select seq, created from drystone_outbox order by seq").all().await.unwrap()
}

async fn what_waits_is_counted(world: World) {
    let ledger = operator(&world, "ledger");
    for n in 1..=3 {
        world.post("acme", "a", n).await.unwrap();
    }
    let mut cx = world.cx("ledger", "acme");
    let mut tx = world.ledger.begin(&mut cx).await.unwrap();
    let due = tx.caller().now() + Duration::from_secs(3600);
    tx.publish_at(Posted { account: "a".to_owned(), n: 4 }, due).unwrap();
    tx.commit().await.unwrap();
    let first = published(&world, "acme").await[0].1;
    let pump = ledger.pumps(&wanted()).await.unwrap().remove(0);
    assert_eq!((pump.lag, pump.oldest), (3, Some(first)));
    let (scheduled, next) = ledger.scheduled().await.unwrap();
    assert!(scheduled == 1 && next.is_some());
    let others = [Wanted { pump: "mirror".to_owned(), types: Some(vec!["test.Other".to_owned()]) }];
    assert_eq!(ledger.pumps(&others).await.unwrap()[0].lag, 0, "what the target does not want does not wait");

    let running = world.run().await;
    world.applied_at_least("acme", 3).await;
    let pump = dry(&world).await;
    assert_eq!(pump.owner.as_deref(), (world.on == On::Postgres).then_some("test"));
    let metrics = &running.relay.pumps()[0].1;
    until("the gauges", || async { (metrics.behind.messages() == 0).then_some(()) }).await;
    assert_eq!((metrics.behind.oldest(), metrics.behind.still_since()), (None, None));
    running.stop().await;
}

/// A target that is down.
struct Down;

impl Deliver for Down {
    fn deliver<'a>(&'a self, _: &'a TenantId, _: &'a [Envelope]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::unavailable("down")) })
    }
}

async fn what_a_target_does_not_take_shows_in_the_gauges(world: World) {
    for n in 1..=3 {
        world.post("acme", "a", n).await.unwrap();
    }
    let first = published(&world, "acme").await[0].1;
    let running = world.run_with(world.consumer(), Way::Push(Arc::new(Down)));
    let metrics = &running.relay.pumps()[0].1;
    until("two failures", || async { (metrics.failures.get() >= 2).then_some(()) }).await;
    assert_eq!((metrics.behind.messages(), metrics.behind.oldest()), (3, Some(first)));
    assert!(metrics.behind.still_since().is_some_and(|since| since > first));
    assert_eq!(metrics.carried.get(), 0);
    running.stop().await;
}

async fn what_is_held_of_a_suspended_tenant_is_left_alone(world: World) {
    poison(&world, "acme", "a", true).await;
    let running = world.run().await;
    world.post("acme", "a", 1).await.unwrap();
    let key = parked(&world, "a", 0).await;
    let (mirror, acme) = (operator(&world, "mirror"), TenantId::new("acme").unwrap());
    world.mirror.tenants().suspend(&acme).await.unwrap();
    for refused in [
        mirror.drop_message(&id_of(&key)).await.unwrap_err(),
        mirror.edit(&id_of(&key), Format::Json, Vec::new()).await.unwrap_err(),
        mirror.replay(&Replay { tenant: Some("acme".into()), ..replay(None) }).await.unwrap_err(),
    ] {
        assert!(refused.is(PlatformReason::TenantSuspended), "{refused:?}");
    }
    let done = mirror.replay(&replay(None)).await.unwrap();
    assert_eq!(done.count, 0);
    world.mirror.tenants().resume(&acme).await.unwrap();
    assert_eq!(parked(&world, "a", 0).await.id, key.id);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_that_the_fence_waits_for_is_named() {
    let world = World::new(On::Postgres, By::Call).await;
    let ledger = operator(&world, "ledger");
    world.post("acme", "a", 1).await.unwrap();
    let free = ledger.fence().await.unwrap().unwrap();
    assert_eq!((free.settled, free.blocker), (Some(free.taken), None));

    let url = format!("{}?application_name=forgotten", world.database.as_ref().unwrap().owner_url);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let row = client.batch_execute("begin; select pg_current_xact_id()").await;
    row.unwrap();
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    world.post("acme", "a", 2).await.unwrap();
    let blocked = ledger.fence().await.unwrap().unwrap();
    assert_eq!((blocked.taken, blocked.settled), (free.taken + 1, None));
    let blocker = blocked.blocker.unwrap();
    assert_eq!((blocker.pid, blocker.application.as_deref()), (pid, Some("forgotten")), "{blocker}");
    assert!(blocker.user.is_some() && blocker.to_string().contains("application forgotten"), "{blocker}");
    client.batch_execute("rollback").await.unwrap();
    let free = ledger.fence().await.unwrap().unwrap();
    assert_eq!(free.settled, Some(free.taken));
    drop(client);
    connection.await.unwrap().unwrap();

    let files = World::new(On::Sqlite, By::Call).await;
    assert_eq!(operator(&files, "ledger").fence().await.unwrap(), None);
}
