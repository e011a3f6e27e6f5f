//! Connections to the server: who logs in, and how they are pooled.

use std::str::FromStr as _;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use drystone_call::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls};

use crate::error::too_late;

/// A server, and who logs in.
#[derive(Clone)]
pub(crate) struct Server {
    config: Config,
}

impl Server {
    /// Reads a connection string.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is not one.
    pub(crate) fn parse(url: &SecretString) -> Result<Self> {
        let config = Config::from_str(url.expose_secret()).map_err(|cause| {
            Error::invalid_argument("the PostgreSQL connection string cannot be read").caused_by(cause)
        })?;
        Ok(Self { config })
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
        Self { config }
    }

    /// The same server, with settings for the session: as in `-c search_path=orders`.
    pub(crate) fn with_options(&self, options: &str) -> Self {
        let mut config = self.config.clone();
        config.options(options);
        Self { config }
    }

    /// One connection of its own.
    pub(crate) async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(unreachable)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(target: "drystone::store", %error, "a connection ended");
            }
        });
        Ok(client)
    }

    /// A pool of connections.
    pub(crate) fn pool(&self, size: usize) -> Result<Pool> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), NoTls, recycling);
        Pool::builder(manager)
            .max_size(size)
            .build()
            .map_err(|cause| Error::internal("the pool of connections cannot be made").caused_by(cause))
    }
}

fn unreachable(cause: tokio_postgres::Error) -> Error {
    Error::unavailable("the database cannot be reached").caused_by(cause)
}

/// A connection of the pool, waiting for one until `deadline` at most.
pub(crate) async fn connection(pool: &Pool, deadline: Instant) -> Result<Object> {
    let got = tokio::time::timeout_at(deadline, pool.get()).await.map_err(|_| too_late("a connection"))?;
    got.map_err(|cause| Error::unavailable("the database cannot be reached").caused_by(cause))
}
