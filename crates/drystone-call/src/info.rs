//! What generated code says of a contract, as constants.

use std::time::Duration;

use drystone_contract::{Coalescing, Effect, KeyPolicy};

/// A contract's service, as generated code describes it.
#[derive(Debug)]
pub struct ContractInfo {
    /// The proto package, such as `shop.orders.v1`.
    pub package: &'static str,
    /// The full name of the service, such as `shop.orders.v1.Orders`.
    pub name: &'static str,
    /// The methods, in the order of the `.proto` file.
    pub methods: &'static [MethodInfo],
    /// The encoded `FileDescriptorSet` with its imports and comments.
    pub descriptor_set: &'static [u8],
    /// A hash over the descriptors without comments; stored with idempotency records, because another payload is only
    /// a reuse of a key when both sides spoke the same version of the contract.
    pub descriptor_hash: u64,
}

/// One method of a contract.
#[derive(Debug)]
pub struct MethodInfo {
    /// The position in [`ContractInfo::methods`].
    pub index: usize,
    /// The name, such as `PlaceOrder`.
    pub name: &'static str,
    /// The gRPC path, such as `/shop.orders.v1.Orders/PlaceOrder`.
    pub path: &'static str,
    /// The full name of the service.
    pub contract: &'static str,
    /// What a call changes.
    pub effect: Effect,
    /// Whether calls carry an idempotency key.
    pub key: KeyPolicy,
    /// The time that a call may take; `None` is [`crate::DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Whether equal calls of one tenant and principal that are in flight at the same time share one answer; only a method without side effects does.
    pub coalesce: Option<Coalescing>,
    /// Whether a message of the method can nest in itself, so that its depth must be checked.
    pub recursive: bool,
}

impl MethodInfo {
    /// Whether a call of this method carries a key onwards and is answered from its record when repeated.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.key != KeyPolicy::Ignored && self.effect != Effect::NoSideEffects
    }
}
