//! The layers of one method on one edge: what its policy says, made into what counts and remembers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drystone_resilience::{
    Breaker, Budget, Bulkhead, Flights, FlightsConfig, Open, Permit, RateLimiter, Slot, State, TooFast,
};
use tokio::time::Instant;

use crate::policy::{Policy, RateBy, RatePolicy, RetryPolicy};
use crate::shared::{Landed, Question};
use crate::versions::Versions;
use crate::{Context, ContractInfo, MethodInfo, PlatformReason, Principal, Result, TenantId};

/// The most answers that one method on one edge keeps for equal reads.
const MOST_KEPT: u64 = 10_000;

/// When to come again to a bulkhead that is full. Nobody knows; a call that hangs holds its place until its deadline.
const FULL: Duration = Duration::from_secs(1);

/// The layers of one method on one edge.
///
/// Changed as a whole: a call keeps those that it began with. What did not change from one policy to the next is the same object in both.
pub(crate) struct Guards {
    pub(crate) policy: Policy,
    bulkhead: Arc<Bulkhead>,
    rate: Option<Arc<Rate>>,
    pub(crate) retries: Option<Arc<Retries>>,
    breaker: Option<Arc<Breaker>>,
    pub(crate) flights: Option<Arc<Flights<Question, Landed>>>,
}

/// Whose calls a rate counts together; `None` where it does not look.
type RateKey = (Option<TenantId>, Option<Principal>);

struct Rate {
    policy: RatePolicy,
    limiter: RateLimiter<RateKey>,
}

/// What is tried again, and how much of it.
pub(crate) struct Retries {
    pub(crate) policy: RetryPolicy,
    pub(crate) budget: Budget,
}

impl Guards {
    /// The layers of every method of a contract, as if no setting said anything.
    pub(crate) fn of(contract: &ContractInfo) -> Box<[Versions<Arc<Self>>]> {
        let guards = |method: &MethodInfo| Versions::new(Arc::new(Self::new(Policy::of(method))));
        contract.methods.iter().map(guards).collect()
    }

    fn new(policy: Policy) -> Self {
        Self {
            bulkhead: Arc::new(Bulkhead::new(policy.bulkhead)),
            rate: policy.rate.clone().map(Rate::new),
            retries: policy.retry.clone().map(Retries::new),
            breaker: policy.breaker.clone().map(|config| Arc::new(Breaker::new(config))),
            flights: policy
                .coalesce
                .map(|coalesce| Arc::new(Flights::new(FlightsConfig { ttl: coalesce.ttl, most: MOST_KEPT }))),
            policy,
        }
    }

    /// The layers of another policy, if it is another one; those of which it says the same go on.
    pub(crate) fn with(&self, policy: Policy) -> Option<Self> {
        if self.policy == policy {
            return None;
        }
        let new = Self::new(policy);
        self.bulkhead.resize(new.policy.bulkhead);
        let old = &self.policy;
        // What is replaced is kept with the old version, so it must not hold what it has collected.
        if old.rate != new.policy.rate
            && let Some(rate) = &self.rate
        {
            rate.limiter.forget();
        }
        if old.coalesce != new.policy.coalesce
            && let Some(flights) = &self.flights
        {
            flights.forget();
        }
        Some(Self {
            bulkhead: Arc::clone(&self.bulkhead),
            rate: if old.rate == new.policy.rate { self.rate.clone() } else { new.rate },
            retries: if old.retry == new.policy.retry { self.retries.clone() } else { new.retries },
            breaker: if old.breaker == new.policy.breaker { self.breaker.clone() } else { new.breaker },
            flights: if old.coalesce == new.policy.coalesce { self.flights.clone() } else { new.flights },
            policy: new.policy,
        })
    }

    /// A place among the calls under way.
    pub(crate) fn enter_bulkhead(&self, method: &'static MethodInfo) -> Result<Slot<'_>> {
        self.bulkhead.enter().ok_or_else(|| {
            let text = format!(
                "{} calls of {} are under way from here, which is all that may be",
                self.policy.bulkhead, method.path
            );
            PlatformReason::BulkheadFull.error(text).retry_after(FULL)
        })
    }

    /// Whether the call may begin now, as far as its rate goes.
    pub(crate) fn check_rate(&self, cx: &Context, method: &'static MethodInfo, now: Instant) -> Result<()> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let key = match rate.policy.by {
            RateBy::Edge => (None, None),
            RateBy::Tenant => (Some(cx.tenant().clone()), None),
            RateBy::Principal => (Some(cx.tenant().clone()), Some(cx.principal().clone())),
        };
        rate.limiter.check(&key, now).map_err(|TooFast { retry_in }| {
            let text = format!("{} is called more often than it may be", method.path);
            PlatformReason::RateLimited.error(text).retry_after(up_to_a_millisecond(retry_in))
        })
    }

    /// Whether an attempt may be made; what it teaches goes to the permit.
    pub(crate) fn enter_breaker(
        &self,
        method: &'static MethodInfo,
        now: Instant,
    ) -> Result<Option<Permit<'_>>> {
        let Some(breaker) = &self.breaker else { return Ok(None) };
        breaker.enter(now).map(Some).map_err(|Open { retry_in }| {
            let text = format!("{} has failed lately and is not called for a while", method.path);
            PlatformReason::CircuitOpen.error(text).retry_after(up_to_a_millisecond(retry_in))
        })
    }

    /// How the layers stand.
    pub(crate) fn live(&self, now: Instant) -> MethodLive {
        MethodLive {
            policy: self.policy.clone(),
            in_flight: self.bulkhead.in_flight(),
            retries_left: self.retries.as_ref().map(|retries| retries.budget.left(now)),
            breaker: self.breaker.as_ref().map(|breaker| breaker.state(now)),
            breaker_opened: self.breaker.as_ref().map_or(0, |breaker| breaker.stats().opened),
        }
    }
}

impl Rate {
    fn new(policy: RatePolicy) -> Arc<Self> {
        Arc::new(Self { limiter: RateLimiter::new(policy.config), policy })
    }
}

impl Retries {
    fn new(policy: RetryPolicy) -> Arc<Self> {
        Arc::new(Self { budget: Budget::new(policy.budget.clone()), policy })
    }
}

/// How one method on one edge stands now.
#[derive(Clone, Debug)]
pub struct MethodLive {
    /// What holds for its calls.
    pub policy: Policy,
    /// Calls under way.
    pub in_flight: u32,
    /// Attempts beyond the first that the budget would grant now, if any are made.
    pub retries_left: Option<u64>,
    /// The state of the breaker, if there is one.
    pub breaker: Option<State>,
    /// How often the breaker has opened.
    pub breaker_opened: u64,
}

/// Whole milliseconds travel, and a caller that comes a moment early comes in vain.
fn up_to_a_millisecond(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// The bytes of a request, as equal reads are known by.
pub(crate) fn question(onward: &Context, request: Bytes) -> Question {
    Question {
        tenant: onward.tenant().clone(),
        principal: onward.principal().clone(),
        baggage: onward.baggage().as_str().to_owned(),
        request,
    }
}
