//! Equal reads of one tenant and principal share one call, where the method opts in.
//!
//! What is shared is bytes, in every runner: each caller decodes an answer of its own, so that nothing is aliased. The call belongs to nobody: it has the method's
//! time and goes on while anyone waits for it. A read that comes after a write of its principal was acknowledged does not join a call that began before,
//! and is not answered with what was kept before.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use drystone_resilience::Flights;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::channel::{Link, deadline_exceeded};
use crate::guards::{Guards, question};
use crate::service::{CallFn, ServiceDef};
use crate::within::within;
use crate::{Context, Error, MethodInfo, Payload, Principal, Result, TenantId};

/// What makes two reads of a method equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    /// A handler may read it, so its answer may depend on it.
    pub(crate) baggage: String,
    pub(crate) request: Bytes,
}

/// An answer as it is shared.
#[derive(Clone)]
pub(crate) struct Landed(Arc<Result<Bytes, Failed>>);

struct Failed {
    status: Bytes,
    is_final: bool,
}

impl Landed {
    fn of<Resp: Payload>(outcome: Result<(Resp, bool)>) -> (Self, bool) {
        let good = outcome.is_ok();
        let landed = outcome
            .map(|(resp, _)| Bytes::from(resp.encode_to_vec()))
            .map_err(|error| Failed { is_final: error.is_final(), status: error.to_status_bytes() });
        (Self(Arc::new(landed)), good)
    }

    fn open<Resp: Payload>(&self, path: &str) -> Result<Resp> {
        match &*self.0 {
            Ok(body) => Resp::from_binary(body.clone(), path),
            Err(Failed { status, is_final }) => {
                let error = Error::from_status_bytes(status);
                Err(if *is_final { error.mark_final() } else { error })
            }
        }
    }
}

impl<S: ServiceDef + ?Sized> Link<S> {
    /// Joins the call that is under way for an equal read, or begins one.
    #[expect(clippy::too_many_arguments, reason = "a call is what its layers need of it")]
    pub(crate) async fn share<Req: Payload, Resp: Payload>(
        self: &Arc<Self>,
        flights: &Flights<Question, Landed>,
        guards: &Arc<Guards>,
        mut onward: Context,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
        now: Instant,
    ) -> Result<(Resp, bool)> {
        req.check_size(method.path)?;
        let deadline = onward.deadline();
        let question = question(&onward, req.encode_to_vec().into());
        let own = self.own_writes.get().and_then(|writes| writes.last(&onward, now));
        onward.set_deadline(now + guards.policy.timeout);
        let (link, guards) = (Arc::clone(self), Arc::clone(guards));
        let flight = flights.join(question, own, now, move || {
            async move { Landed::of(link.run(&guards, onward, method, req, call, now).await) }.boxed()
        });
        if !flight.led() {
            self.count_coalesced(method);
        }
        match within(deadline, pin!(flight)).await {
            Some(landed) => landed.open(method.path).map(|resp| (resp, false)),
            None => Err(deadline_exceeded(method.path)),
        }
    }
}
