//! A NATS server with JetStream for tests: Debian's binary, a port and a directory of its own, gone with the process that asked for it.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Ports that no system gives to outgoing connections. A client that tries again and again to reach a port of those would one day be given it
/// as its own, talk to itself, and keep the server from coming back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How many ports are tried.
const TRIES: u64 = 20;
/// How long a server may take to greet.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the server and removes its files when its input ends: when the server is dropped, and when the test's process dies in whatever way.
const WATCH: &str = r#"trap '' INT TERM HUP; read -r _; kill -9 "$(cat "$1/pid")"; rm -rf "$1""#;

/// A server. It is up when it has been started, until it is killed.
#[derive(Debug)]
pub struct Nats {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    server: Mutex<Option<Child>>,
    watch: Child,
}

impl Nats {
    /// Starts a server that lets everybody in.
    ///
    /// # Errors
    /// If the server is not installed, naming the package and how to install it, or does not start, with what it said.
    pub fn start() -> io::Result<Self> {
        Self::start_with("")
    }

    /// Starts a server with settings of its configuration file, as in `authorization { user: ada, password: secret }`.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub fn start_with(settings: &str) -> io::Result<Self> {
        let binary = binary()?;
        let dir = TempDir::with_prefix("drystone-nats-")?.keep();
        let watch = watch(&dir)?;
        let mut nats = Self { binary, dir, port: 0, server: Mutex::new(None), watch };
        let mut last = io::Error::other("no port was tried");
        for attempt in 0..TRIES {
            nats.port = port(attempt);
            if TcpListener::bind((Ipv4Addr::LOCALHOST, nats.port)).is_err() {
                continue;
            }
            fs::write(nats.dir.join("conf"), nats.configuration(settings))?;
            match nats.start_again() {
                Ok(()) => return Ok(nats),
                // Somebody else was quicker.
                Err(error) if error.to_string().contains("address already in use") => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Where it listens, as in `nats://127.0.0.1:21000`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where it listens, as in `127.0.0.1:21000`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The server's process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server().as_ref().map(Child::id)
    }

    /// Kills the server as `kill -9` does, and returns when it is gone.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        let mut server = self.server().take().expect("the server runs");
        server.kill().expect("a child can be killed");
        server.wait().expect("a child can be waited for");
    }

    /// Starts the server again after it was killed, on the same port and with what it kept on the disk.
    ///
    /// # Errors
    /// If it runs, or does not start, with what it said.
    pub fn start_again(&self) -> io::Result<()> {
        let mut server = self.server();
        if server.is_some() {
            return Err(io::Error::other("the server runs"));
        }
        let _ = fs::remove_file(self.dir.join("log"));
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.dir.join("conf")).current_dir(&self.dir);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        if let Err(error) = self.greets(&mut child) {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::new(error.kind(), format!("{error}\n{}", self.log())));
        }
        *server = Some(child);
        Ok(())
    }

    /// Kills the server, takes away all that it kept on the disk, and starts it again on the same port.
    ///
    /// # Errors
    /// If it does not start, with what it said.
    pub fn wipe(&self) -> io::Result<()> {
        if self.is_running() {
            self.kill();
        }
        fs::remove_dir_all(self.dir.join("data"))?;
        self.start_again()
    }

    /// Keeps what the server has on its disk now, to go back to. The server is killed for it and started again.
    ///
    /// # Errors
    /// If it cannot be copied, or the server does not start.
    pub fn snapshot(&self) -> io::Result<NatsSnapshot> {
        self.kill();
        let kept = TempDir::with_prefix("drystone-nats-")?;
        copy(&self.dir.join("data"), &kept.path().join("data"))?;
        self.start_again()?;
        Ok(NatsSnapshot(kept))
    }

    /// Kills the server and starts it with what it had then: as if all that came after had been acknowledged and never reached the disk.
    ///
    /// # Errors
    /// If it cannot be copied, or the server does not start.
    pub fn go_back(&self, snapshot: &NatsSnapshot) -> io::Result<()> {
        if self.is_running() {
            self.kill();
        }
        fs::remove_dir_all(self.dir.join("data"))?;
        copy(&snapshot.0.path().join("data"), &self.dir.join("data"))?;
        self.start_again()
    }

    /// Whether the server was started and not killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.server().is_some()
    }

    /// What the server said since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configuration(&self, settings: &str) -> String {
        let path = |name: &str| self.dir.join(name).display().to_string();
        format!(
            "host: 127.0.0.1\nport: {}\npid_file: {:?}\nlog_file: {:?}\njetstream {{ store_dir: {:?} }}\n{settings}\n",
            self.port,
            path("pid"),
            path("log"),
            path("data"),
        )
    }

    /// Waits until the server greets and its streams are back.
    fn greets(&self, child: &mut Child) -> io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("nats-server ended with {status}")));
            }
            let mut greeting = [0; 4];
            let read =
                TcpStream::connect(self.address()).and_then(|mut stream| stream.read_exact(&mut greeting));
            // The greeting could be another server's, for which this one will end.
            if read.is_ok() && greeting == *b"INFO" && self.log().contains("Server is ready") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "nats-server does not greet"))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // The watch has done its work when it ends; that it could not is nothing that a drop can report.
        let _ = self.watch.wait();
        if let Some(mut server) = self.server().take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// What a server had on its disk.
#[derive(Debug)]
pub struct NatsSnapshot(TempDir);

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() { copy(&from, &to)? } else { fs::copy(from, to).map(drop)? }
    }
    Ok(())
}

/// The server's program. Debian keeps it where only root's `PATH` leads.
fn binary() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.find_map(|place| Some(place.join("nats-server")).filter(|file| file.is_file())).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no nats-server in PATH or /usr/sbin: install the package `nats-server` (apt-get install -y nats-server)",
        )
    })
}

/// A port to try.
fn port(attempt: u64) -> u16 {
    let random = RandomState::new().hash_one((std::process::id(), attempt));
    let offset = random % u64::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(offset).expect("the range is one of u16")
}

fn watch(dir: &Path) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "watch"]).arg(dir).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_killed_started_again_and_wiped_and_leaves_nothing() {
        let nats = Nats::start().unwrap();
        let (dir, address) = (nats.dir.clone(), nats.address());
        assert!(TcpStream::connect(&address).is_ok());
        nats.kill();
        assert!(TcpStream::connect(&address).is_err(), "a killed server answers");
        assert!(!nats.is_running());
        nats.start_again().unwrap();
        assert!(nats.start_again().is_err(), "a server that runs is started again");
        fs::write(dir.join("data/kept"), "x").unwrap();
        nats.wipe().unwrap();
        assert!(!dir.join("data/kept").exists());
        assert!(TcpStream::connect(&address).is_ok());
        drop(nats);
        assert!(!dir.exists());
        assert!(TcpStream::connect(&address).is_err(), "a dropped server answers");
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        let error = Nats::start_with("authorization { user: }").unwrap_err().to_string();
        assert!(error.contains("ended with"), "{error}");
    }
}
