//! Events in a process: the consumers and the relays of the modules that it hosts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{AnyChannel as _, Channel, ContractClient, Faults, Mount};
use drystone_events::delivery::v1::{DeliveryClient, DeliveryServer};
use drystone_events::delivery::{self, Deliveries, RemoteConsumer};
use drystone_events::nats::{NatsBroker, NatsConfig};
use drystone_events::operate::Wanted;
use drystone_events::{
    Consumer, Deliver, Relay, RelayConfig, Retention, Schedule, Source, Subscription, Target, Way,
};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::graph::{self, Graph};
use crate::module::ModulePlan;
use crate::remotes::Remotes;
use crate::settings::Settings;
use crate::stores::whole;
use crate::surroundings::{LocalRunner, Surroundings};
use crate::{StartError, rehearsal};

/// The pump that carries to the broker.
const BROKER_PUMP: &str = "nats";

/// `[events]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventSettings {
    /// `embedded`, or the URL of a NATS server.
    broker: String,
    /// Days that messages are kept in outboxes.
    retention_days: u64,
    /// Attempts at a message before its key is parked.
    attempts: u32,
    /// The longest wait before the second attempt, in milliseconds.
    retry_base_ms: u64,
    /// The longest wait before any attempt, in seconds.
    retry_cap_s: u64,
    /// Whether a type that is handled may have no publisher in the application.
    #[serde(default)]
    pub(crate) partial: bool,
}

impl EventSettings {
    /// Reads and checks the section.
    pub(crate) fn read(settings: &Settings) -> Result<Self, StartError> {
        let read: Self = settings.section("events")?;
        let (longest, kept) = (read.schedule().longest(), read.retention().outbox());
        if read.attempts == 0 || read.retention_days == 0 {
            return Err(
                read.wrong(settings, "events.attempts and events.retention_days are at least 1".to_owned())
            );
        }
        if longest >= kept {
            let problem = format!(
                "a message may be tried for {} h and is kept for {} h: lower events.attempts or events.retry_cap_s, or raise events.retention_days",
                longest.as_secs() / 3600,
                kept.as_secs() / 3600
            );
            return Err(read.wrong(settings, problem));
        }
        if !read.is_embedded() && !["nats://", "tls://"].iter().any(|scheme| read.broker.starts_with(scheme))
        {
            let problem =
                "events.broker is neither `embedded` nor begins with `nats://` or `tls://`".to_owned();
            return Err(read.wrong(settings, problem));
        }
        Ok(read)
    }

    /// The pumps that carry what a module publishes, for those who only look.
    pub(crate) fn pumps_of(&self, graph: &Graph, module: &str) -> Vec<Wanted> {
        let types = |wanted: &Vec<&graph::Subscription>| {
            Some(wanted.iter().map(|s| s.event_type.to_owned()).collect())
        };
        if self.is_embedded() {
            let all = by_consumer(&graph.subscriptions, module);
            return all
                .iter()
                .map(|(consumer, wanted)| Wanted { pump: (*consumer).to_owned(), types: types(wanted) })
                .collect();
        }
        let publishes = graph.publishers.contains(module);
        publishes.then(|| Wanted { pump: BROKER_PUMP.to_owned(), types: None }).into_iter().collect()
    }

    fn is_embedded(&self) -> bool {
        self.broker == "embedded"
    }

    /// Begins to connect to the broker, if there is one.
    async fn connect(&self, app: &str) -> Result<Option<NatsBroker>, StartError> {
        if self.is_embedded() {
            return Ok(None);
        }
        let config = NatsConfig {
            url: self.broker.clone().into(),
            application: app.to_owned(),
            retention: self.retention().outbox(),
        };
        let broker = NatsBroker::connect(config).await;
        broker.map(Some).map_err(|error| StartError::part("the broker of events", whole(&error)))
    }

    fn wrong(&self, settings: &Settings, problem: String) -> StartError {
        StartError::Settings { place: settings.places("events."), problem }
    }

    pub(crate) fn retention(&self) -> Retention {
        Retention::new(Duration::from_hours(self.retention_days.saturating_mul(24)))
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            base: Duration::from_millis(self.retry_base_ms),
            cap: Duration::from_secs(self.retry_cap_s),
            attempts: self.attempts,
        }
    }
}

/// What of a process the events need.
pub(crate) struct Parts<'a> {
    pub(crate) app: &'a str,
    pub(crate) process: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) graph: &'a Graph,
    pub(crate) faults: Option<&'a Arc<Faults>>,
    /// The hosted modules.
    pub(crate) plans: Vec<&'a ModulePlan>,
}

/// The consumers of a process, and how other processes reach them.
pub(crate) struct Eventing {
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) mount: Option<Mount>,
    broker: Option<NatsBroker>,
    /// A name for this process that no other has.
    owner: Arc<str>,
}

impl Eventing {
    /// The consumers of the hosted modules.
    pub(crate) async fn of(parts: &Parts<'_>) -> Result<Self, StartError> {
        let settings = EventSettings::read(parts.settings)?;
        let broker = settings.connect(parts.app).await?;
        let mut consumers = Vec::new();
        for plan in &parts.plans {
            let home = parts.surroundings.home(&plan.name);
            for (name, handlers) in &plan.consumers {
                if let (Some(event), None) = (plan.outside_types(name).next(), &broker) {
                    let problem = format!(
                        "`{name}` handles {event} from outside, which needs a broker: set events.broker"
                    );
                    return Err(StartError::Wiring { module: plan.name.to_string(), problem });
                }
                let store = plan.store.clone();
                let (schedule, retention) = (settings.schedule(), settings.retention());
                consumers.push(Consumer::new(
                    name,
                    handlers.clone(),
                    store,
                    Arc::clone(&home),
                    schedule,
                    retention,
                ));
            }
        }
        let mount = (!consumers.is_empty()).then(|| {
            let served = DeliveryServer::new(Deliveries::new(parts.app, consumers.iter().cloned()));
            served.mount(parts.surroundings.home("events"), None)
        });
        // Two processes of one name are two owners, and so is one that was started again.
        let owner =
            format!("{}/{}", parts.process, uuid::Uuid::from_u128(drystone_call::chance()).simple()).into();
        Ok(Self { consumers, mount, broker, owner })
    }

