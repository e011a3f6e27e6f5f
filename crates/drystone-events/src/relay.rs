//! The relay: carries what a module publishes, in the background of each process that hosts the module.
//!
//! It is independent of the calls that publish: they only wake it. What it finds, it finds in the outbox, by polling alone if need be; the wake-up in the process saves the
//! wait. (A `NOTIFY` in the publishing transaction would be a lock that all of a database's transactions share.)

mod keeper;
mod postgres;
mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Home, Result};
use drystone_store::{Dialect, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Retention;
use crate::clock::{Clock as _, HomeClock};
use crate::consumer::until;
use crate::link::{Deliver, Push};
use crate::metrics::{FenceMetrics, PumpMetrics};
use crate::nats_link::NatsLink;

/// Where a module's messages go.
#[derive(Clone)]
pub struct Target {
    /// The name of the pump: the consumer's name, or the broker's.
    pub name: String,
    /// The types that are wanted; all if `None`.
    pub types: Option<Vec<String>>,
    /// The way there.
    pub way: Way,
}

/// The way to a target.
#[derive(Clone)]
pub enum Way {
    /// By a call, in this process or to another.
    Push(Arc<dyn Deliver>),
    /// Into the module's stream of a NATS server.
    Nats(crate::nats::NatsBroker),
}

/// What a relay carries, and where to.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// The publishing module's store.
    pub store: Store,
    /// Its clock.
    pub home: Arc<Home>,
    /// Where its messages go.
    pub targets: Vec<Target>,
    /// How long they are kept.
    pub retention: Retention,
    /// A name for this process that no other has.
    pub owner: Arc<str>,
}

/// The relay of one module in one process.
#[derive(Clone, Debug)]
pub struct Relay(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: RelayConfig,
    pub(crate) pumps: Vec<(String, Arc<PumpMetrics>)>,
    pub(crate) fence: Arc<FenceMetrics>,
    /// Counts an operator's changes of positions: pumps then learn anew where they stand.
    pub(crate) changed: watch::Sender<u64>,
    /// How long a claim on PostgreSQL lives, where a test does not want to wait.
    pub(crate) claim_lives: Option<Duration>,
}

impl Relay {
    /// A relay; nothing runs yet.
    #[must_use]
    pub fn new(config: RelayConfig) -> Self {
        Self::claiming(config, None)
    }

    /// A relay whose claims on PostgreSQL live for so long.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn with_claims_that_live(config: RelayConfig, lives: Duration) -> Self {
        Self::claiming(config, Some(lives))
    }

    fn claiming(config: RelayConfig, claim_lives: Option<Duration>) -> Self {
        let pumps = config.targets.iter().map(|target| (target.name.clone(), Arc::default())).collect();
        let (changed, _) = watch::channel(0);
        Self(Arc::new(Parts { config, pumps, fence: Arc::default(), changed, claim_lives }))
    }

    /// The module whose messages it carries.
    #[must_use]
    pub fn module(&self) -> &str {
        self.0.config.store.module()
    }

    /// The publishing module's store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.config.store
    }

    /// The names of the pumps, with what each has done.
    #[must_use]
    pub fn pumps(&self) -> &[(String, Arc<PumpMetrics>)] {
        &self.0.pumps
    }

    /// The fence, which moves on PostgreSQL only.
    #[must_use]
    pub fn fence(&self) -> &FenceMetrics {
        &self.0.fence
    }

    /// How long messages are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.0.config.retention
    }

    /// Carries until the process stops. The store must be open.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it is not.
    pub fn start(&self, stopping: &watch::Receiver<bool>) -> Result<Vec<JoinHandle<()>>> {
        let dialect = self.0.config.store.dialect()?;
        let mut tasks = Vec::new();
        let mut spawn = |work: futures_util::future::BoxFuture<'static, ()>| {
            tasks.push(tokio::spawn(until(stopping.clone(), work)));
        };
        let stop = || stopping.clone();
        let mut releasing = Vec::new();
        let parts = &self.0;
        spawn(Box::pin(keeper::run(Arc::clone(parts))));
        let settled = match dialect {
            Dialect::Postgres => {
                let (settled, watch) = watch::channel(0);
                spawn(Box::pin(postgres::settle(Arc::clone(parts), settled)));
                Some(watch)
            }
            Dialect::Sqlite => None,
        };
        for (at, target) in parts.config.targets.iter().enumerate() {
            let (parts, settled) = (Arc::clone(parts), settled.clone());
            match &target.way {
                Way::Push(to) => {
                    let link = Push::new(Arc::clone(to));
                    match settled {
                        Some(settled) => {
                            releasing.push(tokio::spawn(postgres::pump_until(
                                stop(),
                                parts,
                                at,
                                link,
                                settled,
                            )));
                        }
                        None => spawn(Box::pin(sqlite::pump(parts, at, link))),
                    }
                }
                Way::Nats(broker) => {
                    let link = NatsLink::new(broker, self.module(), parts.changed.clone());
                    spawn(Box::pin(link.clone().watch()));
                    match settled {
                        Some(settled) => {
                            releasing.push(tokio::spawn(postgres::pump_until(
                                stop(),
                                parts,
                                at,
                                link,
                                settled,
                            )));
                        }
                        None => spawn(Box::pin(sqlite::pump(parts, at, link))),
                    }
                }
            }
        }
        tasks.append(&mut releasing);
        Ok(tasks)
    }

    /// Says that an operator has changed positions.
    pub fn look_again(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }
}

impl Parts {
    pub(crate) fn clock(&self) -> HomeClock {
        HomeClock::new(Arc::clone(&self.config.home))
    }
}

/// How long to wait after so many failures in a row: exponential, with full jitter, up to 5 s.
pub(crate) fn back_off(failures: u32, clock: &HomeClock) -> Duration {
    let limit = 50_u64.saturating_mul(1 << failures.min(7)).min(5000);
    Duration::from_millis(clock.roll() % limit + 1)
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("types", &self.types).finish_non_exhaustive()
    }
}
