//! A call means the same under the runners of one process: limits, errors, deadline, cancellation, identity, keys.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/echo.rs"]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use drystone_call::codegen::BoxFuture;
use drystone_call::{
    Admission, Claim, Code, Context, Error, IdempotencyKey, KeyGate, KeyUse, MAX_MESSAGE_BYTES,
    PlatformReason, Recorded, Result,
};
use futures_util::FutureExt as _;
use support::{BOTH, Note, call, channel, context, handler, note};

const READ: usize = 0;
const WRITE: usize = 1;

/// Calls under both runners and demands equal outcomes; gives that of the last.
async fn same(make: impl Fn() -> support::Handler, req: Note) -> Result<Note> {
    let mut outcomes = Vec::new();
    for local in BOTH {
        let channel = channel(local, None, make());
        outcomes.push(call(&channel, &context(), READ, req.clone()).await);
        let encoded = channel.metrics().encoded_bytes.load(Ordering::Relaxed);
        let expected = matches!(local, support::Local::Encoded);
        assert!(
            !expected || encoded > 0 || outcomes.last().unwrap().is_err(),
            "{local:?} encoded {encoded} bytes"
        );
        assert!(expected || encoded == 0, "{local:?} encoded {encoded} bytes");
    }
    let shown = |outcome: &Result<Note>| match outcome {
        Ok(note) => format!("{note:?}"),
        Err(error) => format!("{error:?} {:?} {:?}", error.retry_delay(), error.metadata()),
    };
    assert_eq!(shown(&outcomes[0]), shown(&outcomes[1]));
    outcomes.remove(0)
}

fn nested(depth: usize) -> Note {
    (1..depth).fold(note("x"), |inner, _| Note { text: String::new(), inner: Some(Box::new(inner)) })
}

