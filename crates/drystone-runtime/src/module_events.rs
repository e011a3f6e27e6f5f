//! The events of one module as they are operated: in the process that runs it, or by a command that has opened its store.
//!
//! Both work on the store; the process also knows what it has counted since it began, and tells its own relay and consumers of a change at once. Elsewhere
//! they notice within seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use drystone_call::{Home, Result, TenantId};
use drystone_events::operate::{
    ConsumerStatus, Done, FenceStatus, Format, Held, HeldFilter, HeldId, HeldKey, Operator, PumpStatus,
    Redrive, Redriven, Replay, Wanted,
};
use drystone_events::{Consumer, PumpMetrics, Relay, Retention, Subscription};
use drystone_store::Store;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::eventing::EventSettings;
use crate::graph::Graph;
use crate::settings::Settings;
use crate::surroundings::Surroundings;
use crate::{Running, StartError};

/// One module's events.
#[derive(Clone, Debug)]
pub(crate) struct ModuleEvents {
    operator: Operator,
    /// The pumps that the application declares for what the module publishes.
    wanted: Vec<Wanted>,
    retention: Retention,
    relay: Option<Relay>,
    consumers: Vec<Consumer>,
    subscriptions: Vec<Subscription>,
}

/// What is known of one module's events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EventsStatus {
    pub(crate) module: String,
    /// When this was so, in microseconds since 1970, on the application's clock.
    pub(crate) now: i64,
    /// What carries the module's messages.
    pub(crate) pumps: Vec<PumpLine>,
    /// What its consumers read from a broker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) streams: Vec<PumpLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fence: Option<FenceStatus>,
    /// Messages that are to be published later, and when the next of them is.
    pub(crate) scheduled: i64,
    pub(crate) next_scheduled: Option<i64>,
    pub(crate) consumers: Vec<ConsumerLine>,
}

/// One pump.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PumpLine {
    #[serde(flatten)]
    pub(crate) status: PumpStatus,
    /// What processes that run have counted; absent where none was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<PumpCounts>,
}

/// What pumps have done since their processes began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PumpCounts {
    pub(crate) carried: u64,
    pub(crate) failures: u64,
    pub(crate) claims_lost: u64,
    pub(crate) forgotten: u64,
    /// Since when nothing was taken although messages wait.
    pub(crate) still_since: Option<i64>,
}

/// One consumer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConsumerLine {
    #[serde(flatten)]
    pub(crate) status: ConsumerStatus,
    /// What processes that run have counted; absent where none was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<ConsumerCounts>,
}

/// What consumers have done since their processes began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConsumerCounts {
    pub(crate) applied: u64,
    pub(crate) repeated: u64,
    pub(crate) held: u64,
    pub(crate) retried: u64,
    pub(crate) parked: u64,
}

/// Other content for a held message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) message: HeldId,
    pub(crate) format: Format,
    pub(crate) data: Vec<u8>,
}

impl ModuleEvents {
    /// Of a store that a command has opened.
    pub(crate) fn of_store(store: Store, home: Arc<Home>, wanted: Vec<Wanted>, retention: Retention) -> Self {
        let (operator, consumers, subscriptions) = (Operator::new(store, home), Vec::new(), Vec::new());
        Self { operator, wanted, retention, relay: None, consumers, subscriptions }
    }

    /// Of each module that a process runs.
    pub(crate) fn of_process(
        running: &Running,
        settings: &Settings,
        surroundings: &Surroundings,
        graph: &Graph,
    ) -> std::result::Result<BTreeMap<String, Self>, StartError> {
        let settings = EventSettings::read(settings)?;
        let of = |(module, store): &(Arc<str>, Store)| {
            let (home, pumps) = (surroundings.home(module), settings.pumps_of(graph, module));
            let events = Self::of_store(store.clone(), home, pumps, settings.retention());
            (module.to_string(), events.running(running))
        };
        Ok(running.stores.iter().map(of).collect())
    }

    fn running(mut self, running: &Running) -> Self {
        let module = self.operator.module();
        let relay = running.relays.iter().find(|relay| relay.module() == module).cloned();
        let consumers =
            running.consumers.iter().filter(|consumer| consumer.module() == module).cloned().collect();
        let subscriptions =
            running.subscriptions.iter().filter(|one| one.consumer.module() == module).cloned();
        self.subscriptions = subscriptions.collect();
        (self.relay, self.consumers) = (relay, consumers);
        self
    }

    pub(crate) async fn status(&self, now: i64) -> Result<EventsStatus> {
        let (scheduled, next_scheduled) = self.operator.scheduled().await?;
        let pumps = self.operator.pumps(&self.wanted).await?;
        let mut held = self.operator.consumers().await?;
        for consumer in &self.consumers {
            if !held.iter().any(|known| known.consumer == consumer.name()) {
                held.push(ConsumerStatus {
                    consumer: consumer.name().to_owned(),
                    ..ConsumerStatus::default()
                });
            }
        }
        Ok(EventsStatus {
            module: self.operator.module().to_owned(),
            now,
            pumps: pumps.into_iter().map(|status| self.pump_line(status)).collect(),
            streams: self
                .operator
                .streams()
                .await?
                .into_iter()
                .map(|status| self.stream_line(status))
                .collect(),
            fence: self.fence().await?,
            scheduled,
            next_scheduled,
            consumers: held.into_iter().map(|status| self.consumer_line(status)).collect(),
        })
    }

