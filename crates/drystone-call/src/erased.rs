//! Contracts without their types, for those who mount them: the runtime and the gateway.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::gate::KeyGate;
use crate::home::Home;
use crate::metrics::EdgeMetrics;
use crate::policy::Policy;
use crate::serve::{Dispatch, Mounted};
use crate::service::{CallFn, MethodVisitor, Reply, ServiceDef};
use crate::{
    Channel, Context, ContractInfo, Error, MethodInfo, MethodLive, OwnWrites, Payload, Remote, Result, Runner,
};

/// Mounts a service at a home, behind the gate of a store.
type MountFn = dyn Fn(Arc<Home>, Option<Arc<dyn KeyGate>>) -> Mount + Send + Sync;

/// A contract together with the object that serves it, as a module hands it to its wiring.
#[derive(Clone)]
pub struct Served {
    contract: &'static ContractInfo,
    mount: Arc<MountFn>,
    outside: fn(&str) -> Arc<dyn AnyChannel>,
}

impl Served {
    /// The contract of `S`, served by `service`; called by generated code.
    #[must_use]
    pub fn new<S: ServiceDef + ?Sized>(service: Arc<S>) -> Self {
        Self {
            contract: S::contract(),
            mount: Arc::new(move |home, gate| {
                let mounted = Arc::new(Mounted::new(Arc::clone(&service), home, gate));
                Mount { object: Arc::new(Arc::clone(&mounted)), dispatch: mounted }
            }),
            outside: |name| Arc::new(Channel::<S>::unbound(Some(name), name)),
        }
    }

    /// The contract.
    #[must_use]
    pub fn contract(&self) -> &'static ContractInfo {
        self.contract
    }

    /// Mounts the service in a module.
    #[must_use]
    pub fn mount(&self, home: Arc<Home>, gate: Option<Arc<dyn KeyGate>>) -> Mount {
        (self.mount)(home, gate)
    }

    /// An unbound channel for a caller that is no module, such as the gateway, under the name that callees see.
    #[must_use]
    pub fn outside_channel(&self, name: &str) -> Arc<dyn AnyChannel> {
        (self.outside)(name)
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("contract", &self.contract.name).finish_non_exhaustive()
    }
}

/// A mounted service whose type only its contract's clients know.
#[derive(Clone)]
pub struct Mount {
    object: Arc<dyn Any + Send + Sync>,
    dispatch: Arc<dyn Dispatch>,
}

impl Mount {
    /// The service for callers that have bytes.
    #[must_use]
    pub fn dispatch(&self) -> &Arc<dyn Dispatch> {
        &self.dispatch
    }
}

/// What a channel of unknown type can be bound to.
#[derive(Clone)]
pub enum Target {
    /// The runner direct to a service of this process.
    Direct(Mount),
    /// The runner encoded to a service of this process.
    Encoded(Mount),
    /// The runner faulty to a service of this process, by the wire that leads there.
    Faulty(Mount, Arc<dyn Remote>),
    /// The runner remote.
    Remote(Arc<dyn Remote>),
}

/// A channel whose type only its contract's clients know.
pub trait AnyChannel: Send + Sync + 'static {
    /// The contract that is called.
    fn contract(&self) -> &'static ContractInfo;

    /// The counters of this edge.
    fn edge_metrics(&self) -> &Arc<EdgeMetrics>;

    /// Binds the channel.
    ///
    /// # Errors
    /// `INTERNAL` if the target serves another contract.
    fn bind_to(&self, target: Target) -> Result<()>;

    /// As [`Channel::set_policies`].
    fn set_policies(&self, policies: Vec<Policy>);

    /// As [`Channel::timeout`].
    fn timeout(&self, method: usize) -> Option<Duration>;

    /// As [`Channel::live`].
    fn live(&self) -> Vec<MethodLive>;

    /// As [`Channel::share_writes`].
    fn share_writes(&self, writes: &Arc<OwnWrites>);

    /// Calls a method with a JSON document (canonical proto3 JSON); `None` if there is no method of this index.
    fn call_json<'a>(
        &'a self,
        method: usize,
        cx: &'a Context,
        body: JsonBody,
    ) -> Option<BoxFuture<'a, Result<Vec<u8>>>>;

    /// Calls a method with an encoded message; `None` if there is no method of this index.
    fn call_bytes<'a>(
        &'a self,
        method: usize,
        cx: &'a Context,
        body: Bytes,
    ) -> Option<BoxFuture<'a, Result<Reply>>>;
}

