//! A connection of its own that is there again after it was lost: for the keys of running calls, and for the lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drystone_call::Result;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::connect::Server;
use crate::error::{too_late, unreachable};

/// A connection on which somebody has waited in vain, and that says nothing for so long when it is asked, is dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

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
    suspected: AtomicBool,
}

impl Connected {
    /// Waits for the reply to what is asked on the connection. Who goes away without it has the connection looked at: its other end may be gone without a
    /// word, and who comes next would wait in vain too.
    pub(crate) async fn hear<T>(self: &Arc<Self>, asked: impl Future<Output = T>) -> T {
        let mut waiting = Waiting(Some(self));
        let heard = asked.await;
        waiting.0 = None;
        heard
    }

    /// Closes the connection unless it gives a sign of life. Whoever waits on it then learns that it is closed.
    fn suspect(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.client.is_closed() || self.suspected.swap(true, Ordering::AcqRel) {
            return;
        }
        let connected = Arc::clone(self);
        runtime.spawn(async move {
            let sign = tokio::time::timeout(SIGN_OF_LIFE, connected.client.simple_query("")).await;
            if matches!(sign, Ok(Ok(_))) {
                connected.suspected.store(false, Ordering::Release);
            } else {
                connected.task.abort();
            }
        });
    }
}

/// One who waits for a reply, until it is there.
struct Waiting<'w>(Option<&'w Arc<Connected>>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(connected) = self.0 {
            connected.suspect();
        }
    }
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
            let connected = Arc::new(Connected { client, task, suspected: AtomicBool::new(false) });
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
