//! Work inside a span, on the hot path.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::Span;

/// Does `work`, which the caller has pinned, inside `span`. The caller keeps a [`Dropping`], for work that is dropped before it is done.
///
/// As `tracing::Instrument`, but work that is done is not entered once more to be dropped: nothing is left of it, and with a recorder each entry costs as much
/// as a read of the clock.
pub(crate) async fn in_span<T>(span: &Span, mut work: Pin<&mut impl Future<Output = T>>) -> T {
    poll_fn(|task| {
        let _inside = span.enter();
        work.as_mut().poll(task)
    })
    .await
}

/// Has work that is dropped before it is done be dropped inside its span, so that what its destructors record is not lost.
///
/// Made before the work; the guard of [`Self::around`] is made after it, so that a drop in the middle comes to the guard, then to the work, then here.
pub(crate) struct Dropping<'a> {
    span: &'a Span,
    entered: AtomicBool,
}

impl<'a> Dropping<'a> {
    pub(crate) fn inside(span: &'a Span) -> Self {
        Self { span, entered: AtomicBool::new(false) }
    }

    pub(crate) fn around(&'a self) -> Around<'a> {
        Around { dropping: self, done: false }
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        if *self.entered.get_mut() {
            self.span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
        }
    }
}

/// Enters the span when it is dropped, unless the work is done.
pub(crate) struct Around<'a> {
    dropping: &'a Dropping<'a>,
    done: bool,
}

impl Around<'_> {
    pub(crate) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Around<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.dropping.span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
            self.dropping.entered.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt as _;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Writes down what happens.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<&'static str>>>);

    impl Heard {
        fn push(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Subscriber for Heard {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            self.push(event.metadata().name());
        }
        fn enter(&self, _: &Id) {
            self.push("in");
        }
        fn exit(&self, _: &Id) {
            self.push("out");
        }
    }

    /// Says so when it is dropped.
    struct Tells;

    impl Drop for Tells {
        fn drop(&mut self) {
            tracing::info!(name: "dropped", "");
        }
    }

    async fn works(waits: bool) {
        let span = tracing::info_span!("works");
        let dropping = Dropping::inside(&span);
        let mut work = pin!(async {
            let _tells = Tells;
            if waits {
                pending::<()>().await;
            }
        });
        let around = dropping.around();
        in_span(&span, work.as_mut()).await;
        around.done();
    }

    #[test]
    fn work_ends_and_is_dropped_inside_its_span() {
        let heard = Heard::default();
        tracing::subscriber::with_default(heard.clone(), || {
            assert!(works(false).now_or_never().is_some());
            heard.push("-");
            assert!(works(true).now_or_never().is_none(), "it waits, and is dropped");
            heard.push("-");
            drop(works(true));
        });
        let heard = heard.0.lock().unwrap().clone();
        assert_eq!(heard, ["in", "dropped", "out", "-", "in", "out", "in", "dropped", "out", "-"]);
    }
}
