//! A consumer at work: what takes its messages, and what goes back to those that were held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drystone_call::{Error, Home, Result, TenantId};
use drystone_store::{Dialect, Store};
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{Clock as _, HomeClock};
use crate::engine::Inbox as _;
use crate::link::Deliver;
use crate::metrics::ConsumerMetrics;
use crate::stored::{Known, StoredInbox, due_keys, forget_handled, next_due, parked_keys};
use crate::{Envelope, Handlers, Receiver, Retention, Retrier, Schedule};

/// Held keys are looked for at least this often, whoever holds them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the retrier rests after an error of the store.
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// How often parked keys are counted that other processes may have parked or freed.
const COUNT_EVERY: Duration = Duration::from_secs(30);
/// How often old rows of the inbox are deleted.
const FORGET_EVERY: Duration = Duration::from_mins(10);

/// One consumer of a module: its handlers, its inbox, its schedule.
#[derive(Clone, Debug)]
pub struct Consumer(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    receiver: Arc<Receiver<StoredInbox, HomeClock>>,
    retrier: Retrier<StoredInbox, HomeClock>,
    inbox: StoredInbox,
    metrics: Arc<ConsumerMetrics>,
    held: Arc<HeldTenants>,
    retention: Retention,
    parked: Mutex<BTreeMap<Option<TenantId>, i64>>,
}

/// The tenants that have held messages, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct HeldTenants {
    tenants: Mutex<BTreeSet<TenantId>>,
    /// Those of which something was held back, parked or changed since they were counted last.
    uncounted: Mutex<BTreeSet<TenantId>>,
    woken: Notify,
    /// How many messages had arrived when that was last written down.
    noted: AtomicU64,
}

