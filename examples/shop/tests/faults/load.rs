//! The load: writers who place orders under keys and repeat what failed until its outcome is known, and readers, of several tenants.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drystone_testkit::{Answer, Http};
use tokio::task::JoinSet;

use crate::world::{PATIENCE, Shop, TENANTS, until};

/// Writers of each tenant.
const WRITERS: usize = 2;
/// What a call may take: two seconds are its deadline, the rest is this machine's.
const LONGEST: Duration = Duration::from_secs(5);
/// Pause of a client before it repeats a call.
const PAUSE: Duration = Duration::from_millis(20);

/// A tenant, and a key of its.
pub(crate) type Key = (&'static str, String);

/// What the clients know.
#[derive(Default)]
pub(crate) struct Known {
    /// Acknowledged orders with their answers.
    placed: Mutex<BTreeMap<Key, Answer>>,
    /// Errors by status and code, with one example.
    errors: Mutex<BTreeMap<(u16, String), (usize, String)>>,
    /// How often each writer has met an error.
    failed: Mutex<BTreeMap<(&'static str, usize), usize>>,
    reads: AtomicUsize,
    stop: AtomicBool,
}

/// Clients at work.
pub(crate) struct Load {
    known: Arc<Known>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Sets the clients to work.
    pub(crate) async fn start(shop: &Shop) -> Self {
        let (known, mut tasks) = (Arc::<Known>::default(), JoinSet::new());
        for (tenant, user) in shop.users().await {
            for writer in 0..WRITERS {
                let client =
                    Client { tenant, user: user.clone(), http: shop.http.clone(), known: Arc::clone(&known) };
                tasks.spawn(client.write(writer));
            }
            let client = Client { tenant, user, http: shop.http.clone(), known: Arc::clone(&known) };
            tasks.spawn(client.read());
        }
        Self { known, tasks }
    }

    /// Waits until every writer may have placed `rounds` orders more, and there were as many reads; says how long that took.
    pub(crate) async fn goes_on(&mut self, rounds: usize) -> Duration {
        let known = Arc::clone(&self.known);
        let writers = TENANTS.len() * WRITERS;
        let target = known.placed().len() + rounds * writers;
        let reads = known.reads.load(Ordering::Relaxed) + rounds * writers;
        until("orders are placed and read", async || {
            // A client that panicked has found a defect.
            if let Some(ended) = self.tasks.try_join_next() {
                ended.expect("a client met what it must not meet");
            }
            known.placed().len() >= target && known.reads.load(Ordering::Relaxed) >= reads
        })
        .await
    }

    /// Waits until an error of this code was seen that was not before; gives its text.
    pub(crate) async fn meets(&self, status: u16, code: &str) -> String {
        let of = || self.known.errors().get(&(status, code.to_owned())).cloned().unwrap_or_default();
        let before = of().0;
        until("callers meet an error", async || of().0 > before).await;
        of().1
    }

    /// Waits until every writer has met an error: no answer to what was asked before is on its way any more.
    pub(crate) async fn fails_for_all(&self) {
        let before = self.known.failed().clone();
        let more = |(writer, count): (&(&'static str, usize), &usize)| {
            before.get(writer).is_none_or(|was| count > was)
        };
        let writers = TENANTS.len() * WRITERS;
        until("every writer meets an error", async || {
            self.known.failed().iter().filter(|of| more(*of)).count() == writers
        })
        .await;
    }

    /// How many reads have succeeded.
    pub(crate) fn reads(&self) -> usize {
        self.known.reads.load(Ordering::Relaxed)
    }

    /// How many orders were acknowledged by the call that made them. A repeat that is answered from its record rests on an earlier commit.
    pub(crate) fn orders(&self) -> usize {
        let fresh = |answer: &&Answer| answer.header("idempotency-replayed") != "true";
        self.known.placed().values().filter(fresh).count()
    }

    /// Lets every client finish what it began; gives the acknowledged orders.
    pub(crate) async fn stop(mut self) -> BTreeMap<Key, Answer> {
        self.known.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client met what it must not meet");
        }
        for ((status, code), (times, example)) in &*self.known.errors() {
            println!("{times} times {status} {code}, as in {example}");
        }
        let placed = std::mem::take(&mut *self.known.placed());
        println!("{} orders, {} reads", placed.len(), self.known.reads.load(Ordering::Relaxed));
        placed
    }
}

impl Known {
    fn placed(&self) -> MutexGuard<'_, BTreeMap<Key, Answer>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn errors(&self) -> MutexGuard<'_, BTreeMap<(u16, String), (usize, String)>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<(&'static str, usize), usize>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, status: u16, code: &str, body: &str) {
        let mut errors = self.errors();
        let (times, example) = errors.entry((status, code.to_owned())).or_default();
        *times += 1;
        body.clone_into(example);
    }
}

struct Client {
    tenant: &'static str,
    user: String,
    http: Http,
    known: Arc<Known>,
}

impl Client {
    async fn write(self, writer: usize) {
        for n in 0.. {
            if self.known.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("w{writer}n{n}");
            let answer = self.place(writer, &key).await;
            self.known.placed().insert((self.tenant, key), answer);
        }
    }

    /// Places an order until its outcome is known.
    async fn place(&self, writer: usize, key: &str) -> Answer {
        let body =
            format!(r#"{{"userId":"{}","sku":"brick","quantity":1,"cardToken":"tok_visa"}}"#, self.user);
        let headers = [("drystone-tenant", self.tenant), ("idempotency-key", key)];
        let began = Instant::now();
        loop {
            match self.ask("POST", "/v1/orders", &headers, &body).await {
                Ok(answer) => return answer,
                Err(error) => {
                    *self.known.failed().entry((self.tenant, writer)).or_default() += 1;
                    assert!(began.elapsed() < PATIENCE, "{key} of {} has no outcome: {error:?}", self.tenant);
                }
            }
        }
    }

    async fn read(self) {
        let headers = [("drystone-tenant", self.tenant)];
        while !self.known.stop.load(Ordering::Relaxed) {
            if let Ok(stock) = self.ask("GET", "/v1/stock/brick", &headers, "").await {
                assert_eq!(stock.json()["sku"], "brick", "{stock:?}");
                self.known.reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The answer, or after a pause an error that a client may repeat the call for.
    ///
    /// # Panics
    /// If there is no answer, or late, or one that says of something else than that the database failed.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Answer> {
        let began = Instant::now();
        let answer = self.http.send(method, path, headers, body).await;
        let took = began.elapsed();
        assert!(took < LONGEST, "{method} {path} took {took:?}: {answer:?}");
        if answer.status == 200 {
            return Ok(answer);
        }
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
        let problem = answer.json();
        let code = problem["code"].as_str().unwrap_or_default();
        let may_be_repeated = match (answer.status, code) {
            (503, "UNAVAILABLE") | (504, "DEADLINE_EXCEEDED") | (500, "UNKNOWN") => true,
            (409, _) => code == "ABORTED" || problem["reason"] == "IDEMPOTENCY_KEY_IN_USE",
            _ => false,
        };
        assert!(may_be_repeated, "{method} {path}: {answer:?}");
        self.known.note(answer.status, code, &answer.body);
        tokio::time::sleep(PAUSE).await;
        Err(answer)
    }
}
