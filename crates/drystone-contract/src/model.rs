//! The model that gateway, OpenAPI and generator read: one service of one package, annotations resolved.

use std::time::Duration;

use prost_reflect::{DescriptorError, DescriptorPool, FileDescriptor, MessageDescriptor, ServiceDescriptor};

use crate::annotations;
use crate::check::check;
use crate::code::Code;
use crate::finding::Finding;
use crate::http_rule::{self, HttpBinding};
use crate::repeat::{Coalescing, Effect, KeyPolicy};
use crate::shape::with_nested;
use crate::source;
use crate::timeout::parse_timeout;

/// One service with everything of its package that callers may depend on.
#[derive(Clone, Debug)]
pub struct Contract {
    /// The proto package, as in `shop.orders.v1`.
    pub package: String,
    /// The service's name without package, as in `Orders`.
    pub service: String,
    /// The service's full name, as in `shop.orders.v1.Orders`.
    pub full_name: String,
    /// The service's comment.
    pub comment: String,
    /// Its methods, in the order of the file.
    pub methods: Vec<Method>,
    /// The reasons of the whole package.
    pub reasons: Vec<Reason>,
    /// The events of the whole package.
    pub events: Vec<Event>,
    /// All descriptors, imports included.
    pub pool: DescriptorPool,
}

/// One method.
#[derive(Clone, Debug)]
pub struct Method {
    /// Position in the service, from 0.
    pub index: usize,
    /// The name, as in `PlaceOrder`.
    pub name: String,
    /// The gRPC path, as in `/shop.orders.v1.Orders/PlaceOrder`.
    pub path: String,
    /// The request.
    pub input: MessageDescriptor,
    /// The response.
    pub output: MessageDescriptor,
    /// What repeating a call does.
    pub effect: Effect,
    /// How long a call may take; `None` leaves it to the caller's default.
    pub timeout: Option<Duration>,
    /// What becomes of an idempotency key, defaults resolved.
    pub key: KeyPolicy,
    /// Whether equal calls in flight share one answer, and for how long it is kept.
    pub coalesce: Option<Coalescing>,
    /// The HTTP routes to it, the main one first; empty for a method that only gRPC reaches.
    pub bindings: Vec<HttpBinding>,
    /// Which sides stream.
    pub kind: MethodKind,
    /// The comment.
    pub comment: String,
}

/// Which sides of a method send more than one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// One request, one response.
    Unary,
    /// Many responses.
    ServerStreaming,
    /// Many requests.
    ClientStreaming,
    /// Many of both.
    Bidirectional,
}

/// One reason for which a call can be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The enum's name without package, as in `OrdersReason`.
    pub enum_name: String,
    /// The domain in `google.rpc.ErrorInfo`: the proto package.
    pub domain: String,
    /// The value's name, as in `OUT_OF_STOCK`.
    pub name: String,
    /// The value's number.
    pub number: i32,
    /// The gRPC code.
    pub code: Code,
    /// The HTTP status, the code's own where the contract names none.
    pub http: u16,
    /// The comment.
    pub comment: String,
}

/// One kind of event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The stable name under which it travels.
    pub event_type: String,
    /// The field that orders it.
    pub key: String,
    /// The message.
    pub message: MessageDescriptor,
    /// The comment.
    pub comment: String,
}

/// Why descriptors hold no such contract.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The bytes are no set of descriptors, or an incomplete one.
    #[error("the descriptor set of `{service}` cannot be read: {source}")]
    Descriptors {
        /// The service asked for.
        service: String,
        /// What the decoder says.
        source: DescriptorError,
    },
    /// The set lacks the service.
    #[error("the descriptor set declares no service `{service}`; it declares {known}")]
    UnknownService {
        /// The service asked for.
        service: String,
        /// The services found.
        known: String,
    },
    /// The annotations break rules.
    #[error("the contract `{service}` breaks {} rule(s), first: {}", findings.len(), first(findings))]
    Rules {
        /// The service asked for.
        service: String,
        /// Every breach, never empty.
        findings: Vec<Finding>,
    },
}

fn first(findings: &[Finding]) -> String {
    findings.first().map(ToString::to_string).unwrap_or_default()
}

impl Contract {
    /// Reads the contract of `service` (its full name) from an encoded `FileDescriptorSet` with imports.
    ///
    /// # Errors
    ///
    /// When the set cannot be read, lacks the service, or breaks a rule of [`RULES`](crate::RULES).
    pub fn parse(descriptor_set: &[u8], service: &str) -> Result<Self, ContractError> {
        let pool = DescriptorPool::decode(descriptor_set)
            .map_err(|source| ContractError::Descriptors { service: service.to_owned(), source })?;
        Self::from_pool(&pool, service)
    }

