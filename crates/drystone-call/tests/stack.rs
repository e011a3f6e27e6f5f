//! The call stack over a wire: what is tried again and what never, what a breaker learns, what is refused before it is sent.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "support/echo.rs"]
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drystone_call::policy::{Policy, RateBy, RatePolicy, RetryPolicy, ServePolicy};
use drystone_call::{
    Channel, Code, Context, Dispatch, Error, Home, IdempotencyKey, Mounted, OrFallback as _, PlatformReason,
    Result,
};
use drystone_resilience::{AdmissionConfig, BreakerConfig, LimitConfig, RateConfig};
use futures_util::FutureExt as _;
use support::{EchoDyn, METHODS, call, context, handler, mounted, note};
use wire::{OnTheWay, Wire, channel_over};

const READ: usize = 0;
const WRITE: usize = 1;
const PUT: usize = 2;

/// A service that counts how often it ran.
fn counting(answer: fn(usize) -> Result<()>) -> (Arc<Mounted<dyn EchoDyn>>, Arc<AtomicUsize>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let service = handler(move |_, req| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { answer(number).map(|()| req) })
    });
    (mounted(Home::of_system("callee"), None, service), ran)
}

fn lossy(lost: usize) -> (Channel<dyn EchoDyn>, Arc<Wire>, Arc<AtomicUsize>) {
    let (service, ran) = counting(|_| Ok(()));
    let script = move |number, _: &_| if number < lost { OnTheWay::Lost } else { OnTheWay::Nothing };
    let (channel, wire) = channel_over(&service, script);
    (channel, wire, ran)
}

fn policies(change: impl Fn(&mut Policy)) -> Vec<Policy> {
    let changed = |method| {
        let mut policy = Policy::of(method);
        change(&mut policy);
        policy
    };
    METHODS.iter().map(changed).collect()
}

