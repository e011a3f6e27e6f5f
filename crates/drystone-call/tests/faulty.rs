//! The faulty runner: each fault does what it says, a seed repeats, and what is called absorbable is within what the stack absorbs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/echo.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use drystone_call::{
    Attempt, Channel, Code, Dispatch, Error, Fault, FaultKind, Faults, Faulty, Harm, Home, IdempotencyKey,
    MethodInfo, PlatformReason, Profile, Remote as _, Reply, Result, Runner, headers,
};
use proptest::prelude::*;
use prost::Message as _;
use support::{Handler, METHODS, Note, context, handler, mounted, note};
use tokio::time::Instant;

const READ: usize = 0;
const WRITE: usize = 1;
const PUT: usize = 2;

fn attempt(method: usize, call: u64, attempt: u32) -> Attempt<'static> {
    Attempt { from: "caller", method: &METHODS[method], keyed: true, call, attempt }
}

/// Whether the caller of the attempt is left without the callee's answer.
fn fails(fault: Fault) -> bool {
    !matches!(fault.harm, None | Some(Harm::RepeatLate(_) | Harm::RepeatAtOnce))
}

#[test]
fn a_plan_repeats_and_depends_on_each_of_its_arguments() {
    let plans = |profile: Profile, seed: u64, from: &str, method: usize, attempt: u32| -> Vec<Fault> {
        let method = &METHODS[method];
        (0..200)
            .map(|call| profile.plan(seed, &Attempt { from, method, keyed: true, call, attempt }))
            .collect()
    };
    for profile in Profile::ALL {
        let first = plans(profile, 7, "orders", READ, 1);
        assert_eq!(first, plans(profile, 7, "orders", READ, 1));
        for other in [
            plans(profile, 8, "orders", READ, 1),
            plans(profile, 7, "users", READ, 1),
            plans(profile, 7, "orders", PUT, 1),
            plans(profile, 7, "orders", READ, 2),
        ] {
            assert_ne!(first, other, "{profile}");
        }
    }
}

#[test]
fn the_profiles_differ_in_what_they_let_go_wrong() {
    let kinds = |profile: Profile| -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for seed in 0..50 {
            for call in 0..200 {
                let name = match profile.plan(seed, &attempt(READ, call, 1)).harm {
                    None => continue,
                    Some(Harm::Lose) => "lose",
                    Some(Harm::LoseSilently) => "lose silently",
                    Some(Harm::CutAfter) => "cut after",
                    Some(Harm::CutInTheMiddle(_)) => "cut in the middle",
                    Some(Harm::RepeatLate(_)) => "repeat late",
                    Some(Harm::RepeatAtOnce) => "repeat at once",
                };
                *kinds.entry(name).or_default() += 1;
            }
        }
        kinds
    };
    let names = |profile: Profile| kinds(profile).into_keys().collect::<Vec<_>>();
    assert_eq!(names(Profile::Absorbable), ["cut after", "lose", "repeat late"]);
    assert_eq!(kinds(Profile::Hostile).len(), 6);
    let lost = kinds(Profile::Wan).into_values().sum::<usize>();
    assert!((70..130).contains(&lost), "one in a hundred of ten thousand: {lost}");
    for call in 0..200 {
        let Fault { request, reply, reordered, .. } = Profile::Wan.plan(7, &attempt(READ, call, 1));
        let both = (request + reply).as_millis();
        assert!(reordered || (20..=80).contains(&both), "{both} ms");
    }
}

#[test]
fn the_first_call_of_a_method_meets_a_fault_under_every_profile_and_seed() {
    for (profile, seed) in
        Profile::ALL.into_iter().flat_map(|profile| (0..100).map(move |seed| (profile, seed)))
    {
        for method in [READ, WRITE, PUT] {
            let Fault { request, reply, .. } = profile.plan(seed, &attempt(method, 0, 1));
            assert!(!(request + reply).is_zero(), "{profile} {seed}");
        }
    }
}

