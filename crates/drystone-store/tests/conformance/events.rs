//! What the platform's engines of events need of a store: announcements, transactions over all tenants, the tables of events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Code, Context, Error, TenantId};
use drystone_store::{Announcements, Dialect, Store, Tx};
use futures_util::FutureExt as _;
use uuid::Uuid;

use crate::world::World;

/// An insert as the platform's own code does it.
const PUBLISH: &str =
    "insert into drystone_outbox (id, type, key, data, created, trace) values ($1, $2, $3, $4, $5, $6)";

/// Number, id, type, key, data, time of creation, trace.
type Published = (i64, Uuid, String, String, Vec<u8>, i64, Option<String>);

/// Queues an event of the transaction's tenant.
fn publish(tx: &mut Tx<'_>, key: &str) -> Uuid {
    let id = tx.new_id();
    let event: (Uuid, &'static str, String, Vec<u8>, i64, Option<String>) =
        (id, "shop.v1.Placed", key.to_owned(), vec![0, 0xff], 7, None);
    tx.query(PUBLISH).bind(event).queue();
    id
}

/// What comes, which must not be long in coming.
async fn next(announcements: &mut Announcements) -> Vec<String> {
    let coming = tokio::time::timeout(Duration::from_secs(60), announcements.next());
    names(coming.await.expect("nothing is announced within a minute"))
}

/// What has come, without waiting.
fn now(announcements: &mut Announcements) -> Option<Vec<String>> {
    announcements.next().now_or_never().map(names)
}

fn names(tenants: BTreeSet<TenantId>) -> Vec<String> {
    tenants.iter().map(ToString::to_string).collect()
}

/// Commits an event of a tenant and says so.
async fn announced(world: &World, cx: &mut Context) {
    let mut tx = world.store.begin(cx).await.unwrap();
    publish(&mut tx, "k");
    tx.announce();
    tx.commit().await.unwrap();
}

/// The keys in the outbox of a tenant, in order.
async fn published(world: &World, tenant: &str) -> Vec<String> {
    let mut cx = world.cx_of(tenant);
    let mut read = world.store.read(&mut cx).await.unwrap();
    let keys: Vec<(String,)> =
        read.query("select key from drystone_outbox order by seq").all().await.unwrap();
    keys.into_iter().map(|(key,)| key).collect()
}

pub(crate) async fn an_announcement_comes_after_the_commit(world: World) {
    let mut announcements = world.store.announcements();
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    publish(&mut tx, "k");
    tx.announce();
    tx.announce();
    assert_eq!(now(&mut announcements), None, "nothing has committed");
    tx.commit().await.unwrap();
    assert_eq!(now(&mut announcements), Some(vec!["acme".to_owned()]), "it comes before the caller goes on");
    assert_eq!(now(&mut announcements), None, "once");
    // A transaction that does not ask for it announces nothing.
    world.add(&mut cx, "stone", 1).await.unwrap();
    assert_eq!(now(&mut announcements), None);
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    tx.announce();
    let answer = crate::keyed::text("done");
    tx.commit_with(answer).await.unwrap();
    assert_eq!(now(&mut announcements), Some(vec!["acme".to_owned()]));
}

pub(crate) async fn an_announcement_outlives_its_caller(world: World) {
    let mut announcements = world.store.announcements();
    for round in 1..=20 {
        let mut cx = world.cx();
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        publish(&mut tx, "k");
        tx.announce();
        // Asked once, so that the commit is submitted, and then dropped.
        let mut commit = Box::pin(tx.commit());
        drop(commit.as_mut().now_or_never());
        drop(commit);
        assert_eq!(next(&mut announcements).await, ["acme"]);
        assert_eq!(published(&world, "acme").await.len(), round, "who is told finds what was committed");
    }
}

pub(crate) async fn what_did_not_commit_is_not_announced(world: World) {
    let mut announcements = world.store.announcements();
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    publish(&mut tx, "dropped");
    tx.announce();
    drop(tx);
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    publish(&mut tx, "refused");
    tx.announce();
    tx.refuse::<()>(Error::failed_precondition("no")).await.unwrap_err();
    let store = world.store.clone();
    let client = crate::keyed::Client::of(&world, move |cx, _| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            publish(&mut tx, "refused with a record");
            tx.announce();
            tx.refuse(Error::failed_precondition("no")).await
        })
    });
    client.call(&crate::keyed::keyed(&world, "k"), "x").await.0.unwrap_err();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    tx.query("insert into nowhere values (1)").queue();
    tx.announce();
    tx.commit().await.unwrap_err();
    announced(&world, &mut world.cx_of("other")).await;
    let mut told = next(&mut announcements).await;
    // The last one was on its way to a commit, and on PostgreSQL it is known there only that it fails: it may be announced, the others not.
    told.retain(|tenant| tenant != "acme" || !world.is_on_postgres());
    assert_eq!(told, ["other"]);
    assert_eq!(published(&world, "acme").await, [""; 0]);
}

