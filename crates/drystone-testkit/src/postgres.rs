//! A PostgreSQL server for tests: Debian's binaries, a directory and a socket of its own, gone with the process that asked for it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

const SETTINGS: &str = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=100";

/// Stops the server and removes its files when its input ends: when the server is dropped, and when the test's process dies in whatever way.
const WATCH: &str = r#"trap '' INT TERM HUP; read -r _; "$@" -m immediate -w stop; rm -rf "$DRYSTONE_DIR""#;

/// A running server. It listens on a unix socket only, so it needs no free port.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    watch: Child,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts a server.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, naming the package and how to install it, or does not start, with what it said.
    pub fn start() -> io::Result<Self> {
        let bin = binaries()?;
        let dir = TempDir::with_prefix("drystone-pg-")?.keep();
        give_away(&dir)?;
        let data = dir.join("data");
        let socket = format!("{SETTINGS} -c unix_socket_directories={}", dir.display());
        let control = |program: &str| {
            let mut command = as_server(&bin.join(program));
            command.arg("-D").arg(&data).current_dir(&dir);
            command
        };
        let watch = watch(&dir, &control("pg_ctl"))?;
        let server = Self { bin: bin.clone(), dir: dir.clone(), watch, databases: AtomicU32::new(0) };
        run(control("initdb").args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]))?;
        let log = dir.join("log");
        run(control("pg_ctl").arg("-w").arg("-l").arg(&log).args(["-o", &socket, "start"]))
            .map_err(|error| io::Error::other(format!("{error}\n{}", text_of(&log))))?;
        Ok(server)
    }

    /// The server of this process, started at first use.
    ///
    /// # Panics
    /// If it does not start, saying why and what to install.
    pub fn of_process() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(|| match Self::start() {
            Ok(server) => server,
            Err(error) => panic!("{error}"),
        })
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// If the server does not create it.
    pub fn database(&self) -> io::Result<Database> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(Command::new(self.bin.join("createdb"))
            .arg("-h")
            .arg(&self.dir)
            .args(["-U", "postgres", &name]))?;
        let host = self.dir.display().to_string().replace('/', "%2F");
        Ok(Database {
            owner_url: format!("postgres://postgres@{host}/{name}"),
            url: format!("postgres://{name}@{host}/{name}"),
        })
    }
}

/// A database of a [`Postgres`]. Its name is that of no other of the server, and neither are those of its modules' roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The connection string of its owner, who migrates.
    pub owner_url: String,
    /// The connection string of the processes that work in it.
    pub url: String,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // The watch has done its work when it ends; that it could not is nothing that a drop can report.
        let _ = self.watch.wait();
    }
}

/// The directory of the newest installed server's programs.
fn binaries() -> io::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("pg_ctl").exists())
        .max();
    newest.map(|(_, bin)| bin).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no PostgreSQL server below /usr/lib/postgresql: install the package `postgresql` (apt-get install -y postgresql)",
        )
    })
}

/// Whether this process is root, as which PostgreSQL refuses to run.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;

    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A command that runs as the server's user.
fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn give_away(dir: &Path) -> io::Result<()> {
    if is_root() { run(Command::new("chown").arg("postgres:postgres").arg(dir)) } else { Ok(()) }
}

fn watch(dir: &Path, control: &Command) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "watch"]).arg(control.get_program()).args(control.get_args());
    command.env("DRYSTONE_DIR", dir).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn run(command: &mut Command) -> io::Result<()> {
    // A server that goes on in the background would keep a pipe open: what is said goes to a file.
    let mut said = tempfile::tempfile()?;
    let status = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?).status();
    let status = status.map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    io::Seek::rewind(&mut said)?;
    said.read_to_string(&mut text)?;
    Err(io::Error::other(format!("{command:?} ended with {status}: {text}")))
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_makes_databases_and_leaves_nothing() {
        let server = Postgres::start().unwrap();
        let dir = server.dir.clone();
        assert_ne!(server.database().unwrap(), server.database().unwrap());
        let pid = text_of(&dir.join("data/postmaster.pid")).lines().next().unwrap().to_owned();
        assert!(Path::new("/proc").join(&pid).exists());
        drop(server);
        assert!(!dir.exists());
        // The files are the last that the server removes; it may still be on its way out.
        let runs = || text_of(&Path::new("/proc").join(&pid).join("stat")).contains("(postgres) S");
        for _ in 0..100 {
            if !runs() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("the server still runs");
    }
}
