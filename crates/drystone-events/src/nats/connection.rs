//! The connection: whether it is there, since when, and what kept it from being there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event};
use drystone_call::{Error, Result};
use tokio::sync::watch;

use super::NatsMetrics;
use super::address::Address;

/// How long a caller waits for a connection that is not there.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the server may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the server is asked whether it is there; after two questions without an answer it is not.
const PING: Duration = Duration::from_secs(5);
/// How many messages may lie in one subscription before the client throws some away. No reader asks for as many.
const SUBSCRIPTION: usize = 65_536;

/// What is known about the connection.
#[derive(Clone, Debug, Default)]
struct Status {
    is_up: bool,
    /// Grows with every connection: what was agreed with the server in an earlier one holds no longer.
    epoch: u64,
    /// What the last attempt met.
    trouble: Option<String>,
}

/// A client, and what it tells about its connection.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    shown: String,
    status: watch::Receiver<Status>,
    is_dropped: Arc<AtomicBool>,
    pub(super) metrics: Arc<NatsMetrics>,
}

impl Connection {
    /// Begins to connect, and goes on until this is dropped.
    pub(super) async fn open(address: &Address, name: &str) -> Result<Self> {
        let (sender, status) = watch::channel(Status::default());
        let metrics = Arc::new(NatsMetrics::default());
        let counted = Arc::clone(&metrics);
        let is_dropped = Arc::new(AtomicBool::new(false));
        let dropped = Arc::clone(&is_dropped);
        let options = ConnectOptions::new()
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .ping_interval(PING)
            .subscription_capacity(SUBSCRIPTION)
            .reconnect_delay_callback(move |attempt| pause(attempt, dropped.load(Relaxed)))
            .event_callback(move |event| {
                note(&sender, &counted, &event);
                std::future::ready(())
            });
        let client = address.options(options).connect(address.servers.as_slice()).await.map_err(|error| {
            Error::unavailable(format!("NATS at {} cannot be connected to: {error}", address.shown))
        })?;
        let jetstream = ContextBuilder::new().timeout(ANSWER).build(client.clone());
        Ok(Self { client, jetstream, shown: address.shown.clone(), status, is_dropped, metrics })
    }

    /// The number of the connection, once there is one.
    ///
    /// # Errors
    /// `UNAVAILABLE` if there is none for a while.
    pub(super) async fn up(&self) -> Result<u64> {
        let mut status = self.status.clone();
        let waited = tokio::time::timeout(PATIENCE, status.wait_for(|status| status.is_up)).await;
        match waited {
            Ok(Ok(status)) => Ok(status.epoch),
            _ => Err(self.unavailable("is not reached")),
        }
    }

    /// The number of the connection, if there is one now.
    pub(super) fn is_up(&self) -> Option<u64> {
        let status = self.status.borrow();
        status.is_up.then_some(status.epoch)
    }

    /// Returns when a connection is no more.
    pub(super) async fn lost(&self, epoch: u64) {
        let mut status = self.status.clone();
        // The sender lives as long as the client.
        let _ = status.wait_for(|status| !status.is_up || status.epoch != epoch).await;
    }

    /// The error of something that could not be done.
    pub(super) fn unavailable(&self, what: impl std::fmt::Display) -> Error {
        self.metrics.unavailable.add(1);
        let status = self.status.borrow();
        let trouble = match &status.trouble {
            Some(trouble) if !status.is_up => format!(" ({trouble})"),
            _ => String::new(),
        };
        Error::unavailable(format!(
            "NATS at {} {what}{trouble}: events stay in the outbox until it answers; see that the server runs with JetStream, and that address, login and \
             certificates in its URL are right",
            self.shown
        ))
    }

    /// The server's address, without what is secret in it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.is_dropped.store(true, Relaxed);
    }
}

/// The pause before an attempt. The client knows no way to stop trying: once nobody needs it, it sleeps.
fn pause(attempt: usize, is_dropped: bool) -> Duration {
    if is_dropped {
        return Duration::from_secs(365 * 24 * 3600);
    }
    let doubled = u32::try_from(attempt.min(10)).map_or(u64::MAX, |exponent| 1 << exponent);
    if attempt <= 1 { Duration::ZERO } else { Duration::from_millis(doubled).min(LONGEST_PAUSE) }
}

/// Keeps what an event says.
fn note(status: &watch::Sender<Status>, metrics: &NatsMetrics, event: &Event) {
    match event {
        Event::Connected => {
            metrics.connections.add(1);
            status.send_modify(|status| {
                *status = Status { is_up: true, epoch: status.epoch + 1, trouble: None };
            });
        }
        Event::Disconnected | Event::Closed => status.send_modify(|status| status.is_up = false),
        Event::ClientError(error) => status.send_modify(|status| status.trouble = Some(error.to_string())),
        Event::ServerError(error) => status.send_modify(|status| status.trouble = Some(error.to_string())),
        _ => {}
    }
}
