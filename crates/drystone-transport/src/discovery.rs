//! Where the replicas of a process are: a list, a name, or a file, looked at again and again.
//!
//! What is found is a set of addresses that changes while calls run. A look that fails, or finds nothing, changes nothing: that a name server
//! or a file does not answer says nothing about the replicas.

mod reach;
mod source;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

pub use reach::Reach;
pub use source::{Lookup, SystemLookup};

use crate::ends::Ends;
use source::Source;

/// The addresses that were found last, in order and each once; `None` before the first look has ended.
pub(crate) type Found = Option<Arc<[Arc<str>]>>;

/// What was counted of one discovery.
#[derive(Debug, Default)]
pub struct DiscoveryMetrics {
    /// Looks that were taken.
    pub looks: AtomicU64,
    /// Looks that failed or found nothing.
    pub failures: AtomicU64,
    /// Looks after which the addresses were others than before.
    pub changes: AtomicU64,
}

/// Knows the addresses of a process. The task that looks for them ends with the last clone.
#[derive(Clone)]
pub struct Discovery {
    reach: Reach,
    found: watch::Receiver<Found>,
    metrics: Arc<DiscoveryMetrics>,
    /// None where there is nothing to look at.
    task: Option<Arc<Ends>>,
}

impl Discovery {
    /// Begins to look, with the machine's own resolver for names.
    ///
    /// # Panics
    /// Outside a tokio runtime, unless the addresses are a list.
    #[must_use]
    pub fn start(reach: Reach) -> Self {
        Self::start_with(reach, Arc::new(SystemLookup))
    }

    /// As [`Discovery::start`], with a resolver of one's own.
    ///
    /// # Panics
    /// As [`Discovery::start`].
    #[must_use]
    pub fn start_with(reach: Reach, lookup: Arc<dyn Lookup>) -> Self {
        let metrics = Arc::new(DiscoveryMetrics::default());
        let (tell, found) = watch::channel(None);
        let task = match Source::of(&reach, lookup) {
            Source::Fixed(addresses) => {
                tell.send_replace(Some(addresses));
                None
            }
            source => {
                let looking = look_on(source, reach.clone(), tell, Arc::clone(&metrics));
                Some(Arc::new(Ends::with_owner(tokio::spawn(looking))))
            }
        };
        Self { reach, found, metrics, task }
    }

    /// Where it looks.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &DiscoveryMetrics {
        &self.metrics
    }

    /// The addresses that are known now; none before the first look has ended.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let found = self.found.borrow().clone();
        found.iter().flat_map(|found| found.iter()).map(ToString::to_string).collect()
    }

    /// Waits until the addresses are others than when this clone was last asked.
    pub async fn changed(&mut self) {
        if self.found.changed().await.is_err() {
            // A list never changes.
            std::future::pending::<()>().await;
        }
    }

    /// Tells of every change.
    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// Whether the addresses can never change.
    pub(crate) fn is_fixed(&self) -> bool {
        self.task.is_none()
    }
}

/// Looks at once and then every so often.
async fn look_on(source: Source, reach: Reach, tell: watch::Sender<Found>, metrics: Arc<DiscoveryMetrics>) {
    let mut ticks = interval(source.every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        metrics.looks.fetch_add(1, Relaxed);
        match source.look().await {
            Ok(addresses) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(target: "drystone::transport", %reach, "the replicas are found again");
                }
                if publish(&tell, addresses) {
                    metrics.changes.fetch_add(1, Relaxed);
                }
            }
            Err(cause) => {
                metrics.failures.fetch_add(1, Relaxed);
                // Once, and not at every look.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        target: "drystone::transport", %reach, cause,
                        "where the replicas are could not be learned; what was known is used on",
                    );
                }
                // Who waits for the first look learns that there is nothing.
                tell.send_if_modified(|found| found.is_none() && found.replace(Arc::default()).is_none());
            }
        }
    }
}

/// Tells the addresses if they are others than before.
fn publish(tell: &watch::Sender<Found>, addresses: Arc<[Arc<str>]>) -> bool {
    tell.send_if_modified(|found| {
        let changed = found.as_ref() != Some(&addresses);
        *found = Some(addresses);
        changed
    })
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("reach", &self.reach).field("found", &*self.found.borrow()).finish()
    }
}
