//! A large backlog, with sessions that keep old rows from being cleaned away: what one read of the outbox touches, and what deleting costs.
//!
//! The plans are those of the relay's own statements, as the server writes them down. `DRYSTONE_BACKLOG` says how many messages there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drystone_call::{Result, TenantId};
use drystone_events::{Deliver, Envelope, Relay, testing};
use drystone_testkit::{Postgres, ServerSetup};
use futures_util::future::BoxFuture;

use crate::site::{Running, Site, blocking, count, until_it};

/// What one statement may touch, in pages of 8 KiB: a batch of 256 rows, or 1000, with their index.
const MOST_READ: u64 = 50;
const MOST_DELETED: u64 = 1300;

/// Counts what arrives, and sees that it arrives in order.
#[derive(Default)]
struct Counting {
    last: Mutex<BTreeMap<String, i64>>,
    count: AtomicU64,
    greatest: AtomicI64,
}

impl Deliver for Counting {
    fn deliver<'a>(&'a self, tenant: &'a TenantId, messages: &'a [Envelope]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut last = self.last.lock().unwrap();
            let last = last.entry(tenant.to_string()).or_default();
            for message in messages {
                assert!(message.seq > *last, "{} came after {last}", message.seq);
                *last = message.seq;
                self.greatest.fetch_max(message.seq, SeqCst);
            }
            self.count.fetch_add(messages.len() as u64, SeqCst);
            Ok(())
        })
    }
}

/// A plan that the server wrote down: the statement, and how many pages it touched.
struct Plan {
    text: String,
    pages: u64,
}

/// The plans of the statements that contain these words, in order.
fn plans(log: &str, words: &str) -> Vec<Plan> {
    let plans = log
        .split("Query Text: ")
        .skip(1)
        .filter(|text| text.split_whitespace().collect::<Vec<_>>().join(" ").contains(words));
    plans.map(|text| Plan { text: text.to_owned(), pages: pages(text) }).collect()
}

/// The pages of the whole statement: the first node's are those of all below it.
fn pages(plan: &str) -> u64 {
    let line = plan.lines().find_map(|line| line.trim().strip_prefix("Buffers: shared ")).unwrap_or_default();
    let of = |word| line.split_whitespace().find_map(|part| part.strip_prefix(word)?.parse::<u64>().ok());
    of("hit=").unwrap_or(0) + of("read=").unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_read_by_its_numbers_and_deleted_from_its_front() {
    const READ: &str = "where seq > $1 and seq <= $2 and ($3::text is null";
    const DELETE: &str = "delete from drystone_outbox";
    let rows: u64 = std::env::var("DRYSTONE_BACKLOG").map_or(20_000, |text| text.parse().unwrap());
    let setup = ServerSetup::durable().settings(
        "-c fsync=off -c shared_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 \
         -c auto_explain.log_analyze=on -c auto_explain.log_buffers=on -c auto_explain.log_timing=off",
    );
    let (server, database) = blocking(move || {
        let server = Postgres::start_with(&setup).unwrap();
        let database = server.database().unwrap();
        (Arc::new(server), database)
    })
    .await;
    let log = || {
        let server = Arc::clone(&server);
        blocking(move || server.log())
    };
    let site = Site::in_database(database).await;
    let owner = site.owner().await;
    // One session has an id, and the fence waits for it; another one has a snapshot, and nothing that is deleted can be cleaned away.
    let (with_id, with_snapshot) = (site.owner().await, site.owner().await);
    with_id.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    with_snapshot.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    let fill = format!(
        "insert into ledger.drystone_outbox (tenant, id, type, key, data, created)
         select 'acme', gen_random_uuid(), 'test.ledger.v1.Posted', 'k' || n % 100, repeat('x', 200)::bytea, n
         from generate_series(1, {rows}) n"
    );
    owner.batch_execute(&fill).await.unwrap();
    owner.batch_execute("analyze ledger.drystone_outbox").await.unwrap();

    let counting = Arc::new(Counting::default());
    let to: Arc<dyn Deliver> = Arc::clone(&counting) as Arc<_>;
    let running = Running::of(Relay::new(site.relay_config("one", &to)));
    let fence = running.relay.fence();
    until_it("the fence names the session", || fence.blocker.get() > 0).await;
    assert!(plans(&log().await, READ).is_empty(), "nothing is read while nothing is settled");
    assert_eq!(counting.count.load(SeqCst), 0);

    with_id.batch_execute("commit").await.unwrap();
    let began = Instant::now();
    for _ in 0..60 {
        if counting.count.load(SeqCst) < rows {
            let _ = tokio::time::timeout(
                Duration::from_secs(10),
                until_it("", || counting.count.load(SeqCst) >= rows),
            )
            .await;
        }
    }
    let drained = began.elapsed();
    assert_eq!(counting.count.load(SeqCst), rows);
    assert_eq!(counting.greatest.load(SeqCst).unsigned_abs(), rows);
    let reads = plans(&log().await, READ);
    let most_read = most("read", &reads, MOST_READ);

    // What is published from here on is young.
    site.post("acme", "a").await;
    let position = "select position from ledger_shared.drystone_pumps where name = 'mirror'";
    crate::site::until(&owner, position, i64::try_from(rows).unwrap() + 1).await;
    let began = Instant::now();
    let (store, home, pumps) = (&site.ledger, &site.ledger_home, ["mirror".to_owned()]);
    let deleted = testing::forget_sent(store, home, Duration::from_hours(1), &pumps).await.unwrap();
    let deleting = began.elapsed();
    assert_eq!((deleted, count(&owner, "select count(*) from ledger.drystone_outbox").await), (rows, 1));
    let deletes = plans(&log().await, DELETE);
    let most_deleted = most("deleted", &deletes, MOST_DELETED);
    println!(
        "{rows} messages: drained in {drained:?} by {} reads of {most_read} pages at most, deleted in {deleting:?} by {} statements of {most_deleted} pages at most",
        reads.len(),
        deletes.len(),
    );
    with_snapshot.batch_execute("commit").await.unwrap();
    running.stop().await;
}

/// The most pages that a statement touched; fails if that is more than `limit`, or if one went another way than by the numbers.
fn most(what: &str, plans: &[Plan], limit: u64) -> u64 {
    assert!(plans.len() > 1, "what was {what} took several statements");
    for Plan { text, pages } in plans {
        assert!(text.contains("drystone_outbox_pkey") && text.contains("Index Cond: ((seq > "), "{text}");
        assert!(
            !text.contains("Seq Scan") && *pages > 0 && *pages <= limit,
            "{pages} of {limit} pages: {text}"
        );
    }
    plans.iter().map(|plan| plan.pages).max().unwrap()
}
