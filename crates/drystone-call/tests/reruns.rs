//! A handler that meets a conflict runs again: when, how often, and with which view of its context.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/echo.rs"]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use drystone_call::codegen::BoxFuture;
use drystone_call::{
    Admission, Channel, Claim, Code, Context, Dispatch as _, Error, Home, IdempotencyKey, Ids, KeyGate,
    KeyUse, MOST_RUNS, PlatformReason, Recorded, Result, SystemClock,
};
use futures_util::FutureExt as _;
use support::{
    BOTH, EchoDyn, Handler, Local, Note, call, channel, channel_to, context, handler, mounted, note,
};
use tokio::time::Instant;

const READ: usize = 0;
const WRITE: usize = 1;
const PUT: usize = 2;

/// A gate that remembers the keys, answers those that it knows already, and knows whether somebody still holds the last.
struct Gate {
    may_conflict: bool,
    known: Option<Note>,
    asked: Mutex<Vec<String>>,
    held: Mutex<Weak<()>>,
}

impl Gate {
    fn new(may_conflict: bool, known: Option<Note>) -> Arc<Self> {
        Arc::new(Self { may_conflict, known, asked: Mutex::default(), held: Mutex::default() })
    }

    /// The gate of a store whose transactions can meet.
    fn of_meeting() -> Arc<Self> {
        Self::new(true, None)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn is_held(&self) -> bool {
        self.held.lock().unwrap().strong_count() > 0
    }
}

impl KeyGate for Gate {
    fn admit(&self, key_use: KeyUse) -> BoxFuture<'_, Result<Admission>> {
        let key = key_use.key.as_str().to_owned();
        let known = self.known.as_ref().filter(|_| self.asked().contains(&key));
        let known = known.map(|answer| Recorded::Answer(prost::Message::encode_to_vec(answer).into()));
        self.asked.lock().unwrap().push(key);
        if let Some(known) = known {
            return Box::pin(async { Ok(Admission::Replay(known)) });
        }
        let hold = Arc::new(());
        *self.held.lock().unwrap() = Arc::downgrade(&hold);
        Box::pin(async move { Ok(Admission::Run(Claim::new(key_use, hold))) })
    }

    fn may_conflict(&self) -> bool {
        self.may_conflict
    }
}

/// Bits that are always the same, so that every pause is the shortest or the longest.
struct Always(u128);

impl Ids for Always {
    fn next(&self) -> u128 {
        self.0
    }
}

fn keyed(key: &str) -> Context {
    context().with_key(IdempotencyKey::new(key).unwrap())
}

/// What a store says and gives when the database refuses a transaction.
fn conflict(cx: &Context) -> Error {
    cx.mark_conflict();
    Error::aborted("the transaction met another")
}

/// A handler that meets a conflict in its first `conflicts` runs and then records and repeats the request.
fn meeting(conflicts: usize) -> (Handler, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let ran = Arc::clone(&runs);
    let handler = handler(move |cx, req| {
        let run = ran.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if run < conflicts {
                return Err(conflict(cx));
            }
            if let Some(claim) = cx.claim_mut() {
                claim.mark_recorded();
            }
            Ok(req)
        })
    });
    (handler, runs)
}

fn at_pauses(bits: u128) -> Arc<Home> {
    Home::new("callee", Arc::new(SystemClock), Arc::new(Always(bits)))
}

/// What one run of the handler below saw.
#[derive(Debug, PartialEq)]
struct Seen {
    request: String,
    stable: uuid::Uuid,
    notes: usize,
    replayed: bool,
    deadline: Instant,
    key: Option<String>,
}

