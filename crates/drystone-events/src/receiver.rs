//! The receiver: what a consumer does with messages that arrive, whichever way they came.
//!
//! Messages of one tenant are applied together, in one transaction with the rows of the inbox that say so. When one fails, the transaction is rolled back, what came before it is
//! applied without it, and it is tried alone; if it fails again it is held back, with its bytes and the reason, and everything of its key after it queues up behind
//! it. So there are two ends to [`Receiver::accept`]: everything is durable here, applied or held; or an error, and the sender sends again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Code, Error, Result, TenantId};

use crate::Envelope;
use crate::clock::Clock;
use crate::engine::{ApplyError, HeldState, Hold, Inbox, InboxTx};
use crate::failpoint::{failpoint, note_repeats};
use crate::locks::Locks;
use crate::metrics::ConsumerMetrics;
use crate::schedule::Schedule;

/// A transaction that has been open this long takes no more messages: others wait for it.
const LONG_ENOUGH: Duration = Duration::from_millis(50);
/// One that has been open this long is given up and done again in parts, before the store's hold limit takes it away.
const TOO_LONG: Duration = Duration::from_millis(400);
/// How many messages are recorded at once; more once it is known that they are done quickly.
const CHUNK: usize = 32;
/// How often a transaction that met another is tried again at once.
pub(crate) const CONFLICTS: u32 = 8;
/// The longest wait before that.
const CONFLICT_WAIT: Duration = Duration::from_millis(40);

/// The receiving half of a consumer.
pub struct Receiver<I, C> {
    pub(crate) inbox: I,
    pub(crate) clock: C,
    pub(crate) schedule: Schedule,
    pub(crate) locks: Locks<TenantId>,
    pub(crate) metrics: Arc<ConsumerMetrics>,
    /// Called with a tenant that has messages held back.
    pub(crate) held: Box<dyn Fn(&TenantId) + Send + Sync>,
}

/// How far one transaction has come.
enum Together {
    /// So many messages are taken care of.
    Done(usize),
    /// Nothing is; the message at this place is to be tried without those before it.
    Failed(usize),
    /// Nothing is; the handler of the message at this place met another transaction, or says so.
    Met(usize),
    /// Nothing is; a statement failed that a handler had queued, or the commit, and nobody knows whose fault that is.
    Unclear,
}

/// What one transaction did.
#[derive(Default)]
struct Counts {
    applied: u64,
    repeated: u64,
    held: u64,
}

impl<I: Inbox, C: Clock> Receiver<I, C> {
    /// A receiver that tells `held` which tenants have messages held back, for a [`crate::Retrier`].
    pub fn new(
        inbox: I,
        clock: C,
        schedule: Schedule,
        metrics: Arc<ConsumerMetrics>,
        held: impl Fn(&TenantId) + Send + Sync + 'static,
    ) -> Self {
        Self { inbox, clock, schedule, locks: Locks::default(), metrics, held: Box::new(held) }
    }

    /// Takes messages of one source and tenant, in order. When it returns, each is applied or held back, and durably so; those that had been
    /// taken before are left out.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN` or `TENANT_SUSPENDED` if the tenant is refused here; otherwise what keeps the store from working. The messages are to be sent again then.
    pub async fn accept(&self, tenant: &TenantId, messages: &[Envelope]) -> Result<()> {
        let _turn = self.locks.lock(tenant.clone()).await;
        let mut rest = messages;
        let mut upto = rest.len();
        while !rest.is_empty() {
            match self.again(tenant, &rest[..upto]).await? {
                Together::Done(done) => {
                    rest = &rest[done..];
                    upto = if upto > done { upto - done } else { rest.len() };
                }
                Together::Unclear if upto > 1 => upto = upto.div_ceil(2),
                Together::Failed(0) | Together::Unclear => {
                    self.alone(tenant, &rest[0]).await?;
                    rest = &rest[1..];
                    upto = rest.len();
                }
                Together::Failed(at) | Together::Met(at) => upto = at,
            }
        }
        Ok(())
    }

