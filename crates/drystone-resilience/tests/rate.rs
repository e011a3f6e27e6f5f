//! The rate limit, beside a model.

use std::collections::BTreeMap;
use std::time::Duration;

use drystone_resilience::{RateConfig, RateLimiter, TooFast};
use proptest::prelude::*;
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_burst_passes_and_then_one_in_every_interval() {
    let limiter = RateLimiter::new(RateConfig { per_second: 10.0, burst: 3 });
    let start = Instant::now();
    let passes = |at: u32, key: &str| limiter.check(&key.to_owned(), start + at * MS);
    assert_eq!([0, 0, 0].map(|at| passes(at, "a")), [Ok(()); 3]);
    assert_eq!(passes(0, "a"), Err(TooFast { retry_in: 100 * MS }));
    assert_eq!(passes(60, "a"), Err(TooFast { retry_in: 40 * MS }));
    assert_eq!(passes(60, "b"), Ok(()), "another key has its own");
    assert_eq!(passes(100, "a"), Ok(()));
    assert_eq!(
        passes(100, "a"),
        Err(TooFast { retry_in: 100 * MS }),
        "refused calls were not counted, this one was"
    );
    assert_eq!([1000, 1000, 1000].map(|at| passes(at, "a")), [Ok(()); 3], "the burst is whole again");
    assert!(passes(1000, "a").is_err());
}

#[test]
fn settings_without_sense_have_a_meaning() {
    let now = Instant::now();
    for per_second in [0.0, -1.0, f64::NAN, 1e-300] {
        let limiter = RateLimiter::new(RateConfig { per_second, burst: 0 });
        assert_eq!(limiter.check(&1, now), Ok(()));
        assert_eq!(
            limiter.check(&1, now),
            Err(TooFast { retry_in: Duration::from_secs(24 * 3600) }),
            "{per_second}"
        );
    }
    let limiter = RateLimiter::new(RateConfig { per_second: f64::INFINITY, burst: 1 });
    assert!((0..1000).all(|_| limiter.check(&1, now).is_ok()));
}

#[test]
fn idle_keys_are_forgotten() {
    let limiter = RateLimiter::new(RateConfig { per_second: 100.0, burst: 5 });
    let start = Instant::now();
    let mut most = 0;
    for key in 0..40_000_u32 {
        assert!(limiter.check(&key, start + key * Duration::from_micros(100)).is_ok());
        most = most.max(limiter.keys());
    }
    // Of 10 ms each, at 100 us between two: a hundred are busy; each of 16 maps keeps 64 before it looks.
    assert!(most <= 16 * 64, "{most} keys of 40,000 were kept");
}

#[test]
fn what_is_forgotten_is_as_if_it_had_never_called() {
    let (limiter, now) = (RateLimiter::new(RateConfig { per_second: 1.0, burst: 1 }), Instant::now());
    assert!((0..100).all(|key| limiter.check(&key, now).is_ok() && limiter.check(&key, now).is_err()));
    limiter.forget();
    assert_eq!(limiter.keys(), 0);
    assert!(limiter.check(&7, now).is_ok());
}

proptest! {
    /// A bucket of tokens for each key, which is the same rule told differently.
    #[test]
    fn it_is_a_bucket_that_fills_evenly(
        every_ms in 1..50_u64,
        burst in 1..6_u32,
        calls in proptest::collection::vec((0..3_u8, 0..60_u64), 1..200),
    ) {
        let limiter = RateLimiter::new(RateConfig { per_second: 1000.0 / every_ms as f64, burst });
        let start = Instant::now();
        let mut buckets: BTreeMap<u8, (f64, u64)> = BTreeMap::new();
        let mut now = 0;
        for (key, later) in calls {
            now += later;
            let (tokens, seen) = buckets.get(&key).copied().unwrap_or((f64::from(burst), now));
            let tokens = (tokens + (now - seen) as f64 / every_ms as f64).min(f64::from(burst));
            let checked = limiter.check(&key, start + Duration::from_millis(now));
            // Where the bucket holds one token to within what a nanosecond can tell, either answer is right.
            if (tokens - 1.0).abs() > 1e-4 {
                prop_assert_eq!(checked.is_ok(), tokens > 1.0, "at {} ms with {} tokens", now, tokens);
            }
            if let Err(TooFast { retry_in }) = checked {
                prop_assert!((retry_in.as_secs_f64() * 1e3 - (1.0 - tokens) * every_ms as f64).abs() < 0.01);
            }
            buckets.insert(key, (tokens - f64::from(u8::from(checked.is_ok())), now));
        }
    }
}
