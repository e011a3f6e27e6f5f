//! The contracts as gRPC for outsiders, called by tonic's own client.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use drystone_call::headers::IDEMPOTENCY_KEY;
use drystone_call::policy::Policy;
use drystone_call::{
    AnyChannel, Channel, Code as DrystoneCode, Context, Error, Home, IdempotencyKey, MAX_MESSAGE_BYTES,
    Principal, Runner, ServiceDef, TenantId, check_size,
};
use drystone_transport::{GrpcService, Mint};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use prost::Message;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use crate::world::{Echo, EchoService, SAY, SAY_ONCE, SayReply, SayRequest, failure, mount, request};

/// What the gateway would do: a tenant from a header, a time limit of its own.
fn mint() -> Mint {
    Arc::new(|headers: &HeaderMap| {
        let Some(tenant) = headers.get("drystone-tenant").and_then(|value| value.to_str().ok()) else {
            return Err(Error::new(DrystoneCode::Unauthenticated, "who are you?"));
        };
        let cx = Context::mint(Home::of_system("gateway"), TenantId::new(tenant)?, Principal::ANONYMOUS)
            .with_timeout(Duration::from_secs(10));
        match headers.get(IDEMPOTENCY_KEY) {
            Some(key) => Ok(cx.with_key(IdempotencyKey::from_header(key.to_str().unwrap())?)),
            None => Ok(cx),
        }
    })
}

/// The service in front of a module, and the module.
fn service() -> (GrpcService, Arc<EchoService>) {
    let module = Arc::<EchoService>::default();
    let channel = Channel::<dyn Echo>::unbound(None, "gateway");
    channel.bind(Runner::Direct(mount(&module)));
    let channels: Vec<Arc<dyn AnyChannel>> = vec![Arc::new(channel)];
    (GrpcService::new(channels, mint()), module)
}

/// Serves it on a plain port.
async fn listen(service: GrpcService) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    format!("http://{address}")
}

/// tonic's codec for prost messages, which lives in a crate of its own there.
struct Prost<Req, Resp>(PhantomData<(Req, Resp)>);

impl<Req: Message + 'static, Resp: Message + Default + 'static> Codec for Prost<Req, Resp> {
    type Encode = Req;
    type Decode = Resp;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<Req: Message, Resp> Encoder for Prost<Req, Resp> {
    type Item = Req;
    type Error = Status;

    fn encode(&mut self, item: Req, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|cause| Status::internal(cause.to_string()))
    }
}

impl<Req, Resp: Message + Default> Decoder for Prost<Req, Resp> {
    type Item = Resp;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Resp>, Status> {
        Resp::decode(buffer).map(Some).map_err(|cause| Status::internal(cause.to_string()))
    }
}

/// Makes a call with tonic's client.
async fn call<Req, Resp>(
    address: &str,
    path: &'static str,
    request: tonic::Request<Req>,
) -> Result<Resp, Status>
where
    Req: Message + 'static,
    Resp: Message + Default + 'static,
{
    let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    client.ready().await.unwrap();
    let codec = Prost::<Req, Resp>(PhantomData);
    client.unary(request, PathAndQuery::from_static(path), codec).await.map(tonic::Response::into_inner)
}

fn asked<Req>(message: Req) -> tonic::Request<Req> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("drystone-tenant", "acme".parse().unwrap());
    request
}

#[tokio::test]
async fn tonic_calls_a_contract() {
    let (service, _) = service();
    let address = listen(service).await;
    let reply: SayReply = call(&address, SAY, asked(request("who"))).await.unwrap();
    assert_eq!(reply.text, "None for acme as anonymous");
    let size = (MAX_MESSAGE_BYTES - 100) as u64;
    let reply: SayReply = call(&address, SAY, asked(SayRequest { size, ..request("large") })).await.unwrap();
    assert_eq!(reply.ballast.len() as u64, size);
}

#[tokio::test]
async fn tonic_sees_the_error_with_its_details() {
    let (service, _) = service();
    let address = listen(service).await;
    let status = call::<_, SayReply>(&address, SAY, asked(request("fail"))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), failure().message());
    let read = Error::from_status_bytes(status.details());
    assert_eq!(read.to_string(), failure().to_string());
    assert_eq!(read.retry_delay(), failure().retry_delay());
}

