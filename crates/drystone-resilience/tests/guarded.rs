//! Bulkhead, limit, admission and rate limit as layers.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drystone_resilience::{
    AdmissionConfig, AdmissionEvent, AdmissionLayer, BulkheadEvent, BulkheadFull, BulkheadLayer, LimitConfig,
    LimitEvent, LimitLayer, LimitReached, ManualClock, Observe, QueueConfig, RateConfig, RateEvent,
    RateLayer, Rejected, ShedWhy, TooFast,
};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

const MS: Duration = Duration::from_millis(1);

/// A request.
#[derive(Clone, Copy)]
struct Asked(&'static str);

/// Hangs when asked to, fails when asked to, answers otherwise.
async fn answer(asked: Asked) -> Result<usize, String> {
    match asked.0 {
        "hang" => pending().await,
        "fail" => Err("as asked".to_owned()),
        _ => Ok(asked.0.len()),
    }
}

/// Starts a call that hangs.
async fn hang<S>(service: &S) -> tokio::task::JoinHandle<()>
where
    S: Service<Asked, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
{
    let service = service.clone();
    let call = tokio::spawn(async move { drop(service.oneshot(Asked("hang")).await) });
    tokio::task::yield_now().await;
    call
}

/// A hook that keeps what it is told.
fn kept<E: Copy + Send + 'static>() -> (Arc<Mutex<Vec<E>>>, Observe<E>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let theirs = events.clone();
    (events, Arc::new(move |event| theirs.lock().expect("no panic").push(*event)))
}

#[tokio::test]
async fn a_bulkhead_refuses_while_its_places_hang_and_a_dropped_call_frees_one() {
    let (events, observe) = kept();
    let layer = BulkheadLayer::new(1).observe(observe);
    let service = layer.layer(service_fn(answer));
    assert_eq!(service.clone().oneshot(Asked("four")).await, Ok(4));
    assert_eq!(service.clone().oneshot(Asked("fail")).await, Err(Rejected::Inner("as asked".to_owned())));
    let hung = hang(&service).await;
    let full = BulkheadFull { in_flight: 1 };
    assert_eq!(service.clone().oneshot(Asked("four")).await, Err(Rejected::Refused(full)));
    hung.abort();
    assert!(hung.await.is_err());
    assert_eq!(service.oneshot(Asked("four")).await, Ok(4));
    assert_eq!((layer.bulkhead().in_flight(), layer.bulkhead().refused()), (0, 1));
    let entered = BulkheadEvent::Entered { in_flight: 1 };
    let expected = [entered, entered, entered, BulkheadEvent::Refused(full), entered];
    assert_eq!(*events.lock().expect("no panic"), expected);
}

#[tokio::test]
async fn a_bulkhead_can_be_resized() {
    let layer = BulkheadLayer::new(0);
    let service = layer.layer(service_fn(answer));
    assert!(service.clone().oneshot(Asked("four")).await.is_err());
    layer.bulkhead().resize(1);
    assert_eq!(service.oneshot(Asked("four")).await, Ok(4));
}

#[tokio::test(start_paused = true)]
async fn a_limit_refuses_what_is_too_much_and_counts_the_calls_that_succeed() {
    let (events, observe) = kept();
    let clock = ManualClock::new();
    let layer = LimitLayer::new(LimitConfig::fixed(1)).clock(Arc::new(clock)).observe(observe);
    let service = layer.layer(service_fn(answer));
    let hung = hang(&service).await;
    let reached = LimitReached { limit: 1 };
    assert_eq!(service.clone().oneshot(Asked("four")).await, Err(Rejected::Refused(reached)));
    hung.abort();
    assert!(hung.await.is_err());
    assert_eq!(service.oneshot(Asked("four")).await, Ok(4));
    let ended = LimitEvent::Ended { took: Duration::ZERO, limit: 1 };
    assert_eq!(*events.lock().expect("no panic"), [LimitEvent::Refused(reached), ended]);
    assert_eq!(layer.limit().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn admission_lets_calls_wait_sheds_them_in_time_and_reads_their_key() {
    let (events, observe) = kept();
    let config = AdmissionConfig {
        limit: LimitConfig::fixed(1),
        queue: QueueConfig { length: 1, ..QueueConfig::default() },
    };
    let layer = AdmissionLayer::new(config, |asked: &Asked| asked.0.len()).observe(observe);
    let service = layer.layer(service_fn(answer));
    let hung = hang(&service).await;
    let waiting = tokio::spawn(service.clone().oneshot(Asked("four")));
    tokio::task::yield_now().await;
    let Err(Rejected::Refused(full)) = service.clone().oneshot(Asked("more")).await else {
        panic!("the queue is full")
    };
    assert_eq!((full.why, full.retry_after), (ShedWhy::Full, 250 * MS));
    let Err(Rejected::Refused(shed)) = waiting.await.expect("no panic") else { panic!("it waited too long") };
    assert_eq!(shed.why, ShedWhy::TooOld);
    // A burst is what comes after quiet.
    tokio::time::sleep(250 * MS).await;
    let waiting = tokio::spawn(service.clone().oneshot(Asked("seven")));
    tokio::time::sleep(100 * MS).await;
    hung.abort();
    assert_eq!(waiting.await.expect("no panic"), Ok(5));
    assert_eq!(layer.admission().stats().shed, 2);
    let expected = [
        AdmissionEvent::Admitted { waited: Duration::ZERO },
        AdmissionEvent::Shed(full),
        AdmissionEvent::Shed(shed),
        AdmissionEvent::Admitted { waited: 100 * MS },
        AdmissionEvent::Ended { took: Duration::ZERO },
    ];
    assert_eq!(*events.lock().expect("no panic"), expected);
}

#[tokio::test]
async fn a_rate_limit_has_a_rate_for_each_key() {
    let (events, observe) = kept();
    let clock = ManualClock::new();
    let config = RateConfig { per_second: 10.0, burst: 1 };
    let layer =
        RateLayer::new(config, |asked: &Asked| asked.0.len()).clock(Arc::new(clock.clone())).observe(observe);
    let service = layer.layer(service_fn(|asked: Asked| async move { Ok::<_, Infallible>(asked.0.len()) }));
    assert_eq!(service.clone().oneshot(Asked("four")).await, Ok(4));
    let fast = TooFast { retry_in: 100 * MS };
    assert_eq!(service.clone().oneshot(Asked("five")).await, Err(Rejected::Refused(fast)));
    assert_eq!(service.clone().oneshot(Asked("another")).await, Ok(7));
    clock.advance(100 * MS);
    assert_eq!(service.oneshot(Asked("four")).await, Ok(4));
    let passed = RateEvent::Passed;
    assert_eq!(*events.lock().expect("no panic"), [passed, RateEvent::Refused(fast), passed, passed]);
}
