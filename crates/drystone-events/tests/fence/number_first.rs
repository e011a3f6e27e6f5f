//! What the fence rests on: whoever takes a number has its transaction's id already.
//!
//! A trigger stops a writer where it has its number and has written no row yet. `nextval` takes no id (but for the one number in 32 with which it writes the next ones
//! down), so without care such a writer has none either, and a fence that looks now does not know of it.

use drystone_events::{Publish as _, Relay};
use drystone_store::Isolation::ReadCommitted;
use drystone_store::Store;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::readers::{Fenced, lost, numbers};
use crate::site::{Posted, Running, Site, check_order, count, publish_next, until};

/// Stops writers of the account `slow` between their number and their row.
const STOP: &str = "create function public.stop() returns trigger language plpgsql as
    $$ begin if new.key = 'slow' then perform pg_advisory_xact_lock(4242); end if; return new; end $$;
    create trigger stop before insert on ledger.drystone_outbox for each row execute function public.stop();
    select pg_advisory_lock(4242)";
const STOPPED: &str = "select count(*) from pg_locks w join pg_database d on d.oid = w.database
    where d.datname = current_database() and w.locktype = 'advisory' and w.objid = 4242 and not w.granted";
const STOPPED_WITH_ID: &str =
    "select count(*) from pg_locks i join pg_locks w using (pid) join pg_database d on d.oid = w.database
    where d.datname = current_database() and i.locktype = 'transactionid' and i.granted
    and w.locktype = 'advisory' and w.objid = 4242 and not w.granted";
const GO_ON: &str = "select pg_advisory_unlock(4242)";

/// Which numbers a reader behind the fence saw and which it lost, where a writer was stopped and another one overtook it.
async fn overtaken(
    site: &Site,
    owner: &Client,
    writer: JoinHandle<()>,
    has_id: bool,
) -> (Vec<i64>, Vec<i64>) {
    let mut ours = Fenced::default();
    until(owner, STOPPED, 1).await;
    assert_eq!(count(owner, STOPPED_WITH_ID).await, i64::from(has_id));
    let taken = count(owner, "select pg_sequence_last_value('ledger.drystone_outbox_seq_seq')").await;
    site.post("acme", "a").await;
    if has_id {
        for _ in 0..3 {
            ours.read(site).await;
        }
        assert!(ours.fence.settled() < taken, "{:?}", ours.fence);
    } else {
        ours.read_to(site, taken + 1).await;
    }
    owner.execute(GO_ON, &[]).await.unwrap();
    writer.await.unwrap();
    ours.read_to(site, taken + 1).await;
    (numbers(&ours.seen), lost(owner, &ours.seen).await)
}

/// A site whose next number was written down with an earlier one.
async fn begun() -> (Site, Client) {
    let site = Site::new().await;
    site.post("acme", "a").await;
    let owner = site.owner().await;
    (site, owner)
}

/// Runs a statement in a transaction of its own that does nothing else.
fn alone(store: &Store, mut cx: drystone_call::Context, across: bool, sql: &'static str) -> JoinHandle<()> {
    let store = store.clone();
    tokio::spawn(async move {
        let mut tx = if across {
            store.begin_across(&mut cx).await.unwrap()
        } else {
            store.begin_with(&mut cx, ReadCommitted).await.unwrap()
        };
        tx.query(sql).execute().await.unwrap();
        tx.commit().await.unwrap();
    })
}

