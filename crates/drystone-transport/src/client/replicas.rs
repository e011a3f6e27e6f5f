//! A module in another process of which there may be several: one connection a replica, and each call goes to one of them.
//!
//! Which one is for the [`Balancer`] to say: two are drawn, and the one with less to do is taken, of those that are well. Here is what "well" means: a
//! replica whose connection stands and which says that it serves. It is asked every few seconds, and at once when a call finds its connection gone. A
//! single replica is never asked: whatever it says, there is nobody else to go to.

mod attempt;
mod member;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use drystone_call::{Error, MethodInfo, PlatformReason, Remote, Reply, Result};
use drystone_resilience::{BalanceConfig, Balancer, MemberStats, Picked, Random, SystemRandom};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::{CONNECT, Target};
use super::remote_module::{PeerFault, RemoteMetrics, RemoteModule};
use crate::discovery::{Discovery, Found};
use crate::ends::Ends;
use crate::{ProcessIdentity, TransportError};
use attempt::Attempt;
use member::Member;

/// How long a call waits for a connection to one replica while there are others: a machine that is gone does not even refuse.
const NEXT: Duration = Duration::from_millis(250);

/// What was counted of the replicas of one module.
#[derive(Debug, Default)]
pub struct ReplicasMetrics {
    /// Calls that were sent to another replica because the first had not taken them.
    pub moved: AtomicU64,
    /// Calls that no replica took.
    pub unreachable: AtomicU64,
}

/// A module hosted by another process, at every address that a [`Discovery`] finds: the [`Remote`] of its contracts.
///
/// A request that a replica has not taken (no connection, or one that was about to end) goes to the next within the same call, whatever the method: it
/// had no effect. One that was taken is never sent again here.
pub struct Replicas {
    shared: Arc<Shared>,
    discovery: Discovery,
    _follower: Option<Ends>,
}

struct Shared {
    target: Target,
    random: Arc<dyn Random>,
    balancer: Balancer<Arc<Member>>,
    members: Mutex<BTreeMap<Arc<str>, Kept>>,
    /// How many there are, to be read by every call.
    count: AtomicUsize,
    found: watch::Receiver<Found>,
    connections: Arc<RemoteMetrics>,
    metrics: ReplicasMetrics,
}

/// A replica, and the task that asks how it is while there are others.
struct Kept {
    member: Arc<Member>,
    asking: Option<Ends>,
}

impl Replicas {
    /// The replicas of a module, as called by a process of this identity. Connects to a single one at the first call, and to several at once.
    ///
    /// # Errors
    /// [`TransportError::Name`] if the name cannot stand in a certificate.
    ///
    /// # Panics
    /// Outside a tokio runtime, unless there is one fixed address.
    pub fn start(
        module: &str,
        discovery: Discovery,
        identity: &ProcessIdentity,
    ) -> Result<Self, TransportError> {
        let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
        let shared = Arc::new(Shared {
            target: Target::new(module, &Arc::default(), &identity.app().into(), &identity.client_config())?,
            balancer: Balancer::new(BalanceConfig::default(), Arc::clone(&random)),
            random,
            members: Mutex::default(),
            count: AtomicUsize::new(0),
            found: discovery.found(),
            connections: Arc::default(),
            metrics: ReplicasMetrics::default(),
        });
        shared.take_up();
        let follower = (!discovery.is_fixed()).then(|| {
            let following = Arc::clone(&shared).follow();
            Ends::with_owner(tokio::spawn(following))
        });
        Ok(Self { shared, discovery, _follower: follower })
    }

    /// The module's name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.shared.target.module
    }

    /// The connections and calls of all replicas together, those included that are gone.
    #[must_use]
    pub fn metrics(&self) -> &RemoteMetrics {
        &self.shared.connections
    }

    /// What became of calls that a replica did not take.
    #[must_use]
    pub fn moves(&self) -> &ReplicasMetrics {
        &self.shared.metrics
    }

    /// Who finds the replicas.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// The replicas as the balancer sees them now.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStats> {
        self.shared.balancer.members(Instant::now())
    }

    /// Asks the replicas whether they serve `contract` (as in `shop.orders.v1.Orders`) now; for readiness checks. One that does is enough.
    ///
    /// # Errors
    /// `UNAVAILABLE` if none does within `timeout`.
    pub async fn check(&self, contract: &str, timeout: Duration) -> Result<()> {
        let asked = tokio::time::timeout(timeout, self.shared.ask_all(contract, timeout)).await;
        asked.unwrap_or_else(|_| Err(self.shared.nobody()))
    }
}

impl Remote for Replicas {
    fn call(
        &self,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(self.shared.call(method.path, headers, body))
    }
}

