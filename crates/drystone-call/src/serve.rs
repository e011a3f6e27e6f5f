//! The serving half of a call: what happens between a runner and the module's handler, equal in every runner.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::door::{Door, Entry, ServeLive};
use crate::gate::{Admission, KeyGate, KeyUse, Recorded};
use crate::home::Home;
use crate::key::digest;
use crate::policy::ServePolicy;
use crate::recent::Recent;
use crate::rerun::may_run_again;
use crate::service::{CallFn, MethodVisitor, Reply, ServiceDef};
use crate::versions::Versions;
use crate::within::within;
use crate::{
    Code, Context, ContractInfo, Error, KeyPolicy, MethodInfo, OwnWrites, Payload, PlatformReason, Result,
    deadline_exceeded,
};

/// A service mounted in a module: the implementation with all that stands before it.
pub struct Mounted<S: ?Sized> {
    service: Arc<S>,
    home: Arc<Home>,
    gate: Option<Arc<dyn KeyGate>>,
    /// Whether the store behind the gate can refuse a transaction because of another; asked once, when it is open.
    may_conflict: OnceLock<bool>,
    panics: AtomicU64,
    /// One count a method.
    reruns: Box<[AtomicU64]>,
    /// How calls of each method are admitted.
    doors: Box<[Versions<Door>]>,
    ran: Recent,
    own_writes: OnceLock<Arc<OwnWrites>>,
}

/// What the gate has decided about a keyed method's call.
enum Admitted {
    /// The handler is to run. The request, if the handler may have to run again.
    Run(Option<Bytes>),
    /// This was recorded.
    Recorded(Recorded),
}

