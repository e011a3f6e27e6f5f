//! What a copy of the database keeps, and what a crash of the server takes back.

use std::process::{Command, Stdio};
use std::sync::Arc;

use drystone_store::Isolation::ReadCommitted;
use drystone_testkit::{Database, Postgres, ServerSetup, Stop};

use crate::site::{Site, blocking, check_order, count, publish_next, send, until, until_it};

/// Pipes what one command says into another.
fn pipe(from: &mut Command, to: &mut Command) {
    let mut said = from.stdout(Stdio::piped()).spawn().unwrap();
    let heard = to.stdin(said.stdout.take().unwrap()).stdout(Stdio::null()).output().unwrap();
    assert!(said.wait().unwrap().success(), "{from:?}");
    assert!(heard.status.success(), "{to:?}: {}", String::from_utf8_lossy(&heard.stderr));
}

/// Copies a database, with its roles, into an empty one of another server.
fn copy(from: &Database, to: &Database) {
    let into = || {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-d", &to.owner_url]);
        psql
    };
    // The owner is there already, and nothing else is.
    pipe(Command::new("pg_dumpall").args(["--roles-only", "-d", &from.owner_url]), &mut into());
    pipe(Command::new("pg_dump").args(["-d", &from.owner_url]), into().args(["-v", "ON_ERROR_STOP=1"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_on_another_server_goes_on_where_the_first_one_was() {
    const NEXT_ID: &str = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    // Two servers on which the databases, and so their roles, have the same names.
    let (first, database) = started().await;
    let site = Site::in_database(database).await;
    let owner = site.owner().await;
    // The ids of the first server run ahead of those of the second.
    owner
        .batch_execute(
            "do $$ begin for n in 1..2000 loop perform pg_current_xact_id(); commit; end loop; end $$",
        )
        .await
        .unwrap();
    let running = site.run();
    for _ in 0..10 {
        site.post("acme", "a").await;
    }
    check_order(&site.applied_at_least("acme", 10).await);
    running.stop().await;
    // Some are published and not carried, and one that has its number is not committed.
    for _ in 0..5 {
        site.post("acme", "a").await;
    }
    let mut cx = site.cx("acme");
    let mut open = site.ledger.begin_with(&mut cx, ReadCommitted).await.unwrap();
    publish_next(&mut open, "b").await.unwrap();
    send(&mut open).await.unwrap();
    site.post("acme", "c").await;

    let from = site.database.clone().unwrap();
    let (second, to) = started().await;
    let copy_of = to.clone();
    blocking(move || copy(&from, &copy_of)).await;
    drop(open);
    let copied = Site::found_in(to).await;
    let copied_owner = copied.owner().await;
    assert!(count(&copied_owner, NEXT_ID).await < count(&owner, NEXT_ID).await, "ids start anew");
    let running = copied.run();
    assert_eq!(copied.post("acme", "a").await, 16);
    assert_eq!(copied.post("acme", "b").await, 1, "what was open is not in the copy");
    let applied = copied.applied_at_least("acme", 18).await;
    assert_eq!(applied.len(), 18);
    check_order(&applied);
    let numbers = "select count(*) from ledger.drystone_outbox where seq > 17";
    assert_eq!(count(&copied_owner, numbers).await, 2, "numbers go on after those that were taken");
    running.stop().await;
    drop((first, second));
}

/// A server of its own, with a database.
async fn started() -> (Postgres, Database) {
    blocking(|| {
        let server = Postgres::start().unwrap();
        let database = server.database().unwrap();
        (server, database)
    })
    .await
}

/// Numbers are written down ahead, 32 at a time, and a transaction that rolls back flushes nothing: a crash takes such numbers back, and they are given out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_a_crash_takes_back_were_not_settled() {
    const HIGH: &str = "select coalesce(pg_sequence_last_value('ledger.drystone_outbox_seq_seq'), 0)";
    // Nothing is written to the disk but by a commit.
    let setup = ServerSetup::durable().settings("-c wal_writer_delay=10000 -c fsync=off -c autovacuum=off");
    let (server, database) = blocking(move || {
        let server = Postgres::start_with(&setup).unwrap();
        let database = server.database().unwrap();
        (Arc::new(server), database)
    })
    .await;
    let site = Site::in_database(database).await;
    let running = site.run();
    site.post("acme", "a").await;
    site.applied_at_least("acme", 1).await;
    let owner = site.owner().await;
    until(&owner, "select max(position) from ledger_shared.drystone_pumps", 1).await;
    drop(owner);
    let mut lost = false;
    // A commit of somebody else's may have flushed them all in between; then once more.
    for _ in 0..20 {
        for _ in 0..40 {
            let mut cx = site.cx("acme");
            let mut tx = site.ledger.begin_with(&mut cx, ReadCommitted).await.unwrap();
            publish_next(&mut tx, "a").await.unwrap();
            send(&mut tx).await.unwrap();
        }
        let owner = site.owner().await;
        let taken = count(&owner, HIGH).await;
        let fence = running.relay.fence();
        until_it("the relay has looked", || fence.high.get() == taken).await;
        let another = Arc::clone(&server);
        blocking(move || another.restart(Stop::Immediate).unwrap()).await;
        let owner = site.owner().await;
        lost = count(&owner, HIGH).await < taken;
        if lost {
            break;
        }
    }
    assert!(lost, "numbers are given out again after a crash");
    // The relay that saw them taken still runs.
    for _ in 0..5 {
        site.post("acme", "a").await;
    }
    check_order(&site.applied_at_least("acme", 6).await);
    running.stop().await;
    drop(server);
}