    /// Runs a transaction, again where it met another.
    async fn again(&self, tenant: &TenantId, messages: &[Envelope]) -> Result<Together> {
        let mut tries = 0;
        loop {
            match self.together(tenant, messages).await {
                Err(error) if error.code() == Code::Aborted && tries < CONFLICTS => tries += 1,
                Ok(Together::Met(_)) if tries < CONFLICTS => tries += 1,
                // A message whose handler never gets through must not hold back all the others.
                Ok(Together::Met(at)) => return Ok(Together::Failed(at)),
                // Less of it meets less.
                Err(error) if error.code() == Code::Aborted => return Ok(Together::Unclear),
                done => return done,
            }
            self.pause().await;
        }
    }

    pub(crate) async fn pause(&self) {
        let micros = u64::try_from(CONFLICT_WAIT.as_micros()).unwrap_or(1);
        self.clock.sleep(Duration::from_micros(self.clock.roll() % micros)).await;
    }

    /// Applies messages in one transaction, up to the first that fails or until it has taken long enough.
    async fn together(&self, tenant: &TenantId, messages: &[Envelope]) -> Result<Together> {
        let mut tx = self.inbox.begin(tenant).await?;
        let keys = messages.iter().map(|message| &*message.key).collect();
        let held = tx.held_keys(&messages[0].source, keys).await?;
        let (mut done, mut counts) = (0, Counts::default());
        while done < messages.len() && (done == 0 || tx.held_for() < LONG_ENOUGH) {
            let quick = tx.held_for() < LONG_ENOUGH / 4;
            let size = if quick { CHUNK.max(3 * done) } else { CHUNK };
            let chunk = &messages[done..messages.len().min(done + size)];
            let ids: Vec<_> = chunk.iter().map(|message| message.id).collect();
            let mut fresh = match tx.record(&ids).await {
                Ok(fresh) => fresh,
                // What handlers queued runs no later than this.
                Err(error) if counts.applied > 0 && is_of_a_statement(&error) => {
                    return Ok(Together::Unclear);
                }
                Err(error) => return Err(error),
            };
            failpoint("handle.recorded");
            for (at, message) in chunk.iter().enumerate() {
                // A message that the batch has twice is fresh once.
                if !fresh.remove(&message.id) {
                    counts.repeated += 1;
                } else if held.contains(&message.key) {
                    tx.hold(message, &waiting_hold(self.clock.now())).await?;
                    counts.held += 1;
                } else if done + at > 0 && tx.held_for() >= TOO_LONG {
                    return Ok(Together::Failed(done + at));
                } else {
                    match tx.apply(message).await {
                        Ok(()) => counts.applied += 1,
                        Err(ApplyError::Handler(error)) if error.code() == Code::Aborted => {
                            return Ok(Together::Met(done + at));
                        }
                        Err(_) => return Ok(Together::Failed(done + at)),
                    }
                }
            }
            done += chunk.len();
        }
        failpoint("handle.applied");
        match tx.commit().await {
            Err(error) if counts.applied > 0 && is_of_a_statement(&error) => return Ok(Together::Unclear),
            committed => committed?,
        }
        failpoint("handle.committed");
        self.metrics.applied.add(counts.applied);
        self.metrics.repeated.add(counts.repeated);
        note_repeats(counts.repeated);
        self.metrics.held.add(counts.held);
        Ok(Together::Done(done))
    }

