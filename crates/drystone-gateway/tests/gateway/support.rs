//! The far side of the gateway's seam: a channel that records the requests that it gets, and a client without a socket.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use drystone_call::{
    AnyChannel, Context, ContractInfo, EdgeMetrics, Error, JsonBody, MethodInfo, MethodMetrics, Reply,
    Result, Target,
};
use drystone_contract::{Contract, WELL_KNOWN_FILES};
use drystone_gateway::{DevMode, Gateway, GatewayBuilder};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::Value;

struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

/// The encoded descriptors of a `.proto` text.
pub(crate) fn descriptors(name: &str, text: &str) -> Vec<u8> {
    let own = std::iter::once((name.to_owned(), text.to_owned()));
    let known = WELL_KNOWN_FILES.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(known.chain(own).collect()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(name).unwrap_or_else(|error| panic!("{error:?}")).encode_file_descriptor_set()
}

/// What generated code would say of a service.
pub(crate) fn contract(name: &str, text: &str, service: &str) -> &'static ContractInfo {
    let set: &'static [u8] = descriptors(name, text).leak();
    let model = Contract::parse(set, service).unwrap();
    let service: &'static str = model.full_name.clone().leak();
    let methods = model.methods.iter().map(|method| MethodInfo {
        index: method.index,
        name: method.name.clone().leak(),
        path: method.path.clone().leak(),
        contract: service,
        effect: method.effect,
        key: method.key,
        timeout: method.timeout,
        coalesce: method.coalesce,
        recursive: false,
    });
    Box::leak(Box::new(ContractInfo {
        package: model.package.clone().leak(),
        name: service,
        methods: methods.collect::<Vec<_>>().leak(),
        descriptor_set: set,
        descriptor_hash: 1,
    }))
}

/// One request as a contract got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: &'static str,
    /// The document; `as_text` says whether the gateway left it as it came.
    pub(crate) json: Value,
    pub(crate) as_text: bool,
    pub(crate) tenant: String,
    pub(crate) principal: String,
    pub(crate) key: Option<String>,
    pub(crate) trace: String,
    pub(crate) baggage: String,
    pub(crate) time_left: Duration,
}

type Answer = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<u8>>> + Send + Sync>;

/// A channel that records and answers what it is told to.
pub(crate) struct Recorder {
    contract: &'static ContractInfo,
    metrics: Arc<EdgeMetrics>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    answer: Answer,
}

impl Recorder {
    pub(crate) fn answering(
        contract: &'static ContractInfo,
        answer: impl Fn() -> BoxFuture<'static, Result<Vec<u8>>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let metrics = EdgeMetrics {
            from: "gateway".into(),
            contract,
            methods: contract.methods.iter().map(|_| MethodMetrics::default()).collect(),
            encoded_bytes: AtomicU64::new(0),
            remote_bytes: AtomicU64::new(0),
        };
        Arc::new(Self {
            contract,
            metrics: Arc::new(metrics),
            seen: Mutex::default(),
            answer: Box::new(answer),
        })
    }

    pub(crate) fn saying(contract: &'static ContractInfo, json: &'static str) -> Arc<Self> {
        Self::answering(contract, move || async move { Ok(json.as_bytes().to_vec()) }.boxed())
    }

    pub(crate) fn failing(contract: &'static ContractInfo, error: fn() -> Error) -> Arc<Self> {
        Self::answering(contract, move || async move { Err(error()) }.boxed())
    }
}

impl AnyChannel for Recorder {
    fn contract(&self) -> &'static ContractInfo {
        self.contract
    }

    fn edge_metrics(&self) -> &Arc<EdgeMetrics> {
        &self.metrics
    }

    fn bind_to(&self, _: Target) -> Result<()> {
        Ok(())
    }

    fn set_policies(&self, _: Vec<drystone_call::policy::Policy>) {}

    fn timeout(&self, method: usize) -> Option<Duration> {
        Some(self.contract.methods.get(method)?.timeout.unwrap_or(drystone_call::DEFAULT_TIMEOUT))
    }

    fn live(&self) -> Vec<drystone_call::MethodLive> {
        Vec::new()
    }

    fn share_writes(&self, _: &Arc<drystone_call::OwnWrites>) {}

    fn call_json<'a>(
        &'a self,
        method: usize,
        cx: &'a Context,
        body: JsonBody,
    ) -> Option<BoxFuture<'a, Result<Vec<u8>>>> {
        let method = self.contract.methods.get(method)?;
        let (as_text, json) = match body {
            JsonBody::Text(text) => (true, serde_json::from_slice(&text).unwrap()),
            JsonBody::Value(value) => (false, value),
        };
        self.seen.lock().unwrap().push(Seen {
            method: method.name,
            json,
            as_text,
            tenant: cx.tenant().to_string(),
            principal: cx.principal().to_string(),
            key: cx.key().map(ToString::to_string),
            trace: cx.trace().to_string(),
            baggage: cx.baggage().as_str().to_owned(),
            time_left: cx.time_left(),
        });
        Some((self.answer)())
    }

    fn call_bytes<'a>(&'a self, _: usize, _: &'a Context, _: Bytes) -> Option<BoxFuture<'a, Result<Reply>>> {
        None
    }
}

/// The library contract.
pub(crate) fn library() -> &'static ContractInfo {
    static LIBRARY: std::sync::OnceLock<&'static ContractInfo> = std::sync::OnceLock::new();
    LIBRARY.get_or_init(|| {
        contract("test/library.proto", include_str!("library.proto"), "test.library.v1.Library")
    })
}

pub(crate) fn builder() -> GatewayBuilder {
    Gateway::builder().development_mode(DevMode::default())
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The document of a failure, after checking that it is one.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        for member in ["type", "title", "detail", "code"] {
            assert!(problem[member].is_string(), "{member} of {problem}");
        }
        problem
    }
}

/// Sends one request; `text` is `METHOD uri`.
pub(crate) async fn send(
    gateway: &Gateway,
    text: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answered {
    let (method, uri) = text.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = gateway.respond(request.body(body.into()).unwrap()).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered { status: parts.status, headers: parts.headers, body }
}
