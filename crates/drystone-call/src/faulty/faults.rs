//! The faults of one rehearsal: its seed, its counts, and what it left running.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http::HeaderMap;
use tokio::sync::watch;

use super::report::{FaultCounts, FaultKind, FaultReport, Injected};
use super::{Attempt, Fault, Profile};
use crate::headers;
use crate::{MethodInfo, Reply, Result};

/// How many calls of a method are remembered until their next attempt.
const REMEMBERED: usize = 1024;
/// How many faults are remembered one by one.
const LOGGED: usize = 10_000;

/// What one process injects, shared by the faulty runners of all its edges.
pub struct Faults {
    seed: u64,
    profile: Profile,
    on: AtomicBool,
    calls: AtomicU64,
    methods: Mutex<BTreeMap<(Arc<str>, &'static str), Method>>,
    log: Mutex<Vec<Injected>>,
    /// Repeats in the background.
    running: watch::Sender<u64>,
    witness: OnceLock<Witness>,
}

/// Is told of every attempt that was answered: by whom it was made, and what its caller sees.
pub type Witness = Arc<dyn Fn(&str, &MethodInfo, &Result<Reply>) + Send + Sync>;

/// One method on one edge.
#[derive(Default)]
struct Method {
    calls: u64,
    /// The latest calls, by their position in the trace, which all attempts of a call share.
    known: VecDeque<(Box<[u8]>, u64)>,
    counts: FaultCounts,
}

/// What was drawn for an attempt, and where it is to be counted.
pub(super) struct Draw<'a> {
    faults: &'a Arc<Faults>,
    from: &'a Arc<str>,
    method: &'static MethodInfo,
    call: u64,
    attempt: u32,
    pub(super) fault: Fault,
}

impl Faults {
    /// The faults of a seed.
    #[must_use]
    pub fn new(seed: u64, profile: Profile) -> Arc<Self> {
        Arc::new(Self {
            seed,
            profile,
            on: AtomicBool::new(true),
            calls: AtomicU64::new(0),
            methods: Mutex::default(),
            log: Mutex::default(),
            running: watch::channel(0).0,
            witness: OnceLock::new(),
        })
    }

    /// The seed that repeats them.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is let go wrong.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Tells `witness` of every attempt from now on; only the first witness is told.
    pub fn witness(&self, witness: Witness) {
        let _ = self.witness.set(witness);
    }

    pub(super) fn saw(&self, from: &str, method: &MethodInfo, answer: &Result<Reply>) {
        if let Some(witness) = self.witness.get() {
            witness(from, method, answer);
        }
    }

    /// Injects nothing from now on, or goes on injecting. Calls are numbered all the while.
    pub fn turn(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// Waits until no repeat runs in the background.
    pub async fn at_rest(&self) {
        // An error would mean that the sender is gone, which is this object's.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    /// What was injected so far.
    #[must_use]
    pub fn report(&self) -> FaultReport {
        let methods = lock(&self.methods);
        let edges = methods.iter().map(|(edge, method)| (edge.clone(), method.counts)).collect();
        FaultReport {
            seed: self.seed,
            profile: self.profile,
            calls: self.calls.load(Ordering::Relaxed),
            edges,
        }
    }

    /// The faults one by one, in the order in which they happened; the first ten thousand.
    #[must_use]
    pub fn log(&self) -> Vec<Injected> {
        lock(&self.log).clone()
    }

    /// What happens to an attempt whose request has these headers.
    pub(super) fn draw<'a>(
        self: &'a Arc<Self>,
        from: &'a Arc<str>,
        method: &'static MethodInfo,
        sent: &HeaderMap,
    ) -> Draw<'a> {
        let attempt =
            sent.get(headers::ATTEMPT).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(1);
        let call = self.number(from, method, sent, attempt);
        let keyed = sent.contains_key(headers::IDEMPOTENCY_KEY);
        let fault = if self.on.load(Ordering::SeqCst) {
            self.profile.plan(self.seed, &Attempt { from, method, keyed, call, attempt })
        } else {
            Fault::default()
        };
        Draw { faults: self, from, method, call, attempt, fault }
    }

    /// The number of the call, the same for each of its attempts.
    fn number(&self, from: &Arc<str>, method: &'static MethodInfo, sent: &HeaderMap, attempt: u32) -> u64 {
        let trace = sent.get(headers::TRACEPARENT).map_or(&[][..], |value| value.as_bytes());
        let mut methods = lock(&self.methods);
        let method = methods.entry((Arc::clone(from), method.path)).or_default();
        if attempt > 1
            && let Some((_, call)) = method.known.iter().rev().find(|(known, _)| **known == *trace)
        {
            return *call;
        }
        let call = method.calls;
        method.calls += 1;
        self.calls.fetch_add(1, Ordering::Relaxed);
        if method.known.len() == REMEMBERED {
            method.known.pop_front();
        }
        method.known.push_back((trace.into(), call));
        call
    }
}

impl Draw<'_> {
    /// Counts a fault that happens now.
    pub(super) fn count(&self, kind: FaultKind) {
        let Self { faults, from, method, call, attempt, .. } = *self;
        tracing::debug!(
            target: "drystone::rehearsal", from = &**from, method = method.path, call, attempt, fault = kind.name(), "fault"
        );
        let mut methods = lock(&faults.methods);
        methods.entry((Arc::clone(from), method.path)).or_default().counts.count(kind);
        drop(methods);
        let mut log = lock(&faults.log);
        if log.len() < LOGGED {
            log.push(Injected { from: Arc::clone(from), method: method.path, call, attempt, kind });
        }
    }

    /// Whether a request is repeated that was refused too.
    pub(super) fn repeats_refused(&self) -> bool {
        self.faults.profile != Profile::Absorbable
    }

    /// Runs a repeat in the background; [`Faults::at_rest`] waits for it.
    pub(super) fn in_background(&self, repeat: impl Future<Output = ()> + Send + 'static) {
        let running = Running::begin(Arc::clone(self.faults));
        tokio::spawn(async move {
            repeat.await;
            drop(running);
        });
    }
}

/// A repeat that is running; counted until it is dropped, whatever ends it.
struct Running(Arc<Faults>);

impl Running {
    fn begin(faults: Arc<Faults>) -> Self {
        faults.running.send_modify(|running| *running += 1);
        Self(faults)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({})", self.report())
    }
}
