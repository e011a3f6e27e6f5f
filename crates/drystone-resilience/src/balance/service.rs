//! Balancing as a service over a set of services.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower_service::Service;

use super::Balancer;
use crate::clock::{Clock, TokioClock};
use crate::ready::ready;

/// A service that sends each request to one of several.
///
/// It is always ready; the request waits for the readiness of the member that it goes to, and that wait is part of the member's time. Who changes the members keeps a clone of the [`Balancer`].
/// What a dropped call would have come to is not known: a time limit belongs *inside*, around each member, if a member that never answers is to be left out.
pub struct Balance<S: Service<Req>, Req> {
    balancer: Balancer<S>,
    failed: Arc<Failed<S::Response, S::Error>>,
    clock: Arc<dyn Clock>,
}

type Failed<Res, E> = dyn Fn(&Result<Res, E>) -> bool + Send + Sync;

impl<S: Service<Req>, Req> Balance<S, Req> {
    /// A service over the members of `balancer`; every error is a failure of its member.
    #[must_use]
    pub fn new(balancer: Balancer<S>) -> Self
    where
        S::Response: 'static,
        S::Error: 'static,
    {
        Self { balancer, failed: Arc::new(Result::is_err), clock: Arc::new(TokioClock) }
    }

    /// Which answers are failures of the member; a refusal of the request should not be.
    #[must_use]
    pub fn failed(
        mut self,
        failed: impl Fn(&Result<S::Response, S::Error>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.failed = Arc::new(failed);
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The members.
    #[must_use]
    pub fn balancer(&self) -> &Balancer<S> {
        &self.balancer
    }
}

impl<S: Service<Req>, Req> Clone for Balance<S, Req> {
    fn clone(&self) -> Self {
        Self { balancer: self.balancer.clone(), failed: self.failed.clone(), clock: self.clock.clone() }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for Balance<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("balancer", &self.balancer).finish_non_exhaustive()
    }
}

impl<S, Req> Service<Req> for Balance<S, Req>
where
    S: Service<Req> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    Req: Send + 'static,
{
    type Response = S::Response;
    type Error = BalanceError<S::Error>;
    type Future = BoxFuture<'static, Result<S::Response, Self::Error>>;

    fn poll_ready(&mut self, _task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Self { balancer, failed, clock } = self.clone();
        Box::pin(async move {
            let Some(picked) = balancer.pick(clock.now(), &[]) else { return Err(BalanceError::Empty) };
            let mut member = picked.member().clone();
            let answer = match ready(&mut member).await {
                Ok(()) => member.call(request).await,
                Err(error) => Err(error),
            };
            if failed(&answer) {
                picked.failed(clock.now());
            } else {
                picked.succeeded(clock.now());
            }
            answer.map_err(BalanceError::Member)
        })
    }
}

/// Why a balanced request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalanceError<E> {
    /// There is no member.
    Empty,
    /// What the member said.
    Member(E),
}

impl<E: fmt::Display> fmt::Display for BalanceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no replica to send the request to"),
            Self::Member(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for BalanceError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Empty => None,
            Self::Member(error) => error.source(),
        }
    }
}
