//! Events: outbox, inbox, relay, brokers. Nothing is lost, and what was promised once happens once.
//!
//! A module publishes an event in the transaction of its effect ([`Publish`]): the event exists if and only if the effect does. A [`Pump`] carries it from the
//! module's outbox to each consumer, by way of a broker or directly, and the consumer's [`Receiver`] runs the module's handler in the transaction that
//! records the message in the inbox: at least once on the way, exactly once in effect.
//!
//! # Invariants
//!
//! * A message exists if and only if its transaction committed.
//! * None is lost: a pump's position never runs ahead of what its target has, and reads stay behind the [`Fence`].
//! * Messages of one source, tenant and key are applied in the order of publishing. One that fails holds back its own key, and nothing else.
//! * None is applied twice in one consumer: the inbox has (consumer, id) in the handler's transaction, for longer than the outbox has the message.
//! * A pump that lost its claim moves no position.
//! * No promise rests on a broker: what a broker forgets is sent again.
//!
//! # The engine and the world
//!
//! [`Pump`], [`Receiver`] and [`Retrier`] do no I/O of their own: they are written against [`engine`]'s traits and [`Clock`]. The real stores implement them here,
//! the simulator's in the testkit.
//!
//! # What it deliberately lacks
//!
//! Any call to another module from a handler: it is given a transaction and no context. Queues with competing consumers; priorities; a promise about
//! the order between keys. Exactly-once delivery, which no network has.

mod clock;
pub mod cloudevents;
mod consumer;
pub mod delivery;
pub mod engine;
mod envelope;
mod failpoint;
mod fence;
mod handler;
mod link;
mod locks;
mod metrics;
pub mod nats;
mod nats_link;
pub mod operate;
mod publish;
mod pump;
mod receiver;
mod relay;
mod retention;
mod retrier;
mod schedule;
mod stored;
mod subscription;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use clock::{Clock, HomeClock};
pub use consumer::Consumer;
pub use envelope::{Data, Envelope};
pub use failpoint::FAILPOINTS;
#[cfg(feature = "failpoints")]
pub use failpoint::{arm, failpoint, repeats};
pub use fence::{Fence, Look};
pub use handler::{Handler, HandlerWith, Handlers};
pub use link::{Deliver, Push};
pub use metrics::{Behind, ConsumerMetrics, Count, FenceMetrics, Gauge, PumpMetrics};
pub use publish::{LARGEST_EVENT, LONGEST_KEY, Publish};
pub use pump::{Drained, Pump};
pub use receiver::Receiver;
pub use relay::{Relay, RelayConfig, Target, Way};
pub use retention::Retention;
pub use retrier::{Retried, Retrier};
pub use schedule::Schedule;
pub use stored::StoredInbox;
pub use subscription::{Source, Subscription};