#[tokio::test]
async fn tonic_meets_the_limits_of_every_call() {
    let (service, module) = service();
    let address = listen(service).await;
    let large = SayRequest { ballast: vec![7; MAX_MESSAGE_BYTES], ..request("large") };
    let expected = check_size(large.encoded_len(), SAY).unwrap_err();
    let status = call::<_, SayReply>(&address, SAY, asked(large)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(Error::from_status_bytes(status.details()).to_string(), expected.to_string());

    let unknown =
        call::<_, SayReply>(&address, "/test.echo.v1.Echo/Shout", asked(request("x"))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert!(unknown.message().contains("not a method of test.echo.v1.Echo"), "{unknown}");
    let unknown = call::<_, SayReply>(&address, "/a.B/C", asked(request("x"))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);

    let stranger = call::<_, SayReply>(&address, SAY, tonic::Request::new(request("x"))).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated);
    assert_eq!(module.finished.load(SeqCst), 0);
}

/// A callee is given a little less than its caller has, and timers are not finer than a millisecond.
fn about_20_ms(elapsed: Duration) -> bool {
    (15..30).contains(&elapsed.as_millis())
}

#[tokio::test(start_paused = true)]
async fn a_callers_time_ends_the_handler() {
    let (service, module) = service();
    let mut request = http_request(SAY, Full::from(framed(&request("wait").encode_to_vec())));
    request.headers_mut().insert("grpc-timeout", "20m".parse().unwrap());
    let began = Instant::now();
    let response = service.oneshot(request).await.unwrap();
    assert!(about_20_ms(began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(response.headers()["grpc-status"], "4");
    assert_eq!(*module.running.borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_given_up() {
    let (_, module) = service();
    let channel = Arc::new(Channel::<dyn Echo>::unbound(None, "gateway"));
    channel.bind(Runner::Direct(mount(&module)));
    let service = GrpcService::new(vec![Arc::clone(&channel) as Arc<dyn AnyChannel>], mint());
    let given_up_after = async |grpc_timeout: Option<&str>| {
        let mut request = unending();
        if let Some(timeout) = grpc_timeout {
            request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        }
        let began = Instant::now();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "4");
        began.elapsed().as_millis() / 10
    };
    assert_eq!(given_up_after(Some("20m")).await, 2);
    // The mint gives ten seconds and the method has thirty, until the settings say otherwise.
    assert_eq!(given_up_after(None).await, 1000);
    let policy = |method| Policy { timeout: Duration::from_millis(50), ..Policy::of(method) };
    channel.set_policies(<dyn Echo as ServiceDef>::contract().methods.iter().map(policy).collect());
    assert_eq!(given_up_after(None).await, 5);
    assert_eq!(module.finished.load(SeqCst), 0);
}

/// A request whose message begins and does not go on.
fn unending() -> Request<Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>> {
    let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0, 0, 0])))]);
    let body = StreamBody::new(begun.chain(stream::pending()));
    http_request(SAY, Full::default()).map(|_| Box::pin(body) as _)
}

