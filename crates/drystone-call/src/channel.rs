//! The calling half of a call: one type of client over every runner, and the stack around it.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use drystone_resilience::{Random, SeededRandom, SystemRandom};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::time::Instant;

use crate::context::Place;
use crate::guards::Guards;
use crate::home::Home;
use crate::metrics::EdgeMetrics;
use crate::policy::Policy;
use crate::serve::Mounted;
use crate::service::{CallFn, Reply, ServiceDef};
use crate::spanned::{Dropping, in_span};
use crate::versions::Versions;
use crate::{
    Code, Context, Effect, Error, MethodInfo, MethodLive, OwnWrites, Payload, PlatformReason, Result,
};

/// The far end of a wire: carries bytes to another process and back.
pub trait Remote: Send + Sync + 'static {
    /// Makes one attempt of a call. The headers are those of [`Context::to_headers`] and what the stack adds.
    ///
    /// # Errors
    /// The callee's error as it was decoded from its status, or `PEER_UNREACHABLE`.
    fn call(
        &self,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Reply>>;
}

/// How a channel reaches the contract that it calls.
pub enum Runner<S: ?Sized> {
    /// Moves the message and calls the trait object.
    Direct(Arc<Mounted<S>>),
    /// Encodes and decodes both messages around a direct call.
    Encoded(Arc<Mounted<S>>),
    /// As a remote call of a service in this process, with a network's faults on the way; the service is mounted where the wire leads.
    Faulty(Arc<Mounted<S>>, Arc<dyn Remote>),
    /// Calls another process.
    Remote(Arc<dyn Remote>),
}

impl<S: ?Sized> Clone for Runner<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Direct(mounted) => Self::Direct(Arc::clone(mounted)),
            Self::Encoded(mounted) => Self::Encoded(Arc::clone(mounted)),
            Self::Faulty(mounted, wire) => Self::Faulty(Arc::clone(mounted), Arc::clone(wire)),
            Self::Remote(remote) => Self::Remote(Arc::clone(remote)),
        }
    }
}

/// One module's way to one contract: what a generated client holds.
///
/// Made unbound while modules are wired and bound once, before anything runs.
pub struct Channel<S: ?Sized> {
    link: Arc<Link<S>>,
    label: &'static str,
}

/// One edge: from a module to a contract.
pub(crate) struct Link<S: ?Sized> {
    /// The calling module, or `None` for a caller outside every module, as the gateway is.
    from: Option<Arc<str>>,
    /// Where the calls execute, once the link is bound.
    place: OnceLock<Arc<Place>>,
    metrics: Arc<EdgeMetrics>,
    runner: OnceLock<Runner<S>>,
    /// The layers of each method.
    guards: Box<[Versions<Arc<Guards>>]>,
    /// Kept only where some method shares calls.
    pub(crate) own_writes: OnceLock<Arc<OwnWrites>>,
    /// What pauses before attempts are drawn from.
    random: OnceLock<Box<dyn Random>>,
}

impl<S: ServiceDef + ?Sized> Channel<S> {
    /// A channel of a module that is not bound yet.
    #[must_use]
    pub fn unbound(from: Option<&str>, name: &str) -> Self {
        let link = Link {
            from: from.map(Arc::from),
            place: OnceLock::new(),
            metrics: Arc::new(EdgeMetrics::new(name.into(), S::contract())),
            runner: OnceLock::new(),
            guards: Guards::of(S::contract()),
            own_writes: OnceLock::new(),
            random: OnceLock::new(),
        };
        Self { link: Arc::new(link), label: "" }
    }

    /// Binds the channel to a runner; only the first call has an effect.
    pub fn bind(&self, runner: Runner<S>) {
        let home = match &runner {
            Runner::Direct(mounted) | Runner::Encoded(mounted) | Runner::Faulty(mounted, _) => {
                Arc::clone(mounted.home())
            }
            // The callee's context is made in its own process; this one only carries what travels.
            Runner::Remote(_) => Home::of_system(&self.link.metrics.from),
        };
        let _ = self.link.random.set(pauses(&home, &self.link.metrics.from, S::contract().name));
        let _ = self.link.place.set(Arc::new(Place { home, from: self.link.from.clone() }));
        let _ = self.link.runner.set(runner);
    }

    /// Sets what holds for each method, in the contract's order, from the next call on; calls under way keep what they began with. Breakers, budgets and other
    /// memories of methods whose settings for them did not change stay.
    ///
    /// Policies beyond the contract's methods are passed over; methods beyond the policies keep theirs.
    pub fn set_policies(&self, policies: Vec<Policy>) {
        for (guards, policy) in self.link.guards.iter().zip(policies) {
            if !guards.change(|guards| guards.with(policy).map(Arc::new)) {
                tracing::error!(
                    target: "drystone::call", from = &*self.link.metrics.from, contract = S::contract().name,
                    "the settings of a method changed too often; restart the process to change them further"
                );
            }
        }
    }

