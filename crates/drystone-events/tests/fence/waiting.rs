//! A fence that waits: for whom, since when, and that everything flows when they are gone.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use drystone_testkit::Postgres;
use tokio_postgres::Client;

use crate::site::{Running, Site, blocking, check_order, connect, count, until_it};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

fn keep_the_log() {
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).finish();
    // The tests of this process share it.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Takes a transaction id on a connection and does nothing more; gives the process id.
async fn idle_with_id(client: &Client) -> i64 {
    client.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    count(client, "select pg_backend_pid()::bigint").await
}

/// Waits until the fence names who is in its way, and looks at all it says.
async fn is_named(running: &Running, pid: i64, words: &[&str]) {
    let fence = running.relay.fence();
    until_it("the fence waits", || fence.waiting_since.get() > 0).await;
    until_it("the fence names the session", || fence.blocker.get() == pid).await;
    assert!(fence.settled.get() < fence.high.get());
    let told = format!("pg_terminate_backend({pid})");
    until_it("the log names it", || log().contains(&told)).await;
    let log = log();
    let line = log.lines().find(|line| line.contains(&told)).unwrap();
    assert!(line.contains("WARN") && words.iter().all(|word| line.contains(word)), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_with_an_id_is_named_and_everything_flows_when_it_ends() {
    keep_the_log();
    let site = Site::new().await;
    let running = site.run();
    site.post("acme", "a").await;
    check_order(&site.applied_at_least("acme", 1).await);
    let url = format!("{}?application_name=forgotten", site.database.as_ref().unwrap().owner_url);
    let idle = connect(&url).await;
    let pid = idle_with_id(&idle).await;
    for _ in 0..5 {
        site.post("acme", "a").await;
    }
    is_named(&running, pid, &["module=\"ledger\"", "postgres", "forgotten"]).await;
    assert_eq!(site.applied("acme").await.len(), 1, "nothing passes it");
    let owner = site.owner().await;
    assert_eq!(count(&owner, &format!("select pg_terminate_backend({pid})::int::bigint")).await, 1);
    check_order(&site.applied_at_least("acme", 6).await);
    let fence = running.relay.fence();
    until_it("nobody is waited for", || fence.waiting_since.get() == 0 && fence.blocker.get() == 0).await;
    running.stop().await;
}

/// Transaction ids are the whole server's: a long transaction in another database is waited for as well, since nothing in its id says where it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_in_another_database_is_waited_for_and_named() {
    keep_the_log();
    let site = Site::new().await;
    let another = blocking(|| Postgres::of_process().database().unwrap()).await;
    let idle = connect(&format!("{}?application_name=elsewhere", another.owner_url)).await;
    let pid = idle_with_id(&idle).await;
    let running = site.run();
    site.post("acme", "a").await;
    is_named(&running, pid, &["elsewhere"]).await;
    idle.batch_execute("commit").await.unwrap();
    check_order(&site.applied_at_least("acme", 1).await);
    running.stop().await;
}

/// A session that only reads has no id, however long it is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_only_reads_holds_nothing_up() {
    let site = Site::new().await;
    let reading = site.owner().await;
    reading
        .batch_execute("begin isolation level repeatable read; select count(*) from ledger.drystone_outbox")
        .await
        .unwrap();
    let running = site.run();
    for _ in 0..5 {
        site.post("acme", "a").await;
    }
    check_order(&site.applied_at_least("acme", 5).await);
    reading.batch_execute("commit").await.unwrap();
    running.stop().await;
}
