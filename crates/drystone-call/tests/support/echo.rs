//! A contract written by hand, as the generator would write it, with a handler that a test chooses.

#![allow(dead_code, reason = "each test binary that shares this file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use drystone_call::codegen::BoxFuture;
use drystone_call::{
    CallFn, Channel, Context, ContractInfo, Effect, Home, KeyGate, KeyPolicy, MethodInfo, MethodVisitor,
    Mounted, Principal, Result, Runner, ServiceDef, TenantId,
};

/// A message that can nest in itself.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
pub(crate) struct Note {
    /// Some text.
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    /// A note in the note.
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) inner: Option<Box<Note>>,
}

/// A note of this text.
pub(crate) fn note(text: impl Into<String>) -> Note {
    Note { text: text.into(), inner: None }
}

const fn method(index: usize, name: &'static str, path: &'static str, effect: Effect) -> MethodInfo {
    let timeout = Some(Duration::from_millis(500));
    let (contract, key) = ("test.v1.Echo", KeyPolicy::Honoured);
    MethodInfo { index, name, path, contract, effect, key, timeout, coalesce: None, recursive: true }
}

/// `Read` has no side effects, `Write` has; `Put` has the same ones when repeated, and looks at no key.
pub(crate) static METHODS: [MethodInfo; 3] = [
    method(0, "Read", "/test.v1.Echo/Read", Effect::NoSideEffects),
    method(1, "Write", "/test.v1.Echo/Write", Effect::Mutating),
    MethodInfo { key: KeyPolicy::Ignored, ..method(2, "Put", "/test.v1.Echo/Put", Effect::Idempotent) },
];

static CONTRACT: ContractInfo = ContractInfo {
    package: "test.v1",
    name: "test.v1.Echo",
    methods: &METHODS,
    descriptor_set: &[],
    descriptor_hash: 7,
};

/// What serves all methods.
pub(crate) type Handler =
    Arc<dyn for<'a> Fn(&'a mut Context, Note) -> BoxFuture<'a, Result<Note>> + Send + Sync>;

/// The object-safe form of the contract's trait.
pub(crate) trait EchoDyn: Send + Sync + 'static {
    /// Answers.
    fn answer<'a>(&'a self, cx: &'a mut Context, req: Note) -> BoxFuture<'a, Result<Note>>;
}

struct Served(Handler);

impl EchoDyn for Served {
    fn answer<'a>(&'a self, cx: &'a mut Context, req: Note) -> BoxFuture<'a, Result<Note>> {
        (self.0)(cx, req)
    }
}

/// Calls the handler; all methods share it.
pub(crate) const CALL: CallFn<dyn EchoDyn, Note, Note> = |service, cx, req| service.answer(cx, req);

impl ServiceDef for dyn EchoDyn {
    fn contract() -> &'static ContractInfo {
        &CONTRACT
    }

    fn visit<V: MethodVisitor<Self>>(method: usize, visitor: V) -> Option<V::Out> {
        METHODS.get(method).map(|info| visitor.unary(info, CALL))
    }
}

/// The runners of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Local {
    Direct,
    Encoded,
}

/// Both runners of one process.
pub(crate) const BOTH: [Local; 2] = [Local::Direct, Local::Encoded];

/// A channel of module `caller` to module `callee`, which serves `handler`.
pub(crate) fn channel(
    local: Local,
    gate: Option<Arc<dyn KeyGate>>,
    handler: Handler,
) -> Channel<dyn EchoDyn> {
    channel_to(local, mounted(Home::of_system("callee"), gate, handler))
}

/// A service at a home of its own.
pub(crate) fn mounted(
    home: Arc<Home>,
    gate: Option<Arc<dyn KeyGate>>,
    handler: Handler,
) -> Arc<Mounted<dyn EchoDyn>> {
    let service: Arc<dyn EchoDyn> = Arc::new(Served(handler));
    Arc::new(Mounted::new(service, home, gate))
}

/// A channel of module `caller` to a service.
pub(crate) fn channel_to(local: Local, mounted: Arc<Mounted<dyn EchoDyn>>) -> Channel<dyn EchoDyn> {
    let channel = Channel::unbound(Some("caller"), "caller");
    channel.bind(match local {
        Local::Direct => Runner::Direct(mounted),
        Local::Encoded => Runner::Encoded(mounted),
    });
    channel
}

/// A handler from a function that needs nothing of the context after its first await.
pub(crate) fn handler<F>(answer: F) -> Handler
where
    F: for<'a> Fn(&'a mut Context, Note) -> BoxFuture<'a, Result<Note>> + Send + Sync + 'static,
{
    Arc::new(answer)
}

/// A context at the root of a chain.
pub(crate) fn context() -> Context {
    let tenant = TenantId::new("acme").expect("a tenant's name");
    Context::mint(Home::of_system("test"), tenant, Principal::new("user:ada").expect("a principal"))
}

/// Calls a method.
pub(crate) async fn call(
    channel: &Channel<dyn EchoDyn>,
    cx: &Context,
    method: usize,
    req: Note,
) -> Result<Note> {
    channel.unary(cx, &METHODS[method], req, CALL).await
}
