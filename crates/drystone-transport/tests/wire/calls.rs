//! A remote call means what a direct call means.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use drystone_call::{Code, Context, Error, IdempotencyKey, MAX_MESSAGE_BYTES, PlatformReason};

use crate::world::{
    SayRequest, World, channel, context, direct_channel, failure, orders_may_echo, request, say, say_once,
};

#[tokio::test]
async fn who_is_asking_arrives() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = channel(Some("orders"), world.remote(&server.address));
    let reply = say(&channel, &context(), request("who")).await.unwrap();
    assert_eq!(reply.text, "Some(\"orders\") for acme as user:ada");
    assert!(channel.metrics().remote_bytes.load(SeqCst) > 0);
}

#[tokio::test]
async fn an_error_arrives_whole_and_without_its_cause() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = channel(Some("orders"), world.remote(&server.address));
    let got = say(&channel, &context(), request("fail")).await.unwrap_err();
    let sent = failure();
    assert_eq!(got.to_string(), sent.to_string());
    assert_eq!(got.reason_info(), sent.reason_info());
    assert_eq!(got.violations(), sent.violations());
    assert_eq!(got.metadata(), sent.metadata());
    assert_eq!(got.retry_delay(), sent.retry_delay());
    assert_eq!(got.http_status(), sent.http_status());
    assert!(got.cause().is_none());
    assert_eq!(format!("{:?}", got.bounded()), sent.to_string());
}

#[tokio::test]
async fn a_panic_is_internal_and_the_connection_goes_on() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let remote = world.remote(&server.address);
    let channel = channel(Some("orders"), remote.clone());
    let error = say(&channel, &context(), request("panic")).await.unwrap_err();
    assert!(error.is(PlatformReason::HandlerPanicked), "{error}");
    say(&channel, &context(), request("still there")).await.unwrap();
    assert_eq!(remote.metrics().connections.load(SeqCst), 1);
}

/// Makes the same call direct and remote and returns both errors.
async fn both(cx: impl Fn() -> Context, req: impl Fn() -> SayRequest) -> (Error, Error) {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let remote = channel(Some("orders"), world.remote(&server.address));
    let remote = say(&remote, &cx(), req()).await.unwrap_err();
    (say(&direct_channel(), &cx(), req()).await.unwrap_err(), remote)
}

#[tokio::test]
async fn the_size_limit_is_that_of_a_direct_call() {
    let requests: [fn() -> SayRequest; 2] = [
        || SayRequest { ballast: vec![7; MAX_MESSAGE_BYTES], ..request("large request") },
        || SayRequest { size: MAX_MESSAGE_BYTES as u64, ..request("large reply") },
    ];
    for req in requests {
        let (direct, remote) = both(context, req).await;
        assert!(direct.is(PlatformReason::MessageTooLarge), "{direct}");
        assert_eq!(remote.to_string(), direct.to_string());
    }
}

#[tokio::test]
async fn the_largest_messages_pass() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = channel(Some("orders"), world.remote(&server.address));
    let size = MAX_MESSAGE_BYTES - 100;
    let req = SayRequest { ballast: vec![7; size], size: size as u64, ..request("large") };
    let reply = say(&channel, &context(), req).await.unwrap();
    assert_eq!(reply.ballast.len(), size);
}

#[tokio::test]
async fn the_deadline_is_that_of_a_direct_call_and_ends_the_handler() {
    let cx = || context().with_timeout(Duration::from_millis(50));
    let (direct, remote) = both(cx, || request("wait")).await;
    assert_eq!(direct.code(), Code::DeadlineExceeded);
    assert_eq!(remote.to_string(), direct.to_string());

    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = channel(Some("orders"), world.remote(&server.address));
    say(&channel, &cx(), request("wait")).await.unwrap_err();
    server.running(0).await;
    assert_eq!(server.service.finished.load(SeqCst), 0);
}

#[tokio::test]
async fn calls_at_once_share_one_connection() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let remote = world.remote(&server.address);
    let channel = Arc::new(channel(Some("orders"), remote.clone()));
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let channel = Arc::clone(&channel);
            tokio::spawn(async move { say(&channel, &context(), request("wait")).await })
        })
        .collect();
    server.running(64).await;
    server.service.gate.add_permits(64);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(remote.metrics().connections.load(SeqCst), 1);
    assert_eq!(remote.metrics().calls.load(SeqCst), 64);
    assert_eq!(server.metrics.connections.load(SeqCst), 1);
    assert_eq!(server.metrics.calls.load(SeqCst), 64);
}

#[tokio::test]
async fn a_repeated_key_replays_the_answer_and_the_refusal() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let channel = channel(Some("orders"), world.remote(&server.address));
    let keyed = |key: &str| context().with_key(IdempotencyKey::new(key).unwrap());
    for replayed in [false, true] {
        let cx = keyed("answered");
        assert_eq!(say_once(&channel, &cx, request("once")).await.unwrap().text, "once");
        assert_eq!(cx.replayed(), replayed);
        let cx = keyed("refused");
        let refusal = say_once(&channel, &cx, request("fail")).await.unwrap_err();
        assert_eq!(refusal.to_string(), failure().to_string());
        assert_eq!((refusal.is_replayed(), cx.replayed()), (replayed, replayed));
    }
    assert_eq!(server.service.finished.load(SeqCst), 1);
}
