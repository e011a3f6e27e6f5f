//! A stand-in for the way to a PostgreSQL server: counts round trips, cuts, freezes, loses replies.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What the connections have in common.
#[derive(Default)]
struct Ways {
    ways: Mutex<Vec<Arc<Way>>>,
    lose_commit: AtomicBool,
}

/// One connection.
struct Way {
    turns: AtomicUsize,
    /// 0: passes, 1: frozen, 2: cut.
    state: watch::Sender<u8>,
}

/// The proxy; its socket goes with it.
pub(crate) struct Proxy {
    ways: Arc<Ways>,
    dir: TempDir,
}

impl Proxy {
    /// A proxy before the server of a connection string, and the connection string that leads through it.
    pub(crate) fn before(url: &str) -> (Self, String) {
        let (user, rest) = url.strip_prefix("postgres://").unwrap().split_once('@').unwrap();
        let (host, name) = rest.split_once('/').unwrap();
        let server = PathBuf::from(host.replace("%2F", "/")).join(".s.PGSQL.5432");
        let dir = TempDir::with_prefix("way-").unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let ways = Arc::new(Ways::default());
        tokio::spawn(accept(listener, server, Arc::clone(&ways)));
        let host = dir.path().display().to_string().replace('/', "%2F");
        (Self { ways, dir }, format!("postgres://{user}@{host}/{name}"))
    }

    fn each(&self, act: impl FnMut(&Arc<Way>)) {
        self.ways.ways.lock().unwrap().iter().for_each(act);
    }

    /// Round trips so far of each connection, in the order in which they were made: what was sent after an answer begins one.
    pub(crate) fn turns(&self) -> Vec<usize> {
        let mut turns = Vec::new();
        self.each(|way| turns.push(way.turns.load(Ordering::SeqCst)));
        turns
    }

    /// Ends all connections, as a server that restarts does.
    pub(crate) fn cut(&self) {
        self.each(|way| {
            way.state.send_replace(2);
        });
    }

    /// Lets nothing through on the connections that there are; both ends believe in each other.
    pub(crate) fn freeze(&self) {
        self.each(|way| {
            way.state.send_if_modified(|state| {
                let passes = *state == 0;
                *state = (*state).max(1);
                passes
            });
        });
    }

    /// Loses the reply to the next commit, and its connection.
    pub(crate) fn lose_reply_to_commit(&self) {
        self.ways.lose_commit.store(true, Ordering::SeqCst);
    }

    /// Where the socket is.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

async fn accept(listener: UnixListener, server: PathBuf, ways: Arc<Ways>) {
    while let Ok((client, _)) = listener.accept().await {
        let way = Arc::new(Way { turns: AtomicUsize::new(0), state: watch::Sender::new(0) });
        ways.ways.lock().unwrap().push(Arc::clone(&way));
        let (server, ways) = (server.clone(), Arc::clone(&ways));
        tokio::spawn(async move {
            // A server that is down refuses, and so does the way to it.
            if let Ok(server) = UnixStream::connect(server).await {
                carry(client, server, &way, &ways).await;
            }
        });
    }
}

async fn carry(mut client: UnixStream, mut server: UnixStream, way: &Way, ways: &Ways) {
    let mut state = way.state.subscribe();
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    let (mut answered, mut losing) = (true, false);
    loop {
        let frozen = *state.borrow_and_update();
        if frozen == 2 {
            return;
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            read = client.read(&mut there), if frozen == 0 => {
                let Some(n) = read.ok().filter(|n| *n > 0) else { return };
                way.turns.fetch_add(usize::from(answered), Ordering::SeqCst);
                answered = false;
                if there[..n].windows(7).any(|part| part == b"commit\0") {
                    losing |= ways.lose_commit.swap(false, Ordering::SeqCst);
                }
                if server.write_all(&there[..n]).await.is_err() { return }
            }
            read = server.read(&mut back), if frozen == 0 => {
                let Some(n) = read.ok().filter(|n| *n > 0) else { return };
                answered = true;
                if losing && back[..n].windows(7).any(|part| part == b"COMMIT\0") { return }
                if client.write_all(&back[..n]).await.is_err() { return }
            }
        }
    }
}
