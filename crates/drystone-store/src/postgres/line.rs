//! A connection of its own that is there again after it was lost: for the keys of running calls, and for the lease.

use std::sync::{Arc, Mutex, PoisonError};

use drystone_call::Result;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::connect::Server;
use crate::error::{too_late, unreachable};

/// The way to a connection.
pub(crate) struct Line {
    server: Server,
    now: Mutex<Option<Arc<Connected>>>,
    /// Held while connecting, so that many who wait make one connection.
    connecting: tokio::sync::Mutex<()>,
}

/// A connection, for any number of users at once: each statement is a transaction of its own.
pub(crate) struct Connected {
    pub(crate) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    pub(crate) fn to(server: Server) -> Self {
        Self { server, now: Mutex::new(None), connecting: tokio::sync::Mutex::new(()) }
    }

    fn now(&self) -> Option<Arc<Connected>> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().filter(|connected| !connected.client.is_closed()).cloned()
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the server cannot be reached, `DEADLINE_EXCEEDED` if that takes too long.
    pub(crate) async fn get(&self, deadline: Instant) -> Result<Arc<Connected>> {
        if let Some(connected) = self.now() {
            return Ok(connected);
        }
        let connect = async {
            let _one = self.connecting.lock().await;
            if let Some(connected) = self.now() {
                return Ok(connected);
            }
            let (client, task) = self.server.open().await.map_err(unreachable)?;
            let connected = Arc::new(Connected { client, task });
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&connected));
            Ok(connected)
        };
        tokio::time::timeout_at(deadline, connect)
            .await
            .map_err(|_| too_late("a connection to the database"))?
    }

    /// Ends the connection.
    pub(crate) fn close(&self) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
