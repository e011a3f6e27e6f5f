//! The time, as layers are told it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Where a layer reads the time and waits for it.
pub trait Clock: Send + Sync + 'static {
    /// The time now; never earlier than it was.
    fn now(&self) -> Instant;

    /// Completes when this clock shows `at` or later.
    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Tokio's clock, which a test may pause.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep_until(at))
    }
}

/// A clock that stands still until it is turned; clones show the same time.
#[derive(Clone)]
pub struct ManualClock(watch::Sender<Instant>);

impl ManualClock {
    /// A clock that shows the moment at which it is made.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    /// Turns the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.borrow()
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut turned = self.0.subscribe();
        Box::pin(async move {
            // An error means that the clock is gone: it will never show that time.
            if turned.wait_for(|now| *now >= at).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &*self.0.borrow()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_turned_far_enough() {
        let clock = ManualClock::new();
        let mut sleep = clock.sleep_until(clock.now() + Duration::from_secs(3600));
        for (turned, done) in [(0, false), (3599, false), (1, true)] {
            clock.clone().advance(Duration::from_secs(turned));
            let polled = poll_fn(|task| Poll::Ready(sleep.as_mut().poll(task))).await;
            assert_eq!(polled.is_ready(), done, "after {turned} s more");
        }
    }
}
