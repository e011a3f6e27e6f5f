//! Requests that reach a server together: all of each but its last byte is written, and then the last bytes of all.
//!
//! Requests that are merely sent at once arrive one after another: the first may be answered before the last is written. Here a request's
//! body keeps its last byte back until the connections of all have taken the rest, so that the server holds every request when the first can begin.
//! REST travels over HTTP/1.1, a connection each; gRPC over HTTP/2 in the clear, ten streams a connection.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How many HTTP/2 streams share a connection.
const STREAMS: usize = 10;
/// How long the requests may take to be written.
const PATIENCE: Duration = Duration::from_secs(30);

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, as REST callers speak it.
    Http1,
    /// HTTP/2 without TLS, as gRPC callers speak it.
    Http2,
}

/// What came back, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// The status of HTTP.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers; empty if none came.
    pub trailers: HeaderMap,
}

/// Sends every request to the server beside it, `HOST:PORT`, the last bytes of all together. The answers are in the order of the requests; `None`
/// where the connection broke before the whole answer was there.
///
/// # Panics
/// If a server cannot be reached, a request is malformed, or the requests cannot be written within half a minute.
pub async fn at_once(protocol: Protocol, requests: Vec<(String, Request<Bytes>)>) -> Vec<Option<RawAnswer>> {
    let (go, start) = watch::channel(false);
    let (written, mut waiting) = mpsc::channel::<Infallible>(1);
    let mut connections: BTreeMap<String, (Sender, usize)> = BTreeMap::new();
    let mut tasks = Vec::with_capacity(requests.len());
    for (address, request) in requests {
        let body = HeldBody::new(request.body().clone(), start.clone(), written.clone());
        let request = request.map(|_| body);
        let sender = match connections.remove(&address) {
            Some((sender, used)) if protocol == Protocol::Http2 && used < STREAMS => {
                let again = sender.again();
                connections.insert(address.clone(), (sender, used + 1));
                again
            }
            _ => {
                let sender = Sender::connect(protocol, &address).await;
                if let Sender::Http2(shared) = &sender {
                    connections.insert(address.clone(), (Sender::Http2(shared.clone()), 1));
                }
                sender
            }
        };
        tasks.push(sender.send(&address, request));
    }
    drop(written);
    // Ends when every body has been asked for its last byte, or is gone.
    let all = tokio::time::timeout(PATIENCE, waiting.recv()).await;
    assert!(all.is_ok(), "the requests could not be written within {PATIENCE:?}");
    go.send_replace(true);
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.expect("a request does not panic"));
    }
    answers
}

/// A connection of either protocol.
enum Sender {
    Http1(http1::SendRequest<HeldBody>),
    Http2(http2::SendRequest<HeldBody>),
}

impl Sender {
    async fn connect(protocol: Protocol, address: &str) -> Self {
        let stream = TcpStream::connect(address).await;
        let stream = stream.unwrap_or_else(|error| panic!("{address} cannot be reached: {error}"));
        stream.set_nodelay(true).expect("a socket takes the option");
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.expect("a fresh connection");
                // A connection that breaks is told to its requests.
                tokio::spawn(async { drop(connection.await) });
                Self::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.expect("a fresh connection");
                tokio::spawn(async { drop(connection.await) });
                Self::Http2(sender)
            }
        }
    }

    /// The same connection for one more request.
    fn again(&self) -> Self {
        match self {
            Self::Http1(_) => unreachable!("a connection of HTTP/1.1 carries one request"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }

    /// Writes the request, all but its last byte, and waits for the answer, in a task of its own.
    fn send(self, address: &str, mut request: Request<HeldBody>) -> JoinHandle<Option<RawAnswer>> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        match self {
            Self::Http1(mut sender) => {
                let host = address.parse().expect("an address is a header");
                request.headers_mut().insert(http::header::HOST, host);
                *request.uri_mut() = path.parse::<Uri>().expect("a path");
                tokio::spawn(async move { whole(sender.send_request(request).await.ok()?).await })
            }
            Self::Http2(mut sender) => {
                *request.uri_mut() =
                    format!("http://{address}{path}").parse().expect("an address and a path");
                tokio::spawn(async move { whole(sender.send_request(request).await.ok()?).await })
            }
        }
    }
}

async fn whole(response: http::Response<Incoming>) -> Option<RawAnswer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Some(RawAnswer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
}

/// A body that gives its last byte when the volley begins.
struct HeldBody {
    first: Option<Bytes>,
    last: Option<Bytes>,
    start: Pin<Box<dyn Future<Output = ()> + Send>>,
    written: Option<mpsc::Sender<Infallible>>,
}

impl HeldBody {
    fn new(mut body: Bytes, mut start: watch::Receiver<bool>, written: mpsc::Sender<Infallible>) -> Self {
        assert!(!body.is_empty(), "a request without a body has no byte to keep back");
        let last = body.split_off(body.len() - 1);
        let start = Box::pin(async move {
            // The volley is given up when the sender is gone: the request then goes its way.
            let _ = start.wait_for(|started| *started).await;
        });
        Self { first: Some(body), last: Some(last), start, written: Some(written) }
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take()
            && !first.is_empty()
        {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        self.written = None;
        if self.last.is_none() {
            return Poll::Ready(None);
        }
        ready!(self.start.as_mut().poll(cx));
        Poll::Ready(self.last.take().map(|last| Ok(Frame::data(last))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.last.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.first.as_ref().map_or(0, Bytes::len) + self.last.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(left as u64)
    }
}

/// A unary call of gRPC as a request: the path is that of the method, as in `/shop.orders.v1.Orders/PlaceOrder`.
///
/// # Panics
/// If the path or a header is malformed.
#[must_use]
pub fn grpc_request(path: &str, metadata: &[(&str, &str)], message: &[u8]) -> Request<Bytes> {
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).expect("a message of less than 4 GiB"));
    body.put_slice(message);
    request.body(body.freeze()).expect("a well-formed request")
}

impl RawAnswer {
    /// A header; of a gRPC answer, a field of the initial or the trailing metadata.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name).or_else(|| self.trailers.get(name))?;
        value.to_str().ok()
    }

    /// The message of a gRPC answer; empty for a refusal.
    #[must_use]
    pub fn grpc_message(&self) -> &[u8] {
        self.body.get(5..).unwrap_or_default()
    }

    /// The code of a gRPC answer.
    ///
    /// # Panics
    /// If the answer is not one of gRPC.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        let code = self.header("grpc-status").and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("not an answer of gRPC: {self:?}"))
    }
}
