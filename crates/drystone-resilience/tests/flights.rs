//! Coalescing: who joins whom, whose answer it is, and that nobody waits for ever.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use drystone_resilience::{Boarding, Flight, Flights, FlightsConfig};
use futures_util::FutureExt as _;
use proptest::prelude::*;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn kept_for(ttl: Duration) -> FlightsConfig {
    FlightsConfig { ttl: Some(ttl), most: 100 }
}

/// Polls once, as a task that is not woken by anything.
fn poll<V: Clone>(flight: &mut Flight<V>) -> Poll<V> {
    flight.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// A flight that lands when the sender says so, with its word.
fn until<V: Send + 'static>(
    landing: oneshot::Receiver<V>,
) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, (V, bool)> {
    move || Box::pin(async move { (landing.await.expect("the test lands what it starts"), true) })
}

fn ready(value: u32, keep: bool) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, (u32, bool)> {
    move || Box::pin(std::future::ready((value, keep)))
}

fn never() -> futures_util::future::BoxFuture<'static, (u32, bool)> {
    unreachable!("this call joins")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stampede_of_a_thousand_makes_one_call_per_tenant() {
    let flights = Arc::new(Flights::<(u32, &str), u32>::new(FlightsConfig::default()));
    let starts = Arc::new(AtomicU32::new(0));
    let (gate, opened) = watch::channel(false);
    let now = Instant::now();
    let tasks = (0..1000_u32).map(|n| {
        let (flights, starts, mut opened) = (flights.clone(), starts.clone(), opened.clone());
        tokio::spawn(async move {
            let tenant = n % 5;
            let flight = flights.join((tenant, "stock of sku-1"), None, now, || {
                Box::pin(async move {
                    starts.fetch_add(1, Ordering::SeqCst);
                    opened.wait_for(|opened| *opened).await.expect("the gate opens");
                    (tenant * 10, true)
                })
            });
            assert_eq!(flight.await, tenant * 10);
        })
    });
    let tasks = tasks.collect::<Vec<_>>();
    while flights.stats().led + flights.stats().joined < 1000 {
        tokio::task::yield_now().await;
    }
    gate.send_replace(true);
    for task in tasks {
        task.await.expect("everybody gets the answer of their tenant");
    }
    assert_eq!(starts.load(Ordering::SeqCst), 5);
    let stats = flights.stats();
    assert_eq!((stats.led, stats.joined, stats.aloft), (5, 995, 0));
}

#[test]
fn a_flight_from_before_ones_own_write_is_not_joined() {
    let flights = Flights::new(kept_for(10 * SECOND));
    let began = Instant::now();
    let (land_old, old) = oneshot::channel();
    let mut first = flights.join("a", None, began, until(old));
    assert!(first.led() && poll(&mut first).is_pending());

    // The write was acknowledged when the flight began, as far as the clock can tell: it may not be in the answer.
    let (land_new, new) = oneshot::channel();
    let written = began;
    let mut second = flights.join("a", Some(written), began + SECOND, until(new));
    assert!(second.led() && poll(&mut second).is_pending());
    let mut third = flights.join("a", Some(written), began + SECOND, never);
    let mut fourth = flights.join("a", None, began + SECOND, never);
    assert_eq!([third.boarding(), fourth.boarding()], [Boarding::Joined; 2]);

    // The newer answer is the one that is kept, also when the older one comes last.
    land_new.send(2).expect("it is awaited");
    for flight in [&mut second, &mut third, &mut fourth] {
        assert_eq!(poll(flight), Poll::Ready(2));
    }
    land_old.send(1).expect("it is awaited");
    assert_eq!(poll(&mut first), Poll::Ready(1));
    let mut later = flights.join("a", None, began + 2 * SECOND, never);
    assert_eq!((later.boarding(), poll(&mut later)), (Boarding::Cached, Poll::Ready(2)));
    assert_eq!(flights.stats().aloft, 0);
}

