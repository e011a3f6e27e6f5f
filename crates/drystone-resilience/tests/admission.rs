//! Admission as calls meet it: queues, shedding, fairness, cancellation, in paused time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use drystone_resilience::{
    Admission, AdmissionConfig, LimitConfig, ManualClock, QueueConfig, Random as _, SeededRandom, ShedWhy,
};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

fn config(limit: u32, length: u32) -> AdmissionConfig {
    AdmissionConfig {
        limit: LimitConfig::fixed(limit),
        queue: QueueConfig { target: 20 * MS, interval: 250 * MS, length },
    }
}

fn admission(limit: u32, length: u32) -> Arc<Admission<u32>> {
    Arc::new(Admission::new(config(limit, length)))
}

/// Starts a call that waits; it is in the queue when this returns.
async fn waits(
    admission: &Arc<Admission<u32>>,
    key: u32,
) -> tokio::task::JoinHandle<Result<(u32, Instant), (ShedWhy, Duration)>> {
    let before = admission.stats();
    let theirs = admission.clone();
    let call = tokio::spawn(async move {
        match theirs.enter(&key).await {
            Ok(admitted) => {
                let now = Instant::now();
                drop(admitted);
                Ok((key, now))
            }
            Err(shed) => Err((shed.why, shed.retry_after)),
        }
    });
    while admission.stats().waiting == before.waiting && admission.stats().shed == before.shed {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test(start_paused = true)]
async fn in_a_burst_a_call_may_wait_for_the_interval_and_then_for_the_target() {
    let admission = admission(1, 100);
    let hung = admission.try_enter().expect("there is room");
    let began = Instant::now();
    let mut calls = Vec::new();
    for _ in 0..60 {
        calls.push(waits(&admission, 1).await);
        sleep(10 * MS).await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        let came = 10 * u128::try_from(number).expect("it fits");
        let (why, retry_after) = call.await.expect("no panic").expect_err("the only place is taken");
        assert_eq!((why, retry_after), (ShedWhy::TooOld, 250 * MS), "call {number} at {came} ms");
    }
    let stats = admission.stats();
    assert_eq!((stats.shed, stats.waiting, stats.in_flight), (60, 0, 1));
    // The last one came at 590 ms, to a queue that had been standing since the first came.
    let lasted = began.elapsed().as_millis();
    assert!((600..=615).contains(&lasted), "the last was shed after {lasted} ms");
    drop(hung);
    assert_eq!(admission.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shed_call_is_told_at_its_moment_though_nobody_leaves() {
    let admission = admission(1, 100);
    let _hung = admission.try_enter();
    let began = Instant::now();
    let call = waits(&admission, 1).await;
    sleep(240 * MS).await;
    let late = waits(&admission, 1).await;
    assert!(admission.stats().oldest >= 240 * MS);
    assert_eq!(call.await.expect("no panic").map_err(|(why, _)| why), Err(ShedWhy::TooOld));
    let first = began.elapsed();
    assert_eq!(late.await.expect("no panic").map_err(|(why, _)| why), Err(ShedWhy::TooOld));
    let second = began.elapsed();
    assert!((250 * MS..253 * MS).contains(&first), "a burst may wait for the interval: {first:?}");
    assert!((260 * MS..263 * MS).contains(&second), "a standing queue for the target: {second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_unless_the_key_has_less_than_its_share() {
    let admission = admission(1, 4);
    let hung = admission.try_enter();
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(waits(&admission, 1).await);
    }
    let refused = waits(&admission, 1).await.await.expect("no panic");
    assert_eq!(refused.map_err(|(why, _)| why), Err(ShedWhy::Full), "it has the whole queue");
    let polite = [waits(&admission, 2).await, waits(&admission, 2).await];
    let refused = waits(&admission, 2).await.await.expect("no panic");
    assert_eq!(refused.map_err(|(why, _)| why), Err(ShedWhy::Full), "it has half of the queue");
    for newest in flood.drain(2..) {
        assert_eq!(newest.await.expect("no panic").map_err(|(why, _)| why), Err(ShedWhy::Full));
    }
    assert_eq!(admission.stats().waiting, 4);
    drop(hung);
    for call in flood.into_iter().chain(polite) {
        assert!(call.await.expect("no panic").is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_leaves_at_once_and_one_that_was_woken_passes_its_permit_on() {
    let admission = admission(1, 100);
    let hung = admission.try_enter().expect("there is room");
    let mut first = Box::pin(admission.enter(&1));
    let mut second = Box::pin(admission.enter(&2));
    let mut third = Box::pin(admission.enter(&3));
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll_fn(|task| Poll::Ready(waiting.as_mut().poll(task))).await.is_pending());
    }
    drop(second);
    assert_eq!(admission.stats().waiting, 2, "the cancelled one is gone");
    drop(hung);
    assert_eq!(
        (admission.stats().waiting, admission.stats().in_flight),
        (1, 1),
        "the first holds the permit"
    );
    assert!(admission.try_enter().is_none(), "nobody passes by the line");
    drop(first);
    assert_eq!((admission.stats().waiting, admission.stats().in_flight), (0, 1), "it passed it on");
    drop(third.await.expect("it has the permit"));
    let stats = admission.stats();
    assert_eq!((stats.in_flight, stats.waiting, stats.shed), (0, 0, 0));
    assert!(admission.try_enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn more_room_is_given_out_and_the_clock_may_be_any() {
    let clock = ManualClock::new();
    let admission = Arc::new(Admission::new(config(1, 100)).with_clock(Arc::new(clock.clone())));
    let _hung = admission.try_enter();
    let [one, two] = [waits(&admission, 1).await, waits(&admission, 2).await];
    admission.configure(config(2, 100));
    assert!(one.await.expect("no panic").is_ok() && two.await.expect("no panic").is_ok());
    let _second = admission.try_enter();
    let late = waits(&admission, 3).await;
    clock.advance(250 * MS);
    assert_eq!(late.await.expect("no panic").map_err(|(why, _)| why), Err(ShedWhy::TooOld));
}

/// What each key offered and what was done of it.
type Done = BTreeMap<u32, (u64, u64)>;

/// Keys offer calls at random, so many a second each, to `workers` that take 10 ms for one.
async fn offered(
    admission: Arc<Admission<u32>>,
    workers: u32,
    rates: &'static [(u32, f64)],
    seconds: u64,
    seed: u64,
) -> Done {
    let until = Instant::now() + Duration::from_secs(seconds);
    let place = Arc::new(tokio::sync::Semaphore::new(workers as usize));
    let mut sources = Vec::new();
    for (key, rate) in rates {
        let (admission, place) = (admission.clone(), place.clone());
        sources.push(tokio::spawn(async move {
            let random = SeededRandom::new(seed + u64::from(*key));
            let (mut offered, done) = (0, Arc::new(AtomicU64::new(0)));
            let mut next = Instant::now();
            while next < until {
                next += Duration::from_secs_f64(-(1.0 - random.unit()).ln() / rate);
                tokio::time::sleep_until(next).await;
                offered += 1;
                let (admission, place, done) = (admission.clone(), place.clone(), done.clone());
                tokio::spawn(async move {
                    let Ok(admitted) = admission.enter(key).await else { return };
                    let began = Instant::now();
                    let _place = place.acquire().await.expect("it is never closed");
                    sleep(10 * MS).await;
                    admitted.done(began.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            sleep(Duration::from_secs(1)).await;
            (*key, (offered, done.load(Ordering::Relaxed)))
        }));
    }
    let mut all = Done::new();
    for source in sources {
        let (key, counts) = source.await.expect("no panic");
        all.insert(key, counts);
    }
    all
}

fn share(done: &Done, key: u32) -> f64 {
    done[&key].1 as f64 / done[&key].0 as f64
}

#[tokio::test(start_paused = true)]
async fn a_key_that_floods_does_not_cost_another_its_share() {
    // 200 a second can be done: one key offers fifty times its half, the other a little less than its half.
    for seed in [1, 2] {
        let done = offered(admission(2, 1024), 2, &[(1, 5000.0), (2, 90.0)], 4, seed).await;
        let (polite, all) = (share(&done, 2), (done[&1].1 + done[&2].1) as f64 / 4.0);
        assert!(polite >= 0.9, "seed {seed}: {polite:.3} of what the polite key offered was done: {done:?}");
        assert!(all > 180.0, "seed {seed}: {all:.0} of 200 a second: {done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_floods_does_not_cost_another_its_share_where_few_calls_end() {
    // 25 a second: the time between two calls that end is longer than the target. The limit is adaptive, so its rate is known.
    let limit = LimitConfig { min: 2, initial: 2, max: 3 };
    let admission = Arc::new(Admission::new(AdmissionConfig { limit, ..AdmissionConfig::default() }));
    let until = Instant::now() + Duration::from_secs(30);
    let flooding = admission.clone();
    tokio::spawn(async move {
        while Instant::now() < until {
            sleep(2 * MS).await;
            let admission = flooding.clone();
            tokio::spawn(async move {
                let Ok(admitted) = admission.enter(&1).await else { return };
                sleep(80 * MS).await;
                admitted.done(80 * MS);
            });
        }
    });
    let (mut offered, mut done) = (0, 0);
    sleep(Duration::from_secs(5)).await;
    while Instant::now() < until {
        sleep(150 * MS).await;
        offered += 1;
        if let Ok(admitted) = admission.enter(&2).await {
            done += 1;
            sleep(80 * MS).await;
            admitted.done(80 * MS);
        }
    }
    assert!(f64::from(done) >= 0.9 * f64::from(offered), "{done} of {offered} were done");
}

#[tokio::test(start_paused = true)]
async fn who_is_served_by_a_queue_that_stands_has_hardly_waited() {
    // A queue that is served at half the rate at which calls come is empty again and again for a moment, which makes none of what follows a burst.
    for factor in [1.5, 2.0, 5.0] {
        let (admission, random) = (admission(2, 1024), SeededRandom::new(9));
        let (began, waits) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        while began.elapsed() < Duration::from_secs(10) {
            // Two at once, each for 2 ms.
            sleep(Duration::from_secs_f64(-(1.0 - random.unit()).ln() / (1000.0 * factor))).await;
            let (admission, waits) = (admission.clone(), waits.clone());
            tokio::spawn(async move {
                let came = Instant::now();
                let Ok(admitted) = admission.enter(&1).await else { return };
                waits.lock().expect("no panic").push(came.elapsed());
                sleep(2 * MS).await;
                admitted.done(2 * MS);
            });
        }
        let mut waits = std::mem::take(&mut *waits.lock().expect("no panic"));
        // The first burst may last.
        let mut waits = waits.split_off(waits.len() / 4);
        waits.sort_unstable();
        let (half, most) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
        assert!(half <= 8 * MS && most <= 25 * MS, "at {factor} times what can be done: {half:?}, {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn weights_hold_when_all_keys_have_more_than_can_be_done() {
    let weights = Arc::new(|key: &u32| *key);
    let admission = Arc::new(Admission::new(config(4, 1024)).weights(weights));
    let done = offered(admission, 4, &[(1, 1000.0), (2, 1000.0), (5, 1000.0)], 6, 3).await;
    let all: u64 = done.values().map(|(_, done)| done).sum();
    for (key, (_, done)) in &done {
        let (got, due) = (*done as f64 / all as f64, f64::from(*key) / 8.0);
        assert!((got / due - 1.0).abs() < 0.1, "weight {key} got {got:.3} instead of {due:.3}");
    }
}

#[tokio::test(start_paused = true)]
async fn overload_costs_little_of_the_work_and_little_time() {
    let admission = Arc::new(Admission::new(AdmissionConfig::default()));
    let done = offered(admission.clone(), 8, &[(1, 1500.0), (2, 1500.0)], 12, 5).await;
    let rate = (done[&1].1 + done[&2].1) as f64 / 12.0;
    let stats = admission.stats();
    assert!(rate > 0.9 * 800.0, "{rate:.0} of 800 a second, limit {}: {done:?}", stats.limit);
    assert!((8..24).contains(&stats.limit), "a limit of {} for 8 at once", stats.limit);
    assert_eq!((stats.in_flight, stats.waiting), (0, 0), "nothing leaked");
    let (offered, done) = done.values().fold((0, 0), |(a, b), (offered, done)| (a + offered, b + done));
    assert_eq!((stats.admitted, stats.shed), (done, offered - done), "every call was counted once");
}

/// Counts who runs; a call that is aborted while it runs leaves too.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn new(running: &'a AtomicU64) -> Self {
        assert!(running.fetch_add(1, Ordering::SeqCst) < 3, "more run than may");
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn threads_that_come_wait_cancel_and_leave_lose_no_permit_and_take_none_too_many() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .expect("it starts");
    let admission = admission(3, 64);
    let running = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let mut calls = Vec::new();
        for number in 0..4000_u32 {
            let (admission, running) = (admission.clone(), running.clone());
            calls.push(tokio::spawn(async move {
                let enter = admission.enter(&(number % 7)).await;
                let Ok(admitted) = enter else { return };
                let place = Running::new(&running);
                tokio::task::yield_now().await;
                drop(place);
                if number % 2 == 0 { admitted.done(MS) } else { drop(admitted) }
            }));
            if number % 3 == 0 {
                calls.swap_remove(calls.len() / 2).abort();
            }
        }
        for call in calls {
            assert!(!call.await.is_err_and(|error| error.is_panic()));
        }
    });
    drop(runtime);
    let stats = admission.stats();
    assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
}
