//! Coalescing and balancing as parts of a tower stack.

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use drystone_resilience::{
    Balance, BalanceConfig, BalanceError, Balancer, Boarding, CoalesceLayer, FlightsConfig, ManualClock,
    SeededRandom,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tower_layer::Layer as _;
use tower_service::Service;

const SECOND: Duration = Duration::from_secs(1);

/// Counts its calls and answers with their number, when the second poll of readiness says that it may.
#[derive(Clone, Default)]
struct Counting {
    calls: Arc<AtomicU32>,
    polled: bool,
    ready: bool,
}

impl Service<&'static str> for Counting {
    type Response = u32;
    type Error = &'static str;
    type Future = BoxFuture<'static, Result<u32, &'static str>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !self.polled {
            self.polled = true;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: &'static str) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "it is called without having been ready");
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            if request == "refused" { Err("no") } else { Ok(number) }
        })
    }
}

#[tokio::test]
async fn equal_requests_share_a_call_and_others_do_not() {
    let clock = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tell = seen.clone();
    let config = FlightsConfig { ttl: Some(10 * SECOND), most: 100 };
    let layer =
        CoalesceLayer::new(config, |request: &&'static str| (*request != "own").then_some((*request, None)))
            .clock(clock.clone())
            .observe(Arc::new(move |event: &drystone_resilience::CoalesceEvent| {
                tell.lock().expect("nobody panics").push(event.boarding);
            }));
    let mut first = layer.layer(Counting::default());
    // What another service of the same layer makes is shared too, and so is what a clone asks for.
    let mut second = layer.clone().layer(Counting::default());
    assert!(std::future::poll_fn(|task| first.poll_ready(task)).await.is_ok());
    let answers =
        join_all([first.call("a"), second.call("a"), first.clone().call("a"), first.call("b")]).await;
    assert_eq!(answers, [Ok(0), Ok(0), Ok(0), Ok(1)]);
    assert_eq!(join_all([first.call("own"), first.call("own")]).await, [Ok(2), Ok(3)]);
    assert_eq!(join_all([first.call("refused"), first.call("refused")]).await, [Err("no"); 2]);
    assert_eq!(first.call("refused").await, Err("no"), "what is an error is not kept");
    clock.advance(9 * SECOND);
    assert_eq!(first.call("a").await, Ok(0));
    clock.advance(SECOND);
    assert_eq!(first.call("a").await, Ok(6), "its time is over");
    use Boarding::{Cached, Joined, Led};
    let seen = seen.lock().expect("nobody panics").clone();
    assert_eq!(seen, [Led, Joined, Joined, Led, Led, Joined, Led, Cached, Led]);
    assert_eq!(layer.flights().stats().aloft, 0);
}

#[tokio::test]
async fn what_may_be_kept_is_for_the_user_to_say() {
    let config = FlightsConfig { ttl: Some(SECOND), most: 100 };
    let layer =
        CoalesceLayer::new(config, |request: &&'static str| Some((*request, None))).keep(Result::is_err);
    let mut service = layer.layer(Counting::default());
    assert_eq!((service.call("a").await, service.call("a").await), (Ok(0), Ok(1)));
    assert_eq!((service.call("refused").await, service.call("refused").await), (Err("no"), Err("no")));
    assert_eq!(layer.flights().stats().cached, 1);
}

/// A replica: answers with its name, or is broken.
#[derive(Clone, Debug)]
struct Replica(&'static str, bool);

impl Service<()> for Replica {
    type Response = &'static str;
    type Error = &'static str;
    type Future = Ready<Result<&'static str, &'static str>>;

    fn poll_ready(&mut self, _task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(if self.1 { Ok(self.0) } else { Err(self.0) })
    }
}

fn replicas() -> Balance<Replica, ()> {
    let balancer = Balancer::new(BalanceConfig::default(), Arc::new(SeededRandom::new(1)));
    balancer.set(vec![("a".into(), Replica("a", true)), ("b".into(), Replica("b", false))]);
    Balance::new(balancer)
}

#[test]
fn a_broken_replica_is_left_out_and_comes_back() {
    let clock = ManualClock::new();
    let mut balance = replicas().clock(clock.clone());
    let mut broken = |calls: u32| {
        (0..calls)
            .filter(|_| {
                let answer = balance.call(()).now_or_never().expect("a replica answers at once");
                clock.advance(Duration::from_millis(10));
                answer == Err(BalanceError::Member("b"))
            })
            .count()
    };
    assert_eq!(broken(900), 5, "it is left out for ten seconds, and nine have gone by");
    assert_eq!(broken(200), 1, "it comes back, on probation");
}

#[test]
fn what_counts_as_a_failure_is_for_the_user_to_say() {
    let mut balance = replicas().failed(|_| false).clock(ManualClock::new());
    let errors = (0..1000).filter(|_| balance.call(()).now_or_never().is_some_and(|it| it.is_err())).count();
    assert!(errors > 100, "a refusal leaves nobody out: {errors}");
    assert_eq!(balance.balancer().members(tokio::time::Instant::now())[1].failures, 0);
}

#[test]
fn without_a_member_there_is_an_error() {
    let balancer = Balancer::<Replica>::new(BalanceConfig::default(), Arc::new(SeededRandom::new(1)));
    let mut balance = Balance::new(balancer);
    let error = balance.call(()).now_or_never().expect("at once").expect_err("nobody is there");
    assert_eq!(error.to_string(), "there is no replica to send the request to");
}
