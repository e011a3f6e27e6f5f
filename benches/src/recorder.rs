//! Subscribers that keep every span: its name, its fields and its times, in a ring of the last ones.
//!
//! Measuring calls with tracing off would leave out what every process of an application pays. Two honest recorders stand here:
//! [`Lean`] is a subscriber of its own and does what a recorder must do and no more; [`Layered`] is what most programs run, a layer on
//! `tracing_subscriber`'s registry, whose general bookkeeping comes on top.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Current, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
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
                let layer = Layered { ring: Mutex::default() };
                Ok(tracing::subscriber::set_global_default(Registry::default().with(layer))?)
            }
        }
    }
}

/// A span as it is kept.
#[derive(Debug, Default)]
struct Kept {
    id: u64,
    parent: u64,
    holders: usize,
    name: &'static str,
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
    static ENTERED: RefCell<Vec<(u64, &'static Metadata<'static>)>> = const { RefCell::new(Vec::new()) };
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
        let around = || ENTERED.with_borrow(|entered| entered.last().map_or(0, |(id, _)| *id));
        let parent = if span.is_contextual() { around() } else { span.parent().map_or(0, Id::into_u64) };
        let began = Some(Instant::now());
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut ring[usize::try_from(id).unwrap_or_default() % KEPT];
        kept.fields.clear();
        let fields = std::mem::take(&mut kept.fields);
        *kept = Kept { id, parent, holders: 1, name: span.metadata().name(), fields, began, nanos: 0 };
        span.record(&mut Fields(&mut kept.fields));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.with(span.into_u64(), |kept| values.record(&mut Fields(&mut kept.fields)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let around = ENTERED.with_borrow(|entered| entered.last().map_or(0, |(id, _)| *id));
        self.with(around, |kept| event.record(&mut Fields(&mut kept.fields)));
    }

    fn enter(&self, span: &Id) {
        // The metadata is asked for by `current_span` only, which finds it with the span that it began with.
        let id = span.into_u64();
        ENTERED.with_borrow_mut(|entered| entered.push((id, &SPAN)));
    }

    fn exit(&self, span: &Id) {
        let id = span.into_u64();
        ENTERED.with_borrow_mut(|entered| {
            if let Some(place) = entered.iter().rposition(|(entered, _)| *entered == id) {
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
        let around = ENTERED.with_borrow(|entered| entered.last().copied());
        around.map_or_else(Current::none, |(id, metadata)| Current::new(Id::from_u64(id), metadata))
    }
}