    fn pump_line(&self, status: PumpStatus) -> PumpLine {
        let pumps = self.relay.as_ref().map(Relay::pumps).unwrap_or_default();
        let counted =
            pumps.iter().find(|(name, _)| *name == status.pump).map(|(_, metrics)| PumpCounts::of(metrics));
        PumpLine { status, counted }
    }

    fn stream_line(&self, status: PumpStatus) -> PumpLine {
        let read = self.subscriptions.iter().find(|subscription| subscription.name() == status.pump);
        PumpLine { status, counted: read.map(|subscription| PumpCounts::of(&subscription.metrics)) }
    }

    fn consumer_line(&self, status: ConsumerStatus) -> ConsumerLine {
        let consumer = self.consumers.iter().find(|consumer| *consumer.name() == *status.consumer);
        ConsumerLine { status, counted: consumer.map(ConsumerCounts::of) }
    }

    /// The fence of a module that publishes; what a running relay has seen of it is older than a look, and knows since when it waits.
    async fn fence(&self) -> Result<Option<FenceStatus>> {
        if self.wanted.is_empty() {
            return Ok(None);
        }
        let Some(mut fence) = self.operator.fence().await? else { return Ok(None) };
        if let Some(relay) = self.relay.as_ref().filter(|_| fence.settled.is_none()) {
            let seen = relay.fence();
            fence.settled = Some(seen.settled.get());
            fence.waiting_since = Some(seen.waiting_since.get()).filter(|since| *since > 0);
        }
        Ok(Some(fence))
    }

    pub(crate) async fn held(&self, filter: &HeldFilter) -> Result<Vec<HeldKey>> {
        self.operator.held(filter).await
    }

    pub(crate) async fn message(&self, id: Uuid) -> Result<Vec<Held>> {
        self.operator.message(id).await
    }

    pub(crate) async fn edit(&self, edit: Edit) -> Result<()> {
        self.operator.edit(&edit.message, edit.format, edit.data).await
    }

    pub(crate) async fn replay(&self, what: &Replay) -> Result<Done> {
        let done = self.operator.replay(what).await?;
        for tenant in &done.tenants {
            self.look_again(&what.consumer, tenant)?;
        }
        Ok(done)
    }

    pub(crate) async fn drop_message(&self, message: &HeldId) -> Result<()> {
        self.operator.drop_message(message).await?;
        self.look_again(&message.consumer, &message.tenant)
    }

    fn look_again(&self, consumer: &str, tenant: &str) -> Result<()> {
        let tenant = TenantId::new(tenant)?;
        self.consumers
            .iter()
            .filter(|known| known.name() == consumer)
            .for_each(|known| known.look_again(&tenant));
        Ok(())
    }

    /// Sets positions back. The pumps are named by this module's relay, or by the application; `what` may name fewer.
    pub(crate) async fn redrive(&self, what: &Redrive) -> Result<Vec<Redriven>> {
        let done = self.operator.redrive(what, self.retention).await?;
        if let Some(relay) = &self.relay {
            relay.look_again();
        }
        Ok(done)
    }

    /// Lets go of the store.
    pub(crate) async fn close(&self) -> Result<()> {
        self.operator.store().close().await
    }
}

impl EventsStatus {
    /// Adds what a process that runs the module has counted and seen.
    pub(crate) fn count(&mut self, process: Self) {
        for line in process.pumps {
            let known = self.pumps.iter_mut().find(|known| known.status.pump == line.status.pump);
            if let (Some(known), Some(more)) = (known, line.counted) {
                known.counted = Some(known.counted.unwrap_or_default().and(more));
            }
        }
        for line in process.streams {
            let known = self.streams.iter_mut().find(|known| known.status.pump == line.status.pump);
            if let (Some(known), Some(more)) = (known, line.counted) {
                known.counted = Some(known.counted.unwrap_or_default().and(more));
            }
        }
        for line in process.consumers {
            let known = self.consumers.iter_mut().find(|known| known.status.consumer == line.status.consumer);
            match (known, line.counted) {
                (Some(known), Some(more)) => {
                    known.counted = Some(known.counted.unwrap_or_default().and(more))
                }
                (None, _) => self.consumers.push(line),
                (Some(_), None) => {}
            }
        }
        if let (Some(known), Some(seen)) = (&mut self.fence, process.fence) {
            known.waiting_since = known.waiting_since.or(seen.waiting_since);
            known.settled = known.settled.max(seen.settled);
        }
    }
}

impl PumpCounts {
    fn of(metrics: &Arc<PumpMetrics>) -> Self {
        Self {
            carried: metrics.carried.get(),
            failures: metrics.failures.get(),
            claims_lost: metrics.claims_lost.get(),
            forgotten: metrics.forgotten.get(),
            still_since: metrics.behind.still_since(),
        }
    }

    /// What two processes have counted together. Only one of them carries, and knows whether it stands still.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            carried: self.carried + other.carried,
            failures: self.failures + other.failures,
            claims_lost: self.claims_lost + other.claims_lost,
            forgotten: self.forgotten + other.forgotten,
            still_since: self.still_since.or(other.still_since),
        }
    }
}

impl ConsumerCounts {
    fn of(consumer: &Consumer) -> Self {
        let metrics = consumer.metrics();
        Self {
            applied: metrics.applied.get(),
            repeated: metrics.repeated.get(),
            held: metrics.held.get(),
            retried: metrics.retried.get(),
            parked: metrics.parked.get(),
        }
    }

    /// What two processes have counted together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            repeated: self.repeated + other.repeated,
            held: self.held + other.held,
            retried: self.retried + other.retried,
            parked: self.parked + other.parked,
        }
    }
}
