//! A line to the database that can die without a word: open connections are neither closed nor served any more, new ones are.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use drystone_testkit::Database;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards from a port of loopback to a server's socket; gone when dropped.
pub(crate) struct Line {
    url: String,
    /// Which connections are dead: those of this number and below.
    dead: Arc<watch::Sender<usize>>,
    /// Which of those are closed.
    buried: Arc<watch::Sender<usize>>,
    accepted: Arc<watch::Sender<usize>>,
    accepting: JoinHandle<()>,
}

impl Line {
    /// A line to this database.
    pub(crate) async fn to(database: &Database) -> Self {
        let (user, rest) = database.url.split_once('@').expect("a user before the host");
        let (host, name) = rest.split_once('/').expect("a database after the host");
        let server = PathBuf::from(host.replace("%2F", "/")).join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
        let url = format!("{user}@{}/{name}", listener.local_addr().expect("an address"));
        let [dead, buried, accepted] = std::array::from_fn(|_| Arc::new(watch::Sender::new(0)));
        let accepting =
            accept(listener, server, Arc::clone(&dead), Arc::clone(&buried), Arc::clone(&accepted));
        Self { url, dead, buried, accepted, accepting: tokio::spawn(accepting) }
    }

    /// The connection string that leads over the line.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Falls silent for all connections that are open now.
    pub(crate) fn dies(&self) {
        self.dead.send_replace(self.accepted());
    }

    /// Closes the connections that are dead, as the server does itself where its probes find nobody.
    pub(crate) fn buries(&self) {
        self.buried.send_replace(*self.dead.borrow());
    }

    /// How many connections were opened so far.
    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.borrow()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    server: PathBuf,
    dead: Arc<watch::Sender<usize>>,
    buried: Arc<watch::Sender<usize>>,
    accepted: Arc<watch::Sender<usize>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let number = *accepted.borrow() + 1;
        accepted.send_replace(number);
        let (server, dead, mut buried) = (server.clone(), dead.subscribe(), buried.subscribe());
        tokio::spawn(async move {
            let Ok(server) = UnixStream::connect(server).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let there = carry(from_client, to_server, number, dead.clone());
            let back = carry(from_server, to_client, number, dead);
            // Whichever ends first takes the other along.
            tokio::select! { _ = there => {}, _ = back => {}, () = reaches(&mut buried, number) => {} }
        });
    }
}

/// Forwards one direction. On a dead line it takes what is sent and forgets it, and tells nobody that an end is closed.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: usize,
    mut dead: watch::Receiver<usize>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = reaches(&mut dead, number) => std::future::pending().await,
            read = from.read(&mut buffer) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Waits until it is the turn of the connection of this number.
async fn reaches(turn: &mut watch::Receiver<usize>, number: usize) {
    if turn.wait_for(|turn| *turn >= number).await.is_err() {
        std::future::pending().await
    }
}