    /// The relays of the hosted modules that publish.
    pub(crate) fn relays(&self, parts: &Parts<'_>, remotes: &mut Remotes) -> Result<Vec<Relay>, StartError> {
        let settings = EventSettings::read(parts.settings)?;
        let mut relays = Vec::new();
        for plan in parts.plans.iter().filter(|plan| !plan.publishes.is_empty()) {
            let mut targets = Vec::new();
            if let Some(broker) = &self.broker {
                targets.push(Target {
                    name: BROKER_PUMP.to_owned(),
                    types: None,
                    way: Way::Nats(broker.clone()),
                });
            }
            let embedded = self.broker.is_none();
            for (consumer, wanted) in
                by_consumer(&parts.graph.subscriptions, &plan.name).into_iter().filter(|_| embedded)
            {
                let types = Some(wanted.iter().map(|s| s.event_type.to_owned()).collect());
                let way = Way::Push(self.way_to(parts, plan, wanted[0], remotes)?);
                targets.push(Target { name: consumer.to_owned(), types, way });
            }
            relays.push(Relay::new(RelayConfig {
                store: plan.store.clone(),
                home: parts.surroundings.home(&plan.name),
                targets,
                retention: settings.retention(),
                owner: Arc::clone(&self.owner),
            }));
        }
        Ok(relays)
    }

    fn way_to(
        &self,
        parts: &Parts<'_>,
        plan: &ModulePlan,
        to: &graph::Subscription,
        remotes: &mut Remotes,
    ) -> Result<Arc<dyn Deliver>, StartError> {
        let here = self.consumers.iter().find(|consumer| *consumer.name() == *to.consumer);
        let target = match (here, parts.faults, &self.mount) {
            (Some(_), Some(faults), Some(mount)) => {
                rehearsal::target_here(mount, LocalRunner::Faulty, Some(faults), &plan.name)
            }
            (Some(here), ..) => return Ok(Arc::new(here.clone())),
            (None, faults, _) => {
                let remote = remotes.way_to(&to.to, delivery::contract())?;
                rehearsal::target_elsewhere(remote, faults, &plan.name, &to.to)
            }
        };
        let channel = Channel::unbound(Some(&plan.name), &plan.name);
        channel.bind_to(target).map_err(|error| StartError::part("the way of events", error.message()))?;
        let client = DeliveryClient::from_channel(channel);
        let home = parts.surroundings.home(&plan.name);
        Ok(Arc::new(RemoteConsumer::new(parts.app, &to.consumer, client, home)))
    }

    /// What the hosted consumers read from the broker, if there is one.
    pub(crate) fn subscriptions(&self, parts: &Parts<'_>) -> Vec<Subscription> {
        let Some(broker) = &self.broker else { return Vec::new() };
        let mut found = Vec::new();
        for consumer in &self.consumers {
            let mut sources: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for edge in parts.graph.subscriptions.iter().filter(|edge| *edge.consumer == *consumer.name()) {
                sources.entry(&edge.from).or_default().push(edge.event_type.to_owned());
            }
            let plan = parts.plans.iter().find(|plan| *plan.name == *consumer.module());
            let outside: Vec<String> = plan
                .into_iter()
                .flat_map(|plan| plan.outside_types(consumer.name()).map(str::to_owned))
                .collect();
            let modules =
                sources.into_iter().map(|(module, types)| (Source::Module(module.to_owned()), types));
            let outside = (!outside.is_empty()).then_some((Source::Outside, outside));
            found.extend(modules.chain(outside).map(|(source, types)| Subscription {
                consumer: consumer.clone(),
                broker: broker.clone(),
                source,
                types,
                owner: Arc::clone(&self.owner),
                metrics: Arc::default(),
            }));
        }
        found
    }

    /// Sets relays, consumers and subscriptions going.
    pub(crate) fn go_on(
        &self,
        relays: &[Relay],
        subscriptions: &[Subscription],
        stopping: &watch::Receiver<bool>,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let mut tasks: Vec<_> = self.consumers.iter().flat_map(|consumer| consumer.start(stopping)).collect();
        tasks.extend(subscriptions.iter().map(|subscription| subscription.clone().start(stopping)));
        for relay in relays {
            let started = relay.start(stopping);
            let part = || format!("the relay of module `{}`", relay.module());
            tasks.extend(started.map_err(|error| StartError::part(part(), error.message()))?);
        }
        Ok(tasks)
    }
}

/// The subscriptions to a module, by consumer.
fn by_consumer<'g>(
    all: &'g [graph::Subscription],
    from: &str,
) -> BTreeMap<&'g str, Vec<&'g graph::Subscription>> {
    let mut found: BTreeMap<&str, Vec<&graph::Subscription>> = BTreeMap::new();
    for subscription in all.iter().filter(|subscription| *subscription.from == *from) {
        found.entry(&subscription.consumer).or_default().push(subscription);
    }
    found
}
