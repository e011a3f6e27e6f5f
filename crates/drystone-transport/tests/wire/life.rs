//! Processes come and go, and callers go away.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use drystone_call::Code;
use drystone_transport::Drained;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::world::{
    World, assert_unreachable, channel, context, once, orders_may_echo, request, say, say_slowly,
};

#[tokio::test]
async fn a_killed_process_is_unavailable_and_works_again_when_it_is_back() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let remote = world.remote(&server.address);
    let channel = channel(Some("orders"), remote.clone());
    say(&channel, &context(), request("before")).await.unwrap();

    let address = server.address.clone();
    server.kill().await;
    for _ in 0..3 {
        let began = Instant::now();
        let error = say(&channel, &context(), request("meanwhile")).await.unwrap_err();
        assert_unreachable(&error, &address);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "a refused connection must not wait for the deadline"
        );
    }

    let _server = world.serve_at(&address, orders_may_echo(), Duration::ZERO).await;
    say(&channel, &context(), request("after")).await.unwrap();
    assert_eq!(remote.metrics().connections.load(SeqCst), 2);
}

#[tokio::test]
async fn a_call_during_a_graceful_restart_goes_to_the_new_process() {
    let world = World::new();
    let old = world.serve(orders_may_echo()).await;
    let remote = world.remote(&old.address);
    let channel = Arc::new(channel(Some("orders"), remote.clone()));
    let call = tokio::spawn({
        let channel = Arc::clone(&channel);
        async move { say(&channel, &context(), request("wait")).await }
    });
    old.running(1).await;
    old.stop.send(()).unwrap();
    while TcpStream::connect(&old.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let new = world.serve_at(&old.address, orders_may_echo(), Duration::ZERO).await;
    // The old connection still carries the call that runs, and takes no other.
    for text in ["during", "the", "restart"] {
        assert_eq!(say(&channel, &context(), request(text)).await.unwrap().text, text);
    }
    assert_eq!(new.service.finished.load(SeqCst), 3);
    old.service.gate.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap().text, "wait");
    assert_eq!(old.task.await.unwrap(), Drained { cut: 0 });
    assert_eq!(remote.metrics().connections.load(SeqCst), 2);
}

#[tokio::test]
async fn calls_that_wait_for_one_connection_all_learn_that_it_failed() {
    let world = World::new();
    // Bound and dropped: nobody listens on this port now.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let channel = channel(Some("orders"), world.remote(&address));
    let calls = (0..8).map(|_| async { say(&channel, &context(), request("any")).await.unwrap_err() });
    for error in futures_util::future::join_all(calls).await {
        assert_unreachable(&error, &address);
        assert!(error.message().contains("refused"), "{error}");
    }
}

#[tokio::test]
async fn a_call_whose_process_dies_is_unavailable() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    // Without the stack of calls, which would try again.
    let remote = world.remote(&server.address);
    let call = tokio::spawn(async move { once(&*remote, "wait").await });
    server.running(1).await;
    let (address, service) = (server.address.clone(), Arc::clone(&server.service));
    server.kill().await;
    let error = call.await.unwrap().unwrap_err();
    assert_unreachable(&error, &address);
    assert!(error.message().contains("is not known"), "{error}");
    service.running.subscribe().wait_for(|running| *running == 0).await.unwrap();
}

#[tokio::test]
async fn dropping_a_call_drops_the_handler() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = Arc::new(channel(Some("orders"), world.remote(&server.address)));
    let call = tokio::spawn({
        let channel = Arc::clone(&channel);
        async move { say(&channel, &context(), request("wait")).await }
    });
    server.running(1).await;
    call.abort();
    server.running(0).await;
    assert_eq!(server.service.finished.load(SeqCst), 0);
}

#[tokio::test]
async fn dropping_hundreds_of_calls_costs_no_connection() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let remote = world.remote(&server.address);
    let channel = Arc::new(channel(Some("orders"), remote.clone()));
    // As many at once as are let in before anything is known of how long they take.
    for _ in 0..20 {
        let calls: Vec<_> = (0..60)
            .map(|_| {
                let channel = Arc::clone(&channel);
                tokio::spawn(async move { say(&channel, &context(), request("wait")).await })
            })
            .collect();
        server.running(60).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        server.running(0).await;
    }
    say(&channel, &context(), request("still there")).await.unwrap();
    assert_eq!(remote.metrics().connections.load(SeqCst), 1);
}

/// Runs a runtime on a thread of its own until told to stop.
struct Driven {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<Runtime>,
}

