//! A consumer's side of an outside broker: reads the streams that it wants, from its own position.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::HomeClock;
use crate::consumer::until;
use crate::failpoint::or_in_haste;
use crate::metrics::PumpMetrics;
use crate::nats::NatsBroker;
use crate::pump::{Drained, Pump};
use crate::relay::back_off;
use crate::stored::StreamLane;
use crate::{Consumer, Push};

/// How often a stream that another process reads is asked for.
const ELSEWHERE: Duration = or_in_haste(Duration::from_secs(2), Duration::from_millis(100));
/// How often the position is stored, and with it the claim renewed.
const SAVE_EVERY: Duration = or_in_haste(Duration::from_secs(1), Duration::from_millis(50));

/// Who wrote a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A module of the application.
    Module(String),
    /// Producers outside.
    Outside,
}

/// One stream that a consumer reads.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The consumer.
    pub consumer: Consumer,
    /// The broker.
    pub broker: NatsBroker,
    /// Which stream.
    pub source: Source,
    /// The types that it wants from there.
    pub types: Vec<String>,
    /// A name for this process that no other has.
    pub owner: Arc<str>,
    /// What is counted.
    pub metrics: Arc<PumpMetrics>,
}

impl Subscription {
    /// The name under which the position is stored.
    #[must_use]
    pub fn name(&self) -> String {
        let source = match &self.source {
            Source::Module(module) => module,
            Source::Outside => "outside",
        };
        format!("{source}>{}", self.consumer.name())
    }

    /// Reads until the process stops.
    #[must_use]
    pub fn start(self, stopping: &watch::Receiver<bool>) -> JoinHandle<()> {
        tokio::spawn(until(stopping.clone(), self.run()))
    }

    async fn run(self) {
        let name = self.name();
        let reader = || match &self.source {
            Source::Module(module) => self.broker.reader(module),
            Source::Outside => self.broker.outside_reader(),
        };
        let (store, home) = (self.consumer.store(), self.consumer.home());
        let counted = Arc::clone(self.consumer.metrics());
        let readers = [reader(), reader()];
        let lane = StreamLane::new(store, Arc::clone(home), Arc::clone(&self.owner), readers, counted);
        let clock = HomeClock::new(Arc::clone(home));
        let link = Push::new(Arc::new(self.consumer.clone()));
        let metrics = Arc::clone(&self.metrics);
        let mut pump = Pump::new(&*name, lane, link, clock.clone(), Some(self.types.clone()), metrics);
        let (mut failures, mut saved) = (0, Instant::now());
        loop {
            match pump.drain().await {
                // Reading waits for the next message.
                Ok(Drained::Dry | Drained::Stalled(_)) => failures = 0,
                Ok(Drained::Elsewhere) => tokio::time::sleep(ELSEWHERE).await,
                Err(error) => {
                    failures += 1;
                    if failures == 3 {
                        tracing::warn!(target: "drystone::events", pump = name, %error, "a stream cannot be read");
                    }
                    tokio::time::sleep(back_off(failures, &clock)).await;
                }
            }
            if saved.elapsed() >= SAVE_EVERY {
                saved = Instant::now();
                if let Err(error) = pump.save(true).await {
                    tracing::debug!(target: "drystone::events", pump = name, %error, "a position was not stored");
                }
            }
        }
    }
}