proptest! {
    /// The default policy: three attempts, and in any window a fifth more attempts than calls or ten, whichever is more.
    #[test]
    fn absorbable_is_within_attempts_and_budget_wherever_the_window_lies(
        seed in any::<u64>(), method in 0..3_usize, first in 0..200_u64, calls in 1..300_u64,
    ) {
        let mut failed = 0;
        for call in first..first + calls {
            let in_a_row = (1..=3).take_while(|n| fails(Profile::Absorbable.plan(seed, &attempt(method, call, *n)))).count();
            prop_assert!(in_a_row <= 2, "call {call} fails {in_a_row} times");
            failed += in_a_row as u64;
        }
        prop_assert!(failed <= (calls / 5).max(10), "{failed} of {calls}");
    }

    #[test]
    fn absorbable_delays_what_may_not_be_repeated_and_does_nothing_else_to_it(seed in any::<u64>(), call in 0..500_u64) {
        let write = Attempt { keyed: false, ..attempt(WRITE, call, 1) };
        prop_assert_eq!(Profile::Absorbable.plan(seed, &write).harm, None);
        // Idempotent: once more is as good as once, but not after something else.
        let put = Profile::Absorbable.plan(seed, &attempt(PUT, call, 1)).harm;
        prop_assert!(!matches!(put, Some(Harm::RepeatLate(_))), "{put:?}");
    }
}

/// A faulty way to a service, and what the service has seen.
struct Way {
    faulty: Faulty,
    faults: Arc<Faults>,
    seed: u64,
    handled: Arc<AtomicU32>,
}

/// Counts runs to the end.
fn counting(work: Duration) -> (Handler, Arc<AtomicU32>) {
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let counting = handler(move |_, req| {
        let count = Arc::clone(&count);
        Box::pin(async move {
            tokio::time::sleep(work).await;
            tokio::task::yield_now().await;
            count.fetch_add(1, Ordering::SeqCst);
            if req.text == "refuse" { Err(PlatformReason::KeyReused.error("no")) } else { Ok(req) }
        })
    });
    (counting, handled)
}

/// A way under the first seed whose first call of a method meets what is asked for.
fn way_where(profile: Profile, method: usize, found: impl Fn(Fault) -> bool) -> Way {
    let seed = (0..100_000).find(|seed| found(profile.plan(*seed, &attempt(method, 0, 1)))).unwrap();
    let (handler, handled) = counting(Duration::ZERO);
    let faults = Faults::new(seed, profile);
    let service = mounted(Home::of_system("callee"), None, handler);
    let faulty = Faulty::over(service, Arc::clone(&faults), "caller");
    Way { faulty, faults, seed, handled }
}

impl Way {
    async fn call(&self, method: usize, req: &Note) -> Result<Reply> {
        let cx = context().with_key(IdempotencyKey::new("k").unwrap());
        let body = Bytes::from(req.encode_to_vec());
        self.faulty.call(&METHODS[method], cx.to_headers(), body).await
    }

    fn handled(&self) -> u32 {
        self.handled.load(Ordering::SeqCst)
    }

    fn count(&self, kind: FaultKind) -> u64 {
        self.faults.report().counts().of(kind)
    }
}

