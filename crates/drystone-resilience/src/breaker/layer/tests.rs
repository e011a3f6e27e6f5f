//! The breaker as a layer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::clock::ManualClock;

/// A layer that opens at two failures, its clock, and what it told.
fn opening_at_two() -> (BreakerLayer, ManualClock, Arc<Mutex<Vec<BreakerEvent>>>) {
    let (clock, told) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
    let telling = Arc::clone(&told);
    let config = BreakerConfig { minimum_calls: 2, probes: 1, ..BreakerConfig::default() };
    let layer = BreakerLayer::new(config)
        .clock(Arc::new(clock.clone()))
        .observe(Arc::new(move |event| telling.lock().expect("is whole").push(event.clone())));
    (layer, clock, told)
}

#[tokio::test]
async fn it_refuses_without_calling_and_tells_what_it_does() {
    let (layer, clock, told) = opening_at_two();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = layer.layer(service_fn(move |well: bool| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { if well { Ok("well") } else { Err("badly") } }
    }));
    // A clone, and a service that the same layer made, share the breaker.
    let others = [service.clone(), service.clone()];
    for other in others {
        assert_eq!(other.oneshot(false).await, Err(BreakerError::Inner("badly")));
    }
    let refused = Open { retry_in: Duration::from_secs(5) };
    assert_eq!(service.clone().oneshot(true).await, Err(BreakerError::Open(refused)));
    assert_eq!(calls.load(Ordering::SeqCst), 2, "a refused call does not come to the service");
    clock.advance(Duration::from_secs(5));
    assert_eq!(service.clone().oneshot(true).await, Ok("well"));
    assert_eq!(layer.breaker().stats().state, State::Closed);
    let told: Vec<_> = told.lock().expect("is whole").iter().map(name).collect();
    let expected = ["Failed", "open", "Failed", "refused", "half-open", "closed", "Succeeded"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(told, expected);
}

fn name(event: &BreakerEvent) -> String {
    match event {
        BreakerEvent::Ended(outcome, _) => format!("{outcome:?}"),
        BreakerEvent::Refused(_) => "refused".to_owned(),
        BreakerEvent::Changed(change) => change.to.name().to_owned(),
    }
}

#[tokio::test]
async fn the_classifier_says_what_is_a_failure() {
    let (layer, ..) = opening_at_two();
    let layer = layer.classify(|result: &Result<u32, &str>| match result {
        Ok(status) if *status < 500 => Outcome::Succeeded,
        Ok(_) => Outcome::Failed,
        Err(_) => Outcome::Ignored,
    });
    let service = layer
        .layer(service_fn(|status: u32| async move { if status == 0 { Err("gone") } else { Ok(status) } }));
    let now = layer.clock.now();
    for status in [0, 404, 0, 404] {
        let _ = service.clone().oneshot(status).await;
    }
    assert_eq!(layer.breaker().counts(now), super::super::Counts { calls: 2, failed: 0, slow: 0 });
    for _ in 0..2 {
        assert_eq!(service.clone().oneshot(503).await, Ok(503));
    }
    assert_eq!(layer.breaker().state(now), State::Open);
}

/// Never ready.
#[derive(Clone)]
struct Busy;

impl Service<()> for Busy {
    type Response = ();
    type Error = &'static str;
    type Future = std::future::Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        panic!("called without being ready")
    }
}

#[tokio::test]
async fn an_open_breaker_does_not_wait_for_its_service() {
    let (layer, clock, _) = opening_at_two();
    let mut service = layer.layer(Busy);
    assert!(futures_util::poll!(std::pin::pin!(service.ready())).is_pending(), "closed, it waits");
    for _ in 0..2 {
        let now = layer.clock.now();
        layer.breaker().enter(now).expect("is closed").failed(now);
    }
    assert!(futures_util::poll!(std::pin::pin!(service.ready())).is_ready(), "open, it is ready to refuse");
    let call = service.call(());
    assert!(matches!(call.await, Err(BreakerError::Open(_))));
    // The breaker lets a probe through between readiness and call: then the call waits, instead of calling a service that is not ready.
    let mut call = service.ready().await.expect("is ready to refuse").call(());
    clock.advance(Duration::from_secs(5));
    assert!(futures_util::poll!(&mut call).is_pending());
    assert!(layer.breaker().enter(layer.clock.now()).is_err(), "it holds the probe's place");
    drop(call);
    assert!(layer.breaker().enter(layer.clock.now()).is_ok(), "and gives it back");
}

#[tokio::test]
async fn a_service_that_fails_to_become_ready_has_failed() {
    #[derive(Clone)]
    struct Gone;
    impl Service<()> for Gone {
        type Response = ();
        type Error = &'static str;
        type Future = std::future::Ready<Result<(), &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("no connection"))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("called without being ready")
        }
    }
    let (layer, ..) = opening_at_two();
    for _ in 0..2 {
        assert_eq!(layer.layer(Gone).oneshot(()).await, Err(BreakerError::Inner("no connection")));
    }
    assert!(matches!(layer.layer(Gone).oneshot(()).await, Err(BreakerError::Open(_))));
}
