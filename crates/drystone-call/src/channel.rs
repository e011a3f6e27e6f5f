//! The calling half of a call: one type of client over every runner.

use std::fmt;
use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::context::Place;
use crate::home::Home;
use crate::metrics::EdgeMetrics;
use crate::serve::{Mounted, report};
use crate::service::{CallFn, Reply, ServiceDef};
use crate::{Code, Context, Error, MethodInfo, Payload, PlatformReason, Result};

/// The far end of the remote runner: carries bytes to another process and back.
pub trait Remote: Send + Sync + 'static {
    /// Makes one call. The headers are those of [`Context::to_headers`].
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
    /// Calls another process.
    Remote(Arc<dyn Remote>),
}

impl<S: ?Sized> Clone for Runner<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Direct(mounted) => Self::Direct(Arc::clone(mounted)),
            Self::Encoded(mounted) => Self::Encoded(Arc::clone(mounted)),
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

struct Link<S: ?Sized> {
    /// The calling module, or `None` for a caller outside every module, as the gateway is.
    from: Option<Arc<str>>,
    /// Where the calls execute, once the link is bound.
    place: OnceLock<Arc<Place>>,
    metrics: Arc<EdgeMetrics>,
    runner: OnceLock<Runner<S>>,
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
        };
        Self { link: Arc::new(link), label: "" }
    }

    /// Binds the channel to a runner; only the first call has an effect.
    pub fn bind(&self, runner: Runner<S>) {
        let home = match &runner {
            Runner::Direct(mounted) | Runner::Encoded(mounted) => Arc::clone(mounted.home()),
            // The callee's context is made in its own process; this one only carries what travels.
            Runner::Remote(_) => Home::of_system(&self.link.metrics.from),
        };
        let _ = self.link.place.set(Arc::new(Place { home, from: self.link.from.clone() }));
        let _ = self.link.runner.set(runner);
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
    pub fn unary<'a, Req: Payload, Resp: Payload>(
        &'a self,
        cx: &'a Context,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
    ) -> impl Future<Output = Result<Resp>> + Send + 'a {
        let span = tracing::info_span!(
            target: "drystone::call", "call", method = method.path, from = &*self.link.metrics.from,
            tenant = cx.tenant().as_str(),
        );
        self.observed(cx, method, req, call).instrument(span)
    }

    /// The stack around a runner, top to bottom: counters, key of the onward call, runner, replay mark.
    ///
    /// The deadline is the callee's context's: [`Mounted::serve`] enforces it in this process, and the remote runner on both ends.
    async fn observed<Req: Payload, Resp: Payload>(
        &self,
        cx: &Context,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
    ) -> Result<Resp> {
        let metrics = &self.link.metrics.methods[method.index];
        let mut count = CountDropped { dropped: &metrics.dropped, armed: true };
        let began = Instant::now();
        // One look at the clock serves the counters, the deadline and the check that time is left.
        let outcome = self.run(cx, method, req, call, began).await;
        count.armed = false;
        metrics.record(&outcome, began.elapsed());
        match outcome {
            Ok((resp, replayed)) => {
                cx.set_replayed(replayed);
                Ok(resp)
            }
            Err(error) => {
                cx.set_replayed(error.is_replayed());
                if error.code().is_open() && !error.is(PlatformReason::CalledTwice) {
                    cx.may_repeat(method, self.label);
                }
                Err(error)
            }
        }
    }

    async fn run<Req: Payload, Resp: Payload>(
        &self,
        cx: &Context,
        method: &'static MethodInfo,
        req: Req,
        call: CallFn<S, Req, Resp>,
        now: Instant,
    ) -> Result<(Resp, bool)> {
        let path = method.path;
        let bytes = &self.link.metrics.encoded_bytes;
        let place = self.link.place.get().ok_or_else(|| not_bound(path))?;
        match self.link.runner.get().ok_or_else(|| not_bound(path))? {
            Runner::Direct(mounted) => {
                let mut onward = cx.onward(place, method, self.label, now)?;
                req.check_size(path)?;
                // Only a message that can nest in itself can nest too deep, and only decoding finds out.
                let req =
                    if method.recursive { Req::from_binary(req.encode_to_vec().into(), path)? } else { req };
                let (resp, replayed) = mounted.serve(method, &mut onward, req, call, now).await?;
                resp.check_size(path)?;
                let resp = if method.recursive {
                    Resp::from_binary(resp.encode_to_vec().into(), path)?
                } else {
                    resp
                };
                Ok((resp, replayed))
            }
            Runner::Encoded(mounted) => {
                let mut onward = cx.onward(place, method, self.label, now)?;
                let req = recode::<Req>(&req, path, bytes)?;
                let (resp, replayed) =
                    mounted.serve(method, &mut onward, req, call, now).await.map_err(recode_error)?;
                Ok((recode::<Resp>(&resp, path, bytes)?, replayed))
            }
            Runner::Remote(remote) => {
                let onward = cx.onward(place, method, self.label, now)?;
                req.check_size(path)?;
                let reply = self.send(&**remote, &onward, method, req.encode_to_vec().into()).await?;
                Ok((Resp::from_binary(reply.body, path)?, reply.replayed))
            }
        }
    }

    async fn send(
        &self,
        remote: &dyn Remote,
        onward: &Context,
        method: &'static MethodInfo,
        body: Bytes,
    ) -> Result<Reply> {
        let bytes = &self.link.metrics.remote_bytes;
        bytes.fetch_add(body.len() as u64, Relaxed);
        let answer = remote.call(method, onward.to_headers(), body);
        let reply = tokio::time::timeout_at(onward.deadline(), answer)
            .await
            .map_err(|_| deadline_exceeded(method.path))?
            .map_err(|error| report(method, error))?;
        bytes.fetch_add(reply.body.len() as u64, Relaxed);
        Ok(reply)
    }
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
    if error.is_replayed() { recoded.mark_replayed() } else { recoded }
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
