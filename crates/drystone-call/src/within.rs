//! A deadline around work that is mostly done at its first poll.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

/// Does `work` until `deadline` at most; `None` if it was not done by then, and the work is to be dropped.
///
/// The work is pinned by the caller, so that it is not moved once more on the hot path.
///
/// As `tokio::time::timeout_at`, but without a timer for work that never waits: a direct call of a handler that computes is the hot path, and
/// making and dropping the timer costs a good part of it.
pub(crate) async fn within<T>(deadline: Instant, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut timer = pin!(None);
    poll_fn(|task| {
        if let Poll::Ready(done) = work.as_mut().poll(task) {
            return Poll::Ready(Some(done));
        }
        if timer.is_none() {
            // Work that uses up its task's budget at each poll must not keep the timer from being looked at.
            timer.set(Some(unconstrained(sleep_until(deadline))));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(task).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::ready;
    use std::time::Duration;

    use tokio::task::consume_budget;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_done_or_dropped_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(1);
        assert_eq!(within(deadline, pin!(async { 7 })).await, Some(7));
        let waits = async {
            tokio::time::sleep(Duration::from_millis(999)).await;
            8
        };
        assert_eq!(within(deadline, pin!(waits)).await, Some(8));
        assert_eq!(within(deadline, pin!(pending::<()>())).await, None);
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_uses_up_its_budget_ends_too() {
        let mut polls = 0;
        let greedy = poll_fn(|task| {
            polls += 1;
            assert!(polls < 100, "the timer is never looked at");
            loop {
                ready!(pin!(consume_budget()).poll(task));
            }
        });
        let deadline = Instant::now();
        assert_eq!(within::<()>(deadline, pin!(greedy)).await, None);
    }
}