#[test]
fn who_leads_may_leave_and_takes_nobody_with_them() {
    let flights = Flights::new(FlightsConfig::default());
    let now = Instant::now();
    let (land, landing) = oneshot::channel();
    let mut leader = flights.join((), None, now, until(landing));
    let mut other = flights.join((), None, now, never);
    assert!(poll(&mut leader).is_pending());
    drop(leader);
    assert!(poll(&mut other).is_pending());
    land.send(7).expect("the flight goes on");
    assert_eq!(poll(&mut other), Poll::Ready(7));
}

#[test]
fn a_flight_goes_down_with_the_last_who_waits_for_it() {
    let flights = Flights::new(FlightsConfig::default());
    let now = Instant::now();
    let (land, landing) = oneshot::channel::<u32>();
    let leader = flights.join((), None, now, until(landing));
    let other = flights.join((), None, now, never);
    drop(leader);
    assert!(!land.is_closed());
    drop(other);
    assert!(land.is_closed(), "its future is dropped");
    assert_eq!(flights.stats().aloft, 0);
    assert_eq!(flights.join((), None, now, ready(3, true)).now_or_never(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_panic_reaches_everybody() {
    let flights = Arc::new(Flights::<(), u32>::new(FlightsConfig::default()));
    let (open, opened) = oneshot::channel::<()>();
    let now = Instant::now();
    let mut leader = flights.join((), None, now, || {
        Box::pin(async move {
            opened.await.expect("the gate opens");
            panic!("the callee broke")
        })
    });
    let polled = poll_fn(|task| Poll::Ready(leader.poll_unpin(task))).await;
    assert!(polled.is_pending());
    let others = (0..10).map(|_| flights.join((), None, now, never)).collect::<Vec<_>>();
    let tasks = others.into_iter().chain([leader]).map(tokio::spawn).collect::<Vec<_>>();
    open.send(()).expect("it is awaited");
    let mut own = 0;
    for task in tasks {
        let panic = task.await.expect_err("nobody gets an answer").into_panic();
        own += u32::from(panic.downcast_ref() == Some(&"the callee broke"));
    }
    assert_eq!(own, 1, "one polled it; the others are told that it panicked");
    assert_eq!(flights.stats().aloft, 0);
    assert_eq!(flights.join((), None, now, ready(1, true)).await, 1);
}

#[test]
fn a_start_that_panics_leaves_nothing_behind() {
    let flights = Flights::<(), u32>::new(FlightsConfig::default());
    let now = Instant::now();
    let mut joined = None;
    let started = catch_unwind(AssertUnwindSafe(|| {
        flights.join((), None, now, || {
            // Somebody else comes while the leader is at it.
            joined = Some(flights.join((), None, now, never));
            panic!("no call")
        })
    }));
    assert!(started.is_err());
    let mut joined = joined.expect("there was a flight to join");
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut joined))).is_err(), "it is told");
    drop(joined);
    assert_eq!(flights.join((), None, now, ready(1, true)).now_or_never(), Some(1));
}

#[test]
fn who_joins_before_the_call_is_there_is_woken_when_it_is() {
    let flights = Flights::<(), u32>::new(FlightsConfig::default());
    let now = Instant::now();
    let mut woken = Flag::default();
    let mut joined = None;
    let leader = flights.join((), None, now, || {
        let mut flight = flights.join((), None, now, never);
        assert!(woken.poll(&mut flight).is_pending());
        joined = Some(flight);
        Box::pin(std::future::ready((5, true)))
    });
    drop(leader);
    assert!(woken.take(), "the leader left without a poll, and somebody has to poll");
    assert_eq!(poll(&mut joined.expect("joined")), Poll::Ready(5));
}

/// A waker that can be asked.
#[derive(Clone, Default)]
struct Flag(Arc<Raised>);

#[derive(Default)]
struct Raised(AtomicU32);

impl std::task::Wake for Raised {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Flag {
    fn poll<V: Clone>(&mut self, flight: &mut Flight<V>) -> Poll<V> {
        flight.poll_unpin(&mut Context::from_waker(&Waker::from(self.0.clone())))
    }