#[tokio::test(start_paused = true)]
async fn answers_and_refusals_are_equal() {
    let echo = || handler(|_, req| Box::pin(async move { Ok(req) }));
    assert_eq!(same(echo, note("hello")).await.unwrap().text, "hello");
    let refuse = || {
        handler(|_, _| {
            Box::pin(async {
                let error = PlatformReason::KeyReused.error("no").violation("a", "b").with("k", "v");
                Err(error.retry_after(Duration::from_millis(1500)).caused_by(std::io::Error::other("secret")))
            })
        })
    };
    let error = same(refuse, note("")).await.unwrap_err();
    assert!(error.is(PlatformReason::KeyReused) && error.cause().is_none(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn limits_of_size_and_depth_are_equal() {
    let echo = || handler(|_, req| Box::pin(async move { Ok(req) }));
    let large = note("x".repeat(MAX_MESSAGE_BYTES));
    assert!(same(echo, large.clone()).await.unwrap_err().is(PlatformReason::MessageTooLarge));
    let answer_large = move || {
        let large = large.clone();
        handler(move |_, _| {
            let large = large.clone();
            Box::pin(async move { Ok(large) })
        })
    };
    assert!(same(answer_large, note("")).await.unwrap_err().is(PlatformReason::MessageTooLarge));
    assert!(same(echo, nested(99)).await.is_ok());
    assert!(same(echo, nested(102)).await.unwrap_err().is(PlatformReason::MessageMalformed));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_internal_and_goes_no_further() {
    let panics = || handler(|_, _| Box::pin(async { panic!("boom") }));
    let error = same(panics, note("")).await.unwrap_err();
    assert!(error.is(PlatformReason::HandlerPanicked), "{error:?}");
    assert!(!error.message().contains("boom"), "the panic's text stays inside: {error}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_shrinks_along_the_chain_and_ends_the_call() {
    let hangs = || handler(|_, _| Box::pin(std::future::pending()));
    let began = tokio::time::Instant::now();
    assert_eq!(same(hangs, note("")).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(began.elapsed(), Duration::from_secs(1), "500 ms for each of the two runners");

    for local in BOTH {
        let left = Arc::new(Mutex::new(Duration::ZERO));
        let seen = Arc::clone(&left);
        let channel = channel(
            local,
            None,
            handler(move |cx, req| {
                *seen.lock().unwrap() = cx.time_left();
                Box::pin(async move { Ok(req) })
            }),
        );
        call(&channel, &context().with_timeout(Duration::from_millis(80)), READ, note("")).await.unwrap();
        assert_eq!(*left.lock().unwrap(), Duration::from_millis(78), "{local:?}: less than the caller has");
        let late = context().with_timeout(Duration::ZERO);
        assert_eq!(call(&channel, &late, READ, note("")).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
}

/// Decrements on drop: shows that nothing of a dropped call is left.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_await_cancels_the_callee_there() {
    const AWAITS: usize = 5;
    for local in BOTH {
        for polls in 0..=AWAITS {
            let (alive, steps) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (held, counted) = (Arc::clone(&alive), Arc::clone(&steps));
            let channel = channel(
                local,
                None,
                handler(move |_, req| {
                    let (held, counted) = (Arc::clone(&held), Arc::clone(&counted));
                    Box::pin(async move {
                        held.fetch_add(1, Ordering::SeqCst);
                        let _alive = Alive(held);
                        for _ in 0..AWAITS {
                            counted.fetch_add(1, Ordering::SeqCst);
                            yield_once().await;
                        }
                        Ok(req)
                    })
                }),
            );
            let cx = context();
            let mut future = Box::pin(call(&channel, &cx, READ, note("")));
            for _ in 0..polls {
                assert!(future.as_mut().now_or_never().is_none());
            }
            drop(future);
            assert_eq!(steps.load(Ordering::SeqCst), polls, "{local:?}: ran past the drop");
            assert_eq!(alive.load(Ordering::SeqCst), 0, "{local:?}: leaked after {polls} polls");
            let dropped = channel.metrics().methods[READ].dropped.load(Ordering::Relaxed);
            assert_eq!(dropped, u64::from(polls > 0), "{local:?}");
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_callee_knows_who_asks() {
    for local in BOTH {
        let whoami = handler(|cx, _| {
            let text =
                format!("{} {} {:?} {}", cx.tenant(), cx.principal(), cx.calling_module(), cx.module());
            Box::pin(async move { Ok(note(text)) })
        });
        let got = call(&channel(local, None, whoami), &context(), READ, note("")).await.unwrap();
        assert_eq!(got.text, "acme user:ada Some(\"caller\") callee", "{local:?}");
    }
}

/// Remembers every key; records nothing, unless told what was recorded.
#[derive(Default)]
struct Gate {
    asked: Mutex<Vec<KeyUse>>,
    recorded: Mutex<Option<Recorded>>,
}

impl KeyGate for Gate {
    fn admit(&self, key_use: KeyUse) -> BoxFuture<'_, Result<Admission>> {
        self.asked.lock().unwrap().push(key_use.clone());
        let recorded = self.recorded.lock().unwrap().clone();
        Box::pin(async move {
            Ok(match recorded {
                Some(recorded) => Admission::Replay(recorded),
                None => Admission::Run(Claim::new(key_use, Arc::new(()))),
            })
        })
    }
}

fn recording() -> support::Handler {
    handler(|cx, req| {
        if let Some(claim) = cx.claim_mut() {
            claim.mark_recorded();
        }
        Box::pin(async move { Ok(req) })
    })
}

#[tokio::test(start_paused = true)]
async fn a_key_given_at_the_root_arrives_as_it_is_and_onward_keys_follow_from_it() {
    for local in BOTH {
        let gate = Arc::new(Gate::default());
        let inner = channel(local, Some(Arc::clone(&gate) as _), recording());
        let outer = channel(
            local,
            Some(Arc::clone(&gate) as _),
            handler(move |cx, req| {
                let inner = inner.clone();
                Box::pin(async move {
                    call(&inner, cx, WRITE, req.clone()).await?;
                    call(&inner.labelled("again"), cx, WRITE, req.clone()).await?;
                    for _ in 0..2 {
                        let error = call(&inner, cx, WRITE, note("other")).await.unwrap_err();
                        assert!(error.is(PlatformReason::CalledTwice), "{error:?}");
                    }
                    cx.claim_mut().unwrap().mark_recorded();
                    Ok(req)
                })
            }),
        );
        for _ in 0..2 {
            let cx = context().with_key(IdempotencyKey::new("order-1").unwrap());
            call(&outer, &cx, WRITE, note("x")).await.unwrap();
        }
        let keys: Vec<String> =
            gate.asked.lock().unwrap().iter().map(|u| u.key.as_str().to_owned()).collect();
        assert_eq!(keys.len(), 6);
        assert_eq!(keys[..3], keys[3..], "a repeat derives the same keys");
        assert_eq!(keys[0], "order-1");
        assert_ne!(keys[1], keys[2], "a label tells calls apart");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_key_is_not_recorded_but_its_onward_calls_are_keyed() {
    let gate = Arc::new(Gate::default());
    let inner = channel(support::Local::Direct, Some(Arc::clone(&gate) as _), recording());
    let outer = channel(
        support::Local::Direct,
        Some(Arc::clone(&gate) as _),
        handler(move |cx, req| {
            let inner = inner.clone();
            assert!(cx.key().is_none());
            Box::pin(async move { call(&inner, cx, WRITE, req).await })
        }),
    );
    call(&outer, &context(), WRITE, note("x")).await.unwrap();
    call(&outer, &context(), WRITE, note("x")).await.unwrap();
    let asked = gate.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].key, asked[1].key);
}

#[tokio::test(start_paused = true)]
async fn a_recorded_outcome_is_given_again_and_says_so() {
    for local in BOTH {
        let gate = Arc::new(Gate::default());
        let channel =
            channel(local, Some(Arc::clone(&gate) as _), handler(|_, _| Box::pin(async { panic!("ran") })));
        let cx = context().with_key(IdempotencyKey::new("k").unwrap());
        let answer = prost::Message::encode_to_vec(&note("stored"));
        *gate.recorded.lock().unwrap() = Some(Recorded::Answer(answer.into()));
        assert_eq!(call(&channel, &cx, WRITE, note("")).await.unwrap().text, "stored");
        assert!(cx.replayed(), "{local:?}");
        let refusal = Error::not_found("gone").to_status_bytes();
        *gate.recorded.lock().unwrap() = Some(Recorded::Refusal(refusal));
        assert_eq!(call(&channel, &cx, WRITE, note("")).await.unwrap_err().code(), Code::NotFound);
        assert!(cx.replayed(), "{local:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyed_answer_that_was_not_recorded_is_a_defect() {
    let channel = channel(
        support::Local::Direct,
        Some(Arc::new(Gate::default())),
        handler(|_, req| Box::pin(async move { Ok(req) })),
    );
    let cx = context().with_key(IdempotencyKey::new("k").unwrap());
    let error = call(&channel, &cx, WRITE, note("")).await.unwrap_err();
    assert!(error.is(PlatformReason::AnswerNotRecorded), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_commit_that_it_rests_on() {
    for (commit, expected) in [(Ok(()), Ok(())), (Err(()), Err(Code::Aborted))] {
        let (done, committed) = tokio::sync::oneshot::channel::<()>();
        let committed = Mutex::new(Some(committed));
        let channel = channel(
            support::Local::Direct,
            None,
            handler(move |cx: &mut Context, req| {
                let committed = committed.lock().unwrap().take().unwrap();
                cx.hold_answer(Box::pin(async move { committed.await.map_err(|_| Error::aborted("died")) }));
                Box::pin(async move { Ok(req) })
            }),
        );
        let cx = context();
        let mut answer = Box::pin(call(&channel, &cx, READ, note("")));
        assert!(answer.as_mut().now_or_never().is_none(), "the answer left before the commit");
        match commit {
            Ok(()) => done.send(()).unwrap(),
            Err(()) => drop(done),
        }
        assert_eq!(answer.await.map(|_| ()).map_err(|error| error.code()), expected);
    }
}