/// Publishes with the real statement, as the only thing that a transaction does.
fn publishing(site: &Site) -> JoinHandle<()> {
    let (store, mut cx) = (site.ledger.clone(), site.cx("acme"));
    tokio::spawn(async move {
        let mut tx = store.begin_with(&mut cx, ReadCommitted).await.unwrap();
        tx.publish(Posted { account: "slow".to_owned(), n: 1 }).unwrap();
        tx.commit().await.unwrap();
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_insert_is_lost_and_ours_is_not() {
    const PLAIN: &str = "insert into drystone_outbox (id, type, key, data, created)
        values (gen_random_uuid(), 'test.ledger.v1.Posted', 'slow', '', 0)";
    let (site, owner) = begun().await;
    owner.batch_execute(STOP).await.unwrap();
    let plain = alone(&site.ledger, site.cx("acme"), false, PLAIN);
    assert_eq!(overtaken(&site, &owner, plain, false).await, (vec![1, 3], vec![2]));

    let (site, owner) = begun().await;
    owner.batch_execute(STOP).await.unwrap();
    let ours = publishing(&site);
    assert_eq!(overtaken(&site, &owner, ours, true).await, (vec![1, 2, 3], vec![]));
}

/// A statement that was prepared once has other plans later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_comes_first_in_every_plan() {
    const GENERIC: &str = "select coalesce(sum(generic_plans), 0)::bigint from pg_prepared_statements
        where statement like 'insert into drystone_outbox%'";
    let site = Site::new().await;
    let owner = site.owner().await;
    for _ in 0..10 {
        site.post("acme", "a").await;
    }
    let mut cx = site.cx("acme");
    let mut tx = site.ledger.begin(&mut cx).await.unwrap();
    let (generic,) = tx.query(GENERIC).one::<(i64,)>().await.unwrap();
    drop(tx);
    assert!(generic > 0, "the connection that published has a plan for any values by now");
    owner.batch_execute(STOP).await.unwrap();
    let (seen, lost) = overtaken(&site, &owner, publishing(&site), true).await;
    assert_eq!((seen, lost), ((1..=12).collect(), vec![]));

    // What was planned is planned anew, with one column more.
    owner
        .batch_execute(
            "alter table ledger.drystone_outbox add column later bigint; analyze ledger.drystone_outbox",
        )
        .await
        .unwrap();
    owner.execute("select pg_advisory_lock(4242)", &[]).await.unwrap();
    let (seen, lost) = overtaken(&site, &owner, publishing(&site), true).await;
    assert_eq!((seen, lost), ((1..=14).collect(), vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_deletes_last_loses_and_ours_does_not() {
    const COPY_FIRST: &str = "insert into drystone_outbox (tenant, seq, id, type, key, data, created, trace)
        select tenant, nextval('drystone_outbox_seq_seq'), id, type, key, data, 0, trace from drystone_scheduled";
    let (site, owner) = begun().await;
    schedule(&site).await;
    owner.batch_execute(STOP).await.unwrap();
    let copying = alone(&site.ledger, site.cx("acme"), true, COPY_FIRST);
    assert_eq!(overtaken(&site, &owner, copying, false).await, (vec![1, 3], vec![2]));

    let (site, owner) = begun().await;
    schedule(&site).await;
    owner.batch_execute(STOP).await.unwrap();
    // A relay with nowhere to carry to still moves what is due.
    let to: std::sync::Arc<dyn drystone_events::Deliver> = std::sync::Arc::new(site.consumer());
    let mut config = site.relay_config("one", &to);
    config.targets.clear();
    let running = Running::of(Relay::new(config));
    let moved = tokio::spawn(std::future::ready(()));
    assert_eq!(overtaken(&site, &owner, moved, true).await, (vec![1, 2, 3], vec![]));
    running.stop().await;
    let running = site.run();
    check_order(&site.applied_at_least("acme", 3).await);
    running.stop().await;
}

/// Commits an event of the account `slow` that is due at once.
async fn schedule(site: &Site) {
    let mut cx = site.cx("acme");
    let mut tx = site.ledger.begin(&mut cx).await.unwrap();
    let now = tx.caller().now();
    tx.publish_at(Posted { account: "slow".to_owned(), n: 1 }, now).unwrap();
    tx.commit().await.unwrap();
}

/// A publisher whose first write was another one has its id from there; a number that it takes last is still behind the fence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_locked_a_row_before_is_known_by_then() {
    let (site, owner) = begun().await;
    site.create(&["bolt"], &["slow"]).await;
    owner.batch_execute(STOP).await.unwrap();
    let (store, mut cx) = (site.ledger.clone(), site.cx("bolt"));
    let writer = tokio::spawn(async move {
        let mut tx = store.begin_with(&mut cx, ReadCommitted).await.unwrap();
        publish_next(&mut tx, "slow").await.unwrap();
        tx.commit().await.unwrap();
    });
    assert_eq!(overtaken(&site, &owner, writer, true).await, (vec![1, 2, 3], vec![]));
}