/// A handler that makes two onward calls, leaves everything behind that a run can leave, and meets a conflict in its first runs.
fn leaving(inner: Channel<dyn EchoDyn>, conflicts: usize) -> (Handler, Arc<Mutex<Vec<Seen>>>) {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&runs);
    let handler = handler(move |cx, req| {
        let (inner, seen) = (inner.clone(), Arc::clone(&seen));
        Box::pin(async move {
            let run = {
                let mut seen = seen.lock().unwrap();
                seen.push(Seen {
                    request: req.text.clone(),
                    stable: cx.key().map(|_| cx.stable_id("order")).unwrap_or_default(),
                    notes: cx.notes().len(),
                    replayed: cx.replayed(),
                    deadline: cx.deadline(),
                    key: cx.key().map(|key| key.as_str().to_owned()),
                });
                seen.len()
            };
            cx.note("run", run);
            call(&inner, cx, WRITE, req.clone()).await?;
            call(&inner.labelled("again"), cx, WRITE, req.clone()).await?;
            if run <= conflicts {
                assert!(
                    run == 1 || cx.replayed(),
                    "the onward calls of a later run are answered from their records"
                );
                cx.hold_answer(Box::pin(async { Err(Error::internal("of a run that is over")) }));
                return Err(conflict(cx));
            }
            if let Some(claim) = cx.claim_mut() {
                claim.mark_recorded();
            }
            Ok(req)
        })
    });
    (handler, runs)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_repeated_runs_again_as_if_for_the_first_time() {
    for (method, cx) in [(WRITE, keyed("k")), (READ, context())] {
        for local in BOTH {
            let (gate, below) = (Gate::of_meeting(), Gate::new(true, Some(note("known"))));
            let inner = channel(local, Some(Arc::clone(&below) as _), meeting(0).0);
            let (handler, runs) = leaving(inner, 2);
            let service = mounted(Home::of_system("callee"), Some(Arc::clone(&gate) as _), handler);
            let outer = channel_to(local, Arc::clone(&service));
            let cx = context().with_timeout(Duration::from_secs(9)).with_key_of(&cx);
            let answer = call(&outer, &cx, method, note("three units")).await.unwrap();
            assert_eq!(answer.text, "three units");
            let (runs, keys) = (runs.lock().unwrap(), below.asked());
            assert_eq!(runs.len(), 3, "{local:?}");
            assert!(runs.iter().all(|run| *run == runs[0]), "{local:?}: each run sees the same: {runs:?}");
            assert_eq!((runs[0].notes, runs[0].replayed), (0, false));
            assert_eq!((&keys[2..4], &keys[4..]), (&keys[..2], &keys[..2]), "{local:?}: onward calls repeat");
            assert_ne!(keys[0], keys[1]);
            assert_eq!(
                gate.asked().len(),
                usize::from(method == WRITE),
                "{local:?}: the key is claimed once"
            );
            assert_eq!((service.reruns(method), service.reruns(PUT), service.reruns(99)), (2, 0, 0));
            assert_eq!(outer.metrics().methods[method].calls(), 1, "{local:?}: it is one call");
        }
    }
}

/// Gives a context the key of another.
trait WithKeyOf {
    fn with_key_of(self, other: &Context) -> Self;
}