    /// The time that a call of the method of this index may take, as the settings now have it; `None` if there is no such method.
    #[must_use]
    pub fn timeout(&self, method: usize) -> Option<Duration> {
        Some(self.link.guards.get(method)?.latest().policy.timeout)
    }

    /// How each method of the edge stands now.
    #[must_use]
    pub fn live(&self) -> Vec<MethodLive> {
        let now = Instant::now();
        self.link.guards.iter().map(|guards| guards.latest().live(now)).collect()
    }

    /// Has the channel remember its principals' writes in what a process's edges share; only the first call has an effect.
    ///
    /// Needed where a method shares calls: a read never shares what is older than its principal's last write.
    pub fn share_writes(&self, writes: &Arc<OwnWrites>) {
        let _ = self.link.own_writes.set(Arc::clone(writes));
    }

    /// The counters of this edge.
    #[must_use]
    pub fn metrics(&self) -> &Arc<EdgeMetrics> {
        &self.link.metrics
    }

    /// The same channel whose calls derive their keys with a label.
    #[must_use]
    pub fn labelled(&self, label: &'static str) -> Self {
        Self { link: Arc::clone(&self.link), label }
    }

    /// Makes one call; generated clients do nothing else.
    ///
    /// Dropping the future cancels the callee at its next await.
    ///
    /// # Errors
    /// Whatever the callee refuses or fails with, without its cause; `DEADLINE_EXCEEDED` when the method's or the caller's
    /// time has passed; `UNAVAILABLE` when the callee cannot be reached.
    pub async fn unary<Req: Payload, Resp: Payload>(
        &self,
        cx: &Context,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
    ) -> Result<Resp> {
        let span = tracing::info_span!(
            target: "drystone::call", "call", method = method.path, from = &*self.link.metrics.from,
            tenant = cx.tenant().as_str(),
        );
        let dropping = Dropping::inside(&span);
        let mut work = pin!(self.link.observed(cx, self.label, method, req, call));
        let around = dropping.around();
        let answer = in_span(&span, work.as_mut()).await;
        around.done();
        answer
    }
}

impl<S: ServiceDef + ?Sized> Link<S> {
    /// Counts one call and what came of it, around the stack.
    async fn observed<Req: Payload, Resp: Payload>(
        self: &Arc<Self>,
        cx: &Context,
        label: &'static str,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
    ) -> Result<Resp> {
        let metrics = &self.metrics.methods[method.index];
        let mut count = CountDropped { dropped: &metrics.dropped, armed: true };
        let began = Instant::now();
        // One look at the clock serves the counters, the deadline and the check that time is left.
        let outcome = self.stack(cx, label, method, req, call, began).await;
        count.armed = false;
        let took = began.elapsed();
        metrics.record(&outcome, took);
        if method.effect != Effect::NoSideEffects
            && let Some(writes) = self.own_writes.get()
        {
            writes.record(cx, began + took);
        }
        match outcome {
            Ok((resp, replayed)) => {
                cx.set_replayed(replayed);
                Ok(resp)
            }
            Err(error) => {
                cx.set_replayed(error.is_replayed());
                if error.is_final() {
                    cx.mark_spent();
                }
                if error.code().is_open() && !error.is(PlatformReason::CalledTwice) {
                    cx.may_repeat(method, label);
                }
                Err(error)
            }
        }
    }

    /// The stack of the calling side, outermost layer first. Below it is the runner, and on the serving side, in every runner, [`Mounted::serve`].
    async fn stack<Req: Payload, Resp: Payload>(
        self: &Arc<Self>,
        cx: &Context,
        label: &'static str,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
        now: Instant,
    ) -> Result<(Resp, bool)> {
        let place = self.place.get().ok_or_else(|| not_bound(method.path))?;
        let guards = self.guards[method.index].latest();
        // Bulkhead: a callee that hangs holds so many of this module's calls and no more. First, since what is refused here has cost nothing.
        let _slot = guards.enter_bulkhead(method).inspect_err(|_| self.count_refused(method))?;
        // Rate: what would be too much has not begun, and is told when to come again.
        guards.check_rate(cx, method, now).inspect_err(|_| self.count_refused(method))?;
        // Deadline and key: the callee's context has less time than its caller's and a key of its own, the same for every attempt.
        let onward = cx.onward(place, method, label, &guards.policy, now)?;
        // Coalescing: above the attempts, so that those who share a call share its attempts too.
        if let Some(flights) = &guards.flights {
            return self.share(flights, guards, onward, method, req, call, now).await;
        }
        // Runner: the direct one here and not below, so that the most frequent call has one future less to go through.
        if let Some(Runner::Direct(mounted)) = self.runner.get() {
            let mut onward = onward;
            let req = as_received(req, method)?;
            let (resp, replayed) = mounted.serve(method, &mut onward, req, call, now).await?;
            return Ok((as_received(resp, method)?, replayed));
        }
        self.run(guards, onward, method, req, call, now).await
    }

