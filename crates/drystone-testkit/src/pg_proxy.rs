//! Stands between a PostgreSQL client and its server, and can keep back the reply to a commit.
//!
//! The server commits before it replies, so a client that hears nothing cannot know: this makes that moment, at the commit of one's choice. The proxy
//! reads what the server says, message by message; what the client says passes unread.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::postgres::Database;

/// The socket's name in its directory, as clients of port 5432 look for it.
const SOCKET: &str = ".s.PGSQL.5432";

/// What becomes of a connection whose commit is kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withhold {
    /// It stays open and silent until its client closes it.
    Silence,
    /// It is closed in place of the reply.
    Cut,
}

#[derive(Debug, Default)]
struct Plan {
    armed: Option<(usize, Withhold)>,
    commits: usize,
    withheld: bool,
}

/// A way to a [`Database`] through which replies can be kept back; gone when dropped.
#[derive(Debug)]
pub struct PostgresProxy {
    _dir: TempDir,
    url: String,
    plan: Arc<Mutex<Plan>>,
    accepting: JoinHandle<()>,
}

impl PostgresProxy {
    /// Stands before a database. It runs on the current tokio runtime.
    ///
    /// # Errors
    /// If the socket cannot be made.
    ///
    /// # Panics
    /// If the connection string is not one that [`Database`] gives.
    pub fn before(database: &Database) -> io::Result<Self> {
        let (user, rest) = database.url.split_once('@').expect("a user before the host");
        let (host, name) = rest.split_once('/').expect("a database after the host");
        let server = PathBuf::from(host.replace("%2F", "/")).join(SOCKET);
        let dir = TempDir::with_prefix("drystone-proxy-")?;
        let listener = UnixListener::bind(dir.path().join(SOCKET))?;
        let url = format!("{user}@{}/{name}", dir.path().display().to_string().replace('/', "%2F"));
        let plan = Arc::<Mutex<Plan>>::default();
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&plan)));
        Ok(Self { _dir: dir, url, plan, accepting })
    }

    /// The connection string that leads through the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Keeps back the reply to the commit of this number from now on, the first being 1, on whichever connection it comes.
    pub fn withhold(&self, number: usize, how: Withhold) {
        *self.plan() = Plan { armed: Some((number, how)), commits: 0, withheld: false };
    }

    /// Lets every later commit pass.
    pub fn disarm(&self) {
        self.plan().armed = None;
    }

    /// Whether a reply was kept back since [`PostgresProxy::withhold`].
    #[must_use]
    pub fn has_withheld(&self) -> bool {
        self.plan().withheld
    }

    /// The commits that the server told of since [`PostgresProxy::withhold`].
    #[must_use]
    pub fn commits(&self) -> usize {
        self.plan().commits
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, server: PathBuf, plan: Arc<Mutex<Plan>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, plan) = (server.clone(), Arc::clone(&plan));
        // What breaks is told to both sides by closing.
        tokio::spawn(async move { drop(join(client, server, plan).await) });
    }
}

/// Passes everything between the two until one of them closes.
async fn join(client: UnixStream, server: PathBuf, plan: Arc<Mutex<Plan>>) -> io::Result<()> {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = UnixStream::connect(server).await?.into_split();
    // Whichever ends first takes the other along: a client that is gone must not keep its locks at the server.
    tokio::select! {
        sent = copy(&mut from_client, &mut to_server) => sent.map(drop),
        told = replies(from_server, to_client, plan) => told,
    }
}

/// Passes the server's messages, each of a type, a length and a content, until one is to be kept back.
async fn replies(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    plan: Arc<Mutex<Plan>>,
) -> io::Result<()> {
    let mut message = Vec::with_capacity(8192);
    loop {
        message.resize(5, 0);
        server.read_exact(&mut message).await?;
        let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
        message.resize(length + 1, 0);
        server.read_exact(&mut message[5..]).await?;
        match withhold(&message, &plan) {
            None => client.write_all(&message).await?,
            Some(Withhold::Cut) => return Ok(()),
            Some(Withhold::Silence) => std::future::pending().await,
        }
    }
}

/// Counts a commit, and says what becomes of it.
fn withhold(message: &[u8], plan: &Mutex<Plan>) -> Option<Withhold> {
    if message[0] != b'C' || &message[5..] != b"COMMIT\0" {
        return None;
    }
    let mut plan = plan.lock().unwrap_or_else(PoisonError::into_inner);
    plan.commits += 1;
    let (number, how) = plan.armed?;
    if plan.commits != number {
        return None;
    }
    plan.withheld = true;
    Some(how)
}
