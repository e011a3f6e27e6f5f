//! What follows an attempt, and the layer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::*;
use crate::{BudgetConfig, SeededRandom};

const FAILED: Verdict = Verdict::Failed { retry_after: None };

fn budget(floor: u32) -> Budget {
    Budget::new(BudgetConfig { floor, ..BudgetConfig::default() })
}

#[test]
fn a_decision_says_why_it_stops() {
    let (config, random, now) = (RetryConfig::default(), SeededRandom::new(7), Instant::now());
    let full = budget(10);
    let decide = |made, verdict, deadline, budget: &Budget| {
        config.decide(made, verdict, now, deadline, budget, &random)
    };
    let soon = Some(now + Duration::from_millis(1));
    assert_eq!(decide(1, Verdict::Done, None, &full), Decision::Stop(Stop::Done));
    assert_eq!(decide(1, Verdict::Refused, None, &full), Decision::Stop(Stop::Refused));
    assert_eq!(decide(3, FAILED, None, &full), Decision::Stop(Stop::Attempts));
    assert_eq!(decide(1, FAILED, None, &budget(0)), Decision::Stop(Stop::Budget));
    let pushback = Verdict::Failed { retry_after: Some(Duration::from_secs(2)) };
    assert_eq!(decide(1, pushback, soon, &full), Decision::Stop(Stop::Deadline));
    let Decision::Retry(wait) = decide(1, pushback, None, &full) else { panic!("may be repeated") };
    let jitter = wait - Duration::from_secs(2);
    assert!(jitter < Duration::from_millis(10), "waits as long as it was asked, and a little: {wait:?}");
    let never = Verdict::Failed { retry_after: Some(Duration::MAX) };
    assert_eq!(decide(1, never, None, &full), Decision::Stop(Stop::Deadline), "beyond what a clock shows");
}

#[test]
fn only_a_retry_that_will_be_made_is_taken_from_the_budget() {
    let (config, random, now) = (RetryConfig::default(), SeededRandom::new(7), Instant::now());
    let one = budget(1);
    for verdict in [Verdict::Done, Verdict::Refused] {
        let _ = config.decide(1, verdict, now, None, &one, &random);
    }
    let _ = config.decide(3, FAILED, now, None, &one, &random);
    let _ = config.decide(1, FAILED, now, Some(now), &one, &random);
    assert!(matches!(config.decide(1, FAILED, now, None, &one, &random), Decision::Retry(_)));
    assert_eq!(config.decide(1, FAILED, now, None, &one, &random), Decision::Stop(Stop::Budget));
}

/// A request that says whether it may be repeated, and until when it is waited for.
#[derive(Clone, Debug, PartialEq)]
struct Request {
    repeatable: bool,
    deadline: Option<Instant>,
}

const REPEATABLE: Request = Request { repeatable: true, deadline: None };

/// Judges by the text of the error.
#[derive(Clone)]
struct ByText;

impl RetryPolicy<Request, u32, &'static str> for ByText {
    fn judge(&self, result: &Result<u32, &'static str>) -> Verdict {
        match result {
            Err("busy") => FAILED,
            Err("come back in 3 s") => Verdict::Failed { retry_after: Some(Duration::from_secs(3)) },
            Err("retried") => Verdict::Refused,
            _ => Verdict::Done,
        }
    }

    fn again(&self, request: &Request) -> Option<Request> {
        request.repeatable.then(|| request.clone())
    }

    fn deadline(&self, request: &Request) -> Option<Instant> {
        request.deadline
    }
}