pub(crate) async fn announcements_wait_for_each_who_listens(mut world: World) {
    let mut early = world.store.announcements();
    announced(&world, &mut world.cx_of("acme")).await;
    let mut late = world.store.shared().announcements();
    for tenant in ["other", "third", "other"] {
        announced(&world, &mut world.cx_of(tenant)).await;
    }
    // A wait that is given up takes nothing.
    drop(early.next());
    assert_eq!(next(&mut early).await, ["acme", "other", "third"]);
    assert_eq!(next(&mut late).await, ["other", "third"]);
    let waiting = early.next().now_or_never();
    assert!(waiting.is_none());
    announced(&world, &mut world.cx()).await;
    assert_eq!(now(&mut early), Some(vec!["acme".to_owned()]));
    drop(late);
    // Someone who waits is woken.
    let mut cx = world.cx_of("other");
    let (told, ()) = tokio::join!(next(&mut early), announced(&world, &mut cx));
    assert_eq!(told, ["other"]);
    // It can be had before there is anything to announce.
    world.store.close().await.unwrap();
    let config = world.config();
    world.store = Store::unopened(crate::world::MODULE);
    let mut before = world.store.announcements();
    world.store.open(config).await.unwrap();
    announced(&world, &mut world.cx()).await;
    assert_eq!(now(&mut before), Some(vec!["acme".to_owned()]));
    assert_eq!(now(&mut early), None, "of a store that is closed nothing more comes");
}

pub(crate) async fn an_event_is_queued_by_its_parts(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let first = publish(&mut tx, "one");
    publish(&mut tx, "two");
    tx.commit().await.unwrap();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let sql = "select seq, id, type, key, data, created, trace from drystone_outbox order by seq";
    let rows: Vec<Published> = read.query(sql).all().await.unwrap();
    let expected = (1, first, "shop.v1.Placed".to_owned(), "one".to_owned(), vec![0, 0xff], 7, None);
    assert_eq!((rows.len(), &rows[0]), (2, &expected));
}

pub(crate) async fn it_says_which_database_it_is_on(mut world: World) {
    let wanted = if world.is_on_postgres() { Dialect::Postgres } else { Dialect::Sqlite };
    assert_eq!(world.store.dialect().unwrap(), wanted);
    assert_eq!(Store::unopened("early").dialect().unwrap_err().code(), Code::Unavailable);
    let mut cx = world.cx();
    let tx = world.store.begin(&mut cx).await.unwrap();
    assert_eq!(tx.dialect(), wanted);
    assert!(tx.may_publish("anything"), "unless the settings say otherwise");
    drop(tx);
    assert_eq!(world.store.read(&mut cx).await.unwrap().dialect(), wanted);
    let mut config = world.config();
    config.publishes = Some(Arc::new(BTreeSet::from(["shop.v1.Placed"])));
    world.reopen_with(config).await.unwrap();
    let tx = world.store.begin(&mut cx).await.unwrap();
    assert!(tx.may_publish("shop.v1.Placed") && !tx.may_publish("shop.v1.Cancelled"));
}

pub(crate) async fn a_transaction_says_how_long_it_is_held(world: World) {
    let mut cx = world.cx();
    let before = std::time::Instant::now();
    let tx = world.store.begin(&mut cx).await.unwrap();
    let first = tx.held_for();
    let mut turns = 0;
    while tx.held_for() < first + Duration::from_millis(20) {
        tokio::task::yield_now().await;
        turns += 1;
        assert!(turns < 100_000_000, "it stands still");
    }
    assert!(tx.held_for() <= before.elapsed(), "it counts from its begin");
}

/// A transaction over all tenants, which must be refused this.
async fn denied(world: &World, sql: &str) {
    let mut cx = world.cx();
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    let error = tx.query(sql).execute().await.expect_err(sql);
    assert!(format!("{error:?}").contains("permission denied"), "{sql}: {error:?}");
}

