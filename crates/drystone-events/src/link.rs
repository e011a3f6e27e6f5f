//! Links of the embedded broker: messages go to the consumer by a call, in this process or to another.

use drystone_call::{Error, PlatformReason, Result, TenantId};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::fmt;
use std::sync::Arc;

use crate::Envelope;
use crate::engine::{Link, Mark};
use crate::failpoint::failpoint;

/// How many tenants' messages are on their way at once.
const AT_ONCE: usize = 4;

/// Where messages of one tenant can be handed over: a consumer of this process, or the way to one in another.
pub trait Deliver: Send + Sync {
    /// Hands over messages of one source and tenant, in order. When it returns, they are durable there.
    fn deliver<'a>(&'a self, tenant: &'a TenantId, messages: &'a [Envelope]) -> BoxFuture<'a, Result<()>>;
}

/// A link that hands over by calls. A clone goes to the same consumer.
#[derive(Clone)]
pub struct Push(Arc<dyn Deliver>);

impl Push {
    /// A link to a consumer.
    #[must_use]
    pub fn new(to: Arc<dyn Deliver>) -> Self {
        Self(to)
    }
}

/// Whether an error says that the other side takes nothing of this tenant, and not that it does not work.
fn refuses_tenant(error: &Error) -> bool {
    error.is(PlatformReason::TenantSuspended) || error.is(PlatformReason::TenantUnknown)
}

impl Link for Push {
    async fn resume(&mut self, _: Option<&Mark>) -> Result<u64> {
        Ok(0)
    }

    async fn carry(&mut self, batch: &[Envelope]) -> Result<Vec<TenantId>> {
        let mut refused = Vec::new();
        if let [first, rest @ ..] = batch
            && rest.iter().all(|message| message.tenant == first.tenant)
        {
            match self.0.deliver(&first.tenant, batch).await {
                Err(error) if refuses_tenant(&error) => refused.push(first.tenant.clone()),
                done => done?,
            }
            failpoint("link.sent");
            return Ok(refused);
        }
        let mut waiting = by_tenant(batch).into_iter();
        let mut going = FuturesUnordered::new();
        let to = &*self.0;
        let deliver = |(tenant, messages): (TenantId, Vec<Envelope>)| async move {
            let done = to.deliver(&tenant, &messages).await;
            (tenant, done)
        };
        going.extend(waiting.by_ref().take(AT_ONCE).map(&deliver));
        while let Some((tenant, done)) = going.next().await {
            match done {
                Ok(()) => {}
                Err(error) if refuses_tenant(&error) => refused.push(tenant),
                Err(error) => return Err(error),
            }
            going.extend(waiting.next().map(&deliver));
        }
        failpoint("link.sent");
        refused.sort();
        Ok(refused)
    }

    fn mark(&self) -> Option<Mark> {
        None
    }
}

/// The messages of each tenant, in order; the tenants in the order of their first messages.
fn by_tenant(batch: &[Envelope]) -> Vec<(TenantId, Vec<Envelope>)> {
    let mut groups: Vec<(TenantId, Vec<Envelope>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for message in batch {
        let place = *places.entry(&message.tenant).or_insert_with(|| {
            groups.push((message.tenant.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(message.clone());
    }
    groups
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}
