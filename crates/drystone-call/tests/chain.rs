//! A chain of three hops whose last one fails half its calls is not called more than a fifth more often than it was asked for.

#[path = "support/echo.rs"]
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drystone_call::policy::{Policy, RetryPolicy};
use drystone_call::{Channel, Error, Home};
use drystone_resilience::BudgetConfig;
use support::{EchoDyn, METHODS, call, context, handler, mounted, note};
use wire::{OnTheWay, Wire, channel_over};

const READ: usize = 0;
const OFFERED: usize = 2_000;

/// What one run of the chain came to.
struct Seen {
    /// Attempts at the first, second and last hop.
    attempts: [usize; 3],
    answered: usize,
}

/// Offers calls to a chain `caller -> a -> b -> c`, where every second call of `c` fails.
async fn run(policy: impl Fn(&mut Policy)) -> Seen {
    let policies = || {
        METHODS.iter().map(|method| {
            let mut made = Policy::of(method);
            // The breaker would hide what is counted here: it sends less, not more.
            made.breaker = None;
            policy(&mut made);
            made
        })
    };
    let number = Arc::new(AtomicUsize::new(0));
    let c = handler(move |_, req| {
        let fails = number.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        Box::pin(async move { if fails { Err(Error::unavailable("half of them")) } else { Ok(req) } })
    });
    let (to_c, at_c) = channel_over(&mounted(Home::of_system("c"), None, c), |_, _| OnTheWay::Nothing);
    let (to_b, at_b) = passing(&to_c);
    let (to_a, at_a) = passing(&to_b);
    for channel in [&to_a, &to_b, &to_c] {
        channel.set_policies(policies().collect());
    }
    let mut answered = 0;
    for _ in 0..OFFERED {
        answered += usize::from(call(&to_a, &context(), READ, note("x")).await.is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    Seen { attempts: [&at_a, &at_b, &at_c].map(|wire| wire.attempts()), answered }
}

/// A hop that passes calls on and makes an error of its own of what comes back.
fn passing(to: &Channel<dyn EchoDyn>) -> (Channel<dyn EchoDyn>, Arc<Wire>) {
    let to = to.clone();
    let service = handler(move |cx, req| {
        let to = to.clone();
        Box::pin(async move {
            let passed = call(&to, cx, READ, req).await;
            passed.map_err(|error| Error::unavailable(format!("behind me: {}", error.message())))
        })
    });
    channel_over(&mounted(Home::of_system("hop"), None, service), |_, _| OnTheWay::Nothing)
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_fails_half_its_calls_makes_a_fifth_more_attempts_at_most() {
    let seen = run(|_| {}).await;
    let [a, b, c] = seen.attempts;
    println!("{OFFERED} offered: {a}, {b} and {c} attempts, {} answered", seen.answered);
    assert_eq!((a, b), (OFFERED, OFFERED), "only the hop next to the failure tries again");
    assert!(c <= OFFERED * 12 / 10, "{c} attempts at the last hop");
    assert!(c > OFFERED * 11 / 10, "{c}: the budget is used");
    assert!(seen.answered > OFFERED * 55 / 100, "{} answered: trying again helps", seen.answered);
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_the_same_chain_storms() {
    let all = BudgetConfig { ratio: 100.0, ..BudgetConfig::default() };
    let seen =
        run(|policy| policy.retry = Some(RetryPolicy { budget: all.clone(), ..RetryPolicy::default() }))
            .await;
    assert!(seen.attempts[2] > OFFERED * 13 / 10, "{:?}: the test above cannot fail", seen.attempts);
}
