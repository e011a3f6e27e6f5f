//! Running a handler again when its transaction met a concurrent one.
//!
//! A serializable database refuses one of two transactions that cannot be put one after the other. Running the whole handler again, not the transaction,
//! is what makes that invisible: what the handler read of the database and decided on may have changed. It is done only where a second run cannot be told
//! from the first: the call carries a key, under which its onward calls repeat instead of happening twice, or is free of side effects. Everything else is
//! `ABORTED`, for a caller who knows what a repeat does.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::home::Home;
use crate::serve::Mounted;
use crate::service::{CallFn, ServiceDef};
use crate::{Context, Effect, Error, MethodInfo, Payload, Result};

/// The most times that a handler runs for one call; the deadline usually comes first.
pub const MOST_RUNS: u32 = 20;

/// The longest pause before the second run; it doubles with each run.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause of all.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl<S: ServiceDef + ?Sized> Mounted<S> {
    /// What a call without a key needs to be run again, if it may be: its request, which the first run consumes.
    ///
    /// A method that is only idempotent is not meant: its contract says what a caller may repeat, and a caller with a key gets the repeat from here.
    pub(crate) fn keep<Req: Payload>(&self, method: &'static MethodInfo, req: &Req) -> Option<Bytes> {
        let may = method.effect == Effect::NoSideEffects && self.may_conflict();
        may.then(|| req.encode_to_vec().into())
    }

    /// Runs a handler that met a conflict again until it does not, is out of time, or has run [`MOST_RUNS`] times; `failed` is the error of the
    /// first run. The claim on the call's key is held meanwhile.
    pub(crate) async fn run_again<Req: Payload, Resp: Payload>(
        &self,
        method: &'static MethodInfo,
        cx: &mut Context,
        req: Bytes,
        call: CallFn<S, Req, Resp>,
        mut failed: Error,
    ) -> Result<Resp> {
        for run in 2..=MOST_RUNS {
            let pause = pause_before(run, self.home());
            if cx.time_left() <= pause {
                break;
            }
            tokio::time::sleep(pause).await;
            tracing::debug!(target: "drystone::call", method = method.path, run, cause = ?failed, "the handler runs again");
            self.count_rerun(method);
            cx.rewind();
            let req = Req::from_binary(req.clone(), method.path)?;
            match AssertUnwindSafe(call(self.service(), cx, req)).catch_unwind().await {
                Ok(Err(error)) if may_run_again(cx) => failed = error,
                Ok(answer) => return answer,
                Err(panic) => return Err(self.panicked(method, panic.as_ref())),
            }
        }
        Err(failed)
    }
}

impl Context {
    /// Says that the database refused this call's transaction because of a concurrent one, so that running the handler again may succeed;
    /// for stores.
    ///
    /// The handler runs again if it then fails, nothing is recorded, and the call carries a key or is free of side effects. A store
    /// says it only where nothing of the transaction can have been committed.
    pub fn mark_conflict(&self) {
        self.conflict.store(true, Ordering::Relaxed);
    }
}

/// Whether a run that failed can be made again: it met a conflict and has left nothing on record.
pub(crate) fn may_run_again(cx: &Context) -> bool {
    cx.conflict.load(Ordering::Relaxed) && !cx.claim().is_some_and(|claim| claim.is_recorded())
}

/// A pause of any length up to a bound that grows, so that those who met do not meet again.
fn pause_before(run: u32, home: &Home) -> Duration {
    let bound = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(run.saturating_sub(2)));
    let random = home.ids.next() >> 64;
    Duration::from_nanos(u64::try_from((bound.as_nanos() * random) >> 64).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{SeededIds, SystemClock};

    #[test]
    fn pauses_grow_up_to_a_bound_and_repeat_from_a_seed() {
        let pauses = |seed: u64| -> Vec<Duration> {
            let home = Home::new("orders", Arc::new(SystemClock), Arc::new(SeededIds::new(seed, "orders")));
            (2..=200).map(|run| pause_before(run, &home)).collect()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
        let all: Vec<Vec<Duration>> = (0..64).map(pauses).collect();
        let longest = |run: usize| all.iter().map(|pauses| pauses[run]).max().unwrap_or_default();
        assert!(longest(0) <= FIRST_PAUSE && longest(0) > FIRST_PAUSE / 2, "{:?}", longest(0));
        assert!(longest(3) <= 8 * FIRST_PAUSE && longest(3) > 4 * FIRST_PAUSE, "{:?}", longest(3));
        assert!(longest(198) <= LONGEST_PAUSE && longest(198) > LONGEST_PAUSE / 2, "{:?}", longest(198));
        assert!(all.iter().any(|pauses| pauses[198] < LONGEST_PAUSE / 2), "a pause can be short");
    }
}