    fn take(&self) -> bool {
        self.0.0.swap(0, Ordering::SeqCst) > 0
    }
}

#[test]
fn news_that_comes_while_somebody_polls_is_passed_on_to_the_others() {
    let flights = Arc::new(Flights::<(), u32>::new(FlightsConfig::default()));
    let now = Instant::now();
    let other = Arc::new(std::sync::Mutex::new(None::<Flight<u32>>));
    let (mut flag, mut polls) = (Flag::default(), 0);
    let leader_sees = (other.clone(), flag.clone());
    let mut leader = flights.join((), None, now, move || {
        Box::pin(poll_fn(move |task| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready((9, true));
            }
            // While this is polled it may go on already, and the other one looks in vain.
            task.waker().wake_by_ref();
            let (other, mut flag) = leader_sees.clone();
            let mut other = other.lock().expect("nobody panics");
            assert!(flag.poll(other.as_mut().expect("it has joined")).is_pending());
            Poll::Pending
        }))
    });
    *other.lock().expect("nobody panics") = Some(flights.join((), None, now, never));
    assert!(poll(&mut leader).is_pending());
    drop(leader);
    assert!(flag.take(), "the one that polled is gone, so the other has to");
    let mut other = other.lock().expect("nobody panics").take().expect("it has joined");
    assert_eq!(flag.poll(&mut other), Poll::Ready(9));
}

#[test]
fn an_answer_is_kept_for_its_time_and_only_if_it_may_be() {
    let flights = Flights::new(kept_for(10 * SECOND));
    let began = Instant::now();
    let at = |seconds| began + SECOND * seconds;
    assert_eq!(flights.join("refused", None, began, ready(1, false)).now_or_never(), Some(1));
    assert!(flights.join("refused", None, began, ready(2, true)).led());

    assert_eq!(flights.join("a", None, began, ready(1, true)).now_or_never(), Some(1));
    assert_eq!(flights.join("a", None, at(9), never).now_or_never(), Some(1));
    // Its own reader has written since, or at the same moment as far as the clock can tell.
    assert!(flights.join("a", Some(began), at(9), ready(2, true)).led());
    assert_eq!(flights.join("a", None, at(10), ready(3, true)).now_or_never(), Some(3));
    assert_eq!(flights.join("a", Some(at(9)), at(10), never).now_or_never(), Some(3));
    assert!(flights.join("b", None, began, ready(1, true)).led(), "another key is another answer");
}

#[test]
fn an_answer_that_was_forgotten_is_asked_for_again_and_its_memory_is_free() {
    let flights = Flights::new(kept_for(10 * SECOND));
    let (began, answer) = (Instant::now(), Arc::new(1));
    let kept = answer.clone();
    assert!(
        flights.join("a", None, began, move || async move { (kept, true) }.boxed()).now_or_never().is_some()
    );
    assert_eq!(Arc::strong_count(&answer), 2, "it is kept");
    // The cache frees what no thread looks at any more, a little later.
    let free = (0..1000).any(|_| {
        flights.forget();
        Arc::strong_count(&answer) == 1
    });
    assert!(free, "it is let go");
    assert!(flights.join("a", None, began, || async { (Arc::new(2), true) }.boxed()).led());
}