fn keyed() -> Context {
    context().with_key(IdempotencyKey::new("k").unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_is_tried_again_and_nothing_else() {
    for (method, cx, attempts) in [
        (READ, context(), 3),
        (PUT, context(), 3),
        (WRITE, keyed(), 3),
        // Nothing tells a repeat of this from a second call.
        (WRITE, context(), 1),
    ] {
        let (channel, wire, ran) = lossy(2);
        let outcome = call(&channel, &cx, method, note("x")).await;
        assert_eq!(wire.attempts(), attempts, "{} key {:?}", METHODS[method].name, cx.key());
        assert_eq!(
            (outcome.is_ok(), ran.load(Ordering::SeqCst)),
            (attempts == 3, usize::from(attempts == 3))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_and_defects_are_not_tried_again() {
    for answer in [
        (|_| Err(Error::not_found("no"))) as fn(usize) -> Result<()>,
        |_| Err(Error::internal("a defect")),
        |_| Err(Error::aborted("lost a race")),
        |_| Err(Error::unavailable("tried below").mark_final()),
        |_| Err(PlatformReason::Overloaded.error("later")),
        |_| Err(PlatformReason::KeyInUse.error("a twin runs")),
    ] {
        let (service, ran) = counting(answer);
        let (channel, _) = channel_over(&service, |_, _| OnTheWay::Nothing);
        let error = call(&channel, &context(), READ, note("x")).await.unwrap_err();
        assert_eq!(ran.load(Ordering::SeqCst), 1, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_attempt_that_still_holds_the_key_is_waited_for() {
    let (service, ran) = counting(|number| match number {
        0 => Err(PlatformReason::KeyInUse.error("the attempt before still runs")),
        _ => Ok(()),
    });
    let script = |number, _: &_| if number == 0 { OnTheWay::Lost } else { OnTheWay::Nothing };
    let (channel, wire) = channel_over(&service, script);
    call(&channel, &keyed(), WRITE, note("x")).await.unwrap();
    assert_eq!((wire.attempts(), ran.load(Ordering::SeqCst)), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_the_calls_key_and_span_and_its_own_number() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let (service, _) = counting(|_| Ok(()));
    let (channel, _) = channel_over(&service, move |number, headers| {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap();
        let attempt = text("drystone-attempt");
        heard.lock().unwrap().push((text("idempotency-key"), text("traceparent"), attempt));
        if number < 2 { OnTheWay::AnswerLost } else { OnTheWay::Nothing }
    });
    call(&channel, &keyed(), WRITE, note("x")).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(key, span, _)| (key, span) == (&seen[0].0, &seen[0].1)), "{seen:?}");
    assert_eq!(seen.iter().map(|(.., attempt)| attempt.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_attempt_for_which_no_time_is_left() {
    let (channel, wire, _) = lossy(usize::MAX);
    channel.set_policies(policies(|policy| {
        let mut retry = RetryPolicy::default();
        (retry.backoff.base, retry.backoff.cap, retry.attempts) =
            (Duration::from_secs(3600), Duration::from_secs(3600), 10);
        policy.retry = Some(retry);
    }));
    let began = tokio::time::Instant::now();
    let error = call(&channel, &context(), READ, note("x")).await.unwrap_err();
    assert!(error.is(PlatformReason::PeerUnreachable) && error.is_final(), "{error:?}");
    assert!(began.elapsed() < Duration::from_millis(500), "an answer at once, not at the deadline");
    assert!(wire.attempts() <= 2, "{} attempts", wire.attempts());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_on_failures_and_closes_by_itself() {
    let (service, ran) = counting(|number| if number < 30 { Err(Error::internal("broken")) } else { Ok(()) });
    let (channel, wire) = channel_over(&service, |_, _| OnTheWay::Nothing);
    let config = BreakerConfig::trio(Duration::from_secs(3), 50.0, Duration::from_secs(30));
    channel.set_policies(policies(|policy| policy.breaker = Some(config.clone())));
    let ask = async || call(&channel, &context(), READ, note("x")).await;
    let mut refused = 0;
    for _ in 0..60 {
        refused += usize::from(ask().await.unwrap_err().is(PlatformReason::CircuitOpen));
    }
    let sent = wire.attempts();
    assert!(refused >= 30 && sent + refused == 60, "{refused} refused, {sent} sent");
    let error = ask().await.unwrap_err();
    assert_eq!((error.code(), error.http_status()), (Code::Unavailable, 503));
    assert!(error.retry_delay().unwrap() <= Duration::from_secs(30), "it says when to come again");
    // Another method of the contract is not concerned.
    call(&channel, &context(), PUT, note("x")).await.unwrap_err();
    assert_eq!(wire.attempts(), sent + 1);
    ran.store(30, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(30)).await;
    for _ in 0..20 {
        ask().await.unwrap();
    }
    assert_eq!(channel.live()[READ].breaker_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_and_a_callers_own_haste_do_not_open_the_breaker() {
    let (service, ran) = counting(|_| Err(PlatformReason::Overloaded.error("not now")));
    let (channel, _) = channel_over(&service, |_, _| OnTheWay::Nothing);
    for _ in 0..100 {
        assert!(
            call(&channel, &context(), READ, note("x")).await.unwrap_err().is(PlatformReason::Overloaded)
        );
    }
    assert_eq!(ran.load(Ordering::SeqCst), 100);

    let slow = handler(|_, req| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(req)
        })
    });
    let (channel, wire) =
        channel_over(&mounted(Home::of_system("callee"), None, slow), |_, _| OnTheWay::Nothing);
    for _ in 0..100 {
        let hasty = context().with_timeout(Duration::from_millis(50));
        let error = call(&channel, &hasty, READ, note("x")).await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
    }
    assert_eq!(wire.attempts(), 100, "the callee needs 100 ms and has 500");
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_and_a_rate_refuse_before_anything_is_sent() {
    let hangs = handler(|_, _| Box::pin(std::future::pending()));
    let service = mounted(Home::of_system("callee"), None, hangs);
    let (channel, wire) = channel_over(&service, |_, _| OnTheWay::Nothing);
    channel.set_policies(policies(|policy| policy.bulkhead = 2));
    let cx = context();
    let mut held: Vec<_> = (0..2).map(|_| Box::pin(call(&channel, &cx, READ, note("x")))).collect();
    for call in &mut held {
        assert!(call.as_mut().now_or_never().is_none());
    }
    let error = call(&channel, &cx, READ, note("x")).await.unwrap_err();
    assert!(error.is(PlatformReason::BulkheadFull) && error.http_status() == 503, "{error}");
    assert!(error.retry_delay().is_some(), "it says when to come again");
    drop(held);
    let config = RateConfig { per_second: 10.0, burst: 1 };
    channel.set_policies(policies(|policy| {
        policy.rate = Some(RatePolicy { config, by: RateBy::Tenant });
    }));
    let hasty = || context().with_timeout(Duration::from_millis(10));
    assert_eq!(call(&channel, &hasty(), READ, note("x")).await.unwrap_err().code(), Code::DeadlineExceeded);
    let error = call(&channel, &hasty(), READ, note("x")).await.unwrap_err();
    assert!(error.is(PlatformReason::RateLimited) && error.http_status() == 429, "{error}");
    assert!(error.retry_delay().unwrap() <= Duration::from_millis(100), "{error:?}");
    assert_eq!(wire.attempts(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_for_who_cannot_and_not_for_who_refuses() {
    let cx = context();
    for (answer, falls_back) in [
        (Error::unavailable("away"), true),
        (Error::new(Code::DeadlineExceeded, "slow"), true),
        (PlatformReason::CircuitOpen.error("open"), true),
        (PlatformReason::Overloaded.error("busy"), true),
        (Error::new(Code::ResourceExhausted, "your quota is used up"), false),
        (Error::not_found("no"), false),
        (Error::internal("a defect"), false),
    ] {
        let text = answer.to_string();
        let outcome = Err::<u32, _>(answer).or_fallback(&cx, |_| 7);
        assert_eq!(outcome.is_ok(), falls_back, "{text}");
    }
    assert_eq!(cx.notes().len(), 4, "each is noted");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_has_learned_nothing_begins_where_the_settings_say() {
    let (service, _) = counting(|_| Ok(()));
    let (channel, _) = channel_over(&service, |_, _| OnTheWay::Nothing);
    let policy = |initial| {
        let limit = LimitConfig { min: 4, initial, max: 512 };
        let admission = Some(AdmissionConfig { limit, ..AdmissionConfig::default() });
        METHODS.iter().map(|_| ServePolicy { admission, ..ServePolicy::default() }).collect::<Vec<_>>()
    };
    let limit = || Dispatch::live(&*service)[READ].admission.unwrap().limit;
    service.set_policies(policy(16));
    assert_eq!(limit(), 16);
    call(&channel, &context(), READ, note("x")).await.unwrap();
    service.set_policies(policy(64));
    assert_eq!(limit(), 16, "what works keeps what it has");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_policy_holds_from_the_next_call_on_and_forgets_nothing_else() {
    let (channel, wire, _) = lossy(usize::MAX);
    for _ in 0..30 {
        call(&channel, &context(), READ, note("x")).await.unwrap_err();
    }
    assert_eq!(channel.live()[READ].breaker_opened, 1);
    let sent = wire.attempts();
    channel.set_policies(policies(|policy| policy.timeout = Duration::from_secs(7)));
    assert_eq!(channel.live()[READ].policy.timeout, Duration::from_secs(7));
    let error = call(&channel, &context(), READ, note("x")).await.unwrap_err();
    assert!(error.is(PlatformReason::CircuitOpen), "the breaker is the same: {error}");
    channel.set_policies(policies(|policy| policy.breaker = None));
    call(&channel, &context(), READ, note("x")).await.unwrap_err();
    assert!(wire.attempts() > sent, "without a breaker the call is sent");
}
