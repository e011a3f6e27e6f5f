//! The seam between generated code and the call stack: a service as a table of typed methods.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{Channel, Context, ContractInfo, MethodInfo, Payload, Result};

/// Calls one method of a service object.
pub type CallFn<S, Req, Resp> = for<'a> fn(&'a S, &'a mut Context, Req) -> BoxFuture<'a, Result<Resp>>;

/// A contract's service as a table of its methods; implemented by generated code for the object-safe form of its trait.
pub trait ServiceDef: Send + Sync + 'static {
    /// The contract.
    fn contract() -> &'static ContractInfo;

    /// Shows `visitor` the method of this index with its types; `None` if there is none.
    fn visit<V: MethodVisitor<Self>>(method: usize, visitor: V) -> Option<V::Out>;
}

/// Does something with a method whose types are not known before: decodes JSON for it, decodes bytes for it.
pub trait MethodVisitor<S: ?Sized> {
    /// What comes of it.
    type Out;

    /// Visits a unary method.
    fn unary<Req: Payload, Resp: Payload>(
        self,
        method: &'static MethodInfo,
        call: CallFn<S, Req, Resp>,
    ) -> Self::Out;
}

/// A client that generated code declares for a contract.
pub trait ContractClient: Clone + Send + Sync + 'static {
    /// The object-safe form of the contract's trait.
    type Service: ServiceDef + ?Sized;

    /// The client that calls through `channel`.
    fn from_channel(channel: Channel<Self::Service>) -> Self;
}

/// An event that a contract publishes; implemented by generated code.
pub trait Event: Payload {
    /// The stable name of the type, such as `shop.orders.v1.OrderPlaced`.
    const TYPE: &'static str;

    /// The value of the key field: events of one key keep their order.
    fn key(&self) -> String;
}

/// The answer to a call made in bytes.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The encoded response.
    pub body: Bytes,
    /// Whether the answer came from the record of an earlier call.
    pub replayed: bool,
}