pub(crate) async fn a_transaction_across_tenants_sees_their_events_and_nothing_else(world: World) {
    if !world.is_on_postgres() {
        let error = world.store.begin_across(&mut world.cx()).await.unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(error.message().contains("go from tenant to tenant"), "{error}");
        return;
    }
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    for tenant in ["acme", "other", "acme"] {
        announced(&world, &mut world.cx_of(tenant)).await;
    }
    // Whose call it is makes no difference.
    let mut cx = world.cx_of("nobody");
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    let all = "select tenant, seq from drystone_outbox order by seq";
    let rows: Vec<(String, i64)> = tx.query(all).all().await.unwrap();
    assert_eq!(rows, [("acme".to_owned(), 1), ("other".to_owned(), 2), ("acme".to_owned(), 3)]);
    let (isolation,): (String,) =
        tx.query("select current_setting('transaction_isolation')").one().await.unwrap();
    assert_eq!(isolation, "read committed");
    announced(&world, &mut world.cx_of("other")).await;
    let (count,): (i64,) = tx.query("select count(*) from drystone_outbox").one().await.unwrap();
    assert_eq!(count, 4, "each statement sees what was committed before it");
    drop(tx);
    for table in [
        "items",
        "lines",
        "kinds",
        "rates",
        "stock.drystone_idempotency",
        "stock_shared.drystone_idempotency",
        "stock.drystone_migrations",
        "drystone_tenants",
        "drystone_leases",
    ] {
        denied(&world, &format!("select * from {table}")).await;
        denied(&world, &format!("delete from {table}")).await;
    }
    // The module's own role has what it needs of these tables, and its tenant's rows.
    let mut cx = world.cx_of("other");
    for sql in ["update drystone_outbox set key = ''", "delete from drystone_outbox"] {
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let error = tx.query(sql).execute().await.expect_err(sql);
        assert!(format!("{error:?}").contains("permission denied"), "{sql}: {error:?}");
    }
    assert_eq!(published(&world, "other").await.len(), 2);
}

pub(crate) async fn a_transaction_across_tenants_carries_events_on(world: World) {
    if !world.is_on_postgres() {
        return;
    }
    let mut cx = world.cx();
    for (tenant, due) in [("acme", 10_i64), ("other", 5), ("third", 99)] {
        let mut cx = world.cx_of(tenant);
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let insert = "insert into drystone_scheduled (id, type, key, data, due, created) \
            values ($1, 't', $2, '', $3, 0)";
        let id = tx.new_id();
        tx.query(insert).bind((id, tenant, due)).queue();
        tx.commit().await.unwrap();
    }
    let mut announcements = world.store.announcements();
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    let moved = "with due as (delete from drystone_scheduled where due <= $1 returning *)
        insert into drystone_outbox (tenant, id, type, key, data, created, trace)
        select tenant, id, type, key, data, created, trace from due order by due, id";
    assert_eq!(tx.query(moved).bind((50_i64,)).execute().await.unwrap(), 2);
    // The tables of both schemas by their names.
    let insert = "insert into drystone_pumps (name, position, epoch, owner) values ('stock', 2, 1, 'me')";
    tx.query(insert).execute().await.unwrap();
    tx.announce();
    tx.commit().await.unwrap();
    assert_eq!(now(&mut announcements), Some(vec!["acme".to_owned()]), "the tenant of the call");
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    let sql = "select position from drystone_pumps where name = $1";
    assert_eq!(tx.query(sql).bind(("stock",)).one::<(i64,)>().await.unwrap(), (2,));
    drop(tx);
    let mut keys = BTreeMap::new();
    for tenant in ["acme", "other", "third"] {
        keys.insert(tenant, published(&world, tenant).await);
    }
    assert_eq!(keys["acme"], ["acme"]);
    assert_eq!(keys["other"], ["other"]);
    assert_eq!(keys["third"], [""; 0], "not due yet");
}

pub(crate) async fn a_transaction_across_tenants_can_tell_what_is_settled(world: World) {
    if !world.is_on_postgres() {
        return;
    }
    let mut cx = world.cx();
    let last = "select coalesce(pg_sequence_last_value('drystone_outbox_seq_seq'), 0)";
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    assert_eq!(tx.query(last).one::<(i64,)>().await.unwrap(), (0,), "nobody has published yet");
    drop(tx);
    let mut open = world.cx();
    let mut publisher = world.store.begin(&mut open).await.unwrap();
    publish(&mut publisher, "k");
    let (publishing,): (i64,) =
        publisher.query("select pg_current_xact_id()::text::bigint").one().await.unwrap();
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    assert_eq!(tx.query(last).one::<(i64,)>().await.unwrap(), (1,));
    let (mine,): (i64,) = tx.query("select pg_current_xact_id()::text::bigint").one().await.unwrap();
    assert!(mine > publishing);
    let oldest = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    // The server's own work may be older still.
    assert!(tx.query(oldest).one::<(i64,)>().await.unwrap().0 <= publishing);
    // Who holds it back can be named.
    let holder = "select l.pid::bigint from pg_locks l where l.locktype = 'transactionid' and l.granted and l.transactionid::text::bigint = $1";
    let (pid,): (i64,) = tx.query(holder).bind((publishing,)).one().await.unwrap();
    let (theirs,): (i64,) = publisher.query("select pg_backend_pid()::bigint").one().await.unwrap();
    assert_eq!(pid, theirs);
    publisher.commit().await.unwrap();
    drop(tx);
    // A later statement sees it gone.
    for turn in 0.. {
        let mut tx = world.store.begin_across(&mut cx).await.unwrap();
        if tx.query(oldest).one::<(i64,)>().await.unwrap().0 > publishing {
            break;
        }
        assert!(turn < 1_000, "it is never over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
