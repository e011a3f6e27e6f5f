//! A module of which there are several: calls go around those that are away, and nothing is sent twice.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use drystone_call::PlatformReason;
use drystone_transport::{Discovery, Drained, Reach, Replicas};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::world::{Running, World, assert_unreachable, once, once_within, orders_may_echo};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

async fn free_address() -> String {
    // Bound and dropped: nobody listens on this port now.
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

fn is_well(replicas: &Replicas, address: &str) -> bool {
    replicas.members().iter().any(|member| &*member.address == address && member.healthy)
}

async fn all_are_well(replicas: &Replicas) {
    until("all replicas are well", || replicas.members().iter().all(|member| member.healthy)).await;
}

#[tokio::test]
async fn calls_are_spread_and_each_replica_has_one_connection() {
    let world = World::new();
    let servers: Vec<Running> =
        [world.serve(orders_may_echo()).await, world.serve(orders_may_echo()).await].into();
    let replicas = world.replicas_at(&[&servers[0].address, &servers[1].address]);
    all_are_well(&replicas).await;
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let replicas = Arc::clone(&replicas);
            tokio::spawn(async move { once(&*replicas, "wait").await })
        })
        .collect();
    let running = || servers.iter().map(|server| *server.service.running.borrow()).collect::<Vec<_>>();
    until("all calls run", || running().iter().sum::<usize>() == 40).await;
    assert!(
        running().iter().all(|running| *running >= 4),
        "40 calls at once, and the replicas had {:?}",
        running()
    );
    servers.iter().for_each(|server| server.service.gate.add_permits(40));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(servers.iter().all(|server| server.metrics.connections.load(SeqCst) == 1));
    assert_eq!(replicas.metrics().connections.load(SeqCst), 2);
    assert_eq!(replicas.metrics().calls.load(SeqCst), 40);
}

#[tokio::test]
async fn a_call_that_nobody_took_goes_to_another_replica() {
    let world = World::new();
    let server = world.serve(orders_may_echo()).await;
    let (gone, away) = (free_address().await, free_address().await);
    let mut moved = 0;
    for _ in 0..20 {
        // Made anew each time, so that it is not known yet who is there.
        let replicas = world.replicas_at(&[&gone, &away, &server.address]);
        assert_eq!(once(&*replicas, "hello").await.unwrap(), "hello");
        moved += replicas.moves().moved.load(SeqCst);
        all_but(&replicas, &server.address).await;
        let before = replicas.moves().moved.load(SeqCst);
        for _ in 0..10 {
            once(&*replicas, "hello").await.unwrap();
        }
        assert_eq!(replicas.moves().moved.load(SeqCst), before, "who is known to be away is not tried");
    }
    assert!(moved > 0, "none of 20 first calls met a replica that is away");
    assert_eq!(server.service.finished.load(SeqCst), 20 * 11);
}

/// Waits until one replica is well and all others are not.
async fn all_but(replicas: &Replicas, well: &str) {
    let settled = || replicas.members().iter().all(|member| member.healthy == (&*member.address == well));
    until("it is known who is there", settled).await;
}

#[tokio::test]
async fn when_nobody_is_there_a_call_says_so_at_once() {
    let world = World::new();
    let (gone, away) = (free_address().await, free_address().await);
    let replicas = world.replicas_at(&[&gone, &away]);
    for _ in 0..3 {
        let began = Instant::now();
        let error = once(&*replicas, "hello").await.unwrap_err();
        assert_unreachable(&error, &gone);
        assert_unreachable(&error, &away);
        assert!(began.elapsed() < Duration::from_secs(5), "refused connections are no reason to wait");
    }
    assert_eq!(replicas.moves().unreachable.load(SeqCst), 3);
    let _server = world.serve_at(&away, orders_may_echo(), Duration::ZERO).await;
    assert_eq!(once(&*replicas, "back").await.unwrap(), "back");
    let error = replicas.check("test.echo.v1.Other", Duration::from_secs(30)).await.unwrap_err();
    assert!(error.is(PlatformReason::PeerUnreachable), "{error}");
    replicas
        .check(crate::world::ECHO, Duration::from_secs(30))
        .await
        .expect("one replica is enough to be ready");
}

