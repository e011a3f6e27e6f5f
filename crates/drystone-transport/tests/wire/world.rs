//! A contract written by hand, a module that serves it, and processes to put around it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drystone_call::{
    Admission, CallFn, Channel, Claim, Code, Context, ContractInfo, Dispatch, Effect, Error, Home, KeyGate,
    KeyPolicy, KeyUse, MethodInfo, MethodVisitor, Mounted, PlatformReason, Principal, Recorded, Remote,
    Result, Runner, ServiceDef, TenantId,
};
use drystone_transport::{
    DevAuthority, Discovery, Drained, EdgeSet, InternalServer, ProcessIdentity, Reach, RemoteModule,
    RemoteProcess, Replicas, ServerMetrics,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prost::Message;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

/// The contract's full name.
pub(crate) const ECHO: &str = "test.echo.v1.Echo";
/// The path of its method.
pub(crate) const SAY: &str = "/test.echo.v1.Echo/Say";
/// The path of the method that honours keys.
pub(crate) const SAY_ONCE: &str = "/test.echo.v1.Echo/SayOnce";

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
pub(crate) struct SayRequest {
    /// What to do, see [`EchoService::say`].
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) ballast: Vec<u8>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
pub(crate) struct SayReply {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) ballast: Vec<u8>,
}

pub(crate) trait Echo: Send + Sync + 'static {
    fn say<'a>(&'a self, cx: &'a mut Context, req: SayRequest) -> BoxFuture<'a, Result<SayReply>>;
}

const fn method(index: usize, name: &'static str, path: &'static str, timeout: Duration) -> MethodInfo {
    let (effect, key) = (Effect::NoSideEffects, KeyPolicy::Ignored);
    let (timeout, coalesce) = (Some(timeout), None);
    MethodInfo { index, name, path, contract: ECHO, effect, key, timeout, coalesce, recursive: false }
}

static METHODS: [MethodInfo; 3] = [
    method(0, "Say", SAY, Duration::from_secs(30)),
    method(1, "SaySlowly", "/test.echo.v1.Echo/SaySlowly", Duration::from_secs(3600)),
    MethodInfo {
        effect: Effect::Mutating,
        key: KeyPolicy::Honoured,
        ..method(2, "SayOnce", SAY_ONCE, Duration::from_secs(30))
    },
];

static CONTRACT: ContractInfo = ContractInfo {
    package: "test.echo.v1",
    name: ECHO,
    methods: &METHODS,
    descriptor_set: &[],
    descriptor_hash: 0,
};

impl ServiceDef for dyn Echo {
    fn contract() -> &'static ContractInfo {
        &CONTRACT
    }

    fn visit<V: MethodVisitor<Self>>(method: usize, visitor: V) -> Option<V::Out> {
        METHODS.get(method).map(|method| visitor.unary(method, SAY_FN))
    }
}

const SAY_FN: CallFn<dyn Echo, SayRequest, SayReply> = |service, cx, req| service.say(cx, req);

/// The module under the contract. What it does is in the request's text.
pub(crate) struct EchoService {
    /// Handlers that are running now.
    pub(crate) running: watch::Sender<usize>,
    /// Lets handlers that wait go on.
    pub(crate) gate: Semaphore,
    /// Handlers that ran to their end.
    pub(crate) finished: AtomicU64,
    records: Arc<Records>,
}

/// The outcomes of keyed calls: what a store does, in memory and for calls one after another.
#[derive(Default)]
struct Records(Mutex<HashMap<String, Recorded>>);

impl KeyGate for Records {
    fn admit(&self, key_use: KeyUse) -> BoxFuture<'_, Result<Admission>> {
        let recorded = self.0.lock().unwrap().get(key_use.key.as_str()).cloned();
        let claim = || Admission::Run(Claim::new(key_use, Arc::new(())));
        std::future::ready(Ok(recorded.map_or_else(claim, Admission::Replay))).boxed()
    }
}

impl Records {
    fn record(&self, cx: &mut Context, outcome: &Result<SayReply>) {
        let Some(claim) = cx.claim_mut() else { return };
        let recorded = match outcome {
            Ok(reply) => Recorded::Answer(reply.encode_to_vec().into()),
            Err(error) => Recorded::Refusal(error.to_status_bytes()),
        };
        self.0.lock().unwrap().insert(claim.key_use.key.as_str().to_owned(), recorded);
        claim.mark_recorded();
    }
}