impl<S: ServiceDef + ?Sized> Mounted<S> {
    /// Mounts a service at `home`; keyed methods need the gate of the module's store.
    #[must_use]
    pub fn new(service: Arc<S>, home: Arc<Home>, gate: Option<Arc<dyn KeyGate>>) -> Self {
        let reruns = S::contract().methods.iter().map(|_| AtomicU64::new(0)).collect();
        let doors = S::contract().methods.iter().map(|_| Versions::new(Door::default())).collect();
        let (ran, own_writes) = (Recent::default(), OnceLock::new());
        Self {
            service,
            home,
            gate,
            may_conflict: OnceLock::new(),
            panics: AtomicU64::new(0),
            reruns,
            doors,
            ran,
            own_writes,
        }
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Whether a handler's transaction can be refused because of another.
    pub(crate) fn may_conflict(&self) -> bool {
        *self.may_conflict.get_or_init(|| self.gate.as_ref().is_some_and(|gate| gate.may_conflict()))
    }

    pub(crate) fn service(&self) -> &S {
        &self.service
    }

    pub(crate) fn count_rerun(&self, method: &'static MethodInfo) {
        self.reruns[method.index].fetch_add(1, Ordering::Relaxed);
    }

    /// The stack of the serving side, outermost layer first, for one call that arrived `now`; the same in every runner.
    pub(crate) async fn serve<Req: Payload, Resp: Payload>(
        &self,
        method: &'static MethodInfo,
        cx: &mut Context,
        req: Req,
        call: CallFn<S, Req, Resp>,
        now: Instant,
    ) -> Result<(Resp, bool)> {
        // Deadline: around everything, waiting for admission included.
        let deadline = cx.deadline();
        if deadline <= now {
            return Err(deadline_exceeded(method.path));
        }
        let work = async {
            // Admission: so many at once, and a fair turn for each tenant; what is refused has done nothing.
            let door = self.doors[method.index].latest();
            let admitted = match door.enter(now) {
                Entry::Open => None,
                Entry::In(inside) => Some(inside),
                // Boxed, so that calls that need not wait do not carry the room for it.
                Entry::Full(admission) => Some(Box::pin(Door::wait(admission, cx.tenant(), method)).await?),
            };
            // Idempotency key: a call that was answered is answered from the record.
            let kept = if method.is_keyed() {
                // Boxed, so that calls without a key do not carry the room for it.
                match Box::pin(self.admit(method, cx, &req)).await? {
                    Admitted::Recorded(recorded) => return self.replay(method, cx, recorded),
                    Admitted::Run(kept) => kept,
                }
            } else {
                self.keep(method, &req)
            };
            // Panic barrier: a defect of the handler is its caller's INTERNAL and nobody else's matter.
            let answer = match AssertUnwindSafe(call(&self.service, cx, req)).catch_unwind().await {
                // Conflict: the handler runs again where nobody can tell.
                Ok(Err(error))
                    if let Some(req) = kept
                        && may_run_again(cx) =>
                {
                    Box::pin(self.run_again(method, cx, req, call, error)).await
                }
                Ok(answer) => answer,
                Err(panic) => Err(self.panicked(method, panic.as_ref())),
            };
            // Barriers: the commit that the answer rests on.
            let answer = if cx.is_settled() { answer } else { self.settle(method, cx, answer).await };
            let answer = answer.map(|answer| (answer, false));
            if let Some(admitted) = admitted {
                admitted.done();
            }
            answer
        };
        match within(deadline, pin!(work)).await {
            Some(outcome) => outcome.map_err(|error| report(method, error)),
            None => Err(deadline_exceeded(method.path)),
        }
    }

    /// Answers from the record; a replay for the caller, unless an attempt of this very call made the record.
    fn replay<Resp: Payload>(
        &self,
        method: &'static MethodInfo,
        cx: &Context,
        recorded: Recorded,
    ) -> Result<(Resp, bool)> {
        let replayed = !self.ran.has(cx.trace().span_id());
        match recorded {
            Recorded::Answer(body) => Ok((Resp::from_binary(body, method.path)?, replayed)),
            Recorded::Refusal(status) => {
                let refusal = Error::from_status_bytes(&status);
                Err(if replayed { refusal.mark_replayed() } else { refusal })
            }
        }
    }

    /// Claims the key of a keyed method's call, or finds what was recorded for it.
    async fn admit<Req: Payload>(
        &self,
        method: &'static MethodInfo,
        cx: &mut Context,
        req: &Req,
    ) -> Result<Admitted> {
        let Some(key) = cx.key().cloned() else {
            if method.key == KeyPolicy::Required {
                return Err(PlatformReason::KeyMissing.error(format!(
                    "{} requires an idempotency key: set the header Idempotency-Key",
                    method.path
                )));
            }
            return Ok(Admitted::Run(None));
        };
        let Some(gate) = &self.gate else { return Ok(Admitted::Run(None)) };
        let encoded = req.encode_to_vec();
        let key_use = KeyUse {
            tenant: cx.tenant().clone(),
            principal: cx.principal().clone(),
            method: method.path,
            key,
            fingerprint: digest(&[method.path.as_bytes(), &encoded]),
            descriptor_hash: S::contract().descriptor_hash,
        };
        match gate.admit(key_use).await? {
            Admission::Run(claim) => {
                cx.set_claim(claim);
                Ok(Admitted::Run(self.may_conflict().then(|| encoded.into())))
            }
            Admission::Replay(recorded) => Ok(Admitted::Recorded(recorded)),
        }
    }

    /// Waits for what the answer rests on, then judges it.
    async fn settle<Resp: Payload>(
        &self,
        method: &'static MethodInfo,
        cx: &mut Context,
        answer: Result<Resp>,
    ) -> Result<Resp> {
        for barrier in cx.take_barriers() {
            barrier.await?;
        }
        if answer.is_ok() && cx.claim().is_some_and(|claim| !claim.is_recorded()) {
            return Err(PlatformReason::AnswerNotRecorded.error(format!(
                "{} answered a keyed call without recording it: end its transaction with commit_with or refuse, or \
                 declare `key: IGNORED` in the contract",
                method.path
            )));
        }
        if cx.claim().is_some_and(|claim| claim.is_recorded()) {
            self.ran.add(cx.trace().span_id());
        }
        match answer {
            // What could not be had below after trying again need not be tried again from above.
            Err(error) if error.code() == Code::Unavailable && cx.is_spent() => Err(error.mark_final()),
            answer => answer,
        }
    }

    pub(crate) fn panicked(&self, method: &'static MethodInfo, panic: &(dyn Any + Send)) -> Error {
        self.panics.fetch_add(1, Ordering::Relaxed);
        let text = panic
            .downcast_ref::<&'static str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        tracing::error!(target: "drystone::panic", method = method.path, panic = text, "the handler panicked");
        PlatformReason::HandlerPanicked.error(format!("{} failed by a defect", method.path))
    }
}

/// Hands the cause of a failure to telemetry and strips it.
pub(crate) fn report(method: &'static MethodInfo, error: Error) -> Error {
    if let Some(cause) = error.cause() {
        let chain = format!("{error:?}");
        match error.code() {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                tracing::error!(target: "drystone::call", method = method.path, %cause, chain, "the call failed");
            }
            Code::Unavailable => {
                tracing::warn!(target: "drystone::call", method = method.path, %cause, chain, "the call found nobody");
            }
            _ => {
                tracing::debug!(target: "drystone::call", method = method.path, %cause, chain, "the call was refused")
            }
        }
    }
    error.bounded()
}

