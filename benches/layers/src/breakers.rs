//! Breakers beside each other doing the same work: 50 % of at least 20 calls in 10 s open them, for 30 s; each wraps the same asynchronous function.
//!
//! `tower-resilience` has such a window too, and keeps every call of it in a list that each call walks: at the rate of this program that is a tenth of a millisecond a
//! call. So it is measured with its usual window, the last 100 calls, and the platform's breaker with one of these too.
//!
//! The same work is done by `benches/opossum` for node's `opossum`. Beside the bare call of its own language each, so that what an `await` costs there is not
//! counted for the breaker.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use drystone_resilience::{Breaker, BreakerConfig, BreakerLayer, Window};
use failsafe::failure_policy::{consecutive_failures, success_rate_over_time_window};
use failsafe::futures::CircuitBreaker as _;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tower::{Service, ServiceExt as _, service_fn};
use tower_layer::Layer as _;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use crate::meter::Group;

const WINDOW: Duration = Duration::from_secs(10);
const RESET: Duration = Duration::from_secs(30);
const LEAST: u32 = 20;
/// More failures than any of them needs.
const MANY: u32 = 200;

/// What the callee does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Succeeds,
    /// Every tenth call fails, which opens nothing.
    TenthFails,
    /// The breaker was opened before.
    Refused,
}

impl Work {
    const ALL: [Self; 3] = [Self::Succeeds, Self::TenthFails, Self::Refused];

    fn name(self) -> &'static str {
        match self {
            Self::Succeeds => "succeeds",
            Self::TenthFails => "10 % fail",
            Self::Refused => "open",
        }
    }

    fn fails(self, n: u32) -> bool {
        self == Self::TenthFails && n.is_multiple_of(10)
    }
}

/// What the callee fails with.
#[derive(Clone, Copy, Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

async fn callee(fails: bool) -> Result<u32, Failed> {
    if black_box(fails) { Err(Failed) } else { Ok(black_box(7)) }
}

fn config() -> BreakerConfig {
    BreakerConfig { minimum_calls: LEAST, ..BreakerConfig::trio(Duration::from_secs(3), 50.0, RESET) }
}

pub(crate) fn run(rounds: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without a driver for sockets needs nothing from the machine");
    for work in Work::ALL {
        let mut group = Group::new(work.name());
        group.batch("bare call", |count| {
            runtime.block_on(async {
                for n in 0..count {
                    let _ = black_box(callee(work.fails(n)).await);
                }
            });
        });
        core(&mut group, &runtime, "drystone, core", work, config());
        let by_number = BreakerConfig { window: Window::Calls(100), ..config() };
        core(&mut group, &runtime, "drystone, core, 100 calls", work, by_number);
        let layer = BreakerLayer::new(config());
        tower(&mut group, &runtime, "drystone, layer", work, layer.layer(service_fn(callee)));
        failsafe(&mut group, &runtime, work);
        let layer = CircuitBreakerLayer::builder()
            .sliding_window_size(100)
            .minimum_number_of_calls(LEAST as usize)
            .failure_rate_threshold(0.5)
            .wait_duration_in_open(RESET)
            .build()
            .expect("the numbers are within their bounds");
        tower(&mut group, &runtime, "tower-resilience, 100 calls", work, layer.layer(service_fn(callee)));
        group.run(rounds);
    }
}

/// The core around the call, as the call stack has it.
fn core<'r>(
    group: &mut Group<'r>,
    runtime: &'r Runtime,
    name: &'static str,
    work: Work,
    config: BreakerConfig,
) {
    let breaker = Breaker::new(config);
    let call = async move |breaker: &Breaker, fails| {
        let permit = breaker.enter(Instant::now()).map_err(|_| ())?;
        let outcome = callee(fails).await;
        let now = Instant::now();
        match &outcome {
            Ok(_) => permit.succeeded(now),
            Err(_) => permit.failed(now),
        }
        outcome.map_err(|_| ())
    };
    if work == Work::Refused {
        runtime.block_on(async {
            for _ in 0..MANY {
                let _ = call(&breaker, true).await;
            }
        });
    }
    group.batch(name, move |count| {
        runtime.block_on(async {
            for n in 0..count {
                let outcome = black_box(call(&breaker, work.fails(n)).await);
                judge(work, n, outcome.is_ok());
            }
        });
    });
}

fn failsafe<'r>(group: &mut Group<'r>, runtime: &'r Runtime, work: Work) {
    let backoff = failsafe::backoff::constant(RESET);
    if work == Work::Refused {
        // Its rate over time opens nothing before its first window has passed; what refuses is the same.
        let breaker = failsafe::Config::new().failure_policy(consecutive_failures(LEAST, backoff)).build();
        runtime.block_on(async {
            for _ in 0..MANY {
                let _ = breaker.call(callee(true)).await;
            }
        });
        return failsafe_calls(group, runtime, work, breaker);
    }
    let policy = success_rate_over_time_window(0.5, LEAST, WINDOW, backoff);
    failsafe_calls(group, runtime, work, failsafe::Config::new().failure_policy(policy).build());
}

fn failsafe_calls<'r>(
    group: &mut Group<'r>,
    runtime: &'r Runtime,
    work: Work,
    breaker: impl failsafe::futures::CircuitBreaker + 'r,
) {
    group.batch("failsafe", move |count| {
        runtime.block_on(async {
            for n in 0..count {
                let outcome = black_box(breaker.call(callee(work.fails(n))).await);
                judge(work, n, outcome.is_ok());
            }
        });
    });
}

/// A breaker that is a tower service.
fn tower<'r, S>(group: &mut Group<'r>, runtime: &'r Runtime, name: &'static str, work: Work, mut service: S)
where
    S: Service<bool, Response = u32> + 'r,
{
    if work == Work::Refused {
        runtime.block_on(async {
            for _ in 0..MANY {
                if let Ok(ready) = service.ready().await {
                    let _ = ready.call(true).await;
                }
            }
        });
    }
    group.batch(name, move |count| {
        runtime.block_on(async {
            for n in 0..count {
                let outcome = match service.ready().await {
                    Ok(ready) => ready.call(work.fails(n)).await,
                    Err(error) => Err(error),
                };
                judge(work, n, black_box(outcome).is_ok());
            }
        });
    });
}

/// Nothing is measured that does not work.
///
/// # Panics
/// If a breaker let through what it should not, or the other way round.
fn judge(work: Work, n: u32, ok: bool) {
    assert_eq!(ok, work != Work::Refused && !work.fails(n), "{work:?}, call {n}");
}