impl Default for EchoService {
    fn default() -> Self {
        Self {
            running: watch::Sender::new(0),
            gate: Semaphore::new(0),
            finished: AtomicU64::new(0),
            records: Arc::default(),
        }
    }
}

/// Counts a handler for as long as it lives.
struct Alive<'a>(&'a watch::Sender<usize>);

impl<'a> Alive<'a> {
    fn new(running: &'a watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running += 1);
        Self(running)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Echo for EchoService {
    fn say<'a>(&'a self, cx: &'a mut Context, req: SayRequest) -> BoxFuture<'a, Result<SayReply>> {
        async move {
            let outcome = self.do_say(cx, req).await;
            self.records.record(cx, &outcome);
            outcome
        }
        .boxed()
    }
}

impl EchoService {
    async fn do_say(&self, cx: &Context, req: SayRequest) -> Result<SayReply> {
        let _alive = Alive::new(&self.running);
        let text = match req.text.as_str() {
            "who" => format!("{:?} for {} as {}", cx.calling_module(), cx.tenant(), cx.principal()),
            "wait" => {
                self.gate.acquire().await.map_err(Error::from)?.forget();
                req.text
            }
            "yield" => {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                req.text
            }
            "fail" => return Err(failure()),
            "panic" => panic!("as asked"),
            _ => req.text,
        };
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(SayReply { text, ballast: vec![7; usize::try_from(req.size).unwrap()] })
    }
}

/// An error with all that an error can carry.
pub(crate) fn failure() -> Error {
    PlatformReason::KeyReused
        .error("größer als 100 %")
        .violation("items[0].sku", "is empty")
        .violation("items[1].sku", "is unknown")
        .with("limit", "3")
        .retry_after(Duration::from_millis(1500))
        .caused_by(std::io::Error::other("what only the callee knows"))
}

/// Certificates for one test.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) authority: DevAuthority,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = DevAuthority::open(dir.path().join("certs")).unwrap();
        Self { dir, authority }
    }

    /// The identity of a process named after its first module.
    pub(crate) fn process(&self, modules: &[&str]) -> ProcessIdentity {
        let modules: Vec<_> = modules.iter().map(|module| (*module).to_owned()).collect();
        self.authority.issue("shop", &modules[0], &modules).unwrap()
    }

    /// A process that hosts the module `echo` and accepts its declared edges.
    pub(crate) async fn serve(&self, edges: EdgeSet) -> Running {
        self.serve_at("127.0.0.1:0", edges, Duration::from_secs(30)).await
    }

    pub(crate) async fn serve_at(&self, address: &str, edges: EdgeSet, drain: Duration) -> Running {
        self.serve_with_grace(address, edges, Duration::ZERO, drain).await
    }

    pub(crate) async fn serve_with_grace(
        &self,
        address: &str,
        edges: EdgeSet,
        grace: Duration,
        drain: Duration,
    ) -> Running {
        let server = InternalServer::bind(address, &self.process(&["echo"])).await.unwrap().grace(grace);
        let (address, metrics) = (server.local_addr().to_string(), server.metrics());
        let service = Arc::new(EchoService::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = stopped.map(|_| ());
        let task = tokio::spawn(server.serve(vec![mounted(&service)], edges, shutdown, drain));
        Running { address, metrics, service, stop, task }
    }

    /// What the module `orders`, in a process of its own, has of the module `echo`.
    pub(crate) fn remote(&self, address: &str) -> Arc<RemoteModule> {
        RemoteProcess::new(address, &self.process(&["orders"])).module("echo").unwrap()
    }
}

impl World {
    /// What `orders` has of a module `echo` of which there are several.
    pub(crate) fn replicas(&self, discovery: Discovery) -> Arc<Replicas> {
        Arc::new(Replicas::start("echo", discovery, &self.process(&["orders"])).unwrap())
    }

