//! `Context`: who is asking and under which limits; `Caller`: its read-only half.

mod onward;

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use uuid::Uuid;

use crate::home::Home;
use crate::key::digest;
use crate::{Baggage, Claim, IdempotencyKey, Principal, Result, TenantId, TraceContext};

/// The time that a call may take when neither its method nor its caller says.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// Who is asking and under which limits, to read.
///
/// [`Context`] dereferences to it, and an open transaction offers it as `tx.caller()`.
pub struct Caller {
    pub(crate) who: Arc<Who>,
    pub(crate) place: Arc<Place>,
    pub(crate) deadline: Instant,
    pub(crate) trace: TraceContext,
    pub(crate) key: Option<IdempotencyKey>,
    rare: OnceLock<Box<Rare>>,
}

/// Where a call executes and from where it came: the same for every call on an edge, and made once for it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) home: Arc<Home>,
    pub(crate) from: Option<Arc<str>>,
}

/// What most calls never need; apart, so that a context is small and cheap to move.
#[derive(Default)]
struct Rare {
    notes: Mutex<Vec<(&'static str, String)>>,
    /// The keyed calls made so far, by method and label.
    used: Mutex<Vec<(usize, &'static str)>>,
    /// What the keys of onward calls derive from, when the call has no key of its own.
    root: Mutex<Option<[u8; 16]>>,
    barriers: Mutex<Vec<Barrier>>,
}

/// What stays the same along a chain of calls.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    pub(crate) baggage: Baggage,
}

impl Caller {
    /// The tenant for whom the call is made.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.who.tenant
    }