impl WithKeyOf for Context {
    fn with_key_of(self, other: &Context) -> Self {
        match other.key() {
            Some(key) => self.with_key(key.clone()),
            None => self,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_be_repeated_is_aborted() {
    for local in BOTH {
        for (method, cx) in [(WRITE, context()), (PUT, context()), (PUT, keyed("k"))] {
            let (handler, runs) = meeting(1);
            let channel = channel(local, Some(Gate::of_meeting()), handler);
            let error = call(&channel, &cx, method, note("")).await.unwrap_err();
            assert_eq!((error.code(), runs.load(Ordering::SeqCst)), (Code::Aborted, 1), "{local:?} {cx:?}");
        }
        for (method, may_conflict) in [(READ, None), (WRITE, None), (READ, Some(false)), (WRITE, Some(false))]
        {
            let (handler, runs) = meeting(1);
            let gate = may_conflict.map(|may_conflict| Gate::new(may_conflict, None) as _);
            let error =
                call(&channel(local, gate, handler), &keyed("k"), method, note("")).await.unwrap_err();
            assert_eq!((error.code(), runs.load(Ordering::SeqCst)), (Code::Aborted, 1), "{local:?}");
        }
    }
}

/// How a handler can end that is not to run again.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By an error that is no conflict.
    OtherError,
    /// By an error that is no conflict, in the run after a conflict.
    OtherErrorLater,
    /// With an answer on record, although a transaction before met a conflict.
    Answered,
    /// With a refusal on record, although a transaction before met a conflict.
    Refused,
    /// By a panic after a conflict.
    Panicked,
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ended_otherwise_is_left_alone() {
    for local in BOTH {
        for (end, expected_runs, expected) in [
            (End::OtherError, 1, Some(Code::Aborted)),
            (End::OtherErrorLater, 2, Some(Code::Aborted)),
            (End::Answered, 1, None),
            (End::Refused, 1, Some(Code::NotFound)),
            (End::Panicked, 1, Some(Code::Internal)),
        ] {
            let runs = Arc::new(AtomicUsize::new(0));
            let ran = Arc::clone(&runs);
            let handler = handler(move |cx, req| {
                let run = ran.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    if matches!(end, End::OtherError) || matches!(end, End::OtherErrorLater) && run > 0 {
                        return Err(Error::aborted("a reservation of somebody else"));
                    }
                    let conflict = conflict(cx);
                    if matches!(end, End::OtherErrorLater) {
                        return Err(conflict);
                    }
                    assert!(!matches!(end, End::Panicked), "boom");
                    cx.claim_mut().unwrap().mark_recorded();
                    if matches!(end, End::Refused) { Err(Error::not_found("no such item")) } else { Ok(req) }
                })
            });
            let channel = channel(local, Some(Gate::of_meeting()), handler);
            let outcome = call(&channel, &keyed("k"), WRITE, note("")).await;
            assert_eq!(outcome.map_err(|error| error.code()).err(), expected, "{local:?} {end:?}");
            assert_eq!(runs.load(Ordering::SeqCst), expected_runs, "{local:?} {end:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn runs_are_bounded_in_number_and_by_the_deadline() {
    for local in BOTH {
        let (handler, runs) = meeting(usize::MAX);
        let service = mounted(at_pauses(0), Some(Gate::of_meeting()), handler);
        let error = call(&channel_to(local, service), &keyed("k"), WRITE, note("")).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Aborted, "the transaction met another"));
        assert_eq!(runs.load(Ordering::SeqCst), usize::try_from(MOST_RUNS).unwrap(), "{local:?}");

        let (handler, runs) = meeting(usize::MAX);
        let service = mounted(at_pauses(u128::MAX), Some(Gate::of_meeting()), handler);
        let began = Instant::now();
        let error = call(&channel_to(local, service), &keyed("k"), WRITE, note("")).await.unwrap_err();
        assert_eq!(
            error.code(),
            Code::Aborted,
            "said before the deadline, which no pause may reach: {error:?}"
        );
        // Pauses of 1, 2, 4, 8, 16, 32, 64 and three times 100 ms; the fourth would end after the 500 ms of the method.
        assert_eq!(runs.load(Ordering::SeqCst), 11, "{local:?}");
        assert!(began.elapsed() < Duration::from_millis(450), "{local:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_run_has_the_deadline_and_the_panic_barrier_of_the_first() {
    for local in BOTH {
        for hangs in [true, false] {
            let runs = Arc::new(AtomicUsize::new(0));
            let ran = Arc::clone(&runs);
            let handler = handler(move |cx, _| {
                let run = ran.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    match run {
                        0 => Err(conflict(cx)),
                        _ if hangs => std::future::pending().await,
                        _ => {
                            cx.mark_conflict();
                            panic!("boom")
                        }
                    }
                })
            });
            let channel = channel(local, Some(Gate::of_meeting()), handler);
            let began = Instant::now();
            let error = call(&channel, &keyed("k"), WRITE, note("")).await.unwrap_err();
            assert_eq!(runs.load(Ordering::SeqCst), 2, "{local:?}");
            if hangs {
                assert_eq!(error.code(), Code::DeadlineExceeded, "{local:?}");
                assert_eq!(
                    began.elapsed(),
                    Duration::from_millis(500),
                    "{local:?}: one deadline for all runs"
                );
            } else {
                assert!(error.is(PlatformReason::HandlerPanicked), "{local:?}: {error:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_is_held_across_runs_and_freed_when_the_caller_goes_away() {
    for local in BOTH {
        let gate = Gate::of_meeting();
        let (handler, runs) = meeting(usize::MAX);
        let service = mounted(at_pauses(u128::MAX), Some(Arc::clone(&gate) as _), handler);
        let (channel, cx) = (channel_to(local, service), keyed("k"));
        let mut pausing = Box::pin(call(&channel, &cx, WRITE, note("")));
        assert!(pausing.as_mut().now_or_never().is_none(), "the first pause");
        assert!(gate.is_held(), "{local:?}: nobody else may take the key during the pause");
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(pausing.as_mut().now_or_never().is_none(), "the second pause");
        assert_eq!(runs.load(Ordering::SeqCst), 2, "{local:?}");
        assert!(gate.is_held() && gate.asked().len() == 1, "{local:?}");
        drop(pausing);
        assert!(!gate.is_held(), "{local:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nests_arrives_whole_in_every_run() {
    let deep = (1..90).fold(note("x"), |inner, n| Note { text: n.to_string(), inner: Some(Box::new(inner)) });
    for local in BOTH {
        let (handler, runs) = meeting(3);
        let channel = channel_of(local, handler);
        assert_eq!(call(&channel, &keyed("k"), WRITE, deep.clone()).await.unwrap(), deep);
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }
}

fn channel_of(local: Local, handler: Handler) -> Channel<dyn EchoDyn> {
    channel(local, Some(Gate::of_meeting()), handler)
}
