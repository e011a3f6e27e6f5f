//! A thousand equal reads at once are one call for each tenant and principal, in every runner; and never hide one's own write.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "support/echo.rs"]
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drystone_call::policy::Policy;
use drystone_call::{Channel, Coalescing, Code, Context, Home, OwnWrites, Principal, Runner, TenantId};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use support::{EchoDyn, METHODS, call, handler, mounted, note};
use tokio::sync::Semaphore;
use wire::{OnTheWay, channel_over};

const READ: usize = 0;
const WRITE: usize = 1;

/// A service whose reads wait until they are let go, and tell what was written.
struct Service {
    channel: Channel<dyn EchoDyn>,
    /// How often a read ran, by tenant and principal.
    ran: Arc<Mutex<BTreeMap<String, usize>>>,
    go: Arc<Semaphore>,
    written: Arc<AtomicUsize>,
}

impl Service {
    fn on(runner: &str, ttl: Option<Duration>) -> Self {
        let (ran, go) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(Semaphore::new(0)));
        let written = Arc::new(AtomicUsize::new(0));
        let (count, gate, value) = (Arc::clone(&ran), Arc::clone(&go), Arc::clone(&written));
        let serve = handler(move |cx, req| {
            let (count, gate, value) = (Arc::clone(&count), Arc::clone(&gate), Arc::clone(&value));
            let who = format!("{}/{}", cx.tenant(), cx.principal());
            Box::pin(async move {
                if req.text == "write" {
                    value.fetch_add(1, Ordering::SeqCst);
                    return Ok(req);
                }
                // What a read sees, it sees when it begins.
                let seen = value.load(Ordering::SeqCst);
                *count.lock().unwrap().entry(who).or_insert(0) += 1;
                gate.acquire().await.unwrap().forget();
                Ok(note(seen.to_string()))
            })
        });
        let service = mounted(Home::of_system("callee"), None, serve);
        let channel = match runner {
            "remote" => channel_over(&service, |_, _| OnTheWay::Nothing).0,
            local => {
                let channel = Channel::unbound(Some("caller"), "caller");
                channel.bind(if local == "direct" {
                    Runner::Direct(service)
                } else {
                    Runner::Encoded(service)
                });
                channel
            }
        };
        channel.share_writes(&Arc::new(OwnWrites::new()));
        channel.set_policies(
            METHODS
                .iter()
                .map(|method| {
                    let coalesce = (method.index == READ).then_some(Coalescing { ttl });
                    Policy { coalesce, timeout: Duration::from_secs(5), ..Policy::of(method) }
                })
                .collect(),
        );
        Self { channel, ran, go, written }
    }

    async fn read(&self, cx: &Context) -> String {
        call(&self.channel, cx, READ, note("read")).await.unwrap().text
    }

    fn reads(&self) -> usize {
        self.ran.lock().unwrap().values().sum()
    }
}

fn who(tenant: usize, principal: usize) -> Context {
    let (tenant, principal) = (format!("t{tenant}"), format!("user:{principal}"));
    let home = Home::of_system("test");
    Context::mint(home, TenantId::new(&tenant).unwrap(), Principal::new(&principal).unwrap())
        .with_timeout(Duration::from_secs(4))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_equal_reads_are_one_call_a_tenant_and_principal() {
    for runner in ["direct", "encoded", "remote"] {
        let service = Arc::new(Service::on(runner, None));
        let reads: Vec<_> = (0..1000)
            .map(|n| {
                let service = Arc::clone(&service);
                tokio::spawn(async move { service.read(&who(n % 5, n / 5 % 2)).await })
            })
            .collect();
        // All but the ten that ask wait for those.
        let metrics = &service.channel.metrics().methods[READ];
        while metrics.coalesced.load(Ordering::SeqCst) < 990 {
            tokio::task::yield_now().await;
        }
        service.go.add_permits(1000);
        assert!(join_all(reads).await.into_iter().all(|text| text.unwrap() == "0"), "{runner}");
        let ran = service.ran.lock().unwrap();
        assert!(ran.len() == 10 && ran.values().all(|runs| *runs == 1), "{runner}: {ran:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_after_ones_own_write_never_shares_what_is_older() {
    for runner in ["direct", "encoded", "remote"] {
        for ttl in [None, Some(Duration::from_secs(60))] {
            let service = Service::on(runner, ttl);
            let (ada, bob) = (who(0, 0), who(0, 1));
            let mut older = Box::pin(service.read(&ada));
            assert!(older.as_mut().now_or_never().is_none());
            call(&service.channel, &ada, WRITE, note("write")).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
            let mut newer = Box::pin(service.read(&ada));
            assert!(newer.as_mut().now_or_never().is_none());
            assert_eq!(service.reads(), 2, "{runner}: the second read asks for itself");
            service.go.add_permits(10);
            assert_eq!(newer.await, "1", "{runner}: one's own write is seen");
            assert_eq!(older.await, "0", "{runner}: who asked before may be answered from before");
            assert_eq!(service.read(&bob).await, "1");
            // Kept or not, the next read sees one's own next write.
            call(&service.channel, &ada, WRITE, note("write")).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!((service.read(&ada).await, service.written.load(Ordering::SeqCst)), ("2".into(), 2));
            let before = service.reads();
            assert_eq!(service.read(&ada).await, "2");
            assert_eq!(service.reads() - before, usize::from(ttl.is_none()), "{runner}: kept for {ttl:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_nobody_with_it_and_the_last_one_the_call() {
    let service = Service::on("direct", None);
    let ada = who(0, 0);
    let mut first = Box::pin(service.read(&ada));
    let mut second = Box::pin(service.read(&ada));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(first);
    service.go.add_permits(1);
    assert_eq!((second.await, service.reads()), ("0".to_owned(), 1));

    let mut only = Box::pin(service.read(&ada));
    assert!(only.as_mut().now_or_never().is_none());
    drop(only);
    service.go.add_permits(1);
    assert_eq!(
        (service.read(&ada).await, service.reads()),
        ("0".to_owned(), 3),
        "a call that nobody waits for is over"
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_less_time_than_the_call_gives_up_alone() {
    let service = Service::on("remote", None);
    let (hasty, patient) = (who(0, 0).with_timeout(Duration::from_millis(50)), who(0, 0));
    let mut first = Box::pin(call(&service.channel, &hasty, READ, note("read")));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = Box::pin(service.read(&patient));
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(first.await.unwrap_err().code(), Code::DeadlineExceeded);
    service.go.add_permits(1);
    assert_eq!((second.await, service.reads()), ("0".to_owned(), 1));
}