    /// Who acts.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.who.principal
    }

    /// Facts that travel with the call.
    #[must_use]
    pub fn baggage(&self) -> &Baggage {
        &self.who.baggage
    }

    /// The moment by which the answer must be there.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time left until the deadline; zero when it has passed.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The position in the trace.
    #[must_use]
    pub fn trace(&self) -> TraceContext {
        self.trace
    }

    /// The key under which this call happens once, if it carries one.
    #[must_use]
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    /// The module that is executing.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.place.home.module
    }

    /// The module that called, or `None` at the root of a chain.
    #[must_use]
    pub fn calling_module(&self) -> Option<&str> {
        self.place.from.as_deref()
    }

    /// The time of day on the module's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.place.home.clock.now()
    }

    /// A new id: a version 7 UUID of the module's clock and ids.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.place.home.new_id()
    }

    /// An id that a repeat of this call gets again, so that a retry finds what an interrupted first attempt left.
    ///
    /// A version 8 UUID of the idempotency key and `label`; without a key, as [`Caller::new_id`].
    #[must_use]
    pub fn stable_id(&self, label: &str) -> Uuid {
        let Some(key) = &self.key else { return self.new_id() };
        let who = &self.who;
        let digest = digest(&[
            who.tenant.as_str().as_bytes(),
            who.principal.as_str().as_bytes(),
            key.as_str().as_bytes(),
            label.as_bytes(),
        ]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Adds a fact to the record of this call that telemetry keeps.
    pub fn note(&self, name: &'static str, value: impl fmt::Display) {
        let value = value.to_string();
        tracing::debug!(target: "drystone::note", name, value);
        self.rare().notes.lock().unwrap_or_else(PoisonError::into_inner).push((name, value));
    }

    /// What was noted so far.
    #[must_use]
    pub fn notes(&self) -> Vec<(&'static str, String)> {
        let rare = self.rare.get();
        rare.map(|rare| rare.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("tenant", self.tenant())
            .field("principal", self.principal())
            .field("module", &self.place.home.module)
            .field("from", &self.place.from)
            .field("key", &self.key)
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}

/// Something that an answer must wait for before it leaves, such as the group commit that it rests on.
pub type Barrier = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Who is asking and under which limits: what a handler is given and what every client and store needs.
///
/// A client's methods take `&Context`; opening a transaction takes `&mut Context` and holds it until the transaction is
/// committed or dropped. So a call to another module inside an open transaction does not compile. For the same reason a
/// `Context` cannot be cloned; work that outlives the call takes a [`Context::detach`]ed one.
pub struct Context {
    pub(crate) caller: Caller,
    /// Whether the key goes on as it is: the context stands outside every module, as the gateway's does. Otherwise the keys of onward
    /// calls derive from the call's own, or from random bits when it has none.
    verbatim: bool,
    /// Boxed: most contexts have none, and every call moves its context.
    claim: Option<Box<Claim>>,
    replayed: AtomicBool,
    /// Whether a store has met a conflict since the handler began.
    pub(crate) conflict: AtomicBool,
    /// Whether a call made with this context failed for good after it was tried again, so that the whole need not be.
    spent: AtomicBool,
}

impl Deref for Context {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Context {
    /// Mints a context at the root of a chain of calls: for gateways, engines and tests, not for modules.
    #[must_use]
    pub fn mint(home: Arc<Home>, tenant: TenantId, principal: Principal) -> Self {
        let who = Arc::new(Who { tenant, principal, baggage: Baggage::default() });
        let place = Arc::new(Place { home, from: None });
        let deadline = Instant::now() + DEFAULT_TIMEOUT;
        let minted = Self::assemble(who, place, deadline, TraceContext::root(), None);
        Self { verbatim: true, ..minted }
    }

    #[inline]
    fn assemble(
        who: Arc<Who>,
        place: Arc<Place>,
        deadline: Instant,
        trace: TraceContext,
        key: Option<IdempotencyKey>,
    ) -> Self {
        let caller = Caller { who, place, deadline, trace, key, rare: OnceLock::new() };
        Self {
            caller,
            verbatim: false,
            claim: None,
            replayed: AtomicBool::new(false),
            conflict: AtomicBool::new(false),
            spent: AtomicBool::new(false),
        }
    }

    /// The same context with an idempotency key, which the first call made with it carries as it is.
    #[must_use]
    pub fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.caller.key = Some(key);
        self
    }

    /// The same context with another time left.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.caller.deadline = Instant::now() + timeout;
        self
    }

    /// The same context at another position in a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.caller.trace = trace;
        self
    }

    /// The same context with baggage.
    #[must_use]
    pub fn with_baggage(mut self, baggage: Baggage) -> Self {
        let who = &self.caller.who;
        self.caller.who =
            Arc::new(Who { tenant: who.tenant.clone(), principal: who.principal.clone(), baggage });
        self
    }

    /// A context for work that goes on after this call has been answered: same tenant, principal and trace, a time limit of
    /// its own, and neither the key nor the claim of the call.
    #[must_use]
    pub fn detach(&self, timeout: Duration) -> Self {
        let caller = &self.caller;
        let (who, place) = (Arc::clone(&caller.who), Arc::clone(&caller.place));
        Self::assemble(who, place, Instant::now() + timeout, caller.trace.child(), None)
    }

    /// The context of a call that came over a wire.
    pub(crate) fn arrived(
        who: Who,
        home: Arc<Home>,
        from: Option<Arc<str>>,
        timeout: Duration,
        trace: TraceContext,
        key: Option<IdempotencyKey>,
    ) -> Self {
        Self::assemble(Arc::new(who), Arc::new(Place { home, from }), Instant::now() + timeout, trace, key)
    }

    /// The claim on this call's key, for the store that records the answer.
    #[must_use]
    pub fn claim_mut(&mut self) -> Option<&mut Claim> {
        self.claim.as_deref_mut()
    }

    /// The claim on this call's key, to read.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_deref()
    }

    pub(crate) fn set_claim(&mut self, claim: Claim) {
        self.claim = Some(Box::new(claim));
    }

    /// Makes the answer of this call, a refusal too, wait for `barrier`; for stores.
    ///
    /// If the barrier fails, its error is the answer.
    pub fn hold_answer(&mut self, barrier: Barrier) {
        self.caller.rare().barriers.lock().unwrap_or_else(PoisonError::into_inner).push(barrier);
    }

    pub(crate) fn take_barriers(&mut self) -> Vec<Barrier> {
        let rare = self.caller.rare.get_mut();
        rare.map(|rare| std::mem::take(rare.barriers.get_mut().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// Whether an answer made with this context has nothing to wait for, and says by itself all there is to say.
    pub(crate) fn is_settled(&self) -> bool {
        self.caller.rare.get().is_none() && self.claim.is_none() && !self.is_spent()
    }

    /// Whether the last call made with this context was answered from its record.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Gives the context another moment by which the answer must be there.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.caller.deadline = deadline;
    }

    /// Says that a call made with this context was tried again, in vain.
    pub(crate) fn mark_spent(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    /// Whether a call made with this context was tried again, in vain.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    pub(crate) fn set_replayed(&self, replayed: bool) {
        self.replayed.store(replayed, Ordering::Relaxed);
    }

    /// Makes the context what it was before the handler began, so that it can run again: who asks, the deadline, the key with its claim, and
    /// what the keys of onward calls derive from stay, so that onward calls repeat those of the run before.
    pub(crate) fn rewind(&mut self) {
        self.replayed = AtomicBool::new(false);
        self.conflict = AtomicBool::new(false);
        self.spent = AtomicBool::new(false);
        if let Some(rare) = self.caller.rare.get_mut() {
            let root = std::mem::take(&mut rare.root);
            **rare = Rare { root, ..Rare::default() };
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.caller, f)
    }
}