/// Calls a service that answers as `script` says, then with the number of attempts: the result, the attempts, and what the layer told.
async fn call(
    script: &[&'static str],
    request: Request,
) -> (Result<u32, &'static str>, u32, Vec<RetryEvent>) {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let script = script.to_vec();
    let service = service_fn(move |got: Request| {
        assert_eq!(got.repeatable, request.repeatable);
        let made = counted.fetch_add(1, Ordering::SeqCst);
        let said = script.get(made as usize).copied();
        async move { said.map_or(Ok(made + 1), Err) }
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let layer = RetryLayer::new(RetryConfig::default(), ByText)
        .random(Arc::new(SeededRandom::new(7)))
        .observe(Arc::new(move |event| telling.lock().expect("is whole").push(*event)));
    let result = layer.layer(service).oneshot(request).await;
    let told = told.lock().expect("is whole").clone();
    (result, attempts.load(Ordering::SeqCst), told)
}

fn why(told: &[RetryEvent]) -> Stop {
    match told.last() {
        Some(RetryEvent::Ended { why, .. }) => *why,
        other => panic!("the last event is {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_repeated_after_a_wait_until_the_attempts_are_made() {
    let (result, attempts, told) = call(&["busy", "busy"], REPEATABLE).await;
    assert_eq!((result, attempts), (Ok(3), 3));
    assert!(
        matches!(told[..2], [RetryEvent::Again { made: 1, .. }, RetryEvent::Again { made: 2, .. }]),
        "{told:?}"
    );
    assert_eq!(told[2], RetryEvent::Ended { made: 3, why: Stop::Done });
    let (result, attempts, told) = call(&["busy"; 9], REPEATABLE).await;
    assert_eq!((result, attempts, why(&told)), (Err("busy"), 3, Stop::Attempts));
    let begun = Instant::now();
    let (result, attempts, _) = call(&["come back in 3 s"], REPEATABLE).await;
    assert_eq!((result, attempts), (Ok(2), 2));
    assert!(begun.elapsed() >= Duration::from_secs(3), "only {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_is_not() {
    let (result, attempts, told) = call(&["busy"], Request { repeatable: false, deadline: None }).await;
    assert_eq!((result, attempts, why(&told)), (Err("busy"), 1, Stop::Unrepeatable));
    let (result, attempts, told) = call(&["retried"], REPEATABLE).await;
    assert_eq!((result, attempts, why(&told)), (Err("retried"), 1, Stop::Refused));
    let (result, attempts, told) = call(&["not found"], REPEATABLE).await;
    assert_eq!((result, attempts, why(&told)), (Err("not found"), 1, Stop::Done));
    let deadline = Some(Instant::now() + Duration::from_secs(2));
    let (result, attempts, told) = call(&["come back in 3 s"], Request { repeatable: true, deadline }).await;
    assert_eq!((result, attempts, why(&told)), (Err("come back in 3 s"), 1, Stop::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_bounded_by_the_budget_that_all_clones_share() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let layer = RetryLayer::new(RetryConfig::default(), Cloned(|_: &Result<(), ()>| FAILED));
    let service = layer.layer(service_fn(move |(): ()| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err(()) }
    }));
    let calls = (0..1000).map(|_| tokio::spawn(service.clone().oneshot(())));
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("does not panic").expect_err("always fails");
    }
    let attempts = attempts.load(Ordering::SeqCst);
    assert!((1190..=1200).contains(&attempts), "{attempts} attempts for 1000 calls");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_waits_until_the_service_is_ready() {
    let inner = tower::util::BoxCloneService::new(Gated { ready: false, calls: 0 });
    let mut service =
        RetryLayer::new(RetryConfig::default(), Cloned(|_: &Result<u32, &str>| FAILED)).layer(inner);
    let result = service.ready().await.expect("is ready").call(()).await;
    assert_eq!(result, Err("busy"), "and no call came to a service that was not ready");
}

/// Panics when it is called without having been ready; fails otherwise.
struct Gated {
    ready: bool,
    calls: u32,
}

impl Clone for Gated {
    fn clone(&self) -> Self {
        Self { ready: false, calls: self.calls }
    }
}

impl tower::Service<()> for Gated {
    type Response = u32;
    type Error = &'static str;
    type Future = std::future::Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.ready = true;
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.calls += 1;
        std::future::ready(Err("busy"))
    }
}
