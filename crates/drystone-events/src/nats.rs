//! NATS JetStream as the broker between processes, and with the world outside.
//!
//! A module's events are in one stream, written by the pump of its outbox ([`StreamWriter`]) and read as an ordered log by each consumer
//! ([`StreamReader`]), which keeps its own position. The broker is a pipe: what it acknowledged may be gone tomorrow, for it syncs to its disk now and then. So a
//! stream has a mark by which it is known again, and whoever sees another mark, or an end before the one it knew, sends or reads again; the inbox
//! makes that harmless.
//!
//! | stream | subjects | written by |
//! |---|---|---|
//! | `DRYSTONE_<APPLICATION>_<MODULE>` | `<application>.events.<module>.<tenant>.<type>` | the module's relay, as CloudEvents in binary form |
//! | `DRYSTONE_<APPLICATION>_OUTSIDE` | `<application>.outside.>` | producers outside, as CloudEvents in binary or structured form |
//!
//! # What it deliberately lacks
//!
//! Acknowledgements of single messages, durable consumers and the server's own deduplication: position and inbox are in the consumer's database, in one
//! transaction with the effect, which no broker's promise can be. Files with credentials (`.creds`): their signatures would bring a
//! second set of cryptography.

mod address;
mod arrival;
mod connection;
mod reader;
mod stream;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Error, Result};
use secrecy::SecretString;

use crate::Count;
use crate::cloudevents::Codec;
use address::Address;
use connection::Connection;
use stream::Spec;

pub use arrival::{Arrival, Unreadable};
pub use reader::{Batch, Standing, StreamReader};
pub use writer::{AppendError, AppendFailure, StreamWriter, Tail};

/// How to reach NATS, and for whom.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://user:password@host:4222`, or `tls://host:4222?ca=/path/ca.pem`; more hosts may follow after commas. A client's certificate is
    /// `&cert=/path/cert.pem&key=/path/key.pem`, and a token stands where user and password would.
    pub url: SecretString,
    /// The application's name, with which streams and subjects begin: letters, digits, `-` and `_`.
    pub application: String,
    /// How long outboxes keep their messages. Streams keep them an hour longer.
    pub retention: Duration,
}

/// What happened between this process and NATS since it began.
#[derive(Debug, Default)]
pub struct NatsMetrics {
    /// Connections made, the first among them.
    pub connections: Count,
    /// Messages that the server has stored.
    pub written: Count,
    /// Messages that the server refused, most often because they did not stand where they said.
    pub refused: Count,
    /// Messages that were read.
    pub read: Count,
    /// Those among them that were no events.
    pub malformed: Count,
    /// How often a reader agreed with the server from where on it reads.
    pub attached: Count,
    /// How often something could not be done because the server did not answer.
    pub unavailable: Count,
}

/// NATS, as one application uses it. A clone is the same connection.
#[derive(Clone)]
pub struct NatsBroker {
    connection: Arc<Connection>,
    application: Arc<str>,
    retention: Duration,
}

impl NatsBroker {
    /// Begins to connect. It does not wait for the server: what needs it says so, and connections that are lost are made again.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if URL or application are not what they should be.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(config: NatsConfig) -> Result<Self> {
        let NatsConfig { url, application, retention } = config;
        if !stream::is_word(&application) {
            return Err(Error::invalid_argument(format!(
                "an application of the name {application:?} cannot use NATS: its name begins streams and subjects; use letters, digits, - and _"
            )));
        }
        let address = Address::parse(&url)?;
        let connection = Arc::new(Connection::open(&address, &application).await?);
        Ok(Self { connection, application: application.into(), retention })
    }

    /// The writer of a module's stream.
    #[must_use]
    pub fn writer(&self, module: &str) -> StreamWriter {
        let spec = Spec::of_module(&self.application, module, self.retention);
        StreamWriter::new(Arc::clone(&self.connection), spec, Codec::new(&self.application))
    }

    /// A reader of a module's stream.
    #[must_use]
    pub fn reader(&self, module: &str) -> StreamReader {
        let spec = Spec::of_module(&self.application, module, self.retention);
        let codec = Codec::new(&self.application);
        StreamReader::new(Arc::clone(&self.connection), spec, Some(module.to_owned()), codec)
    }

    /// A reader of what producers outside the application wrote.
    #[must_use]
    pub fn outside_reader(&self) -> StreamReader {
        let spec = Spec::outside(&self.application, self.retention);
        StreamReader::new(Arc::clone(&self.connection), spec, None, Codec::outside(&self.application))
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_up().is_some()
    }

    /// Where the server is, without what is secret in its URL.
    #[must_use]
    pub fn address(&self) -> &str {
        self.connection.shown()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> Arc<NatsMetrics> {
        Arc::clone(&self.connection.metrics)
    }
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("address", &self.address()).finish_non_exhaustive()
    }
}
