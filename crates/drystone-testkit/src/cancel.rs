//! Dropping a future at each of its await points.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Where a future was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// After so many polls, before it was done.
    After(usize),
    /// It was done within so many polls, so there is no later point.
    Done(usize),
}

/// Polls a fresh future 0, 1, 2, .. times, dropping it each time, until one is done; calls `check` after each.
///
/// `make` gives the future and `check` looks at what the drop has left behind. Between two polls the runtime gets its turn, until the future was
/// woken, so each poll makes progress and the points are those at which a caller can go away. Gives up after `most` polls.
///
/// # Panics
/// If a future is not done within `most` polls.
pub async fn drop_at_every_await<F, C>(
    most: usize,
    mut make: impl FnMut() -> F,
    mut check: impl FnMut(Dropped) -> C,
) -> usize
where
    F: Future,
    C: Future<Output = ()>,
{
    for polls in 0..=most {
        let dropped = poll_and_drop(make(), polls).await;
        check(dropped).await;
        if let Dropped::Done(polls) = dropped {
            return polls;
        }
    }
    panic!("the future was not done within {most} polls");
}

/// Polls a future so many times, each time after it was woken, and drops it.
pub async fn poll_and_drop<F: Future>(future: F, polls: usize) -> Dropped {
    let mut future = pin!(future);
    let mut made = 0;
    if polls == 0 {
        return Dropped::After(0);
    }
    std::future::poll_fn(|cx: &mut Context<'_>| {
        made += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(Dropped::Done(made)),
            Poll::Pending if made == polls => Poll::Ready(Dropped::After(made)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Polls a future once without a runtime's waker.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A future that is pending so many times.
    struct Steps(usize);

    impl Future for Steps {
        type Output = ();
        fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if self.0 == 0 {
                return Poll::Ready(());
            }
            self.0 -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[test]
    fn every_point_is_visited_once() {
        let mut seen = Vec::new();
        let all = drop_at_every_await(
            9,
            || Steps(2),
            |dropped| {
                seen.push(dropped);
                std::future::ready(())
            },
        );
        let mut all = Box::pin(all);
        let polls = loop {
            if let Poll::Ready(polls) = poll_once(&mut all) {
                break polls;
            }
        };
        drop(all);
        assert_eq!(polls, 3);
        assert_eq!(seen, [Dropped::After(0), Dropped::After(1), Dropped::After(2), Dropped::Done(3)]);
    }
}
