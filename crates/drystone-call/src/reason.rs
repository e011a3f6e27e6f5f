//! Reasons: what can go wrong, as a contract declares it.

use crate::{Code, Error};

/// The enum that a contract declares with `option (drystone.reasons) = true`.
///
/// Implemented by generated code. A reason travels as `google.rpc.ErrorInfo` and as the `reason` and `domain` members of
/// a problem document.
pub trait Reason: Copy + Send + Sync + 'static {
    /// The proto package that declares the reason.
    const DOMAIN: &'static str;
    /// The value's name in the contract, such as `OUT_OF_STOCK`.
    fn name(self) -> &'static str;
    /// The canonical code that callers see.
    fn code(self) -> Code;
    /// The HTTP status that the gateway answers.
    fn http(self) -> u16;
    /// The value of a name.
    fn from_name(name: &str) -> Option<Self>;
}

/// The reason of type `R` that `error` carries, if it does.
#[must_use]
pub fn reason_of<R: Reason>(error: &Error) -> Option<R> {
    let carried = error.reason_info()?;
    if carried.domain() == R::DOMAIN { R::from_name(carried.name()) } else { None }
}

macro_rules! platform_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, $http:literal;)*) => {
        /// What Drystone itself refuses, in the domain `drystone`. Each name has a page in `docs/errors/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum PlatformReason { $($(#[$doc])* $variant,)* }

        impl PlatformReason {
            /// Every reason of the platform.
            pub const ALL: &'static [PlatformReason] = &[$(Self::$variant,)*];

            /// An error with this reason.
            #[must_use]
            pub fn error(self, message: impl Into<String>) -> Error {
                Error::reason(self, message)
            }
        }

        impl Reason for PlatformReason {
            const DOMAIN: &'static str = "drystone";
            fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            fn code(self) -> Code { match self { $(Self::$variant => Code::$code,)* } }
            fn http(self) -> u16 { match self { $(Self::$variant => $http,)* } }
            fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

platform_reasons! {
    /// The method requires an idempotency key and the call carries none.
    KeyMissing = "IDEMPOTENCY_KEY_MISSING", InvalidArgument, 400;
    /// The key was used before with another payload.
    KeyReused = "IDEMPOTENCY_KEY_REUSED", InvalidArgument, 422;
    /// A call with the same key is running now.
    KeyInUse = "IDEMPOTENCY_KEY_IN_USE", Aborted, 409;
    /// The key is not one: empty, too long, or with characters outside printable ASCII.
    KeyMalformed = "IDEMPOTENCY_KEY_MALFORMED", InvalidArgument, 400;
    /// A keyed handler returned an answer without recording it.
    AnswerNotRecorded = "ANSWER_NOT_RECORDED", Internal, 500;
    /// One handler called one mutating method twice without telling the calls apart.
    CalledTwice = "CALLED_TWICE_WITHOUT_LABEL", Internal, 500;
    /// The calling module has not declared the edge, or its process does not host it.
    EdgeNotDeclared = "EDGE_NOT_DECLARED", PermissionDenied, 403;
    /// A request or response is larger than the limit.
    MessageTooLarge = "MESSAGE_TOO_LARGE", ResourceExhausted, 413;
    /// The bytes are not a message of the method's type, or nest too deep.
    MessageMalformed = "MESSAGE_MALFORMED", InvalidArgument, 400;
    /// A transaction was held open longer than its limit.
    TxHeldTooLong = "TX_HELD_TOO_LONG", Aborted, 409;
    /// The tenant's name is not one.
    TenantMalformed = "TENANT_MALFORMED", InvalidArgument, 400;
    /// Nobody has created the tenant.
    TenantUnknown = "TENANT_UNKNOWN", NotFound, 404;
    /// The tenant is suspended, or is being imported or deleted.
    TenantSuspended = "TENANT_SUSPENDED", FailedPrecondition, 403;
    /// The handler panicked.
    HandlerPanicked = "HANDLER_PANICKED", Internal, 500;
    /// The callee's process cannot be reached.
    PeerUnreachable = "PEER_UNREACHABLE", Unavailable, 503;
    /// The callee has more to do than it can, and has not begun this call.
    Overloaded = "OVERLOADED", ResourceExhausted, 503;
    /// As many calls of the method as the calling module may have under way are under way; this one was not sent.
    BulkheadFull = "BULKHEAD_FULL", ResourceExhausted, 503;
    /// The caller calls more often than it may; this call was not sent.
    RateLimited = "RATE_LIMITED", ResourceExhausted, 429;
    /// Calls of the method have failed lately, so this one was not sent.
    CircuitOpen = "CIRCUIT_OPEN", Unavailable, 503;
    /// No contract and no module answers at this path.
    RouteUnknown = "ROUTE_UNKNOWN", NotFound, 404;
    /// The path exists, for other HTTP methods; the header `Allow` lists them.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", Unimplemented, 405;
    /// The body's `Content-Type` is not `application/json`.
    MediaTypeNotSupported = "MEDIA_TYPE_NOT_SUPPORTED", InvalidArgument, 415;
}
