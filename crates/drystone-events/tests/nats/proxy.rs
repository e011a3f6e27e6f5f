//! A way to a server on which messages get lost or held up, and which can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// The way. It is there until it is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    toll: Arc<Toll>,
    cuts: watch::Sender<u64>,
}

/// What becomes of messages that are published. A number says how many get through before; it is negative when none is meant.
struct Toll {
    lose: AtomicI64,
    hold: AtomicI64,
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
        let toll =
            Arc::new(Toll { lose: none(), hold: none(), held: Notify::new(), released: Notify::new() });
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
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    cut.mark_unchanged();
    tokio::select! {
        _ = copy(&mut from_server, &mut to_client) => {}
        () = publish(from_client, to_server, &toll) => {}
        _ = cut.changed() => {}
    }
}

/// Carries what a client says, line by line, but for the message that is to be lost.
async fn publish(from: OwnedReadHalf, mut to: OwnedWriteHalf, toll: &Toll) {
    let mut from = BufReader::new(from);
    loop {
        let mut said = Vec::new();
        if !matches!(from.read_until(b'\n', &mut said).await, Ok(1..)) {
            return;
        }
        let line = String::from_utf8_lossy(&said).into_owned();
        if line.starts_with("PUB ") || line.starts_with("HPUB ") {
            let length: usize = line.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
            let mut payload = vec![0; length + 2];
            if from.read_exact(&mut payload).await.is_err() {
                return;
            }
            said.extend(payload);
            if line.contains(".events.") && toll.hold.fetch_sub(1, SeqCst) == 0 {
                toll.held.notify_one();
                toll.released.notified().await;
            }
            if line.contains(".events.") && toll.lose.fetch_sub(1, SeqCst) == 0 {
                continue;
            }
        }
        if to.write_all(&said).await.is_err() {
            return;
        }
    }
}
