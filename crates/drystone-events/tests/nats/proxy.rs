//! A way to a server on which messages get lost or held up, and which can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// The way. It is there until it is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    toll: Arc<Toll>,
    cuts: watch::Sender<u64>,
}

/// What becomes of messages. A number says how many get through before; it is negative when none is meant.
struct Toll {
    /// Of those that are published.
    lose: AtomicI64,
    hold: AtomicI64,
    /// Of those that a consumer is given.
    lose_given: AtomicI64,
    /// Told when one is held, and when it may go on.
    held: Notify,
    released: Notify,
}

impl Proxy {
    /// A way to the server at this address.
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let none = || AtomicI64::new(-1);
        let toll = Arc::new(Toll {
            lose: none(),
            hold: none(),
            lose_given: none(),
            held: Notify::new(),
            released: Notify::new(),
        });
        let (cuts, cut) = watch::channel(0);
        let counted = Arc::clone(&toll);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(carry(client, server, Arc::clone(&counted), cut.clone()));
            }
        });
        Self { url, toll, cuts }
    }

    /// Loses the message that is published after so many others.
    pub(crate) fn lose_after(&self, messages: i64) {
        self.toll.lose.store(messages, SeqCst);
    }

    /// Loses the message that a consumer is given after so many others.
    pub(crate) fn lose_given_after(&self, messages: i64) {
        self.toll.lose_given.store(messages, SeqCst);
    }

    /// Whether that one has been lost.
    pub(crate) fn has_lost_given(&self) -> bool {
        self.toll.lose_given.load(SeqCst) < 0
    }

    /// Holds the message that is published after so many others, and all behind it, until they are released. Returns when it is held.
    pub(crate) fn hold_after(&self, messages: i64) -> impl Future<Output = ()> + use<> {
        self.toll.hold.store(messages, SeqCst);
        let toll = Arc::clone(&self.toll);
        async move { toll.held.notified().await }
    }

    /// Lets go what is held.
    pub(crate) fn release(&self) {
        self.toll.released.notify_one();
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(client: TcpStream, server: TcpStream, toll: Arc<Toll>, mut cut: watch::Receiver<u64>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    cut.mark_unchanged();
    tokio::select! {
        () = pass(from_server, to_client, &toll) => {}
        () = pass(from_client, to_server, &toll) => {}
        _ = cut.changed() => {}
    }
}

/// Carries what one side says, line by line, but for the message that is to be lost.
async fn pass(from: OwnedReadHalf, mut to: OwnedWriteHalf, toll: &Toll) {
    let mut from = BufReader::new(from);
    loop {
        let mut said = Vec::new();
        if !matches!(from.read_until(b'\n', &mut said).await, Ok(1..)) {
            return;
        }
        let line = String::from_utf8_lossy(&said).into_owned();
        if ["PUB ", "HPUB ", "MSG ", "HMSG "].iter().any(|verb| line.starts_with(verb)) {
            let length: usize = line.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
            let mut payload = vec![0; length + 2];
            if from.read_exact(&mut payload).await.is_err() {
                return;
            }
            said.extend(payload);
            if toll.keeps(&line).await {
                continue;
            }
        }
        if to.write_all(&said).await.is_err() {
            return;
        }
    }
}

impl Toll {
    /// Whether the message of this line is lost.
    async fn keeps(&self, line: &str) -> bool {
        let is_published = line.contains("PUB ") && line.contains(".events.");
        let is_given = line.contains("MSG ") && line.contains("$JS.ACK.");
        if is_published && self.hold.fetch_sub(1, SeqCst) == 0 {
            self.held.notify_one();
            self.released.notified().await;
        }
        (is_published && self.lose.fetch_sub(1, SeqCst) == 0)
            || (is_given && self.lose_given.fetch_sub(1, SeqCst) == 0)
    }
}
