//! The faulty runner: a wire inside the process, with the faults of a network, from one seed.
//!
//! A call goes as bytes and headers to the service, as it would to another process, and on its way it is delayed, overtaken, lost, cut off or delivered twice. What
//! happens is a function of (seed, calling module, method, number of the call, attempt): the same seed gives the same schedule of faults. It does not give the
//! same schedule of threads, so two runs that make their calls in another order meet the faults elsewhere.
//!
//! The runner lies below the layer that tries again, so the call stack meets its faults as it meets those of a real wire, and the errors say what the
//! transport's say. It wraps a service of this process or another [`Remote`]: then the network's own faults come on top.

mod faults;
mod profile;
mod report;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;

pub use faults::{Faults, Witness};
pub use profile::{Attempt, Fault, Harm, Profile, SPACING, TWICE};
pub use report::{FaultCounts, FaultKind, FaultReport, Injected};

use crate::{Code, Dispatch, Error, MethodInfo, PlatformReason, Remote, Reply, Result};
use faults::Draw;

/// The runner of one edge: a [`Remote`] with faults on the way.
pub struct Faulty {
    far: Arc<dyn Remote>,
    faults: Arc<Faults>,
    from: Arc<str>,
    to: Arc<str>,
}

impl Faulty {
    /// The way of the module `from` to a service of this process.
    #[must_use]
    pub fn over(dispatch: Arc<dyn Dispatch>, faults: Arc<Faults>, from: &str) -> Self {
        let to = dispatch.module().into();
        Self { far: Arc::new(Wire(dispatch)), faults, from: from.into(), to }
    }

    /// The way of the module `from` to the module `to` in another process.
    #[must_use]
    pub fn around(remote: Arc<dyn Remote>, faults: Arc<Faults>, from: &str, to: &str) -> Self {
        Self { far: remote, faults, from: from.into(), to: to.into() }
    }

    async fn attempt(&self, method: &'static MethodInfo, headers: HeaderMap, body: Bytes) -> Result<Reply> {
        let draw = self.faults.draw(&self.from, method, &headers);
        let Fault { request, reply, reordered, harm } = draw.fault;
        if reordered {
            draw.count(FaultKind::Reorder);
        } else if !(request + reply).is_zero() {
            draw.count(FaultKind::Delay);
        }
        pause(request).await;
        let answer = match harm {
            Some(Harm::Lose) => {
                draw.count(FaultKind::Lost);
                return Err(self.unreachable());
            }
            Some(Harm::LoseSilently) => {
                draw.count(FaultKind::LostSilently);
                return std::future::pending().await;
            }
            Some(Harm::CutAfter) => {
                let _ = self.far.call(method, headers, body).await;
                draw.count(FaultKind::CutAfter);
                return Err(self.lost(method));
            }
            Some(Harm::CutInTheMiddle(polls)) => {
                let ended = dropped_after(self.far.call(method, headers, body), polls).await;
                draw.count(if ended { FaultKind::CutAfter } else { FaultKind::CutInTheMiddle });
                return Err(self.lost(method));
            }
            Some(Harm::RepeatAtOnce) => {
                draw.count(FaultKind::RepeatedAtOnce);
                self.repeat(&draw, Duration::ZERO, method, headers.clone(), body.clone());
                self.far.call(method, headers, body).await
            }
            Some(Harm::RepeatLate(after)) => {
                let (again, bytes) = (headers.clone(), body.clone());
                let answer = self.far.call(method, headers, body).await;
                // What was refused without a record would be done by its repeat; absorbable promises that nothing is.
                if answer.is_ok() || draw.repeats_refused() {
                    draw.count(FaultKind::RepeatedLate);
                    self.repeat(&draw, after, method, again, bytes);
                }
                answer
            }
            None => self.far.call(method, headers, body).await,
        };
        pause(reply).await;
        answer
    }

    /// Delivers a request once more in the background; nobody waits for its answer.
    fn repeat(
        &self,
        draw: &Draw<'_>,
        after: Duration,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) {
        let far = Arc::clone(&self.far);
        draw.in_background(async move {
            pause(after).await;
            let _ = far.call(method, headers, body).await;
        });
    }

    /// As the transport says that a call was not handed over.
    fn unreachable(&self) -> Error {
        PlatformReason::PeerUnreachable
            .error(format!("the module {} cannot be reached: connection refused", self.to))
            .caused_by(Rehearsed)
    }

    /// As the transport says that a call broke after it was handed over.
    fn lost(&self, method: &'static MethodInfo) -> Error {
        PlatformReason::PeerUnreachable
            .error(format!(
                "the answer to {} of the module {} was lost: connection reset; whether the call had its effect is not \
                 known: send it again with the same idempotency key",
                method.path, self.to
            ))
            .caused_by(Rehearsed)
    }
}

impl Remote for Faulty {
    fn call(
        &self,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let answer = self.attempt(method, headers, body).await;
            self.faults.saw(&self.from, method, &answer);
            answer
        })
    }
}

/// A service of this process behind bytes, as behind a wire.
struct Wire(Arc<dyn Dispatch>);

impl Remote for Wire {
    fn call(
        &self,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let unknown = || Error::new(Code::Unimplemented, format!("{} is not served", method.path));
            self.0.dispatch(method.index, &headers, body).ok_or_else(unknown)?.await.map_err(recoded)
        })
    }
}

/// An error as it comes off a wire.
#[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
fn recoded(error: Error) -> Error {
    let mut read = Error::from_status_bytes(&error.to_status_bytes());
    if error.is_replayed() {
        read = read.mark_replayed();
    }
    if error.is_final() { read.mark_final() } else { read }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Polls a future so often and drops it; true if it had ended before.
async fn dropped_after(future: impl Future, polls: u32) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        left -= 1;
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

/// The cause of an error that a rehearsal made, for the log.
#[derive(Debug)]
struct Rehearsed;

impl fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault of the rehearsal")
    }
}

impl std::error::Error for Rehearsed {}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}
