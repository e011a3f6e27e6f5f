//! Subscribers that keep every span: its name, its fields and its times, in a ring of the last ones.
//!
//! Measuring calls with tracing off would leave out what every process of an application pays. Two honest recorders stand here:
//! [`Lean`] is a subscriber of its own and does what a recorder must do and no more; [`Layered`] is what most programs run, a layer on
//! `tracing_subscriber`'s registry, whose general bookkeeping comes on top.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::suites::Failure;

/// How many spans are kept; a power of two.
const KEPT: usize = 4096;

/// Which recorder a process runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorder {
    /// No subscriber.
    Off,
    /// [`Lean`].
    Lean,
    /// [`Layered`].
    Layered,
}

impl Recorder {
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Lean, Self::Layered];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Lean => "recorder",
            Self::Layered => "registry layer",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|recorder| recorder.name() == name)
    }

    /// Records for the rest of this process's life.
    pub(crate) fn install(self) -> Result<(), Failure> {
        match self {
            Self::Off => Ok(()),
            Self::Lean => Ok(tracing::subscriber::set_global_default(Lean::default())?),
            Self::Layered => {
                Ok(tracing::subscriber::set_global_default(Registry::default().with(Layered::default()))?)
            }
        }
    }
}

/// A span as it is kept.
#[derive(Debug, Default)]
struct Kept {
    id: u64,
    #[cfg_attr(not(test), expect(dead_code, reason = "kept for whoever reads the ring"))]
    parent: u64,
    holders: usize,
    metadata: Option<&'static Metadata<'static>>,
    fields: String,
    began: Option<Instant>,
    nanos: u64,
}

/// Writes fields as ` name=value`.
struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        for part in [" ", field.name(), "=", value] {
            self.0.push_str(part);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

fn elapsed(began: Option<Instant>) -> u64 {
    began.map_or(0, |began| u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// A subscriber that records and does nothing else.
struct Lean {
    next: AtomicU64,
    ring: Mutex<Box<[Kept]>>,
}

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The innermost span that this thread is in, 0 if none.
fn innermost() -> u64 {
    ENTERED.with_borrow(|entered| entered.last().copied().unwrap_or_default())
}

impl Default for Lean {
    fn default() -> Self {
        let ring = (0..KEPT).map(|_| Kept::default()).collect();
        Self { next: AtomicU64::new(1), ring: Mutex::new(ring) }
    }
}

impl Lean {
    /// Works on a span that is still in the ring.
    fn with<R>(&self, id: u64, work: impl FnOnce(&mut Kept) -> R) -> Option<R> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(id).unwrap_or_default() % KEPT;
        ring.get_mut(place).filter(|kept| kept.id == id).map(work)
    }
}

impl Subscriber for Lean {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= LevelFilter::INFO { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= LevelFilter::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Relaxed);
        let parent = if span.is_contextual() { innermost() } else { span.parent().map_or(0, Id::into_u64) };
        let began = Some(Instant::now());
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut ring[usize::try_from(id).unwrap_or_default() % KEPT];
        kept.fields.clear();
        let fields = std::mem::take(&mut kept.fields);
        *kept = Kept { id, parent, holders: 1, metadata: Some(span.metadata()), fields, began, nanos: 0 };
        span.record(&mut Fields(&mut kept.fields));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.with(span.into_u64(), |kept| values.record(&mut Fields(&mut kept.fields)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.with(innermost(), |kept| event.record(&mut Fields(&mut kept.fields)));
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        let id = span.into_u64();
        ENTERED.with_borrow_mut(|entered| {
            if let Some(place) = entered.iter().rposition(|entered| *entered == id) {
                entered.remove(place);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.with(span.into_u64(), |kept| kept.holders += 1);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let closed = self.with(span.into_u64(), |kept| {
            kept.holders = kept.holders.saturating_sub(1);
            kept.nanos = elapsed(kept.began);
            kept.holders == 0
        });
        closed.unwrap_or(true)
    }

    fn current_span(&self) -> Current {
        let id = innermost();
        let metadata = self.with(id, |kept| kept.metadata).flatten();
        metadata.map_or_else(Current::none, |metadata| Current::new(Id::from_u64(id), metadata))
    }
}

/// A layer that records, on the registry of `tracing_subscriber`.
#[derive(Clone, Default)]
struct Layered {
    ring: Arc<Mutex<VecDeque<Kept>>>,
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Layered {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(new) = context.span(id) else { return };
        let parent = new.parent().map_or(0, |parent| parent.id().into_u64());
        let metadata = Some(span.metadata());
        let began = Some(Instant::now());
        let mut kept =
            Kept { id: id.into_u64(), parent, holders: 0, metadata, fields: String::new(), began, nanos: 0 };
        span.record(&mut Fields(&mut kept.fields));
        new.extensions_mut().insert(kept);
    }

    fn on_record(&self, span: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(span) else { return };
        if let Some(kept) = span.extensions_mut().get_mut::<Kept>() {
            values.record(&mut Fields(&mut kept.fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else { return };
        if let Some(kept) = span.extensions_mut().get_mut::<Kept>() {
            event.record(&mut Fields(&mut kept.fields));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(mut kept) = span.extensions_mut().remove::<Kept>() else { return };
        kept.nanos = elapsed(kept.began);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans() {
        let outer = tracing::info_span!("outer", who = "ada", status = tracing::field::Empty);
        outer.in_scope(|| {
            tracing::info_span!("inner", n = 7).in_scope(|| ());
            tracing::Span::current().record("status", 200);
            tracing::debug_span!("beneath notice").in_scope(|| ());
        });
    }

    fn check(kept: &[&Kept]) {
        let shown: Vec<_> =
            kept.iter().map(|kept| (kept.metadata.unwrap().name(), kept.fields.as_str())).collect();
        let mut shown = shown;
        shown.sort_unstable();
        assert_eq!(shown, [("inner", " n=7"), ("outer", " who=ada status=200")]);
        let of = |name| kept.iter().find(|kept| kept.metadata.unwrap().name() == name).unwrap();
        assert_eq!(of("inner").parent, of("outer").id);
        assert!(of("outer").nanos >= of("inner").nanos && of("inner").nanos > 0);
    }

    #[test]
    fn the_lean_recorder_keeps_names_fields_times_and_parents() {
        let lean = Arc::new(Lean::default());
        tracing::subscriber::with_default(Arc::clone(&lean), spans);
        let ring = lean.ring.lock().unwrap();
        check(&ring.iter().filter(|kept| kept.id > 0).collect::<Vec<_>>());
    }

    #[test]
    fn the_layer_keeps_the_same() {
        let layer = Layered::default();
        let subscriber = Registry::default().with(layer.clone());
        tracing::subscriber::with_default(subscriber, spans);
        let ring = layer.ring.lock().unwrap();
        check(&ring.iter().collect::<Vec<_>>());
    }
}