#[tokio::test(start_paused = true)]
async fn a_callers_time_only_shrinks() {
    let (_, module) = service();
    let channel = Channel::<dyn Echo>::unbound(None, "gateway");
    channel.bind(Runner::Direct(mount(&module)));
    let short: Mint = Arc::new(|_| {
        Ok(Context::mint(Home::of_system("gateway"), TenantId::new("acme")?, Principal::ANONYMOUS)
            .with_timeout(Duration::from_millis(20)))
    });
    let service = GrpcService::new(vec![Arc::new(channel)], short);
    let mut request = http_request(SAY, Full::from(framed(&request("wait").encode_to_vec())));
    request.headers_mut().insert("grpc-timeout", "1H".parse().unwrap());
    let began = Instant::now();
    let response = service.oneshot(request).await.unwrap();
    assert!(about_20_ms(began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(response.headers()["grpc-status"], "4");
}

#[tokio::test]
async fn a_caller_that_goes_away_drops_the_handler() {
    let (service, module) = service();
    let address = listen(service).await;
    let call = tokio::spawn(async move { call::<_, SayReply>(&address, SAY, asked(request("wait"))).await });
    let mut running = module.running.subscribe();
    running.wait_for(|running| *running == 1).await.unwrap();
    call.abort();
    running.wait_for(|running| *running == 0).await.unwrap();
}

#[tokio::test]
async fn a_replay_is_marked_in_the_headers() {
    let (service, _) = service();
    for (text, status) in [("once", None), ("fail", Some("3"))] {
        for replayed in [None, Some("true")] {
            let body = framed(&request(text).encode_to_vec());
            let mut request = http_request(SAY_ONCE, Full::from(body));
            request.headers_mut().insert("idempotency-key", text.parse().unwrap());
            let response = service.clone().oneshot(request).await.unwrap();
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("grpc-status"), status);
            assert_eq!(header("idempotency-replayed"), replayed, "{text}");
        }
    }
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

fn http_request(path: &str, body: Full<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://gateway{path}"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc+proto")
        .header("drystone-tenant", "acme")
        .body(body)
        .unwrap()
}

/// The gRPC status of a request with this body.
async fn status_of(body: Bytes) -> (String, HeaderMap) {
    let (service, _) = service();
    let response = service.oneshot(http_request(SAY, Full::from(body))).await.unwrap();
    let headers = response.headers().clone();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = headers.get("grpc-status").or(trailers.get("grpc-status")).unwrap();
    (status.to_str().unwrap().to_owned(), headers)
}

#[tokio::test]
async fn broken_messages_are_refused_by_name() {
    assert_eq!(status_of(framed(&request("x").encode_to_vec())).await.0, "0");
    assert_eq!(status_of(Bytes::new()).await.0, "0");
    let mut compressed = framed(&request("x").encode_to_vec()).to_vec();
    compressed[0] = 1;
    let (status, headers) = status_of(compressed.into()).await;
    assert_eq!((status.as_str(), &headers["grpc-accept-encoding"]), ("12", &"identity".parse().unwrap()));
    let malformed = status_of(framed(&[0xff; 7])).await.1;
    let details = malformed["grpc-message"].to_str().unwrap();
    assert!(malformed["grpc-status"] == "3" && details.contains("not a message of"), "{details}");
    assert_eq!(status_of(framed(b"abc").slice(..6)).await.0, "3");
}

#[tokio::test]
async fn other_media_types_are_not_for_it() {
    let (service, _) = service();
    for media in ["application/grpc-web", "application/json", "application/grpc+json"] {
        let mut request = http_request(SAY, Full::default());
        request.headers_mut().insert("content-type", media.parse().unwrap());
        let response: Result<_, Infallible> = service.clone().oneshot(request).await;
        assert_eq!(response.unwrap().status(), 415, "{media}");
    }
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The health of a service by its name, or the status of the refusal.
async fn health(address: &str, service: &str) -> Result<i32, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    // Without a tenant: health is nobody's data.
    let response =
        call::<_, HealthCheckResponse>(address, "/grpc.health.v1.Health/Check", tonic::Request::new(request))
            .await;
    response.map(|response| response.status)
}

#[tokio::test]
async fn health_is_answered_for_the_whole_and_by_contract() {
    let ready = Arc::new(AtomicBool::new(true));
    let (service, _) = service();
    let said = Arc::clone(&ready);
    let address =
        listen(service.ready_when(Arc::new(move || std::future::ready(said.load(SeqCst)).boxed()))).await;
    assert_eq!(health(&address, "").await.unwrap(), 1);
    assert_eq!(health(&address, "test.echo.v1.Echo").await.unwrap(), 1);
    assert_eq!(health(&address, "test.other.v1.Other").await.unwrap_err().code(), Code::NotFound);
    ready.store(false, SeqCst);
    assert_eq!(health(&address, "").await.unwrap(), 2);
    let watch = call::<_, HealthCheckResponse>(
        &address,
        "/grpc.health.v1.Health/Watch",
        asked(HealthCheckRequest::default()),
    );
    assert_eq!(watch.await.unwrap_err().code(), Code::Unimplemented);
}