/// A JSON request.
#[derive(Clone, Debug)]
pub enum JsonBody {
    /// The text of the whole request.
    Text(Bytes),
    /// A request put together from path, query and body.
    Value(Value),
}

impl<S: ServiceDef + ?Sized> AnyChannel for Channel<S> {
    fn contract(&self) -> &'static ContractInfo {
        S::contract()
    }

    fn edge_metrics(&self) -> &Arc<EdgeMetrics> {
        self.metrics()
    }

    fn bind_to(&self, target: Target) -> Result<()> {
        let typed = |mount: &Mount| {
            mount.object.downcast_ref::<Arc<Mounted<S>>>().cloned().ok_or_else(|| {
                Error::internal(format!("{} is bound to a service of another contract", S::contract().name))
            })
        };
        self.bind(match target {
            Target::Direct(mount) => Runner::Direct(typed(&mount)?),
            Target::Encoded(mount) => Runner::Encoded(typed(&mount)?),
            Target::Faulty(mount, wire) => Runner::Faulty(typed(&mount)?, wire),
            Target::Remote(remote) => Runner::Remote(remote),
        });
        Ok(())
    }

    fn set_policies(&self, policies: Vec<Policy>) {
        Self::set_policies(self, policies);
    }

    fn timeout(&self, method: usize) -> Option<Duration> {
        Self::timeout(self, method)
    }

    fn live(&self) -> Vec<MethodLive> {
        Self::live(self)
    }

    fn share_writes(&self, writes: &Arc<OwnWrites>) {
        Self::share_writes(self, writes);
    }

    fn call_json<'a>(
        &'a self,
        method: usize,
        cx: &'a Context,
        body: JsonBody,
    ) -> Option<BoxFuture<'a, Result<Vec<u8>>>> {
        S::visit(method, CallJson { channel: self, cx, body })
    }

    fn call_bytes<'a>(
        &'a self,
        method: usize,
        cx: &'a Context,
        body: Bytes,
    ) -> Option<BoxFuture<'a, Result<Reply>>> {
        S::visit(method, CallBytes { channel: self, cx, body })
    }
}

struct CallJson<'a, S: ?Sized> {
    channel: &'a Channel<S>,
    cx: &'a Context,
    body: JsonBody,
}

impl<'a, S: ServiceDef + ?Sized> MethodVisitor<S> for CallJson<'a, S> {
    type Out = BoxFuture<'a, Result<Vec<u8>>>;

    fn unary<Req: Payload, Resp: Payload>(
        self,
        method: &'static MethodInfo,
        call: CallFn<S, Req, Resp>,
    ) -> Self::Out {
        let Self { channel, cx, body } = self;
        Box::pin(async move {
            let req: Req = match body {
                JsonBody::Text(text) => serde_json::from_slice(&text),
                JsonBody::Value(value) => Req::deserialize(value),
            }
            .map_err(|cause| {
                Error::invalid_argument(format!("the request does not fit {}: {cause}", method.path))
            })?;
            let resp = channel.unary(cx, method, req, call).await?;
            serde_json::to_vec(&resp).map_err(Error::from)
        })
    }
}

struct CallBytes<'a, S: ?Sized> {
    channel: &'a Channel<S>,
    cx: &'a Context,
    body: Bytes,
}

impl<'a, S: ServiceDef + ?Sized> MethodVisitor<S> for CallBytes<'a, S> {
    type Out = BoxFuture<'a, Result<Reply>>;

    fn unary<Req: Payload, Resp: Payload>(
        self,
        method: &'static MethodInfo,
        call: CallFn<S, Req, Resp>,
    ) -> Self::Out {
        let Self { channel, cx, body } = self;
        Box::pin(async move {
            let req = Req::from_binary(body, method.path)?;
            let resp = channel.unary(cx, method, req, call).await?;
            Ok(Reply { body: resp.encode_to_vec().into(), replayed: cx.replayed() })
        })
    }
}
