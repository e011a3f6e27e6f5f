//! Policies: how the call stack treats one method on one edge, and how a service admits its calls.
//!
//! Plain data. Who reads settings makes them and hands them over with [`Channel::set_policies`](crate::Channel::set_policies) and
//! [`Dispatch::set_policies`](crate::Dispatch::set_policies), at the start and again whenever they change.

use std::collections::BTreeMap;
use std::time::Duration;

use drystone_resilience::{
    AdmissionConfig, Backoff, BreakerConfig, BudgetConfig, DeadlineConfig, RateConfig,
};

use crate::{Coalescing, DEFAULT_TIMEOUT, MethodInfo, TenantId};

/// How the calling side treats one method on one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The time that a call may take, if its caller has that much left.
    pub timeout: Duration,
    /// What of the caller's time is kept back for the way home, and how little is too little to call at all.
    pub deadline: DeadlineConfig,
    /// How often and when a call that may be repeated is tried again; `None` for never. Of the runners, remote and faulty need it.
    pub retry: Option<RetryPolicy>,
    /// When calls are no longer tried for a while; `None` for never. Of the runners, remote and faulty need it.
    pub breaker: Option<BreakerConfig>,
    /// The most calls of the edge's method that are under way at once.
    pub bulkhead: u32,
    /// How many calls may begin; `None` for any number.
    pub rate: Option<RatePolicy>,
    /// Whether equal reads share one call; only for methods without side effects.
    pub coalesce: Option<Coalescing>,
}

/// How calls are tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The most attempts of one call, the first included.
    pub attempts: u32,
    /// The pause before an attempt.
    pub backoff: Backoff,
    /// How many attempts beyond the first the edge's method makes in all.
    pub budget: BudgetConfig,
}

/// How many calls may begin, and counted by what.
#[derive(Clone, Debug, PartialEq)]
pub struct RatePolicy {
    /// The rate.
    pub config: RateConfig,
    /// Whose calls are counted together.
    pub by: RateBy,
}

/// Whose calls a rate counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateBy {
    /// All calls of the edge.
    Edge,
    /// Those of one tenant.
    #[default]
    Tenant,
    /// Those of one principal of one tenant.
    Principal,
}

/// How a service admits the calls of one of its methods.
#[derive(Clone, Debug, PartialEq)]
pub struct ServePolicy {
    /// How many run at once, and how long others wait; `None` for no limit.
    pub admission: Option<AdmissionConfig>,
    /// What share a tenant has when calls wait, beside the others' 1.
    pub tenants: BTreeMap<TenantId, u32>,
}

impl Policy {
    /// The most calls of one edge's method under way at once, unless settings say otherwise.
    ///
    /// More than the door of a served method holds, running and waiting: within a process, what is too much is decided there, where each tenant has its turn.
    pub const BULKHEAD: u32 = 4096;

    /// What holds for a method where no setting says otherwise.
    #[must_use]
    pub fn of(method: &MethodInfo) -> Self {
        Self {
            timeout: method.timeout.unwrap_or(DEFAULT_TIMEOUT),
            deadline: DeadlineConfig::default(),
            retry: Some(RetryPolicy::default()),
            breaker: Some(BreakerConfig::default()),
            bulkhead: Self::BULKHEAD,
            rate: None,
            coalesce: method.coalesce,
        }
    }
}

impl Default for RetryPolicy {
    /// Three attempts, 20 % more attempts than calls.
    fn default() -> Self {
        Self { attempts: 3, backoff: Backoff::default(), budget: BudgetConfig::default() }
    }
}

impl Default for ServePolicy {
    /// A limit that adapts, and equal shares.
    fn default() -> Self {
        Self { admission: Some(AdmissionConfig::default()), tenants: BTreeMap::new() }
    }
}
