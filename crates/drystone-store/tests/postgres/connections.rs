//! Round trips, and connections that are lost at every point.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drystone_call::{Code, PlatformReason};
use drystone_store::{Isolation, Location, Native};

use crate::keyed::{Client, keyed, text};
use crate::proxy::Proxy;
use crate::world::World;
use crate::{Site, connect};

const INSERT: &str = "insert into items (id, sku, quantity) values ($1, $2, 1)";

/// A world on the way to whose server stands a proxy.
async fn behind_proxy(site: &Site) -> (Proxy, World) {
    let (proxy, url) = Proxy::before(&site.database.url);
    (proxy, World::open(Location::postgres(url), None, |_| {}).await)
}

/// An order with a line in the outbox: the row, what goes with it, the commit.
async fn order(world: &World, sku: &str) -> drystone_call::Result<()> {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await?;
    let (id, line) = (tx.new_id(), i64::try_from(sku.len()).unwrap());
    let _: (String,) = tx
        .query("insert into items (id, sku, quantity) values ($1, $2, 1) returning sku")
        .bind((id, sku.to_owned()))
        .one()
        .await?;
    tx.query("insert into lines (id, item) values ($1, $2)").bind((line, id)).queue();
    tx.commit().await
}

/// The fewest round trips that `work` takes, over all connections: the renewal of the lease may come between.
async fn fewest(proxy: &Proxy, mut work: impl AsyncFnMut(usize)) -> usize {
    work(0).await;
    let mut fewest = usize::MAX;
    for at in 1..6 {
        let before: usize = proxy.turns().iter().sum();
        work(at).await;
        fewest = fewest.min(proxy.turns().iter().sum::<usize>() - before);
    }
    fewest
}

// On one thread what is sent together arrives together.
#[tokio::test]
async fn an_order_with_its_outbox_row_is_two_round_trips() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    let orders = fewest(&proxy, async |at| order(&world, &"x".repeat(at + 1)).await.unwrap()).await;
    assert_eq!(orders, 2);
    let reads = fewest(&proxy, async |_| assert_eq!(world.skus(&mut world.cx()).await.len(), 6)).await;
    assert!((1..=2).contains(&reads), "begin goes with the query, and nobody waits for the end: {reads}");
}

