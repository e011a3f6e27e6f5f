//! The same interleaving of transactions before three readers, and what else can happen around a number.

use std::time::Duration;

use drystone_store::Isolation::{ReadCommitted, Serializable};
use drystone_store::Native;
use drystone_testkit::Postgres;

use crate::readers::{ById, Fenced, Naive, lost, numbers, reordered};
use crate::site::{Site, blocking, check_order, count, first_write, publish_next, send};

/// One transaction has the smaller id and the greater number; another has a greater number yet and commits first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reader_loses_one_reorders_and_ours_does_neither() {
    let site = Site::new().await;
    let owner = site.owner().await;
    let (mut naive, mut by_id, mut ours) = (Naive::default(), ById::default(), Fenced::default());
    let (mut one, mut two, mut three) = (site.cx("acme"), site.cx("acme"), site.cx("acme"));

    let mut old = site.ledger.begin_with(&mut one, ReadCommitted).await.unwrap();
    first_write(&mut old).await.unwrap();
    let mut young = site.ledger.begin_with(&mut two, ReadCommitted).await.unwrap();
    assert_eq!(publish_next(&mut young, "a").await.unwrap(), 1);
    young.commit().await.unwrap();
    assert_eq!(publish_next(&mut old, "a").await.unwrap(), 2);
    send(&mut old).await.unwrap();
    let mut other = site.ledger.begin_with(&mut three, ReadCommitted).await.unwrap();
    assert_eq!(publish_next(&mut other, "b").await.unwrap(), 1);
    other.commit().await.unwrap();

    naive.read(&owner).await;
    by_id.read(&owner).await;
    ours.read(&site).await;
    assert_eq!(numbers(&naive.seen), [1, 3], "the second is not there yet");
    assert_eq!((numbers(&by_id.seen), numbers(&ours.seen)), (vec![], vec![]));
    assert_eq!(ours.fence.pending().map(|look| look.high), Some(3));

    old.commit().await.unwrap();
    naive.read(&owner).await;
    // Some other transaction of the server may still be in its way.
    for _ in 0..3000 {
        by_id.read(&owner).await;
        if by_id.seen.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ours.read_to(&site, 3).await;
    assert_eq!(lost(&owner, &naive.seen).await, [2], "whoever goes on from the last number");
    assert_eq!((numbers(&by_id.seen), reordered(&by_id.seen)), (vec![2, 1, 3], 1), "whoever goes by the ids");
    assert_eq!(numbers(&ours.seen), [1, 2, 3]);
    assert_eq!((lost(&owner, &ours.seen).await, reordered(&ours.seen)), (vec![], 0));
}

/// Looks that come at every point of a long transaction that publishes late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_that_publishes_late_is_waited_for() {
    for isolation in [ReadCommitted, Serializable] {
        let site = Site::new().await;
        let owner = site.owner().await;
        let mut ours = Fenced::default();
        let mut cx = site.cx("acme");
        let mut long = site.ledger.begin_with(&mut cx, isolation).await.unwrap();
        // The snapshot of a serializable transaction is that of its first statement.
        first_write(&mut long).await.unwrap();
        site.post("acme", "b").await;
        ours.read(&site).await;
        assert_eq!((ours.fence.settled(), numbers(&ours.seen)), (0, vec![]), "{isolation:?}");
        site.post("acme", "b").await;
        publish_next(&mut long, "a").await.unwrap();
        send(&mut long).await.unwrap();
        site.post("acme", "b").await;
        for _ in 0..3 {
            ours.read(&site).await;
        }
        assert_eq!((ours.fence.settled(), numbers(&ours.seen)), (0, vec![]), "{isolation:?}");
        long.commit().await.unwrap();
        ours.read_to(&site, 4).await;
        assert_eq!(numbers(&ours.seen), [1, 2, 3, 4], "{isolation:?}");
        assert!(lost(&owner, &ours.seen).await.is_empty());
    }
}

/// The state of a fresh sequence looks as if it had given a number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_that_never_had_a_message_settles_nothing_and_costs_no_id() {
    // A server of its own, where nobody else takes an id.
    let (server, database) = blocking(|| {
        let server = Postgres::start().unwrap();
        let database = server.database().unwrap();
        (server, database)
    })
    .await;
    let site = Site::in_database(database).await;
    let owner = site.owner().await;
    assert_eq!(count(&owner, "select last_value from ledger.drystone_outbox_seq_seq").await, 1);
    let mut ours = Fenced::default();
    let next = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let before = count(&owner, next).await;
    for _ in 0..5 {
        ours.read(&site).await;
    }
    assert_eq!((ours.fence.settled(), ours.fence.pending()), (0, None));
    assert_eq!(count(&owner, next).await, before);
    let mut cx = site.cx("acme");
    let mut tx = site.ledger.begin_with(&mut cx, ReadCommitted).await.unwrap();
    publish_next(&mut tx, "a").await.unwrap();
    send(&mut tx).await.unwrap();
    ours.read(&site).await;
    assert_eq!(ours.fence.settled(), 0);
    tx.commit().await.unwrap();
    ours.read_to(&site, 1).await;
    assert_eq!(numbers(&ours.seen), [1]);
    // A sequence that hands out numbers from a stock of the session's would give small ones late.
    let stock =
        "select seqcache from pg_sequence where seqrelid = 'ledger.drystone_outbox_seq_seq'::regclass";
    assert_eq!(count(&owner, stock).await, 1);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_are_never_used_hold_nothing_up() {
    let site = Site::new().await;
    let mut ours = Fenced::default();
    let running = site.run();
    for _ in 0..3 {
        let mut cx = site.cx("acme");
        let mut tx = site.ledger.begin_with(&mut cx, ReadCommitted).await.unwrap();
        publish_next(&mut tx, "a").await.unwrap();
        send(&mut tx).await.unwrap();
        drop(tx);
        site.post("acme", "a").await;
    }
    ours.read_to(&site, 6).await;
    assert_eq!(numbers(&ours.seen), [2, 4, 6]);
    check_order(&site.applied_at_least("acme", 3).await);
    running.stop().await;
}

/// A part of a transaction has an id of its own, which is greater; the fence goes by the whole's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_rolled_back_publishes_nothing_and_the_whole_is_waited_for() {
    let site = Site::new().await;
    let owner = site.owner().await;
    let mut ours = Fenced::default();
    let mut cx = site.cx("acme");
    let mut tx = site.ledger.begin_with(&mut cx, ReadCommitted).await.unwrap();
    let Native::Postgres(client) = tx.native().await.unwrap() else { panic!("on PostgreSQL") };
    client.batch_execute("savepoint part").await.unwrap();
    publish_next(&mut tx, "a").await.unwrap();
    let Native::Postgres(client) = tx.native().await.unwrap() else { panic!("on PostgreSQL") };
    client.batch_execute("rollback to savepoint part").await.unwrap();
    assert_eq!(publish_next(&mut tx, "a").await.unwrap(), 1);
    send(&mut tx).await.unwrap();
    site.post("acme", "b").await;
    for _ in 0..3 {
        ours.read(&site).await;
    }
    assert_eq!(ours.fence.settled(), 0);
    tx.commit().await.unwrap();
    ours.read_to(&site, 3).await;
    assert_eq!(numbers(&ours.seen), [2, 3]);
    assert!(lost(&owner, &ours.seen).await.is_empty());
}