#[tokio::test]
async fn a_call_that_was_taken_is_never_sent_to_another() {
    let world = World::new();
    let [first, second] = [world.serve(orders_may_echo()).await, world.serve(orders_may_echo()).await];
    let replicas = world.replicas_at(&[&first.address, &second.address]);
    all_are_well(&replicas).await;
    let call = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move { once(&*replicas, "wait").await }
    });
    let runs = |server: &Running| *server.service.running.borrow() == 1;
    until("a replica has taken the call", || runs(&first) || runs(&second)).await;
    let (taken, other) = if runs(&first) { (first, second) } else { (second, first) };
    let address = taken.address.clone();
    taken.kill().await;
    let error = tokio::time::timeout(PATIENCE, call).await.expect("it was sent again").unwrap().unwrap_err();
    assert_unreachable(&error, &address);
    assert!(error.message().contains("is not known"), "{error}");
    assert_eq!(*other.service.running.borrow(), 0);
    for _ in 0..20 {
        once(&*replicas, "hello").await.expect("the others go to the other");
    }
}

/// Calls without end; gives the number of calls and the first failure.
fn load(replicas: &Arc<Replicas>, stop: &Arc<AtomicBool>) -> JoinHandle<Result<u64, String>> {
    let (replicas, stop) = (Arc::clone(replicas), Arc::clone(stop));
    tokio::spawn(async move {
        let mut calls = 0;
        while !stop.load(SeqCst) {
            once(&*replicas, "yield").await.map_err(|error| format!("after {calls} calls: {error:?}"))?;
            calls += 1;
        }
        Ok(calls)
    })
}

/// Nothing above the transport tries again here, and the calls may not be repeated.
#[tokio::test]
async fn no_call_fails_while_replicas_are_restarted_in_turn() {
    let world = World::new();
    let mut servers = vec![world.serve(orders_may_echo()).await, world.serve(orders_may_echo()).await];
    let replicas = world.replicas_at(&[&servers[0].address, &servers[1].address]);
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..8).map(|_| load(&replicas, &stop)).collect();
    let mut finished = 0;
    for _ in 0..6 {
        let old = servers.remove(0);
        let (service, address) = (Arc::clone(&old.service), old.address.clone());
        until("the replica is under load", || service.finished.load(SeqCst) >= 50).await;
        old.stop.send(()).unwrap();
        assert_eq!(old.task.await.unwrap(), Drained { cut: 0 });
        finished += service.finished.load(SeqCst);
        servers.push(world.serve_at(&address, orders_may_echo(), Duration::from_secs(30)).await);
    }
    stop.store(true, SeqCst);
    let mut calls = 0;
    for load in loads {
        calls += load.await.unwrap().expect("no call fails");
    }
    finished += servers.iter().map(|server| server.service.finished.load(SeqCst)).sum::<u64>();
    assert_eq!(calls, finished, "each call was handled once");
}

#[tokio::test]
async fn a_replica_that_is_about_to_stop_says_so_and_serves_on_until_it_closes() {
    let world = World::new();
    let long = Duration::from_secs(3600);
    let stopping = world.serve_with_grace("127.0.0.1:0", orders_may_echo(), long, long).await;
    let staying = world.serve(orders_may_echo()).await;
    let replicas = world.replicas_at(&[&stopping.address, &staying.address]);
    all_are_well(&replicas).await;
    let direct = world.remote(&stopping.address);
    direct.check("", PATIENCE).await.unwrap();
    stopping.stop.send(()).unwrap();
    let began = Instant::now();
    let error = loop {
        match direct.check("", PATIENCE).await {
            Ok(()) => assert!(began.elapsed() < PATIENCE, "it never says that it stops"),
            Err(error) => break error,
        }
    };
    assert!(error.message().contains("does not serve"), "{error}");
    assert_eq!(once(&*direct, "still").await.unwrap(), "still", "who has not heard of it is served");
    until("the callers turn away", || !is_well(&replicas, &stopping.address)).await;
    let before = stopping.service.finished.load(SeqCst);
    for _ in 0..20 {
        once(&*replicas, "hello").await.unwrap();
    }
    assert_eq!(stopping.service.finished.load(SeqCst), before, "no call goes where the end was announced");
    // Nobody is left to whom it matters: the hour of grace is over.
    drop((direct, replicas));
    let ended = tokio::time::timeout(PATIENCE, stopping.task).await.expect("it waits though nobody is there");
    assert_eq!(ended.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_replica_that_is_replaced_finishes_what_it_has() {
    let world = World::new();
    let old = world.serve(orders_may_echo()).await;
    let path = world.dir.path().join("replicas");
    fs::write(&path, format!("{}\n", old.address)).unwrap();
    let replicas = world.replicas(Discovery::start(Reach::File(path.clone())));
    let call = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move { once(&*replicas, "wait").await }
    });
    old.running(1).await;
    let new = world.serve(orders_may_echo()).await;
    fs::write(&path, format!("{}\n", new.address)).unwrap();
    until("the new address is found", || replicas.discovery().addresses() == [new.address.as_str()]).await;
    until("the new replica is taken up", || {
        replicas.members().iter().all(|member| *member.address == *new.address)
    })
    .await;
    once(&*replicas, "hello").await.unwrap();
    assert_eq!(new.service.finished.load(SeqCst), 1);
    old.service.gate.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), "wait", "a call that runs is not cut off");
}

