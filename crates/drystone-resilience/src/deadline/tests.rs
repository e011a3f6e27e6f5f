//! How deadlines shrink, how they travel, and the layer.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request};
use proptest::prelude::*;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;
use crate::Clock as _;
use crate::clock::{ManualClock, TokioClock};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn headers(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(GRPC_TIMEOUT, HeaderValue::from_str(value).expect("is a value"))])
}

proptest! {
    #[test]
    fn a_deadline_only_shrinks_and_what_is_begun_has_time(
        margin in 0..50_u64, floor in 0..50_u64, limit in 0..1000_u64, left in 0..1000_u64,
    ) {
        let config = DeadlineConfig { margin: millis(margin), floor: millis(floor) };
        let now = Instant::now();
        let caller = now + millis(left);
        match config.onward(now, caller, millis(limit)) {
            Some(onward) => {
                prop_assert!(onward <= caller - millis(margin));
                prop_assert!(onward - now >= millis(floor) && onward - now <= millis(limit));
                prop_assert!(onward == caller - millis(margin) || onward == now + millis(limit));
            }
            None => prop_assert!(limit < floor || left < margin + floor),
        }
    }

    #[test]
    fn a_timeout_travels_and_never_grows(secs in 0..400_000_000_u64, nanos in 0..1_000_000_000_u32) {
        let left = Duration::new(secs, nanos);
        let mut headers = HeaderMap::new();
        set_grpc_timeout(&mut headers, left);
        let value = headers[GRPC_TIMEOUT].to_str().expect("is text");
        prop_assert!(value.len() <= 9, "{}", value);
        let read = grpc_timeout(&headers).expect("is well formed");
        prop_assert!(read <= left, "{} is more than {:?}", value, left);
        // Eight digits: less than one part in ten thousand is rounded off, unless the next unit is 60 times as large.
        prop_assert!(left - read <= left / 10_000 + Duration::from_nanos(1), "{} for {:?}", value, left);
    }
}

#[test]
fn the_header_is_read_as_the_specification_writes_it() {
    let units = [("1H", 3600), ("2M", 120), ("3S", 3), ("99999999S", 99_999_999)];
    for (value, seconds) in units {
        assert_eq!(grpc_timeout(&headers(value)), Some(Duration::from_secs(seconds)), "{value}");
    }
    assert_eq!(grpc_timeout(&headers("250m")), Some(millis(250)));
    assert_eq!(grpc_timeout(&headers("00000250u")), Some(Duration::from_micros(250)));
    assert_eq!(grpc_timeout(&headers("7n")), Some(Duration::from_nanos(7)));
    for malformed in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", " 1S", "1 S", "+1S"] {
        assert_eq!(grpc_timeout(&headers(malformed)), None, "{malformed:?}");
    }
    assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    let mut longest = HeaderMap::new();
    set_grpc_timeout(&mut longest, Duration::MAX);
    assert_eq!(longest[GRPC_TIMEOUT], "99999999H");
}

type Told = Arc<Mutex<Vec<DeadlineEvent>>>;

fn telling<A>(layer: DeadlineLayer<A>) -> (DeadlineLayer<A>, Told) {
    let told = Told::default();
    let telling = Arc::clone(&told);
    (layer.observe(Arc::new(move |event| telling.lock().expect("is whole").push(*event))), told)
}

#[tokio::test(start_paused = true)]
async fn any_call_is_ended_at_its_limit_and_dropped() {
    let (layer, told) = telling(DeadlineLayer::new(millis(100)));
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let service = layer.layer(service_fn(move |takes: u64| {
        let held = Arc::clone(&held);
        async move {
            tokio::time::sleep(millis(takes)).await;
            drop(held);
            Ok::<_, &str>(takes)
        }
    }));
    assert_eq!(service.clone().oneshot(99).await, Ok(99));
    let begun = Instant::now();
    let passed = DeadlinePassed { before_call: false };
    assert_eq!(service.oneshot(101).await, Err(DeadlineError::Passed(passed)));
    assert_eq!(begun.elapsed().as_millis(), 100);
    assert_eq!(Arc::strong_count(&alive), 1, "the call is gone, and what it held");
    assert_eq!(
        *told.lock().expect("is whole"),
        [DeadlineEvent::InTime(millis(1)), DeadlineEvent::Passed(passed)]
    );
}

/// Calls through a layer with a limit of a second, and the settings' defaults: what the inner service read, after `service_takes`.
async fn call(
    timeout: Option<&str>,
    service_takes: u64,
) -> (Result<(Option<Duration>, Duration), DeadlineError<&'static str>>, Duration) {
    let service =
        DeadlineLayer::grpc(millis(1000)).layer(service_fn(move |request: Request<()>| async move {
            let deadline = request.extensions().get::<Deadline>().expect("is set").0;
            let left = deadline - Instant::now();
            tokio::time::sleep(millis(service_takes)).await;
            Ok::<_, &str>((grpc_timeout(request.headers()), left))
        }));
    let mut request = Request::new(());
    if let Some(timeout) = timeout {
        *request.headers_mut() = headers(timeout);
    }
    let begun = Instant::now();
    (service.oneshot(request).await, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_read_enforced_and_handed_on_shorter() {
    assert_eq!(call(Some("500m"), 0).await.0, Ok((Some(millis(498)), millis(498))));
    assert_eq!(
        call(Some("60S"), 0).await.0,
        Ok((Some(millis(1000)), millis(1000))),
        "no more than the limit"
    );
    assert_eq!(call(None, 0).await.0, Ok((Some(millis(1000)), millis(1000))));
    assert_eq!(call(Some("nonsense"), 0).await.0, Ok((Some(millis(1000)), millis(1000))));
    let (result, took) = call(Some("500m"), 600).await;
    assert_eq!(result, Err(DeadlineError::Passed(DeadlinePassed { before_call: false })));
    assert_eq!(took, millis(498));
    let (result, took) = call(Some("2m"), 0).await;
    assert_eq!(
        result,
        Err(DeadlineError::Passed(DeadlinePassed { before_call: true })),
        "nothing is left of 2 ms"
    );
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test]
async fn the_clock_is_the_one_that_it_is_given() {
    let clock = ManualClock::new();
    let layer = DeadlineLayer::new(millis(100)).clock(Arc::new(clock.clone()));
    let service = layer.layer(service_fn(|(): ()| std::future::pending::<Result<(), &str>>()));
    let mut call = std::pin::pin!(service.oneshot(()));
    assert!(futures_util::poll!(&mut call).is_pending());
    clock.advance(millis(100));
    assert!(matches!(call.await, Err(DeadlineError::Passed(_))));
    // A limit beyond what a clock shows is none.
    let service = DeadlineLayer::new(Duration::MAX).layer(service_fn(|(): ()| async { Ok::<_, &str>(()) }));
    assert_eq!(service.oneshot(()).await, Ok(()));
    assert!(TokioClock.now().checked_add(Duration::MAX).is_none());
}