impl Shared {
    /// Sends a call to one replica after another until one has taken it.
    async fn call(&self, path: &'static str, mut headers: HeaderMap, body: Bytes) -> Result<Reply> {
        self.connections.calls.fetch_add(1, Relaxed);
        let (mut attempt, mut tried) = (Attempt::of(&headers), Vec::new());
        let mut failed = None;
        while let Some(picked) = self.pick(&tried).await {
            if failed.is_some() {
                self.metrics.moved.fetch_add(1, Relaxed);
                tracing::debug!(target: "drystone::transport", path, to = %picked.address(), "sent to another replica");
                attempt.shrink(&mut headers);
            }
            let (address, member) = (Arc::clone(picked.address()), Arc::clone(picked.member()));
            let others = self.count.load(Relaxed) > tried.len() + 1;
            let patience = if others { NEXT } else { CONNECT };
            attempt.begins(picked);
            let outcome = member.remote.exchange(path, &headers, &body, patience).await;
            if outcome.is_err() && !member.remote.is_connected() {
                self.lost(&address, &member);
                // Its connection says enough: a replica that comes back shall not be shunned for what was lost with the old one.
                attempt.ends_without_verdict();
            }
            match outcome {
                Err(failure) if failure.had_no_effect() => {
                    attempt.ends_without_verdict();
                    tried.push(address);
                    failed = Some(failure.error);
                }
                outcome => {
                    let outcome = outcome.map_err(|failure| failure.error);
                    attempt.ends(&outcome);
                    return outcome;
                }
            }
        }
        self.metrics.unreachable.fetch_add(1, Relaxed);
        Err(failed.unwrap_or_else(|| self.nobody()))
    }

    /// A replica that was not tried; a connected one if there is any.
    async fn pick(&self, tried: &[Arc<str>]) -> Option<Picked<Arc<Member>>> {
        loop {
            let Some(picked) = self.balancer.pick(Instant::now(), tried) else {
                if !tried.is_empty() || self.found.borrow().is_some() {
                    return None;
                }
                self.first_look().await?;
                continue;
            };
            let alone = self.count.load(Relaxed) < 2;
            if alone || picked.member().remote.is_connected() || !self.lost(picked.address(), picked.member())
            {
                return Some(picked);
            }
        }
    }

    /// Waits until it is known for the first time where the replicas are.
    async fn first_look(&self) -> Option<()> {
        self.found.clone().wait_for(Option::is_some).await.ok()?;
        self.take_up();
        Some(())
    }

    /// The connection of a replica is gone: until it answers again, others are preferred. Says whether that is news.
    fn lost(&self, address: &str, member: &Member) -> bool {
        let news = self.count.load(Relaxed) > 1 && member.is_gone();
        if news {
            self.balancer.report_health(address, false);
        }
        news
    }

    async fn ask_all(&self, contract: &str, timeout: Duration) -> Result<()> {
        if self.found.borrow().is_none() {
            self.first_look().await.ok_or_else(|| self.nobody())?;
        }
        let members: Vec<Arc<Member>> = self.lock().values().map(|kept| Arc::clone(&kept.member)).collect();
        let mut asked: FuturesUnordered<_> =
            members.iter().map(|member| member.remote.check(contract, timeout)).collect();
        let mut failed = None;
        while let Some(outcome) = asked.next().await {
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| self.nobody()))
    }

    /// Takes up every change of what is found; ends with its owner.
    async fn follow(self: Arc<Self>) {
        let mut found = self.found.clone();
        while found.changed().await.is_ok() {
            self.take_up();
        }
    }

    /// Makes the members those that are found now. Those that stay keep their connection, those that go finish what they have.
    fn take_up(&self) {
        let mut members = self.lock();
        let Some(addresses) = self.found.borrow().clone() else { return };
        members.retain(|address, _| addresses.contains(address));
        for address in addresses.iter() {
            members.entry(Arc::clone(address)).or_insert_with(|| {
                let remote = RemoteModule::at(self.target.at(address), Arc::clone(&self.connections));
                Kept { member: Arc::new(Member::new(remote)), asking: None }
            });
        }
        self.count.store(members.len(), Relaxed);
        let all = members.iter().map(|(address, kept)| (Arc::clone(address), Arc::clone(&kept.member)));
        self.balancer.set(all.collect());
        let several = members.len() > 1;
        for (address, kept) in members.iter_mut() {
            if !several {
                kept.asking = None;
                kept.member.is_there();
                self.balancer.report_health(address, true);
            } else if kept.asking.is_none() {
                if !kept.member.remote.is_connected() {
                    kept.member.is_gone();
                    self.balancer.report_health(address, false);
                }
                kept.asking = Some(self.keep_asking(address, &kept.member));
            }
        }
    }

    fn keep_asking(&self, address: &Arc<str>, member: &Arc<Member>) -> Ends {
        let (balancer, address) = (self.balancer.clone(), Arc::clone(address));
        let tell = move |healthy| balancer.report_health(&address, healthy);
        Ends::with_owner(tokio::spawn(Arc::clone(member).keep_asking(Arc::clone(&self.random), tell)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Kept>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No replica is known.
    fn nobody(&self) -> Error {
        let module = &self.target.module;
        PlatformReason::PeerUnreachable
            .error(format!("the module {module} cannot be reached: no address of its process is known"))
            .caused_by(PeerFault(format!("{module}: nothing was found where its process should be")))
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas")
            .field("module", &self.shared.target.module)
            .field("discovery", &self.discovery)
            .finish_non_exhaustive()
    }
}
