//! Orders and reads through the gateway, sent once each: whatever is not answered well fails the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use drystone_testkit::{Answer, Http};
use tokio::task::JoinHandle;

use crate::support::order;

/// How many place orders, each one after the other; and how many read.
const BUYERS: usize = 3;
const READERS: usize = 3;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that go on until they are stopped.
pub(crate) struct Load {
    counts: Arc<Counts>,
    buyers: Vec<JoinHandle<BTreeMap<String, Answer>>>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    orders: AtomicUsize,
    reads: AtomicUsize,
    failed: AtomicBool,
}

/// Tells the test that a task failed, so that it need not wait for what never comes.
struct Tell<'a>(&'a AtomicBool);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, SeqCst);
        }
    }
}

impl Load {
    pub(crate) fn start(http: &Http) -> Self {
        let counts = Arc::new(Counts::default());
        let buyers = (0..BUYERS).map(|n| tokio::spawn(buy(http.clone(), Arc::clone(&counts), n))).collect();
        let readers = (0..READERS).map(|_| tokio::spawn(read(http.clone(), Arc::clone(&counts)))).collect();
        Self { counts, buyers, readers }
    }

    pub(crate) fn orders(&self) -> usize {
        self.counts.orders.load(SeqCst)
    }

    pub(crate) fn reads(&self) -> usize {
        self.counts.reads.load(SeqCst)
    }

    /// Waits until so many more orders are placed, and as many reads answered.
    pub(crate) async fn goes_on(&self, more: usize) {
        let (orders, reads, began) = (self.orders() + more, self.reads() + more, Instant::now());
        while !self.counts.failed.load(SeqCst) && (self.orders() < orders || self.reads() < reads) {
            assert!(began.elapsed() < PATIENCE, "{} orders, {} reads", self.orders(), self.reads());
            // Not in a tight loop: the processes under test want the cores.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops, and gives every order with its key.
    ///
    /// # Panics
    /// If a request was not answered well.
    pub(crate) async fn stop(self) -> BTreeMap<String, Answer> {
        self.counts.stop.store(true, SeqCst);
        let mut placed = BTreeMap::new();
        for buyer in self.buyers {
            placed.extend(buyer.await.expect("every order is placed"));
        }
        for reader in self.readers {
            reader.await.expect("every read is answered");
        }
        placed
    }
}

/// Each order is sent once, under a key of its own.
async fn buy(http: Http, counts: Arc<Counts>, buyer: usize) -> BTreeMap<String, Answer> {
    let _tell = Tell(&counts.failed);
    let mut placed = BTreeMap::new();
    // An item of its own: the orders of one item wait for each other in the database.
    let sku = ["tea-assam", "tea-sencha", "pot-clay"][buyer % 3];
    while !counts.stop.load(SeqCst) {
        let key = format!("b{buyer}n{}", placed.len());
        let answer = loop {
            let answer = http.post("/v1/orders", &key, &order(sku, 1, "tok_visa")).await;
            // The one refusal that says of this machine, and not of the restart, that it is slow: no transaction may last longer than a second.
            if !answer.body.contains("TX_HELD_TOO_LONG") {
                break answer;
            }
            println!("{key}: held up on a busy machine");
        };
        assert_eq!(answer.status, 200, "the order {key}: {answer:?}");
        counts.orders.fetch_add(1, SeqCst);
        placed.insert(key, answer);
    }
    placed
}

async fn read(http: Http, counts: Arc<Counts>) {
    let _tell = Tell(&counts.failed);
    while !counts.stop.load(SeqCst) {
        for path in ["/v1/stock/tea-assam", "/v1/items"] {
            let answer = http.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            counts.reads.fetch_add(1, SeqCst);
        }
    }
}