fn is_unreachable(outcome: &Result<Reply>, text: &str) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| error.is(PlatformReason::PeerUnreachable) && error.message().contains(text))
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_never_handled() {
    let way = way_where(Profile::Hostile, READ, |fault| fault.harm == Some(Harm::Lose));
    let outcome = way.call(READ, &note("a")).await;
    assert!(is_unreachable(&outcome, "the module callee cannot be reached"), "{outcome:?}");
    assert_eq!((way.handled(), way.count(FaultKind::Lost)), (0, 1));

    let way = way_where(Profile::Hostile, READ, |fault| fault.harm == Some(Harm::LoseSilently));
    let outcome = tokio::time::timeout(Duration::from_secs(3600), way.call(READ, &note("a"))).await;
    assert!(outcome.is_err(), "nobody says so");
    assert_eq!((way.handled(), way.count(FaultKind::LostSilently)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_cut_when_the_callee_has_run_to_its_end() {
    let way = way_where(Profile::Hostile, READ, |fault| fault.harm == Some(Harm::CutAfter));
    let outcome = way.call(READ, &note("a")).await;
    assert!(is_unreachable(&outcome, "whether the call had its effect is not known"), "{outcome:?}");
    assert_eq!((way.handled(), way.count(FaultKind::CutAfter)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_callee_is_cut_at_one_of_its_awaits() {
    // The handler takes two polls after the first.
    let way = way_where(Profile::Hostile, READ, |fault| matches!(fault.harm, Some(Harm::CutInTheMiddle(1))));
    let outcome = way.call(READ, &note("a")).await;
    assert!(is_unreachable(&outcome, "was lost"), "{outcome:?}");
    assert_eq!((way.handled(), way.count(FaultKind::CutInTheMiddle)), (0, 1));
    // One that ends before is counted as what it is.
    let way = way_where(Profile::Hostile, READ, |fault| matches!(fault.harm, Some(Harm::CutInTheMiddle(12))));
    assert!(is_unreachable(&way.call(READ, &note("a")).await, "was lost"));
    assert_eq!(
        (way.handled(), way.count(FaultKind::CutInTheMiddle), way.count(FaultKind::CutAfter)),
        (1, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeat_in_the_background_follows_the_answer_and_is_waited_for() {
    let late = |fault: Fault| matches!(fault.harm, Some(Harm::RepeatLate(after)) if !after.is_zero());
    let way = way_where(Profile::Absorbable, WRITE, late);
    way.call(WRITE, &note("a")).await.unwrap();
    assert_eq!((way.handled(), way.count(FaultKind::RepeatedLate)), (1, 1));
    way.faults.at_rest().await;
    assert_eq!(way.handled(), 2);
    // What was refused is repeated where everything is, and not where it must be absorbed.
    for (profile, handled) in [(Profile::Absorbable, 1), (Profile::Hostile, 2)] {
        let way = way_where(profile, WRITE, late);
        let refused = way.call(WRITE, &note("refuse")).await.unwrap_err();
        assert!(refused.is(PlatformReason::KeyReused));
        way.faults.at_rest().await;
        assert_eq!(way.handled(), handled, "{profile} {}", way.seed);
    }
}

#[tokio::test(start_paused = true)]
async fn two_deliveries_at_once_are_both_handled() {
    let way = way_where(Profile::Hostile, READ, |fault| fault.harm == Some(Harm::RepeatAtOnce));
    assert_eq!(Note::decode(way.call(READ, &note("a")).await.unwrap().body).unwrap(), note("a"));
    way.faults.at_rest().await;
    assert_eq!((way.handled(), way.count(FaultKind::RepeatedAtOnce)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_as_long_as_planned_and_lets_later_calls_overtake() {
    let way = way_where(Profile::Wan, READ, |fault| fault.harm.is_none() && !fault.reordered);
    let Fault { request, reply, .. } = Profile::Wan.plan(way.seed, &attempt(READ, 0, 1));
    let began = Instant::now();
    way.call(READ, &note("a")).await.unwrap();
    // The timer counts in whole milliseconds, and each of the two is rounded up.
    let late = began.elapsed() - (request + reply);
    assert!(late <= Duration::from_millis(4), "{late:?}");
    assert_eq!(way.count(FaultKind::Delay), 1);

    let seed = (0..100_000)
        .find(|seed| {
            let plan = |call| Profile::Absorbable.plan(*seed, &attempt(WRITE, call, 1));
            plan(0).reordered && plan(0).harm.is_none() && plan(1) == Fault::default()
        })
        .unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let order = Arc::clone(&seen);
    let service = mounted(
        Home::of_system("callee"),
        None,
        handler(move |_, req| {
            order.lock().unwrap().push(req.text.clone());
            Box::pin(async move { Ok(req) })
        }),
    );
    let faults = Faults::new(seed, Profile::Absorbable);
    let way = Way {
        faulty: Faulty::over(service, Arc::clone(&faults), "caller"),
        faults,
        seed,
        handled: Arc::default(),
    };
    let (first, second) = (note("first"), note("second"));
    let (first, second) = tokio::join!(way.call(WRITE, &first), way.call(WRITE, &second));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(*seen.lock().unwrap(), ["second", "first"]);
    assert_eq!(way.count(FaultKind::Reorder), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_the_callee() {
    let (handler, handled) = counting(Duration::from_secs(1));
    let faults = Faults::new(7, Profile::Lan);
    let faulty = Faulty::over(mounted(Home::of_system("callee"), None, handler), faults, "caller");
    let cx = context().with_timeout(Duration::from_secs(10));
    let call = faulty.call(&METHODS[READ], cx.to_headers(), Bytes::from(note("a").encode_to_vec()));
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(handled.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_call_have_one_number_and_each_call_the_next() {
    let way = way_where(Profile::Hostile, READ, fails);
    way.faults.turn(false);
    let numbered = async |method: &'static MethodInfo, cx: &drystone_call::Context, attempt: &str| {
        let mut sent = cx.to_headers();
        sent.insert(headers::ATTEMPT, attempt.parse().unwrap());
        way.faulty.call(method, sent, Bytes::from(note("a").encode_to_vec())).await.unwrap();
    };
    let (first, second) = (context(), context());
    for (cx, attempt) in [(&first, "1"), (&second, "1"), (&first, "2"), (&second, "2"), (&second, "3")] {
        numbered(&METHODS[READ], cx, attempt).await;
    }
    numbered(&METHODS[PUT], &first, "1").await;
    let report = way.faults.report();
    assert_eq!((report.calls, report.counts().total()), (3, 0), "nothing is injected while it is turned off");
    assert_eq!(report.to_string(), format!("seed {}, hostile: no faults in 3 calls", way.seed));
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_schedule_and_the_report_says_what_it_was() {
    let run = async |seed: u64| {
        let (handler, _) = counting(Duration::ZERO);
        let faults = Faults::new(seed, Profile::Hostile);
        let service = mounted(Home::of_system("callee"), None, handler);
        let faulty = Faulty::over(service, Arc::clone(&faults), "caller");
        for n in 0..300 {
            let cx = context().with_timeout(Duration::from_secs(5));
            let body = Bytes::from(note(format!("{n}")).encode_to_vec());
            let call = faulty.call(&METHODS[n % 3], cx.to_headers(), body);
            let _ = tokio::time::timeout(Duration::from_secs(5), call).await;
        }
        faults.at_rest().await;
        faults
    };
    let (first, again, other) = (run(7).await, run(7).await, run(8).await);
    assert_eq!(first.report(), again.report());
    assert_eq!(first.log(), again.log());
    assert_ne!(first.log(), other.log());
    let report = first.report();
    assert_eq!(report.calls, 300);
    assert_eq!(report.counts().total(), first.log().len() as u64);
    let kinds: BTreeSet<FaultKind> = first.log().iter().map(|injected| injected.kind).collect();
    assert_eq!(kinds.len(), FaultKind::ALL.len(), "{report}");
    let line = first.log().first().unwrap().to_string();
    assert!(line.starts_with("caller -> test.v1.Echo/Read call 0 attempt 1: "), "{line}");
    let mut both = report.clone();
    both.add(&other.report());
    assert_eq!(both.calls, 600);
    assert_eq!(both.counts().total(), report.counts().total() + other.report().counts().total());
}

#[tokio::test(start_paused = true)]
async fn an_error_crosses_without_its_cause_and_an_unknown_method_is_refused() {
    let refuse = handler(|_, _| {
        Box::pin(async {
            let error = Error::failed_precondition("no").with("k", "v");
            Err(error.caused_by(std::io::Error::other("secret")))
        })
    });
    let faults = Faults::new(7, Profile::Lan);
    faults.turn(false);
    let faulty = Faulty::over(mounted(Home::of_system("callee"), None, refuse), faults, "caller");
    let headers = context().to_headers();
    let error = faulty.call(&METHODS[READ], headers.clone(), Bytes::new()).await.unwrap_err();
    assert_eq!((error.message(), error.metadata()["k"].as_str()), ("no", "v"));
    assert!(error.cause().is_none(), "{error:?}");
    static BEYOND: MethodInfo = MethodInfo { index: 9, ..METHODS[READ] };
    let error = faulty.call(&BEYOND, headers, Bytes::new()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}

#[tokio::test(start_paused = true)]
async fn the_stack_absorbs_what_is_called_absorbable() {
    for seed in 0..30 {
        let (handler, _) = counting(Duration::from_millis(1));
        let service = mounted(Home::of_system("callee"), None, handler);
        let faults = Faults::new(seed, Profile::Absorbable);
        let wire =
            Arc::new(Faulty::over(Arc::clone(&service) as Arc<dyn Dispatch>, Arc::clone(&faults), "caller"));
        let channel = Channel::unbound(Some("caller"), "caller");
        channel.bind(Runner::Faulty(service, wire));
        // As fast as they come, and far apart: the budget counts in windows.
        for (n, gap) in (0..400).map(|n| (n, if n < 300 { 0 } else { 700 })) {
            tokio::time::sleep(Duration::from_millis(gap)).await;
            let cx = context().with_key(IdempotencyKey::new(&format!("k{n}")).unwrap());
            let req = note(format!("{n}"));
            let answer = support::call(&channel, &cx, n % 3, req.clone()).await;
            assert_eq!(answer.unwrap_or_else(|error| panic!("seed {seed}, call {n}: {error:?}")), req);
        }
        let retried: u64 =
            channel.metrics().methods.iter().map(|method| method.retries.load(Ordering::Relaxed)).sum();
        let counts = faults.report().counts();
        let failed = counts.of(FaultKind::Lost) + counts.of(FaultKind::CutAfter);
        assert_eq!(retried, failed, "{}", faults.report());
        assert!(failed > 40, "{}", faults.report());
    }
}
