//! The connections of those that carry a module's events, and what a reader along the outbox's numbers relies on.

use std::time::Duration;

use drystone_call::{Code, TenantId};
use futures_util::FutureExt as _;

use crate::Site;

const PUBLISH: &str =
    "insert into drystone_outbox (id, type, key, data, created) values ($1, 't', 'k', '', 0)";
const SESSIONS: &str =
    "select count(*) from pg_stat_activity where usename like '%\\_relay' and datname = current_database()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_are_made_when_they_are_needed() {
    let site = Site::open().await;
    let world = &site.world;
    world.add(&mut world.cx(), "stone", 1).await.unwrap();
    assert_eq!(site.count(SESSIONS).await, 0, "nobody carries events yet");
    let (mut a, mut b) = (world.cx(), world.cx());
    let mut first = world.store.begin_across(&mut a).await.unwrap();
    first.query("select 1").one::<(i32,)>().await.unwrap();
    let mut second = world.store.begin_across(&mut b).await.unwrap();
    second.query("select 1").one::<(i32,)>().await.unwrap();
    assert_eq!(site.count(SESSIONS).await, 2);
    let mut c = world.cx().with_timeout(Duration::from_millis(200));
    let error = world.store.begin_across(&mut c).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    drop(first);
    let mut d = world.cx();
    let mut third = world.store.begin_across(&mut d).await.unwrap();
    third.query("select 1").one::<(i32,)>().await.unwrap();
    drop((second, third));
    assert_eq!(site.count(SESSIONS).await, 2);
    world.store.close().await.unwrap();
    assert_eq!(world.store.begin_across(&mut d).await.unwrap_err().code(), Code::Unavailable);
    site.until(SESSIONS, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_connection_is_told_that_the_store_closes() {
    let site = Site::open().await;
    let world = &site.world;
    let (mut a, mut b) = (world.cx(), world.cx());
    let first = world.store.begin_across(&mut a).await.unwrap();
    let second = world.store.begin_across(&mut b).await.unwrap();
    let mut c = world.cx().with_timeout(Duration::from_secs(10));
    let mut third = Box::pin(world.store.begin_across(&mut c));
    assert!(third.as_mut().now_or_never().is_none(), "both connections are in use");
    let store = world.store.clone();
    let closing = tokio::spawn(async move { store.close().await });
    assert_eq!(third.await.unwrap_err().code(), Code::Unavailable);
    drop((first, second));
    closing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_set_up_as_the_modules_are() {
    let site = Site::open().await;
    let world = &site.world;
    let settings = "select current_setting('TimeZone'), current_setting('enable_seqscan'), current_setting('jit'), \
        current_setting('idle_in_transaction_session_timeout'), current_setting('search_path')";
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let module: (String, String, String, String, String) = tx.query(settings).one().await.unwrap();
    drop(tx);
    let mut tx = world.store.begin_across(&mut cx).await.unwrap();
    let relay: (String, String, String, String, String) = tx.query(settings).one().await.unwrap();
    let (schema, both) = (module.4.clone(), relay.4.clone());
    assert_eq!((&module.0, &module.1, &module.2, &module.3), (&relay.0, &relay.1, &relay.2, &relay.3));
    assert_eq!((schema.as_str(), both.as_str()), ("\"stock\"", "\"stock\",\"stock_shared\""));
    // A statement that runs outside of `begin .. read write` does not write, and nothing runs serializable.
    let outside = "select reset_val from pg_settings where name in ('default_transaction_isolation', 'default_transaction_read_only') order by name";
    let outside: Vec<(String,)> = tx.query(outside).all().await.unwrap();
    assert_eq!(outside, [("read committed".to_owned(),), ("on".to_owned(),)]);
}

/// What reads along the numbers waits for the transactions that had an id when it looked at the highest: an import must have its own before it takes a number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_has_its_id_before_it_takes_a_number() {
    let site = Site::open().await;
    let world = &site.world;
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    tx.query(PUBLISH).bind((id,)).queue();
    tx.commit().await.unwrap();
    let mut archive = Vec::new();
    let tenants = world.store.tenants();
    tenants.export(&TenantId::new("acme").unwrap(), &mut archive).await.unwrap();
    // A row has its number when this runs, and is not written yet.
    let trigger = "create function public.wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4242); return new; end $$;
        create trigger wait before insert on stock.drystone_outbox for each row execute function public.wait();
        select pg_advisory_lock(4242)";
    site.owner.batch_execute(trigger).await.unwrap();
    let importing = tokio::spawn(async move {
        tenants.import(&TenantId::new("copy").unwrap(), &mut archive.as_slice()).await
    });
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4242 and not granted";
    site.until(waits, 1).await;
    assert_eq!(site.count("select pg_sequence_last_value('stock.drystone_outbox_seq_seq')").await, 2);
    let has_id = "select count(*) from pg_locks i join pg_locks w using (pid) where i.locktype = 'transactionid' and i.granted
        and w.locktype = 'advisory' and w.objid = 4242 and not w.granted";
    assert_eq!(site.count(has_id).await, 1);
    site.owner.batch_execute("select pg_advisory_unlock(4242)").await.unwrap();
    importing.await.unwrap().unwrap();
}