#[tokio::test]
async fn before_anything_is_found_a_call_waits_for_the_first_look_alone() {
    let world = World::new();
    let path = world.dir.path().join("replicas");
    let replicas = world.replicas(Discovery::start(Reach::File(path.clone())));
    let error = once(&*replicas, "hello").await.unwrap_err();
    assert!(error.is(PlatformReason::PeerUnreachable), "{error}");
    assert!(error.message().contains("module echo") && error.message().contains("no address"), "{error}");
    assert!(replicas.check(crate::world::ECHO, PATIENCE).await.is_err());
    let server = world.serve(orders_may_echo()).await;
    fs::write(&path, format!("{}\n", server.address)).unwrap();
    let again = world.replicas(Discovery::start(Reach::File(path)));
    assert_eq!(once(&*again, "hello").await.unwrap(), "hello", "the first call waits for the first look");
    until("the file is found", || !replicas.members().is_empty()).await;
    assert_eq!(once(&*replicas, "hello").await.unwrap(), "hello");
}

/// Accepts connections of a relay's both ends and passes bytes on, until it is told to fall silent: then it keeps them open and passes nothing.
async fn relay(listener: TcpListener, to: String, silent: tokio::sync::watch::Receiver<bool>) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let (to, mut silent) = (to.clone(), silent.clone());
        tokio::spawn(async move {
            let mut far = TcpStream::connect(to).await.unwrap();
            let silenced = async { drop(silent.wait_for(|silent| *silent).await) };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = silenced => std::future::pending().await,
            }
        });
    }
}

#[tokio::test]
async fn a_replica_that_answers_nothing_is_left_out() {
    let world = World::new();
    let [far, near] = [world.serve(orders_may_echo()).await, world.serve(orders_may_echo()).await];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (silence, silent) = tokio::sync::watch::channel(false);
    tokio::spawn(relay(listener, far.address.clone(), silent));
    let replicas = world.replicas_at(&[&address, &near.address]);
    all_are_well(&replicas).await;
    silence.send_replace(true);
    let of_silent = |what: fn(&drystone_resilience::MemberStats) -> bool| {
        replicas.members().iter().any(|member| *member.address == *address && what(member))
    };
    let mut failed = 0;
    until_left_out(&replicas, &address, &mut failed).await;
    assert!(failed > 0, "nobody met the silent replica");
    assert!(of_silent(|member| member.failures > 0), "a call that is dropped at its deadline counts");
    for _ in 0..20 {
        once(&*replicas, "hello").await.unwrap();
    }
}

/// Calls, together so that some go to either, until a replica is left out or said not to be well.
async fn until_left_out(replicas: &Arc<Replicas>, address: &str, failed: &mut usize) {
    let began = Instant::now();
    let is_out = || {
        let members = replicas.members();
        members.iter().any(|m| *m.address == *address && (m.ejected_for.is_some() || !m.healthy))
    };
    while !is_out() {
        assert!(began.elapsed() < PATIENCE, "it is never left out");
        let calls = (0..4).map(|_| once_within(&**replicas, "hello", Duration::from_millis(100)));
        for outcome in futures_util::future::join_all(calls).await {
            *failed += usize::from(outcome.is_err());
        }
    }
}
