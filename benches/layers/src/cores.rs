//! Each core alone, told the time as its stack tells it: the clock is read once a call, so reading it stands in a row of its own.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use drystone_resilience::{
    Admission, AdmissionConfig, Backoff, BalanceConfig, Balancer, Breaker, BreakerConfig, Budget,
    BudgetConfig, Bulkhead, DeadlineConfig, Flights, FlightsConfig, RateConfig, RateLimiter, SeededRandom,
    Writes, catch_panic,
};
use futures_util::FutureExt as _;
use futures_util::future::ready;
use tokio::time::Instant;

use crate::meter::{Group, at_once};

/// A clock whose calls come a microsecond apart, as a busy edge's do, so that windows roll.
fn ticking(mut now: Instant) -> impl FnMut() -> Instant {
    move || {
        now += Duration::from_micros(1);
        now
    }
}

pub(crate) fn run(rounds: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without a driver for sockets needs nothing from the machine");
    let _inside = runtime.enter();
    let start = Instant::now();
    let mut group = Group::new("core");
    group.add("clock, read once", |_| {
        black_box(Instant::now());
    });
    guards(&mut group, start);
    keyed(&mut group, start);
    shared(&mut group, start);
    group.run(rounds);
}

/// Those that a call holds while it is under way.
fn guards(group: &mut Group<'_>, start: Instant) {
    let bulkhead = Bulkhead::new(1024);
    group.add("bulkhead: in and out", move |_| drop(black_box(bulkhead.enter())));
    let (breaker, mut now) = (Breaker::new(BreakerConfig::default()), ticking(start));
    group.add("breaker, closed: in and out", move |_| {
        let now = now();
        if let Ok(permit) = breaker.enter(now) {
            permit.succeeded(now);
        }
    });
    let breaker = open(start);
    group.add("breaker, open: refused", move |_| {
        assert!(black_box(breaker.enter(start)).is_err());
    });
    let admission = Admission::<u64>::new(AdmissionConfig::default());
    group.add("admission: in, out and learned from", move |n| {
        if let Some(admitted) = admission.try_enter() {
            admitted.done(Duration::from_nanos(u64::from(n) + 500));
        }
    });
    group.add("panic barrier", |n| {
        assert!(at_once(catch_panic(ready(black_box(n)))).is_ok());
    });
}

/// A breaker that has seen enough failures to be open for the rest of the program.
pub(crate) fn open(start: Instant) -> Breaker {
    let breaker = Breaker::new(BreakerConfig { reset: Duration::from_secs(3600), ..Default::default() });
    while let Ok(permit) = breaker.enter(start) {
        permit.failed(start);
    }
    breaker
}

/// Those that decide and remember.
fn keyed(group: &mut Group<'_>, start: Instant) {
    let config = DeadlineConfig::default();
    let caller = start + Duration::from_secs(2);
    group.add("deadline: the callee's", move |_| {
        black_box(config.onward(black_box(start), caller, Duration::from_secs(1)));
    });
    let rate = RateLimiter::new(RateConfig { per_second: 1e9, burst: u32::MAX });
    let mut now = ticking(start);
    group.add("rate, 1,000 keys: passed", move |n| {
        assert!(rate.check(&u64::from(n % 1000), now()).is_ok());
    });
    let rate = RateLimiter::new(RateConfig { per_second: 1e-3, burst: 1 });
    let _ = rate.check(&7_u64, start);
    group.add("rate: refused", move |_| assert!(rate.check(&7, start).is_err()));
    let (budget, mut now) = (Budget::new(BudgetConfig::default()), ticking(start));
    group.add("retry budget: a call counted", move |_| budget.deposit(now()));
    let budget = Budget::new(BudgetConfig { ratio: 0.0, floor: 1, ..Default::default() });
    let _ = budget.withdraw(start);
    group.add("retry budget: a retry refused", move |_| assert!(!budget.withdraw(start)));
    let (backoff, random) = (Backoff::default(), SeededRandom::new(7));
    group.add("backoff: the next pause", move |n| {
        black_box(backoff.delay(n % 4 + 1, &random));
    });
}

/// Those that calls share.
fn shared(group: &mut Group<'_>, start: Instant) {
    let flights = Flights::<u64, u64>::new(FlightsConfig::default());
    group.add("coalescing: led and landed", move |n| {
        let flight = flights.join(u64::from(n), None, start, || ready((7, false)).boxed());
        assert_eq!(at_once(flight), 7);
    });
    let config = FlightsConfig { ttl: Some(Duration::from_secs(60)), ..Default::default() };
    let flights = Flights::<u64, u64>::new(config);
    let _ = at_once(flights.join(7, None, start, || ready((7, true)).boxed()));
    group.add("coalescing: a kept answer", move |_| {
        let flight = flights.join(7, None, start, || ready((7, true)).boxed());
        assert_eq!(at_once(flight), 7);
    });
    let (writes, mut now) = (Writes::<u64>::new(100_000), ticking(start));
    group.add("own writes: one noted", move |n| writes.record(&u64::from(n % 1000), now()));
    let writes = Writes::<u64>::new(100_000);
    (0..1000).for_each(|key| writes.record(&key, start));
    group.add("own writes: looked up", move |n| {
        black_box(writes.last(&u64::from(n % 1000), start));
    });
    let balancer = Balancer::<u32>::new(BalanceConfig::default(), Arc::new(SeededRandom::new(7)));
    balancer.set((0..3).map(|n| (format!("10.0.0.{n}:7001").into(), n)).collect());
    let mut now = ticking(start);
    group.add("balancing, 3 replicas: picked and told", move |_| {
        let now = now();
        if let Some(picked) = balancer.pick(now, &[]) {
            picked.succeeded(now + Duration::from_micros(300));
        }
    });
}