    /// As [`World::replicas`], at fixed addresses.
    pub(crate) fn replicas_at(&self, addresses: &[&str]) -> Arc<Replicas> {
        self.replicas(Discovery::start(Reach::addresses(addresses).unwrap()))
    }
}

/// A call as the stack of calls hands it to the transport: nothing above tries again. The method may have side effects and has no key.
pub(crate) async fn once(remote: &dyn Remote, text: &str) -> Result<String> {
    once_within(remote, text, Duration::from_secs(30)).await
}

/// As [`once`], dropped at its deadline.
pub(crate) async fn once_within(remote: &dyn Remote, text: &str, timeout: Duration) -> Result<String> {
    let mut headers = context().with_timeout(timeout).to_headers();
    headers.insert(drystone_call::headers::CALLER, http::HeaderValue::from_static("orders"));
    let sent = remote.call(&METHODS[2], headers, request(text).encode_to_vec().into());
    let reply = tokio::time::timeout(timeout, sent).await;
    let reply =
        reply.unwrap_or_else(|_| Err(Error::new(Code::DeadlineExceeded, "dropped at its deadline")))?;
    Ok(SayReply::decode(reply.body)?.text)
}

/// The edge that most tests declare.
pub(crate) fn orders_may_echo() -> EdgeSet {
    EdgeSet::new().allow("orders", ECHO)
}

/// A server and the handles to it.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) metrics: Arc<ServerMetrics>,
    pub(crate) service: Arc<EchoService>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<Drained>,
}

impl Running {
    /// Waits until this many handlers run.
    pub(crate) async fn running(&self, wanted: usize) {
        let mut running = self.service.running.subscribe();
        let reached = running.wait_for(|running| *running == wanted);
        // A call that failed before it reached its handler shall fail the test, not hang it.
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        let _ = reached.unwrap_or_else(|_| panic!("there never were {wanted} handlers running")).unwrap();
    }

    /// Ends the server as a crash would: no goodbye.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) fn mount(service: &Arc<EchoService>) -> Arc<Mounted<dyn Echo>> {
    let gate: Arc<dyn KeyGate> = Arc::clone(&service.records) as _;
    Arc::new(Mounted::new(Arc::clone(service) as Arc<dyn Echo>, Home::of_system("echo"), Some(gate)))
}

fn mounted(service: &Arc<EchoService>) -> Arc<dyn Dispatch> {
    mount(service)
}

/// A module's channel over a remote.
pub(crate) fn channel(from: Option<&str>, remote: Arc<dyn Remote>) -> Channel<dyn Echo> {
    let channel = Channel::unbound(from, from.unwrap_or("outside"));
    channel.bind(Runner::Remote(remote));
    channel
}

/// A channel in the callee's own process.
pub(crate) fn direct_channel() -> Channel<dyn Echo> {
    let channel = Channel::unbound(Some("orders"), "orders");
    channel.bind(Runner::Direct(mount(&Arc::default())));
    channel
}

pub(crate) fn context() -> Context {
    let principal = Principal::new("user:ada").unwrap();
    Context::mint(Home::of_system("orders"), TenantId::new("acme").unwrap(), principal)
        .with_timeout(Duration::from_secs(30))
}

pub(crate) fn request(text: &str) -> SayRequest {
    SayRequest { text: text.to_owned(), ..SayRequest::default() }
}

/// Calls the method.
pub(crate) async fn say(channel: &Channel<dyn Echo>, cx: &Context, req: SayRequest) -> Result<SayReply> {
    channel.unary(cx, &METHODS[0], req, SAY_FN).await
}

/// As [`say`], by the method that honours keys.
pub(crate) async fn say_once(channel: &Channel<dyn Echo>, cx: &Context, req: SayRequest) -> Result<SayReply> {
    channel.unary(cx, &METHODS[2], req, SAY_FN).await
}

/// As [`say`], with an hour of time.
pub(crate) async fn say_slowly(
    channel: &Channel<dyn Echo>,
    cx: &Context,
    req: SayRequest,
) -> Result<SayReply> {
    channel.unary(cx, &METHODS[1], req, SAY_FN).await
}

#[track_caller]
pub(crate) fn assert_unreachable(error: &Error, address: &str) {
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.is(PlatformReason::PeerUnreachable), "{error}");
    assert!(error.message().contains("module echo"), "{error}");
    assert!(!error.message().contains(address), "where a process listens is for the log: {error}");
}