impl Driven {
    fn new(runtime: Runtime) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime
        });
        Self { stop, thread }
    }

    fn stop(self) -> Runtime {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// The callee's runtime stands still while the caller makes calls and drops them, so it meets calls that are already dropped.
#[test]
fn calls_dropped_before_the_callee_looked_cost_no_connection() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (theirs, ours) = (runtime(), runtime());
    let world = World::new();
    let server = theirs.block_on(world.serve(orders_may_echo()));
    let remote = world.remote(&server.address);
    let channel = Arc::new(channel(Some("orders"), remote.clone()));
    let driven = Driven::new(theirs);
    ours.block_on(say(&channel, &context(), request("before"))).unwrap();
    let theirs = driven.stop();
    ours.block_on(async {
        let turns = async || {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        let calls: Vec<_> = (0..200)
            .map(|_| {
                let channel = Arc::clone(&channel);
                tokio::spawn(async move { say(&channel, &context(), request("wait")).await })
            })
            .collect();
        turns().await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        turns().await;
    });
    let driven = Driven::new(theirs);
    ours.block_on(say(&channel, &context(), request("after"))).unwrap();
    assert_eq!(remote.metrics().connections.load(SeqCst), 1);
    driven.stop();
}

/// Polls a future at most `left` times and then drops it.
struct Polled<F> {
    future: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Self::Output> {
        let left = self.left;
        let Some(future) = &mut self.future else { return Poll::Ready(None) };
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if left <= 1 {
            self.future = None;
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Pending
    }
}

#[tokio::test]
async fn a_call_can_be_dropped_at_each_of_its_await_points() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let mut dropped = 0;
    loop {
        // A new connection each time, so that connecting is among the points.
        let remote = world.remote(&server.address);
        let channel = channel(Some("orders"), remote.clone());
        let (cx, left) = (context(), dropped + 1);
        let outcome = Polled { future: Some(Box::pin(say(&channel, &cx, request("yield")))), left }.await;
        say(&channel, &context(), request("the next call")).await.unwrap();
        assert_eq!(remote.metrics().connections.load(SeqCst), 1, "dropped at point {left}");
        server.running(0).await;
        if let Some(outcome) = outcome {
            outcome.unwrap();
            break;
        }
        dropped += 1;
    }
    assert!(dropped >= 2, "connecting and answering are two points at least, and {dropped} were met");
}

#[tokio::test]
async fn a_graceful_stop_lets_running_calls_end() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = Arc::new(channel(Some("orders"), world.remote(&server.address)));
    let call = tokio::spawn({
        let channel = Arc::clone(&channel);
        async move { say(&channel, &context(), request("wait")).await }
    });
    server.running(1).await;
    server.stop.send(()).unwrap();
    // The port is closed: nobody new is accepted while the call runs on.
    while TcpStream::connect(&server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.task.is_finished());
    server.service.gate.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap().text, "wait");
    assert_eq!(server.task.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_graceful_stop_ends_when_its_time_is_over() {
    let world = World::new();
    let server = world.serve_at("127.0.0.1:0", orders_may_echo(), Duration::from_millis(20)).await;
    let channel = Arc::new(channel(Some("orders"), world.remote(&server.address)));
    let call = tokio::spawn({
        let channel = Arc::clone(&channel);
        async move { say(&channel, &context(), request("wait")).await }
    });
    server.running(1).await;
    server.stop.send(()).unwrap();
    assert_eq!(server.task.await.unwrap(), Drained { cut: 1 });
    assert_unreachable(&call.await.unwrap().unwrap_err(), &server.address);
}

/// Relays one connection until told to fall silent; then it holds both ends open and passes nothing on.
async fn relay(listener: TcpListener, to: String, silence: oneshot::Receiver<()>) {
    let (mut near, _) = listener.accept().await.unwrap();
    let mut far = TcpStream::connect(to).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = silence => std::future::pending().await,
    }
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed_before_the_deadline() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (silence, silenced) = oneshot::channel();
    tokio::spawn(relay(listener, server.address.clone(), silenced));

    let channel = channel(Some("orders"), world.remote(&address));
    say(&channel, &context(), request("before")).await.unwrap();
    let cx = context().with_timeout(Duration::from_secs(3600));
    let mut call = pin!(say_slowly(&channel, &cx, request("wait")));
    tokio::select! {
        _ = &mut call => panic!("nobody answers it"),
        () = server.running(1) => {}
    }
    silence.send(()).unwrap();
    tokio::time::pause();
    let error = call.await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert_unreachable(&error, &address);
}
