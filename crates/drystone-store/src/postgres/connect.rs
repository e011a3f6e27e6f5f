//! Connections to the server: where it is and who logs in.

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use drystone_call::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error as PgError};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::error::unreachable;

/// A server that does not take a connection within this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that rests is probed after this time, so that one whose other end is gone is noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// The same at the server, for a client whose machine is gone: its session would keep what it has locked.
const SERVER_KEEPALIVE: &str =
    "-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3";
/// What was sent and is not acknowledged within this time means that the other end is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(15);

/// A server, and who logs in.
#[derive(Clone)]
pub(crate) struct Server {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Server {
    /// Reads a connection string.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is not one, `FAILED_PRECONDITION` if the file of authorities that it names cannot be used.
    pub(crate) fn parse(url: &SecretString) -> Result<Self> {
        let (text, said) = tls::split(url.expose_secret());
        let mut config = Config::from_str(&text).map_err(|cause| {
            Error::invalid_argument("the PostgreSQL connection string cannot be read").caused_by(cause)
        })?;
        let tls = said.connector(said.protection(&config)?, &mut config)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives(true).keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL).keepalives_retries(KEEPALIVE_RETRIES);
        let options = format!("{} {SERVER_KEEPALIVE}", config.get_options().unwrap_or_default());
        config.options(options.trim());
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(USER_TIMEOUT);
        }
        Ok(Self { config, tls })
    }

    /// The user of the connection string.
    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or("drystone")
    }

    /// The password of the connection string, if it has one.
    pub(crate) fn password(&self) -> Option<&[u8]> {
        self.config.get_password()
    }

    /// The same server, with another role logging in.
    pub(crate) fn logging_in_as(&self, role: &str, password: Option<&SecretString>) -> Self {
        let mut config = self.config.clone();
        config.user(role);
        if let Some(password) = password {
            config.password(password.expose_secret());
        }
        Self { config, tls: self.tls.clone() }
    }

    /// The same server, with a name for what connects, as `pg_stat_activity` shows it.
    pub(crate) fn named(&self, name: &str) -> Self {
        let mut config = self.config.clone();
        config.application_name(name);
        Self { config, tls: self.tls.clone() }
    }

    /// The same server, with more settings for the session: as in `-c search_path=orders`.
    pub(crate) fn with_options(&self, options: &str) -> Self {
        let mut config = self.config.clone();
        match self.config.get_options() {
            Some(before) => config.options(format!("{before} {options}")),
            None => config.options(options),
        };
        Self { config, tls: self.tls.clone() }
    }

    /// One connection of its own.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the server cannot be reached.
    pub(crate) async fn connect(&self) -> Result<Client> {
        self.open().await.map(|(client, _)| client).map_err(unreachable)
    }

    /// One connection of its own, and the task that carries it.
    pub(crate) async fn open(&self) -> Result<(Client, JoinHandle<()>), PgError> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "drystone::store", %error, "a connection ended");
            }
        });
        Ok((client, task))
    }

    /// Asks the server to stop what runs on a connection.
    pub(crate) async fn cancel(&self, client: &Client) -> Result<(), PgError> {
        client.cancel_token().cancel_query(self.tls.clone()).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
