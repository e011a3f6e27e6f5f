//! A keyed method in front of a store, written by hand as the generator would write it.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::codegen::BoxFuture;
use drystone_call::{
    CallFn, Channel, Context, ContractInfo, Effect, IdempotencyKey, KeyPolicy, MethodInfo, MethodVisitor,
    Mounted, Result, Runner, ServiceDef,
};

use crate::world::World;

/// Request and response.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
pub(crate) struct Text {
    /// Some text.
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// A message of this text.
pub(crate) fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

static METHOD: [MethodInfo; 1] = [MethodInfo {
    index: 0,
    name: "Add",
    path: "/test.v1.Stock/Add",
    contract: "test.v1.Stock",
    effect: Effect::Mutating,
    key: KeyPolicy::Honoured,
    // Longer than any machine is busy: what these tests wait for is each other.
    timeout: Some(Duration::from_secs(30)),
    coalesce: None,
    recursive: false,
}];

static CONTRACT: ContractInfo = ContractInfo {
    package: "test.v1",
    name: "test.v1.Stock",
    methods: &METHOD,
    descriptor_set: &[],
    descriptor_hash: 7,
};

type Handler = Arc<dyn for<'a> Fn(&'a mut Context, Text) -> BoxFuture<'a, Result<Text>> + Send + Sync>;

/// The object-safe form of the contract's trait.
pub(crate) struct Stock(Handler);

const CALL: CallFn<Stock, Text, Text> = |service, cx, req| (service.0)(cx, req);

impl ServiceDef for Stock {
    fn contract() -> &'static ContractInfo {
        &CONTRACT
    }

    fn visit<V: MethodVisitor<Self>>(method: usize, visitor: V) -> Option<V::Out> {
        METHOD.get(method).map(|info| visitor.unary(info, CALL))
    }
}

/// A way to the method.
#[derive(Clone)]
pub(crate) struct Client(Channel<Stock>);

impl Client {
    /// Mounts `handler` before the world's store.
    pub(crate) fn of<F>(world: &World, handler: F) -> Self
    where
        F: for<'a> Fn(&'a mut Context, Text) -> BoxFuture<'a, Result<Text>> + Send + Sync + 'static,
    {
        let service = Arc::new(Stock(Arc::new(handler)));
        let mounted = Mounted::new(service, Arc::clone(&world.home), Some(world.store.gate()));
        let channel = Channel::unbound(Some("caller"), "caller");
        channel.bind(Runner::Direct(Arc::new(mounted)));
        Self(channel)
    }

    /// Calls the method; says the answer, and whether it came from the record.
    pub(crate) async fn call(&self, cx: &Context, req: &str) -> (Result<String>, bool) {
        let answer = self.0.unary(cx, &METHOD[0], text(req), CALL).await.map(|answer| answer.text);
        let replayed = match &answer {
            Ok(_) => cx.replayed(),
            Err(error) => error.is_replayed(),
        };
        (answer, replayed)
    }
}

/// A context of tenant `acme` with a key.
pub(crate) fn keyed(world: &World, key: &str) -> Context {
    world.cx().with_key(IdempotencyKey::new(key).unwrap())
}