#[test]
fn nothing_older_than_what_writers_are_remembered_for_is_shared() {
    let flights = Flights::new(kept_for(3600 * SECOND));
    let began = Instant::now();
    assert_eq!(flights.join("kept", None, began, ready(1, true)).now_or_never(), Some(1));
    let (_land, landing) = oneshot::channel();
    let _slow = flights.join("slow", None, began, until(landing));
    for key in ["kept", "slow"] {
        assert!(!flights.join(key, None, began + 59 * SECOND, never).led(), "{key}");
        assert!(flights.join(key, None, began + 60 * SECOND, ready(2, true)).led(), "{key}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody asks for a key, with an answer from after so many seconds ago.
    Join {
        key: u8,
        ago: Option<u64>,
    },
    /// The n-th of those who wait leaves.
    Leave(usize),
    /// The n-th flight lands, and whoever waits looks.
    Land {
        flight: usize,
        keep: bool,
    },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, proptest::option::of(0..5_u64)).prop_map(|(key, ago)| Step::Join { key, ago }),
        2 => (0..20_usize).prop_map(Step::Leave),
        2 => (0..20_usize, any::<bool>()).prop_map(|(flight, keep)| Step::Land { flight, keep }),
        2 => (0..8_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

type Land = oneshot::Sender<(u32, bool)>;

/// What must happen, said as simply as possible.
#[derive(Default)]
struct Model {
    /// Flight by number: when it began, how many wait for it, how it is told to land.
    flights: Vec<(Instant, usize, Option<Land>)>,
    /// The one to join, by key.
    current: HashMap<u8, usize>,
    kept: HashMap<u8, usize>,
}

const TTL: Duration = Duration::from_secs(6);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn flights_do_what_the_model_says(steps in steps()) {
        let core = Flights::<u8, u32>::new(kept_for(TTL));
        let mut model = Model::default();
        let mut waiting: Vec<(Flight<u32>, u8, usize)> = Vec::new();
        // So that what is asked for is never from before the first moment that can be told.
        let mut now = Instant::now() + 3600 * SECOND;
        for step in steps {
            match step {
                Step::Wait(seconds) => now += SECOND * u32::try_from(seconds).expect("small"),
                Step::Join { key, ago } => {
                    let limit = ago.map(|ago| now - Duration::from_secs(ago));
                    let fresh = |flight: &usize| limit.is_none_or(|limit| model.flights[*flight].0 > limit);
                    let kept = model.kept.get(&key).filter(|flight| fresh(flight) && now - model.flights[**flight].0 < TTL);
                    let current = model.current.get(&key).filter(|flight| {
                        fresh(flight) && now - model.flights[**flight].0 < Duration::from_secs(60)
                    });
                    let (boarding, number) = match (kept, current) {
                        (Some(kept), _) => (Boarding::Cached, *kept),
                        (None, Some(current)) => (Boarding::Joined, *current),
                        (None, None) => (Boarding::Led, model.flights.len()),
                    };
                    let (land, landing) = oneshot::channel();
                    let flight = core.join(key, limit, now, || Box::pin(async move { landing.await.expect("landed") }));
                    prop_assert_eq!(flight.boarding(), boarding);
                    match boarding {
                        Boarding::Cached => prop_assert_eq!(flight.now_or_never(), u32::try_from(number).ok()),
                        Boarding::Joined => {
                            model.flights[number].1 += 1;
                            waiting.push((flight, key, number));
                        }
                        Boarding::Led => {
                            model.flights.push((now, 1, Some(land)));
                            model.current.insert(key, number);
                            waiting.push((flight, key, number));
                        }
                    }
                }
                Step::Leave(nth) if nth < waiting.len() => {
                    let (_, key, number) = waiting.swap_remove(nth);
                    let left = &mut model.flights[number].1;
                    *left -= 1;
                    if *left == 0 {
                        let land = model.flights[number].2.take();
                        prop_assert!(land.is_some_and(|land| land.is_closed()), "nobody waits: it is dropped");
                        if model.current.get(&key) == Some(&number) {
                            model.current.remove(&key);
                        }
                    }
                }
                Step::Land { flight, keep } if flight < model.flights.len() => {
                    let Some(land) = model.flights[flight].2.take() else { continue };
                    let answer = u32::try_from(flight).expect("few");
                    prop_assert!(land.send((answer, keep)).is_ok(), "somebody waits: it goes on");
                    let key = waiting.iter().find(|(_, _, number)| *number == flight).map(|(_, key, _)| *key).expect("somebody waits");
                    let (landed, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, _, number)| *number == flight);
                    waiting = others;
                    for (mut landed, ..) in landed {
                        prop_assert_eq!(poll(&mut landed), Poll::Ready(answer));
                    }
                    if model.current.get(&key) == Some(&flight) {
                        model.current.remove(&key);
                        if keep {
                            model.kept.insert(key, flight);
                        }
                    }
                }
                Step::Leave(_) | Step::Land { .. } => {}
            }
            prop_assert_eq!(core.stats().aloft, model.current.len());
        }
    }
}
