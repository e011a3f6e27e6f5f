//! A PostgreSQL server for tests: Debian's binaries, a directory and a socket of its own, gone with the process that asked for it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::disk::Disk;

mod operator;

pub use operator::{Held, Stop};

const LISTEN: &str = "-c listen_addresses=''";
/// Tests kill processes, not machines: no test is worth waiting for a disk.
const HASTY: &str = "-c fsync=off -c full_page_writes=off -c max_connections=100";

/// Stops the server and removes its files when its input ends: when the server is dropped, and when the test's process dies in whatever way.
const WATCH: &str = r#"trap '' INT TERM HUP; read -r _; "$@" -m immediate -w stop; rm -rf "$DRYSTONE_DIR""#;

/// How a server is set up that is not [`Postgres::start`]'s.
#[derive(Clone, Debug, Default)]
pub struct ServerSetup {
    settings: String,
    init: Vec<String>,
    env: Vec<(&'static str, PathBuf)>,
}

impl ServerSetup {
    /// A server as PostgreSQL comes: what was acknowledged is on the disk.
    #[must_use]
    pub fn durable() -> Self {
        Self::default()
    }

    /// With settings, as in `-c max_connections=200`.
    #[must_use]
    pub fn settings(mut self, settings: &str) -> Self {
        self.settings = format!("{} {settings}", self.settings);
        self
    }

    /// With an argument of `initdb`, as in `--wal-segsize=1`.
    #[must_use]
    pub fn init(mut self, argument: &str) -> Self {
        self.init.push(argument.to_owned());
        self
    }

    /// On a disk that fails at will.
    #[must_use]
    pub fn on(mut self, disk: &Disk) -> Self {
        self.env.extend(disk.env());
        self
    }
}

/// A running server. It listens on a unix socket only, so it needs no free port.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    /// What its first process is started with.
    options: String,
    env: Vec<(&'static str, PathBuf)>,
    watch: Child,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts a server.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, naming the package and how to install it, or does not start, with what it said.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&ServerSetup::default().settings(HASTY))
    }

    /// Starts a server of this setup.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_with(setup: &ServerSetup) -> io::Result<Self> {
        Self::start_in(TempDir::with_prefix("drystone-pg-")?.keep(), setup)
    }

    /// Starts a server for measurements, with its data below `parent`: a commit waits for the disk, and what `settings` (as in
    /// `-c max_connections=200`) do not say is as PostgreSQL comes.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_durable(parent: &Path, settings: &str) -> io::Result<Self> {
        let dir = TempDir::with_prefix_in("drystone-pg-", parent)?.keep();
        Self::start_in(dir, &ServerSetup::durable().settings(settings))
    }

    fn start_in(dir: PathBuf, setup: &ServerSetup) -> io::Result<Self> {
        let bin = binaries()?;
        give_away(&dir)?;
        let options = format!("{LISTEN} {} -c unix_socket_directories={}", setup.settings, dir.display());
        let watch = watch(&dir, &control(&bin, &dir, "pg_ctl"))?;
        let (env, databases) = (setup.env.clone(), AtomicU32::new(0));
        let server = Self { bin, dir, options, env, watch, databases };
        run(server
            .control("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .args(&setup.init))?;
        server.start_again()?;
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

    /// The id of the server's first process, the parent of all others.
    ///
    /// # Errors
    /// If the server does not run any more.
    pub fn pid(&self) -> io::Result<u32> {
        let file = std::fs::read_to_string(self.dir.join("data/postmaster.pid"))?;
        let line = file.lines().next().unwrap_or_default();
        line.parse().map_err(|_| io::Error::other(format!("{line:?} is not the id of a process")))
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

    /// How many connections the server has to a database, but for those of its owner.
    ///
    /// # Errors
    /// If the server does not say.
    pub fn connections(&self, database: &Database) -> io::Result<usize> {
        let count = format!(
            "select count(*) from pg_stat_activity where datname = '{}' and usename <> 'postgres'",
            database.name()
        );
        let said = run(self.client("psql").args(["-X", "-A", "-t", "-d", "postgres", "-c", &count]))?;
        said.trim().parse().map_err(|_| io::Error::other(format!("{said:?} is not a number")))
    }

    /// Drops a database, with the connections that are left to it.
    ///
    /// # Errors
    /// If the server does not drop it.
    pub fn drop_database(&self, database: &Database) -> io::Result<()> {
        run(self.client("dropdb").args(["--force", database.name()])).map(drop)
    }

    fn control(&self, program: &str) -> Command {
        control(&self.bin, &self.dir, program)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-h").arg(&self.dir).args(["-U", "postgres"]);
        command
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

impl Database {
    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
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

/// A command that works on the data directory.
fn control(bin: &Path, dir: &Path, program: &str) -> Command {
    let mut command = as_server(&bin.join(program));
    command.arg("-D").arg(dir.join("data")).current_dir(dir);
    command
}

fn give_away(dir: &Path) -> io::Result<()> {
    if is_root() { run(Command::new("chown").arg("postgres:postgres").arg(dir)).map(drop) } else { Ok(()) }
}

fn watch(dir: &Path, control: &Command) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "watch"]).arg(control.get_program()).args(control.get_args());
    command.env("DRYSTONE_DIR", dir).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Runs a command to its end; gives what it said.
fn run(command: &mut Command) -> io::Result<String> {
    // A server that goes on in the background would keep a pipe open: what is said goes to a file.
    let mut said = tempfile::tempfile()?;
    let status = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?).status();
    let status = status.map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    let mut text = String::new();
    io::Seek::rewind(&mut said)?;
    said.read_to_string(&mut text)?;
    if status.success() {
        return Ok(text);
    }
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
        let pid = server.pid().unwrap().to_string();
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