#[tokio::test]
async fn a_keyed_call_is_one_round_trip_more() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    let store = world.store.clone();
    let client = Client::of(&world, move |cx, req| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            tx.query(INSERT).bind((id, &req.text)).execute().await?;
            tx.commit_with(text("done")).await
        })
    });
    let call = async |at: usize| {
        let (answer, replayed) = client.call(&keyed(&world, &format!("k{at}")), &format!("sku{at}")).await;
        answer.unwrap();
        replayed
    };
    let fresh = fewest(&proxy, async |at| assert!(!call(at).await)).await;
    assert!(
        (3..=4).contains(&fresh),
        "admit, insert, record with commit; nobody waits for the lock's end: {fresh}"
    );
    let replays = fewest(&proxy, async |_| assert!(call(1).await)).await;
    assert_eq!(replays, 1, "the lock and the record in one");
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_statement() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    let nothing = async |_| {
        let mut cx = world.cx();
        drop(world.store.begin(&mut cx).await.unwrap());
        world.store.begin(&mut cx).await.unwrap().commit().await.unwrap();
    };
    assert_eq!(fewest(&proxy, nothing).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_lost_at_rest_fails_no_call() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    for round in 0..20 {
        // At once: whether this side has noticed by then is a matter of luck.
        proxy.cut();
        order(&world, &"x".repeat(round + 1)).await.unwrap();
        proxy.cut();
        assert_eq!(world.skus(&mut world.cx()).await.len(), round + 1);
    }
    site.owner
        .execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'drystone/stock'", &[])
        .await
        .unwrap();
    assert_eq!(world.skus(&mut world.cx()).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_in_a_transaction_is_a_conflict() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    let (proxy, runs, store) = (Arc::new(proxy), Arc::new(AtomicUsize::new(0)), world.store.clone());
    let (count, cutting) = (Arc::clone(&runs), Arc::clone(&proxy));
    let client = Client::of(&world, move |cx, req| {
        let (store, count, proxy) = (store.clone(), Arc::clone(&count), Arc::clone(&cutting));
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            tx.query(INSERT).bind((id, &req.text)).execute().await?;
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                proxy.cut();
            }
            tx.query("select 1").one::<(i32,)>().await?;
            tx.commit_with(text("done")).await
        })
    });
    assert_eq!(client.call(&keyed(&world, "k"), "a").await.0.unwrap(), "done");
    assert_eq!(
        (runs.load(Ordering::SeqCst), world.store.metrics().conflicts),
        (2, 1),
        "the handler ran again"
    );
    assert_eq!(world.skus(&mut world.cx()).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_a_commit_is_unknown_and_a_repeat_finds_out() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    let (proxy, runs, store) = (Arc::new(proxy), Arc::new(AtomicUsize::new(0)), world.store.clone());
    let (count, losing) = (Arc::clone(&runs), Arc::clone(&proxy));
    let client = Client::of(&world, move |cx, req| {
        let (store, count, proxy) = (store.clone(), Arc::clone(&count), Arc::clone(&losing));
        Box::pin(async move {
            count.fetch_add(1, Ordering::SeqCst);
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            tx.query(INSERT).bind((id, &req.text)).execute().await?;
            proxy.lose_reply_to_commit();
            tx.commit_with(text("done")).await
        })
    });
    let error = client.call(&keyed(&world, "k"), "a").await.0.unwrap_err();
    assert_eq!(error.code(), Code::Unknown, "{error:?}");
    let (answer, replayed) = client.call(&keyed(&world, "k"), "a").await;
    assert_eq!((answer.unwrap().as_str(), replayed, runs.load(Ordering::SeqCst)), ("done", true, 1));
    assert_eq!(world.skus(&mut world.cx()).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_replaced() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    tokio::join!(async { order(&world, "a").await.unwrap() }, async { order(&world, "bb").await.unwrap() });
    proxy.freeze();
    let mut late = 0;
    while let Err(error) = world.add(&mut world.cx().with_timeout(Duration::from_millis(500)), "c", 1).await {
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
        late += 1;
        assert!(late <= 8, "each silent connection costs one call its deadline at most");
    }
    assert!(late > 0, "the connections were silent");
    assert_eq!(world.skus(&mut world.cx()).await, ["a", "bb", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_whose_caller_has_gone_is_stopped() {
    let site = Site::open().await;
    let world = &site.world;
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 2000000000) select count(*) from n";
    let running = "select count(*) from pg_stat_activity where application_name = 'drystone/stock' and state = 'active'";
    for write in [true, false] {
        let (store, mut cx) = (world.store.clone(), world.cx());
        let call = tokio::spawn(async move {
            if write {
                let mut tx = store.begin(&mut cx).await?;
                tx.query(endless).one::<(i64,)>().await
            } else {
                let mut read = store.read(&mut cx).await?;
                read.query(endless).one::<(i64,)>().await
            }
        });
        site.until(running, 1).await;
        call.abort();
        site.until(running, 0).await;
    }
    world.add(&mut world.cx(), "next", 1).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["next"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_dropped_half_way_ends_the_transaction() {
    let site = Site::open().await;
    let mut cx = site.world.cx();
    let mut tx = site.world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    tx.query(INSERT).bind((id, "half")).execute().await.unwrap();
    let slow = tx.query("select pg_sleep(60)").execute();
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.code(), Code::Internal, "{error:?}");
    assert!(site.world.skus(&mut site.world.cx()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_takes_effect_outside_its_transaction() {
    let site = Site::open().await;
    let mut cx = site.world.cx();
    let mut tx = site.world.store.shared().begin(&mut cx).await.unwrap();
    let Native::Postgres(client) = tx.native().await.unwrap() else { panic!("on PostgreSQL") };
    client.execute("insert into rates (currency, rate) values ('EUR', 1)", &[]).await.unwrap();
    // As when `begin` fails and the statement behind it is on its way.
    client.batch_execute("rollback").await.unwrap();
    let alone =
        client.execute("insert into stock_shared.rates (currency, rate) values ('USD', 1)", &[]).await;
    assert_eq!(alone.unwrap_err().code().unwrap().code(), "25006");
    tx.query("insert into rates (currency, rate) values ('GBP', 1)").execute().await.unwrap_err();
    drop(tx);
    assert_eq!(site.count("select count(*) from stock_shared.rates").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_on_the_native_connection_is_seen_at_the_commit() {
    let site = Site::open().await;
    let mut cx = site.world.cx();
    let mut tx = site.world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    tx.query(INSERT).bind((id, "lost")).queue();
    let Native::Postgres(client) = tx.native().await.unwrap() else { panic!("on PostgreSQL") };
    let seen = client.query_one("select count(*) from items", &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(seen, 1, "what was queued is there");
    client.execute("select 1 / 0", &[]).await.unwrap_err();
    assert_eq!(tx.commit().await.unwrap_err().code(), Code::Internal);
    assert!(site.world.skus(&mut site.world.cx()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_cannot_be_sent_keeps_the_commit_from_happening() {
    let site = Site::open().await;
    let mut cx = site.world.cx();
    let mut tx = site.world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    tx.query(INSERT).bind((id, "first")).queue();
    tx.query(INSERT).bind(("no uuid", "second")).queue();
    assert_eq!(tx.commit().await.unwrap_err().code(), Code::Internal);
    assert!(site.world.skus(&mut site.world.cx()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_grew_does_not_fail_those_who_use_it() {
    let site = Site::open().await;
    let world = &site.world;
    let all = "select * from items";
    world.add(&mut world.cx(), "before", 1).await.unwrap();
    let count = async |isolation| {
        let mut cx = world.cx();
        let mut tx = world.store.begin_with(&mut cx, isolation).await.unwrap();
        tx.query(all).execute().await
    };
    assert_eq!(count(Isolation::Serializable).await.unwrap(), 1);
    site.owner.batch_execute("alter table stock.items add column more bigint").await.unwrap();
    assert_eq!(
        count(Isolation::ReadCommitted).await.unwrap(),
        1,
        "prepared before, and the table has grown since"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hold_limit_and_the_server_agree() {
    let site = Site::open().await;
    let mut cx = site.world.cx();
    let mut tx = site.world.store.begin(&mut cx).await.unwrap();
    let idle: (String,) =
        tx.query("select current_setting('idle_in_transaction_session_timeout')").one().await.unwrap();
    assert_eq!(idle.0, "2s", "twice the hold limit");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let error = tx.query("select 1").one::<(i32,)>().await.unwrap_err();
    assert!(error.is(PlatformReason::TxHeldTooLong), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_unavailable_and_named_so() {
    let site = Site::open().await;
    let (proxy, world) = behind_proxy(&site).await;
    std::fs::remove_file(proxy.dir().join(".s.PGSQL.5432")).unwrap();
    proxy.cut();
    let error = world.add(&mut world.cx(), "a", 1).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.message().contains("cannot be reached"), "{error}");
    let owner = connect(&site.database.owner_url).await;
    assert_eq!(owner.query_one("select count(*) from stock.items", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_do_not_conflict_in_a_small_table() {
    let site = Site::open().await;
    let world = &site.world;
    let (mut a, mut b) = (world.cx_of("a"), world.cx_of("b"));
    world.add(&mut a, "stone", 1).await.unwrap();
    world.add(&mut b, "stone", 1).await.unwrap();
    site.owner.batch_execute("analyze stock.items").await.unwrap();
    let (mut here, mut there) =
        (world.store.begin(&mut a).await.unwrap(), world.store.begin(&mut b).await.unwrap());
    for tx in [&mut here, &mut there] {
        let look = "select quantity from items where sku = $1";
        assert_eq!(tx.query(look).bind(("stone",)).one::<(i64,)>().await.unwrap(), (1,));
    }
    for tx in [&mut here, &mut there] {
        tx.query("update items set quantity = 2 where sku = $1").bind(("stone",)).execute().await.unwrap();
    }
    here.commit().await.unwrap();
    there.commit().await.unwrap();
}