    /// The runner, with the layers that have a meaning only over a wire.
    pub(crate) async fn run<Req: Payload, Resp: Payload>(
        &self,
        guards: &Guards,
        mut onward: Context,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
        now: Instant,
    ) -> Result<(Resp, bool)> {
        let path = method.path;
        let bytes = &self.metrics.encoded_bytes;
        match self.runner.get().ok_or_else(|| not_bound(path))? {
            Runner::Direct(mounted) => {
                let req = as_received(req, method)?;
                let (resp, replayed) = mounted.serve(method, &mut onward, req, call, now).await?;
                Ok((as_received(resp, method)?, replayed))
            }
            Runner::Encoded(mounted) => {
                let req = recode::<Req>(&req, path, bytes)?;
                let (resp, replayed) =
                    mounted.serve(method, &mut onward, req, call, now).await.map_err(recode_error)?;
                Ok((recode::<Resp>(&resp, path, bytes)?, replayed))
            }
            // Retry around breaker around one attempt. Boxed, so that calls in the process do not carry the room for it.
            Runner::Remote(wire) | Runner::Faulty(_, wire) => {
                req.check_size(path)?;
                let body = req.encode_to_vec().into();
                let reply = Box::pin(self.attempts(&**wire, guards, &onward, method, body)).await?;
                Ok((Resp::from_binary(reply.body, path)?, reply.replayed))
            }
        }
    }

    /// What pauses are drawn from.
    pub(crate) fn random(&self) -> &dyn Random {
        static UNBOUND: std::sync::LazyLock<SystemRandom> = std::sync::LazyLock::new(SystemRandom::new);
        self.random.get().map_or(&*UNBOUND, |random| &**random)
    }

    pub(crate) fn count_attempt(&self, method: &MethodInfo, bytes: usize) {
        self.metrics.methods[method.index].attempts.fetch_add(1, Relaxed);
        self.metrics.remote_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.metrics.remote_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts another attempt, or one that the budget did not grant.
    pub(crate) fn count_retry(&self, method: &MethodInfo, granted: bool) {
        let metrics = &self.metrics.methods[method.index];
        let count = if granted { &metrics.retries } else { &metrics.retries_refused };
        count.fetch_add(1, Relaxed);
    }

    /// Counts what the edge's own layers refused.
    pub(crate) fn count_refused(&self, method: &MethodInfo) {
        self.metrics.methods[method.index].refused_here.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_coalesced(&self, method: &MethodInfo) {
        self.metrics.methods[method.index].coalesced.fetch_add(1, Relaxed);
    }
}

/// Jitter from the seed that the ids repeat from, if they do, so that a rehearsal repeats; from the system's randomness otherwise.
fn pauses(home: &Home, from: &str, contract: &str) -> Box<dyn Random> {
    match home.ids.seed() {
        Some(seed) => {
            let digest = crate::key::digest(&[&seed.to_be_bytes(), from.as_bytes(), contract.as_bytes()]);
            let seed = digest[..8].iter().fold(0, |all, byte| (all << 8) | u64::from(*byte));
            Box::new(SeededRandom::new(seed))
        }
        None => Box::new(SystemRandom::new()),
    }
}

/// A message that is only moved, as an encoded one would arrive: not too large, and not nested too deep, which only a message that can nest in itself can be,
/// and only decoding finds out.
fn as_received<T: Payload>(message: T, method: &MethodInfo) -> Result<T> {
    message.check_size(method.path)?;
    if !method.recursive {
        return Ok(message);
    }
    T::from_binary(message.encode_to_vec().into(), method.path)
}

/// A message through its binary form and back.
fn recode<T: Payload>(message: &T, path: &str, count: &std::sync::atomic::AtomicU64) -> Result<T> {
    message.check_size(path)?;
    let bytes = message.encode_to_vec();
    count.fetch_add(bytes.len() as u64, Relaxed);
    T::from_binary(bytes.into(), path)
}

/// An error through its binary form and back.
#[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
fn recode_error(error: Error) -> Error {
    let recoded = Error::from_status_bytes(&error.to_status_bytes());
    let recoded = if error.is_replayed() { recoded.mark_replayed() } else { recoded };
    if error.is_final() { recoded.mark_final() } else { recoded }
}

pub(crate) fn deadline_exceeded(path: &str) -> Error {
    Error::new(Code::DeadlineExceeded, format!("{path} did not answer within its deadline"))
}

fn not_bound(path: &str) -> Error {
    Error::unavailable(format!("{path} was called before the application started"))
}

/// Counts a call whose future is dropped before it is answered.
struct CountDropped<'a> {
    dropped: &'a std::sync::atomic::AtomicU64,
    armed: bool,
}

impl Drop for CountDropped<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl<S: ?Sized> Clone for Channel<S> {
    fn clone(&self) -> Self {
        Self { link: Arc::clone(&self.link), label: self.label }
    }
}

impl<S: ServiceDef + ?Sized> fmt::Debug for Channel<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("from", &self.link.metrics.from)
            .field("contract", &S::contract().name)
            .finish_non_exhaustive()
    }
}