    /// Reads the contract of `service` (its full name) from decoded descriptors.
    ///
    /// # Errors
    ///
    /// When the pool lacks the service or breaks a rule of [`RULES`](crate::RULES).
    pub fn from_pool(pool: &DescriptorPool, service: &str) -> Result<Self, ContractError> {
        let Some(descriptor) = pool.get_service_by_name(service) else {
            let known: Vec<String> = pool.services().map(|it| format!("`{}`", it.full_name())).collect();
            return Err(ContractError::UnknownService {
                service: service.to_owned(),
                known: known.join(", "),
            });
        };
        let findings = check(pool);
        if !findings.is_empty() {
            return Err(ContractError::Rules { service: service.to_owned(), findings });
        }
        let file = descriptor.parent_file();
        let package = file.package_name().to_owned();
        Ok(Self {
            service: descriptor.name().to_owned(),
            full_name: descriptor.full_name().to_owned(),
            comment: source::comment(file.file_descriptor_proto(), descriptor.path()),
            methods: methods(&descriptor),
            reasons: reasons_of(pool, &package),
            events: events_of(pool, &package),
            pool: pool.clone(),
            package,
        })
    }
}

fn methods(service: &ServiceDescriptor) -> Vec<Method> {
    let file = service.parent_file();
    let describe = |(index, method): (usize, prost_reflect::MethodDescriptor)| {
        let options = annotations::method_options(&method);
        let effect = effect(&method);
        Method {
            index,
            name: method.name().to_owned(),
            path: format!("/{}/{}", service.full_name(), method.name()),
            input: method.input(),
            output: method.output(),
            effect,
            timeout: parse_timeout(&options.timeout).ok(),
            key: key_policy(options.key, effect),
            coalesce: options.coalesce.map(|ttl| Coalescing { ttl: parse_timeout(&ttl).ok() }),
            bindings: annotations::http_rule(&method)
                .map(|rule| http_rule::bindings(&rule).into_iter().filter_map(Result::ok).collect())
                .unwrap_or_default(),
            kind: method_kind(&method),
            comment: source::comment(file.file_descriptor_proto(), method.path()),
        }
    };
    service.methods().enumerate().map(describe).collect()
}

pub(crate) fn effect(method: &prost_reflect::MethodDescriptor) -> Effect {
    use prost_types::method_options::IdempotencyLevel;
    let proto = method.method_descriptor_proto();
    match proto.options.as_ref().map(prost_types::MethodOptions::idempotency_level) {
        Some(IdempotencyLevel::NoSideEffects) => Effect::NoSideEffects,
        Some(IdempotencyLevel::Idempotent) => Effect::Idempotent,
        Some(IdempotencyLevel::IdempotencyUnknown) | None => Effect::Mutating,
    }
}

/// Resolves the number of `drystone.KeyPolicy`; an unset one follows the effect.
fn key_policy(number: i32, effect: Effect) -> KeyPolicy {
    match (number, effect) {
        (1, _) => KeyPolicy::Honoured,
        (2, _) => KeyPolicy::Required,
        (3, _) | (_, Effect::NoSideEffects) => KeyPolicy::Ignored,
        (_, Effect::Idempotent | Effect::Mutating) => KeyPolicy::Honoured,
    }
}

pub(crate) fn method_kind(method: &prost_reflect::MethodDescriptor) -> MethodKind {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => MethodKind::Unary,
        (false, true) => MethodKind::ServerStreaming,
        (true, false) => MethodKind::ClientStreaming,
        (true, true) => MethodKind::Bidirectional,
    }
}

fn files<'a>(pool: &'a DescriptorPool, package: &'a str) -> impl Iterator<Item = FileDescriptor> + 'a {
    pool.files().filter(move |file| file.package_name() == package)
}

/// The reasons that the files of `package` declare, in their order; values that break a rule are left out.
#[must_use]
pub fn reasons_of(pool: &DescriptorPool, package: &str) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for file in files(pool, package) {
        for descriptor in file.enums().filter(annotations::is_reasons) {
            for value in descriptor.values() {
                let Some(options) = annotations::reason_options(&value) else { continue };
                let Some(code) = Code::try_from_number(options.code) else { continue };
                let http = u16::try_from(options.http).ok().filter(|http| *http != 0);
                reasons.push(Reason {
                    enum_name: descriptor.name().to_owned(),
                    domain: package.to_owned(),
                    name: value.name().to_owned(),
                    number: value.number(),
                    code,
                    http: http.unwrap_or(code.http()),
                    comment: source::comment(file.file_descriptor_proto(), value.path()),
                });
            }
        }
    }
    reasons
}

/// The events that the files of `package` declare, in their order.
#[must_use]
pub fn events_of(pool: &DescriptorPool, package: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for file in files(pool, package) {
        for message in file.messages().flat_map(with_nested) {
            let Some(options) = annotations::event_options(&message) else { continue };
            let named = Some(options.r#type).filter(|name| !name.is_empty());
            events.push(Event {
                event_type: named.unwrap_or_else(|| message.full_name().to_owned()),
                key: options.key,
                comment: source::comment(file.file_descriptor_proto(), message.path()),
                message,
            });
        }
    }
    events
}
