//! The retrier: goes back to messages that were held back, key by key and in order.

use std::sync::Arc;

use drystone_call::{Code, Result, TenantId};

use crate::clock::Clock;
use crate::engine::{ApplyError, Held, HeldState, Inbox, InboxTx};
use crate::failpoint::failpoint;
use crate::receiver::{CONFLICTS, Receiver, is_of_a_statement};

/// The retrying half of a consumer.
pub struct Retrier<I, C>(Arc<Receiver<I, C>>);

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// Nothing of it is held back any more.
    Free,
    /// Its first message is to be tried again at this moment, in microseconds since 1970.
    Later(i64),
    /// It is parked.
    Parked,
}

impl<I: Inbox, C: Clock> Retrier<I, C> {
    /// The retrier of a receiver.
    #[must_use]
    pub fn new(receiver: Arc<Receiver<I, C>>) -> Self {
        Self(receiver)
    }

    /// Tries the first message of a key if it is due, and when it succeeds those behind it, each in a transaction of its own.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn retry(&self, tenant: &TenantId, source: &str, key: &str) -> Result<Retried> {
        let receiver = &self.0;
        let mut conflicts = 0;
        loop {
            // Between two messages others get their turn.
            let _turn = receiver.locks.lock(tenant.clone()).await;
            match self.first(tenant, source, key, conflicts < CONFLICTS).await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => conflicts = 0,
                Err(error) if error.code() == Code::Aborted && conflicts < CONFLICTS => {
                    conflicts += 1;
                    receiver.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Tries the first message of a key; `None` if it succeeded and the next is to be looked at. A first attempt that meets another transaction does not count
    /// as one while it may be made `again`.
    async fn first(
        &self,
        tenant: &TenantId,
        source: &str,
        key: &str,
        again: bool,
    ) -> Result<Option<Retried>> {
        let receiver = &self.0;
        let mut tx = receiver.inbox.begin(tenant).await?;
        let Some(held) = tx.first(source, key).await? else { return Ok(Some(Retried::Free)) };
        match held.hold.state {
            HeldState::Parked => return Ok(Some(Retried::Parked)),
            HeldState::Retrying if held.hold.due > receiver.clock.now() => {
                return Ok(Some(Retried::Later(held.hold.due)));
            }
            HeldState::Retrying | HeldState::Waiting => {}
        }
        receiver.metrics.retried.add(1);
        let failed = match tx.apply(&held.message).await {
            Ok(()) => match release(tx, &held).await {
                Ok(()) => {
                    receiver.metrics.applied.add(1);
                    return Ok(None);
                }
                Err(error) if error.code() == Code::Aborted && again => return Err(error),
                Err(error) if error.code() == Code::Aborted || is_of_a_statement(&error) => {
                    ApplyError::Handler(error)
                }
                Err(error) => return Err(error),
            },
            Err(failed) if failed.error().code() == Code::Aborted && held.hold.attempts == 0 && again => {
                return Err(failed.into_error());
            }
            Err(failed) => {
                drop(tx);
                failed
            }
        };
        let hold = receiver.failed_hold(held.hold.attempts + 1, &failed);
        let mut tx = receiver.inbox.begin(tenant).await?;
        tx.change(held.place, &hold).await?;
        failpoint("retry.written");
        tx.commit().await?;
        failpoint("retry.stored");
        receiver.tell(tenant, &held.message, &hold);
        Ok(Some(if hold.state == HeldState::Parked { Retried::Parked } else { Retried::Later(hold.due) }))
    }
}

/// Commits what a handler did, with its message held no longer. What the handler queued fails no later than here.
async fn release(mut tx: impl InboxTx, held: &Held) -> Result<()> {
    tx.release(held).await?;
    failpoint("retry.applied");
    tx.commit().await?;
    failpoint("retry.committed");
    Ok(())
}

impl<I: Inbox, C> std::fmt::Debug for Retrier<I, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Retrier").field(&self.0).finish()
    }
}
