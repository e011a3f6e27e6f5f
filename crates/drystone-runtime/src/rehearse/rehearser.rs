//! What a workload holds: clients as the gateway has them, chance from the seed, and a caller's patience.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{
    Context, ContractClient, Error, Faults, IdempotencyKey, Ids as _, PlatformReason, Result, SeededIds,
    ServiceDef as _,
};
use drystone_store::Store;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::run::Site;
use super::trace::Trace;
use crate::Running;

/// How long a caller goes on asking. The breakers of a chain of calls may have to close one after another.
const PATIENCE: Duration = Duration::from_mins(5);
/// The longest pause before a caller asks again, in milliseconds.
const LONGEST_PAUSE: u64 = 400;

/// The callers of a rehearsed application.
///
/// Everything that it draws comes from the seed, and all callers run on one thread, so that a seed repeats. Several at once are futures that are
/// awaited together: [`Rehearser::at_once`]. Waiting costs nothing: the time is not the machine's.
pub struct Rehearser {
    pub(super) site: Site,
    pub(super) running: RefCell<Option<Running>>,
    pub(super) clients: RefCell<BTreeMap<&'static str, Box<dyn Any>>>,
    pub(super) faults: RefCell<Vec<Arc<Faults>>>,
    pub(super) restarts: Cell<u32>,
    pub(super) trace: Arc<Trace>,
    pub(super) unsettled: RefCell<Vec<String>>,
    random: SeededIds,
}

impl Rehearser {
    pub(super) fn new(site: Site, trace: Arc<Trace>) -> Self {
        let random = SeededIds::new(site.seed, "rehearsal");
        Self {
            site,
            running: RefCell::default(),
            clients: RefCell::default(),
            faults: RefCell::default(),
            restarts: Cell::new(0),
            trace,
            unsettled: RefCell::default(),
            random,
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.site.seed
    }

    /// A number below `bound`; zero if that is zero.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        let random = self.random.next() & u128::from(u64::MAX);
        u64::try_from((random * u128::from(bound)) >> 64).unwrap_or_default()
    }

    /// Whether something happens that happens so often in a hundred times.
    #[must_use]
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn pick<'p, T>(&self, of: &'p [T]) -> &'p T {
        assert!(!of.is_empty(), "one of nothing");
        let at = self.below(of.len() as u64);
        &of[usize::try_from(at).unwrap_or_default()]
    }

    /// A client of a contract, calling as the gateway does. Ask for it at each attempt: it ends with the start of the application that it was made for.
    ///
    /// # Errors
    /// `UNAVAILABLE` while the application is being started again.
    pub fn client<C: ContractClient>(&self) -> Result<C> {
        let running = self.running.borrow();
        let running = running.as_ref().ok_or_else(restarting)?;
        let contract = C::Service::contract().name;
        let known = self.clients.borrow().get(contract).and_then(|known| known.downcast_ref::<C>().cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        // One for all callers, as the gateway has: its breakers and budgets are theirs.
        let made: C = running.client()?;
        self.clients.borrow_mut().insert(contract, Box::new(made.clone()));
        Ok(made)
    }

    /// A context as the gateway mints them.
    ///
    /// # Errors
    /// `UNAVAILABLE` while the application is being started again; `TENANT_MALFORMED` or `INVALID_ARGUMENT` if a name is not one.
    pub fn context(&self, tenant: &str, principal: &str) -> Result<Context> {
        self.running.borrow().as_ref().ok_or_else(restarting)?.context(tenant, principal)
    }

    /// The store of a module, for what no contract tells.
    ///
    /// # Errors
    /// `UNAVAILABLE` while the application is being started again; `NOT_FOUND` if no module of this name has one.
    pub fn store(&self, module: &str) -> Result<Store> {
        let running = self.running.borrow();
        let store = running.as_ref().ok_or_else(restarting)?.store(module).cloned();
        store.ok_or_else(|| {
            Error::new(drystone_call::Code::NotFound, format!("no module `{module}` with a store"))
        })
    }

    /// Asks as a caller does who wants to know: again with the same key while the outcome is open, with pauses, and gives what was answered in the end, be it an
    /// answer or a refusal.
    ///
    /// A caller that is still not answered after five minutes, of which none is spent waiting for the machine, breaks the rehearsal: `every call is answered in the end`.
    ///
    /// # Errors
    /// What the callee refuses with; an open outcome only when patience has ended.
    pub async fn settled<R: Debug>(
        &self,
        tenant: &str,
        principal: &str,
        key: &str,
        call: impl AsyncFn(&Context) -> Result<R>,
    ) -> Result<R> {
        let began = Instant::now();
        for attempt in 1_u32.. {
            let answer = self.asked(tenant, principal, key, &call).await;
            self.note(&format!("{principal} of {tenant}, {key}, {attempt}: {}", Shown(answer.as_ref())));
            match answer {
                Err(error) if is_open(&error) => {
                    if began.elapsed() > PATIENCE {
                        let last = Shown::<R>(Err(&error));
                        let text = format!("{principal} of {tenant}, {key}, asked {attempt} times: {last}");
                        self.unsettled.borrow_mut().push(text);
                        return Err(error);
                    }
                }
                settled => return settled,
            }
            sleep(Duration::from_millis(1 + self.below(LONGEST_PAUSE))).await;
        }
        unreachable!("patience ends before the numbers do")
    }

    /// Asks once.
    ///
    /// # Errors
    /// What the callee refuses or fails with.
    pub async fn asked<R>(
        &self,
        tenant: &str,
        principal: &str,
        key: &str,
        call: impl AsyncFn(&Context) -> Result<R>,
    ) -> Result<R> {
        let cx = self.context(tenant, principal)?.with_key(IdempotencyKey::new(key)?);
        call(&cx).await
    }

    /// A caller that goes away after a time: the call is dropped wherever it stands then. `None` if it was.
    pub async fn gives_up<R>(&self, after: Duration, call: impl Future<Output = R>) -> Option<R> {
        let answered = timeout(after, call).await.ok();
        self.note(if answered.is_some() { "answered before it went away" } else { "a caller went away" });
        answered
    }

    /// So many callers at the same time, each with its number.
    pub async fn at_once<R>(&self, callers: usize, each: impl AsyncFn(usize) -> R) -> Vec<R> {
        let each = &each;
        join_all((0..callers).map(|caller| async move { each(caller).await })).await
    }

    /// Lets up to so many milliseconds pass.
    pub async fn pause(&self, up_to_ms: u64) {
        sleep(Duration::from_millis(self.below(up_to_ms + 1))).await;
    }

    /// Writes a line into the trace.
    pub fn note(&self, line: &str) {
        self.trace.add(line);
    }
}

/// Whether a caller cannot know what became of the call, or was told to ask again.
fn is_open(error: &Error) -> bool {
    error.code().is_open() || error.is(PlatformReason::KeyInUse)
}

fn restarting() -> Error {
    Error::unavailable("the application is being started again")
}

/// An outcome on one line.
pub(super) struct Shown<'a, R>(pub(super) std::result::Result<&'a R, &'a Error>);

impl<R: Debug> fmt::Display for Shown<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(answer) => write!(f, "{answer:?}"),
            Err(error) => {
                let reason = error.reason_info().map(|info| info.name().to_owned()).unwrap_or_default();
                write!(f, "{:?} {reason} {}", error.code(), error.message())
            }
        }
    }
}

impl fmt::Debug for Rehearser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehearser").field("seed", &self.site.seed).finish_non_exhaustive()
    }
}