    /// Applies one message, or holds it back.
    async fn alone(&self, tenant: &TenantId, message: &Envelope) -> Result<()> {
        let mut tries = 0;
        loop {
            let failed = match self.apply_one(tenant, message).await? {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            tries += 1;
            if failed.error().code() == Code::Aborted && tries <= CONFLICTS {
                self.pause().await;
                continue;
            }
            return self.hold_back(tenant, message, &failed).await;
        }
    }

    async fn apply_one(
        &self,
        tenant: &TenantId,
        message: &Envelope,
    ) -> Result<std::result::Result<(), ApplyError>> {
        let mut tx = self.inbox.begin(tenant).await?;
        if tx.record(&[message.id]).await?.is_empty() {
            self.metrics.repeated.add(1);
            note_repeats(1);
            return Ok(Ok(()));
        }
        failpoint("handle.recorded");
        // Between the batch and now another process may have held the key.
        let held = !tx.held_keys(&message.source, BTreeSet::from([&*message.key])).await?.is_empty();
        if held {
            tx.hold(message, &waiting_hold(self.clock.now())).await?;
        } else if let Err(failed) = tx.apply(message).await {
            return Ok(Err(failed));
        }
        failpoint("handle.applied");
        match tx.commit().await {
            Ok(()) => {
                failpoint("handle.committed");
                if held { &self.metrics.held } else { &self.metrics.applied }.add(1);
                Ok(Ok(()))
            }
            Err(error) if error.code() == Code::Aborted || (!held && is_of_a_statement(&error)) => {
                Ok(Err(ApplyError::Handler(error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a message that failed, with its row in the inbox.
    async fn hold_back(&self, tenant: &TenantId, message: &Envelope, failed: &ApplyError) -> Result<()> {
        let hold = self.failed_hold(1, failed);
        let mut tx = self.inbox.begin(tenant).await?;
        if tx.record(&[message.id]).await?.is_empty() {
            return Ok(());
        }
        tx.hold(message, &hold).await?;
        failpoint("hold.written");
        tx.commit().await?;
        failpoint("hold.stored");
        self.metrics.held.add(1);
        self.tell(tenant, message, &hold);
        Ok(())
    }

    /// What becomes of a message whose attempt number `made` failed.
    pub(crate) fn failed_hold(&self, made: u32, failed: &ApplyError) -> Hold {
        let next = match failed {
            ApplyError::Undecodable(_) => None,
            ApplyError::Handler(_) => self.schedule.next(made, &self.clock),
        };
        let state = if next.is_some() { HeldState::Retrying } else { HeldState::Parked };
        let due = next.unwrap_or_else(|| self.clock.now());
        Hold { state, attempts: made, due, reason: reason(failed.error()) }
    }

    /// Says what was held back, and wakes the retrier.
    pub(crate) fn tell(&self, tenant: &TenantId, message: &Envelope, hold: &Hold) {
        let consumer = self.inbox.consumer();
        let (tenant_name, event, key) = (tenant.as_str(), &message.event_type, &message.key);
        if hold.state == HeldState::Parked {
            self.metrics.parked.add(1);
            tracing::error!(target: "drystone::events", consumer, tenant = tenant_name, event, key, id = %message.id, reason = hold.reason,
                "a message failed for good: its key is parked; `events show {}` shows it", message.id);
        } else {
            tracing::warn!(target: "drystone::events", consumer, tenant = tenant_name, event, key, id = %message.id, reason = hold.reason,
                attempts = hold.attempts, "a message failed and will be tried again");
        }
        (self.held)(tenant);
    }
}

/// Whether a commit failed because of what a handler had queued, and not for want of the store.
pub(crate) fn is_of_a_statement(error: &Error) -> bool {
    !matches!(
        error.code(),
        Code::Aborted | Code::Unavailable | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled
    )
}

/// A message behind another of its key.
pub(crate) fn waiting_hold(now: i64) -> Hold {
    Hold { state: HeldState::Waiting, attempts: 0, due: now, reason: String::new() }
}

/// What an operator reads: code, message and causes, within bounds.
fn reason(error: &Error) -> String {
    let mut text = format!("{}: {}", error.code().name(), error.message());
    let mut cause = error.cause().map(|cause| cause as &dyn std::error::Error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text.chars().take(2000).collect()
}

impl<I: Inbox, C> std::fmt::Debug for Receiver<I, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("consumer", &self.inbox.consumer()).finish_non_exhaustive()
    }
}
