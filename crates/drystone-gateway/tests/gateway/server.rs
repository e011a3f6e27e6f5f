//! The gateway on a real socket: HTTP/1.1, HTTP/2 without TLS, limits of time, and the end.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use drystone_gateway::{Drained, Gateway, serve};
use futures_util::FutureExt as _;
use http::{Request, Version};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::support::{Recorder, builder, library};

/// A gateway that serves until it is told to stop.
struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

async fn start(gateway: Gateway, drain: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(serve(listener, gateway, async move { drop(stopped.await) }, drain));
    Running { addr, stop, ended }
}

fn plain() -> Gateway {
    builder().mount(Recorder::saying(library(), r#"{"id":"7"}"#)).build().unwrap()
}

/// A gateway whose calls tell that they began and wait until they are let go.
fn held() -> (Gateway, mpsc::UnboundedReceiver<()>, watch::Sender<bool>) {
    let (began, begins) = mpsc::unbounded_channel();
    let (release, released) = watch::channel(false);
    let recorder = Recorder::answering(library(), move || {
        let (began, mut released) = (began.clone(), released.clone());
        async move {
            began.send(()).unwrap();
            released.wait_for(|go| *go).await.unwrap();
            Ok(br#"{"id":"late"}"#.to_vec())
        }
        .boxed()
    });
    (builder().mount(recorder).build().unwrap(), begins, release)
}

async fn to_the_end(mut stream: TcpStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    all
}

async fn http2(addr: SocketAddr) -> hyper::client::conn::http2::SendRequest<Body> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn one_port_speaks_both_versions() {
    let running = start(plain(), Duration::from_secs(5)).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let requests = "GET /v1/books/7 HTTP/1.1\r\nhost: x\r\n\r\n\
                    POST /v1/books/special HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                    content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answers = to_the_end(stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("\r\n\r\n{\"id\":\"7\"}").count(), 2, "{answers}");

    let mut sender = http2(running.addr).await;
    let request = Request::get("http://x/v1/books/7").body(Body::empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), r#"{"id":"7"}"#);

    running.stop.send(()).unwrap();
    assert_eq!(running.ended.await.unwrap(), Drained { cut: 0 }, "idle connections do not hold the end up");
}

#[tokio::test]
async fn running_requests_finish() {
    let (gateway, mut begins, release) = held();
    let running = start(gateway, Duration::from_secs(60)).await;
    let mut one = TcpStream::connect(running.addr).await.unwrap();
    one.write_all(b"GET /v1/books/7 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut two = http2(running.addr).await;
    let two =
        tokio::spawn(two.send_request(Request::get("http://x/v1/books/7").body(Body::empty()).unwrap()));
    begins.recv().await.unwrap();
    begins.recv().await.unwrap();
    running.stop.send(()).unwrap();
    // The listener goes before the drain begins; ask until it is gone.
    while TcpStream::connect(running.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!running.ended.is_finished());
    release.send(true).unwrap();
    let answer = to_the_end(one).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(r#"{"id":"late"}"#), "{answer}");
    assert_eq!(two.await.unwrap().unwrap().status(), 200);
    assert_eq!(running.ended.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut() {
    let (gateway, mut begins, _release) = held();
    let running = start(gateway, Duration::ZERO).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream.write_all(b"GET /v1/books/7 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begins.recv().await.unwrap();
    // A connection that has ended or is idle is none that was cut.
    let mut idle = TcpStream::connect(running.addr).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(to_the_end(idle).await.starts_with("HTTP/1.1 200 OK"));
    running.stop.send(()).unwrap();
    assert_eq!(running.ended.await.unwrap(), Drained { cut: 1 });
    assert_eq!(to_the_end(stream).await, "");
}

#[tokio::test(start_paused = true)]
async fn silent_and_slow_peers_are_let_go() {
    let running = start(plain(), Duration::from_secs(5)).await;
    for said in ["", "P", "GET / HTTP/1.1\r\nhost:"] {
        let began = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(running.addr).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let answer = to_the_end(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{said:?}: {answer}");
        let took = began.elapsed();
        assert!((Duration::from_secs(10)..Duration::from_secs(12)).contains(&took), "{said:?}: {took:?}");
    }
}

/// Load balancers keep connections for a minute, and send on them what may not be sent twice.
#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_longer_than_proxies_keep_theirs() {
    let running = start(plain(), Duration::from_secs(5)).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    let mut buffer = vec![0; 4096];
    for pause in [0, 61, 61] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        stream.write_all(b"GET /v1/books/7 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "after {pause} s");
    }
    let began = tokio::time::Instant::now();
    assert_eq!(to_the_end(stream).await, "");
    let took = began.elapsed();
    assert!((Duration::from_secs(75)..Duration::from_secs(77)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_peer_that_goes_away_cancels_its_call() {
    let (gone, is_gone) = oneshot::channel::<()>();
    let gone = std::sync::Mutex::new(Some(gone));
    let (began, mut begins) = mpsc::unbounded_channel();
    let recorder = Recorder::answering(library(), move || {
        // Dropped with the call.
        let gone = gone.lock().unwrap().take();
        began.send(()).unwrap();
        async move {
            let _gone = gone;
            std::future::pending().await
        }
        .boxed()
    });
    let running = start(builder().mount(recorder).build().unwrap(), Duration::ZERO).await;
    let mut stream = TcpStream::connect(running.addr).await.unwrap();
    stream.write_all(b"GET /v1/books/7 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begins.recv().await.unwrap();
    drop(stream);
    assert!(is_gone.await.is_err());
}