/// A mounted service for callers that have bytes: the server of the remote runner.
pub trait Dispatch: Send + Sync + 'static {
    /// The contract that is served.
    fn contract(&self) -> &'static ContractInfo;

    /// The module that serves it.
    fn module(&self) -> &str;

    /// How often a handler of this method ran again because of a conflict; zero if the contract has no method of this index.
    fn reruns(&self, method: usize) -> u64;

    /// Sets how calls of each method are admitted, in the contract's order, from the next call on. Limits whose settings did not change keep what they have
    /// learned.
    fn set_policies(&self, policies: Vec<ServePolicy>);

    /// How the admission of each method stands now.
    fn live(&self) -> Vec<ServeLive>;

    /// Has the service pass on what callers tell of their principals' writes; only the first call has an effect.
    fn share_writes(&self, writes: &Arc<OwnWrites>);

    /// Serves one call; `None` if the contract has no method of this index.
    fn dispatch<'a>(
        &'a self,
        method: usize,
        headers: &'a HeaderMap,
        body: Bytes,
    ) -> Option<BoxFuture<'a, Result<Reply>>>;
}

impl<S: ServiceDef + ?Sized> Dispatch for Mounted<S> {
    fn contract(&self) -> &'static ContractInfo {
        S::contract()
    }

    fn module(&self) -> &str {
        self.home.module()
    }

    fn reruns(&self, method: usize) -> u64 {
        self.reruns.get(method).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn set_policies(&self, policies: Vec<ServePolicy>) {
        for (door, policy) in self.doors.iter().zip(policies) {
            if !door.change(|door| door.with(policy)) {
                tracing::error!(
                    target: "drystone::call", contract = S::contract().name,
                    "the settings of a served method changed too often; restart the process to change them further"
                );
            }
        }
    }

    fn live(&self) -> Vec<ServeLive> {
        self.doors.iter().map(|door| door.latest().live()).collect()
    }

    fn share_writes(&self, writes: &Arc<OwnWrites>) {
        let _ = self.own_writes.set(Arc::clone(writes));
    }

    fn dispatch<'a>(
        &'a self,
        method: usize,
        headers: &'a HeaderMap,
        body: Bytes,
    ) -> Option<BoxFuture<'a, Result<Reply>>> {
        S::visit(method, FromBytes { mounted: self, headers, body })
    }
}

struct FromBytes<'a, S: ?Sized> {
    mounted: &'a Mounted<S>,
    headers: &'a HeaderMap,
    body: Bytes,
}

impl<'a, S: ServiceDef + ?Sized> MethodVisitor<S> for FromBytes<'a, S> {
    type Out = BoxFuture<'a, Result<Reply>>;

    fn unary<Req: Payload, Resp: Payload>(
        self,
        method: &'static MethodInfo,
        call: CallFn<S, Req, Resp>,
    ) -> Self::Out {
        let Self { mounted, headers, body } = self;
        Box::pin(async move {
            let mut cx = Context::from_headers(headers, &mounted.home)?;
            let arrived = Instant::now();
            if let Some(writes) = mounted.own_writes.get() {
                writes.hear(&cx, headers, arrived);
            }
            let span = tracing::info_span!(
                target: "drystone::serve", "serve", method = method.path,
                from = cx.calling_module().unwrap_or_default(), tenant = cx.tenant().as_str(), trace = %cx.trace(),
            );
            async {
                let req = Req::from_binary(body, method.path)?;
                let (resp, replayed) = mounted.serve(method, &mut cx, req, call, arrived).await?;
                resp.check_size(method.path)?;
                Ok(Reply { body: resp.encode_to_vec().into(), replayed })
            }
            .instrument(span)
            .await
        })
    }
}

impl<S: ?Sized> fmt::Debug for Mounted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("home", &self.home).finish_non_exhaustive()
    }
}
