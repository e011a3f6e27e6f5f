//! Releases of one application as real processes: side by side over one database, in either order of migration, and what is refused.

#[path = "releases/site.rs"]
mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use site::{Ledger, Site};
use tokio::task::JoinHandle;

/// Books on an account through one process until told to stop, and gives the keys that were acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    working: JoinHandle<Vec<String>>,
}

impl Load {
    fn on(ledger: &Ledger, label: &'static str) -> Self {
        let (http, stop) = (ledger.http.clone(), Arc::new(AtomicBool::new(false)));
        let stopping = Arc::clone(&stop);
        let working = tokio::spawn(async move {
            let mut keys = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                let key = format!("{label}{}", keys.len());
                let answer = http.post("/v1/entries", &key, r#"{"account":"load","amount":"1"}"#).await;
                assert_eq!(answer.status, 200, "{label}: {answer:?}");
                keys.push(key);
            }
            keys
        });
        Self { stop, working }
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.working.await.expect("no answer was wrong")
    }
}

/// Books once through one process; the other answers the same from the record, and sees the entry.
async fn one_effect(first: &Ledger, then: &Ledger, key: &str) {
    let booked = first.book(key, 5).await;
    assert_eq!((booked.status, booked.header("idempotency-replayed")), (200, ""), "{booked:?}");
    let again = then.book(key, 5).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"), "{again:?}");
    assert_eq!(booked.json()["id"], again.json()["id"]);
    assert_eq!((first.balance(key).await, then.balance(key).await), ((1, 5), (1, 5)));
}

/// A call that another process answered is answered from the record.
async fn replayed(ledger: &Ledger, key: &str, amount: i64) {
    let answer = ledger.book(key, amount).await;
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, "true"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_releases_work_side_by_side_in_either_order() {
    let site = Site::postgres();
    site.migrates(1, &[]);
    let first = site.start(1).await;
    let old_load = Load::on(&first, "old");
    let early = site.does_not_start(2);
    assert!(early.contains("DRY-M017") && early.contains("V0002__expand_purpose"), "{early}");

    // The schema grows under the older release, and the newer one comes beside it.
    site.migrates(2, &[]);
    let second = site.start(2).await;
    let new_load = Load::on(&second, "new");
    one_effect(&first, &second, "from-first").await;
    one_effect(&second, &first, "from-second").await;

    // The other order: the schema is there first, and the older release starts after it.
    let late = site.start(1).await;
    one_effect(&late, &second, "from-late").await;
    one_effect(&second, &late, "to-late").await;
    let acknowledged = [old_load.end().await, new_load.end().await].concat();
    assert_eq!(late.balance("load").await.0, i64::try_from(acknowledged.len()).expect("a small number"));
    for key in acknowledged.iter().step_by(7) {
        let again = late.http.post("/v1/entries", key, r#"{"account":"load","amount":"1"}"#).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"), "{key}: {again:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_release_needs_is_not_taken_away_from_it() {
    let site = Site::postgres();
    site.migrates(2, &[]);
    let second = site.start(2).await;
    let refused = site.refuses_to_migrate(3);
    for part in ["DRY-M012", "V0003__contract_memo", "(version 2, renewed", "migrate again"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert_eq!(second.book("still", 1).await.status, 200);
    // The newer release runs before the memo goes: it does without.
    site.migrates(3, &["--expand-only"]);
    let third = site.start(3).await;
    one_effect(&second, &third, "beside").await;

    // A process that is paused past its lease counts as gone; when it goes on it notices, and writes nothing with its old code.
    second.pause();
    site.migrates_when_leases_have_run_out(3);
    assert_eq!(third.book("contracted", 1).await.status, 200);
    second.go_on();
    let answer = second.book_on_a_fresh_connection("stale", 1).await;
    assert!(matches!(answer.status, 400 | 412 | 500 | 503), "{answer:?}");
    assert_eq!(third.balance("stale").await, (0, 0));
    let old = site.does_not_start(2);
    assert!(old.contains("DRY-M018") && old.contains("V0003__contract_memo"), "{old}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_follow_one_another_in_files() {
    let site = Site::sqlite();
    let first = site.start(1).await;
    assert_eq!(first.book("one", 1).await.status, 200);
    first.stop();
    let second = site.start(2).await;
    replayed(&second, "one", 1).await;
    assert_eq!(second.book("two", 2).await.status, 200);
    second.stop();
    let back = site.start(1).await;
    replayed(&back, "two", 2).await;
    assert_eq!(back.book("three", 3).await.status, 200);
    back.stop();
    let third = site.start(3).await;
    for (key, amount) in [("one", 1), ("two", 2), ("three", 3)] {
        assert_eq!(third.balance(key).await, (1, amount), "{key}");
    }
    third.stop();
    let older = site.start(2).await;
    let answer = older.book("late", 1).await;
    assert!(answer.status >= 400 && answer.body.contains("V0003__contract_memo"), "{answer:?}");
}