impl HeldTenants {
    pub(crate) fn add(&self, tenant: &TenantId) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        self.uncounted.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        self.woken.notify_one();
    }

    fn take(&self) -> BTreeSet<TenantId> {
        std::mem::take(&mut self.tenants.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Consumer {
    /// A consumer of this name in a module's store.
    #[must_use]
    pub fn new(
        name: &str,
        handlers: Handlers,
        store: Store,
        home: Arc<Home>,
        schedule: Schedule,
        retention: Retention,
    ) -> Self {
        let (metrics, held) = (Arc::new(ConsumerMetrics::default()), Arc::new(HeldTenants::default()));
        let inbox = StoredInbox::telling(store, Arc::clone(&home), name, handlers, Arc::clone(&held));
        let tell = Arc::clone(&held);
        let receiver = Receiver::new(
            inbox.clone(),
            HomeClock::new(home),
            schedule,
            Arc::clone(&metrics),
            move |tenant: &TenantId| tell.add(tenant),
        );
        let receiver = Arc::new(receiver);
        let retrier = Retrier::new(Arc::clone(&receiver));
        Self(Arc::new(Parts { receiver, retrier, inbox, metrics, held, retention, parked: Mutex::default() }))
    }

    /// The consumer's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.inbox.consumer()
    }

    /// The module that it belongs to.
    #[must_use]
    pub fn module(&self) -> &str {
        self.0.inbox.home().module()
    }

    /// The types of event that it handles.
    #[must_use]
    pub fn types(&self) -> Vec<String> {
        self.0.inbox.handlers().types().map(str::to_owned).collect()
    }

    /// What it has done.
    #[must_use]
    pub fn metrics(&self) -> &Arc<ConsumerMetrics> {
        &self.0.metrics
    }

    /// The consumer's module's store.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.0.inbox.store()
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        self.0.inbox.home()
    }

    /// Says that an operator has changed what is held of a tenant.
    pub fn look_again(&self, tenant: &TenantId) {
        self.0.held.add(tenant);
    }

    /// Takes messages of one source and tenant, in order. When it returns, each is applied or held back, and durably so.
    ///
    /// # Errors
    /// As [`Receiver::accept`].
    pub async fn accept(&self, tenant: &TenantId, messages: &[Envelope]) -> Result<()> {
        self.0.receiver.accept(tenant, messages).await
    }

    /// Goes back to held messages until the process stops.
    #[must_use]
    pub fn start(&self, stopping: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let (retrying, forgetting) = (self.clone(), self.clone());
        let (first, second) = (stopping.clone(), stopping.clone());
        vec![
            tokio::spawn(async move { until(first, retrying.retry()).await }),
            tokio::spawn(async move { until(second, forgetting.forget()).await }),
        ]
    }

    async fn retry(&self) {
        let mut known = Known::new(self.store(), self.home(), &format!("held/{}", self.name()));
        self.sweep(&known).await;
        let mut counted = None::<Instant>;
        loop {
            let next = match self.retry_due().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(target: "drystone::events", consumer = self.name(), %error, "held messages cannot be looked at");
                    Instant::now() + AFTER_ERROR
                }
            };
            let all = counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY);
            if all {
                counted = Some(Instant::now());
            }
            self.count_parked(all).await;
            self.note(&mut known).await;
            let _ = tokio::time::timeout_at(next, self.0.held.woken.notified()).await;
        }
    }

    /// At the start nobody knows which tenants have held messages.
    async fn sweep(&self, known: &Known) {
        if self.store().dialect().is_ok_and(|dialect| dialect == Dialect::Postgres) {
            return;
        }
        let candidates = match known.candidates().await {
            Ok(candidates) => candidates,
            Err(_) => self.store().tenants().list().await.unwrap_or_default().into_iter().collect(),
        };
        for tenant in candidates {
            match next_due(self.store(), self.home(), self.name(), Some(&tenant)).await {
                Ok(None) => {
                    // Nothing of it is tried, but something may be parked.
                    self.0.held.uncounted.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
                }
                Ok(Some(_)) | Err(_) => self.0.held.add(&tenant),
            }
        }
    }

    /// Writes down which tenants have held messages, for the next process.
    async fn note(&self, known: &mut Known) {
        if self.store().dialect().is_ok_and(|dialect| dialect == Dialect::Postgres) {
            return;
        }
        let mut waiting = self.0.held.tenants.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waiting
            .extend(self.0.parked.lock().unwrap_or_else(PoisonError::into_inner).keys().flatten().cloned());
        // Where nothing arrived, nothing was held since.
        let arrived = self.0.metrics.applied.get() + self.0.metrics.held.get();
        if self.0.held.noted.swap(arrived, Relaxed) != arrived {
            known.work();
        }
        // Notes are for the next process: one that is not taken costs it some looking.
        let _ = known.rest(waiting).await;
    }

    /// Counts the parked keys of the tenants of which something was changed; on PostgreSQL of all, now and then also because of what other processes do.
    async fn count_parked(&self, all: bool) {
        let changed =
            std::mem::take(&mut *self.0.held.uncounted.lock().unwrap_or_else(PoisonError::into_inner));
        let lanes: Vec<Option<TenantId>> = match self.store().dialect() {
            Ok(Dialect::Sqlite) => changed.into_iter().map(Some).collect(),
            Ok(Dialect::Postgres) if all || !changed.is_empty() => vec![None],
            Ok(Dialect::Postgres) | Err(_) => Vec::new(),
        };
        for lane in lanes {
            let Ok(count) = parked_keys(self.store(), self.home(), self.name(), lane.as_ref()).await else {
                continue;
            };
            let mut parked = self.0.parked.lock().unwrap_or_else(PoisonError::into_inner);
            if count == 0 {
                parked.remove(&lane)
            } else {
                parked.insert(lane, count)
            };
            self.0.metrics.parked_keys.set(parked.values().sum());
        }
    }

    /// Tries what is due, and says when to look again.
    async fn retry_due(&self) -> Result<Instant> {
        let latest = Instant::now() + LOOK_EVERY;
        if self.store().dialect()? == Dialect::Postgres {
            self.0.held.take();
            let next = self.retry_lane(None).await?;
            return Ok(self.moment(next).min(latest));
        }
        let mut earliest = latest;
        for tenant in self.0.held.take() {
            match self.retry_lane(Some(&tenant)).await {
                Ok(None) => {}
                Ok(next) => {
                    self.0.held.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
                    earliest = earliest.min(self.moment(next));
                }
                Err(error) => {
                    tracing::warn!(target: "drystone::events", consumer = self.name(), tenant = tenant.as_str(), %error, "held messages cannot be looked at");
                    self.0.held.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
                }
            }
        }
        Ok(earliest)
    }

    async fn retry_lane(&self, tenant: Option<&TenantId>) -> Result<Option<i64>> {
        let (store, home, name) = (self.store(), self.home(), self.name());
        let now = HomeClock::new(Arc::clone(home)).now();
        // One key that fails in a way of its own keeps no other from its turn.
        for due in due_keys(store, home, name, tenant, now).await? {
            if let Err(error) = self.0.retrier.retry(&due.tenant, &due.source, &due.key).await {
                tracing::warn!(target: "drystone::events", consumer = name, tenant = due.tenant.as_str(), key = due.key, %error,
                    "a held key could not be tried");
            }
        }
        next_due(store, home, name, tenant).await
    }

    fn moment(&self, due: Option<i64>) -> Instant {
        let wait = due.map_or(LOOK_EVERY, |due| {
            let left = due.saturating_sub(HomeClock::new(Arc::clone(self.home())).now()).max(0);
            Duration::from_micros(left.unsigned_abs())
        });
        // A clock that stands still makes nothing due by waiting, and must not be asked without end.
        Instant::now() + wait.clamp(Duration::from_millis(5), LOOK_EVERY)
    }

    async fn forget(&self) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            if let Err(error) = forget_handled(self.store(), self.home(), self.0.retention.inbox()).await {
                tracing::warn!(target: "drystone::events", consumer = self.name(), %error, "old rows of the inbox were not deleted");
            }
        }
    }
}

impl Deliver for Consumer {
    fn deliver<'a>(&'a self, tenant: &'a TenantId, messages: &'a [Envelope]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let first = messages.first().map_or("", |message| &*message.source);
            if messages.iter().any(|message| message.source != first || message.tenant != *tenant) {
                return Err(Error::invalid_argument("messages of two sources or tenants in one delivery"));
            }
            self.accept(tenant, messages).await
        })
    }
}

/// Runs until the process stops.
pub(crate) async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        // In order, so that chance is no part of a rehearsal; the stop first, since work that always has more to do uses up what its task may do in one turn.
        biased;
        // An error means that the process is gone already.
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = work => {}
    }
}
