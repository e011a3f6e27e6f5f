//! `cargo xtask services`: a PostgreSQL and a NATS to develop against, gone without a trace on Ctrl-C.
//!
//! A shell in a process group of its own starts the servers and waits for the end of its standard input. The write end is held by this
//! process alone, so however this process ends, the shell stops the servers and removes their directory.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::{Result, needs};

/// Arguments: the directory, the directory of PostgreSQL's binaries, its port, the binary of NATS, its port, and the words that change to the servers' user.
const SCRIPT: &str = r#"
directory=$1 binaries=$2 port=$3 nats=$4 nats_port=$5
shift 5
"$@" "$binaries/initdb" --pgdata="$directory/data" --username=postgres --auth=trust --encoding=UTF8 --no-locale \
    >"$directory/log" 2>&1 || { cat "$directory/log" >&2; rm -rf "$directory"; exit 1; }
"$@" "$binaries/postgres" -D "$directory/data" -k "$directory" -p "$port" -c listen_addresses=127.0.0.1 \
    >>"$directory/log" 2>&1 </dev/null &
server=$!
"$@" "$nats" -a 127.0.0.1 -p "$nats_port" -js -sd "$directory/nats" -l "$directory/nats.log" >/dev/null 2>&1 </dev/null &
broker=$!
tries=0
until "$binaries/pg_isready" --quiet --host=127.0.0.1 --port="$port" &&
    grep -q "Server is ready" "$directory/nats.log"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$server" 2>/dev/null || ! kill -0 "$broker" 2>/dev/null; then
        cat "$directory/log" "$directory/nats.log" >&2
        kill -INT "$server" "$broker" 2>/dev/null
        rm -rf "$directory"
        exit 1
    fi
    sleep 0.1
done
echo ready
cat >/dev/null
kill -INT "$server" "$broker" 2>/dev/null
wait "$server" "$broker"
rm -rf "$directory"
"#;

/// Starts the servers, prints their URLs and waits for Ctrl-C.
pub(crate) fn run() -> Result {
    let mut server = start()?;
    println!("{}\n{}", server.url, server.nats_url);
    tell_next(server.port);
    eprintln!("\nCtrl-C stops both and removes {}", server.directory.display());
    let status = server.shell.wait().map_err(|error| format!("the servers cannot be waited for: {error}"))?;
    Err(format!("the servers ended by themselves ({status})"))
}

/// The lines that bring the shop onto the server: its modules log in as roles of their own, which the owner makes.
fn tell_next(port: u16) {
    eprintln!("\nIn another terminal, for the shop's tables and roles, and then for the shop:\n");
    for line in next(port) {
        eprintln!("  {line}");
    }
}

fn next(port: u16) -> [String; 2] {
    let url = |user: &str| format!("postgres://{user}@127.0.0.1:{port}/postgres");
    let runs = format!("DRYSTONE__STORE__URL={}", url("shop"));
    [
        format!("DRYSTONE__STORE__OWNER_URL={} {runs} cargo run -- migrate", url("postgres")),
        format!("{runs} cargo run"),
    ]
}

/// The running servers; they stop when this is dropped.
struct Server {
    url: String,
    nats_url: String,
    port: u16,
    directory: PathBuf,
    shell: Child,
    /// Closed when the servers are to stop. Kept apart from the shell, whose `wait` would close it.
    alive: Option<ChildStdin>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.alive.take());
        // Nothing is left to do about a shell that cannot be waited for.
        let _ = self.shell.wait();
    }
}

fn start() -> Result<Server> {
    needs::ensure(&[needs::POSTGRES, needs::NATS])?;
    let binaries =
        needs::postgres_binaries().ok_or("PostgreSQL's server was here a moment ago and is gone")?;
    let nats = needs::nats_binary().ok_or("the NATS server was here a moment ago and is gone")?;
    let directory = std::env::temp_dir().join(format!("drystone-services-{}", std::process::id()));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .map_err(|error| format!("{}: cannot be made: {error}", directory.display()))?;
    let user = user_change(&directory)?;
    let (port, nats_port) = (free_port()?, free_port()?);
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .args([directory.as_os_str(), binaries.as_os_str()])
        .arg(port.to_string())
        .arg(nats)
        .arg(nats_port.to_string())
        .args(user)
        .current_dir(&directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("sh cannot be started: {error}"))?;
    let mut first = [0; 5];
    let read = shell.stdout.take().map(|mut stdout| stdout.read_exact(&mut first));
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let alive = shell.stdin.take();
    let nats_url = format!("nats://127.0.0.1:{nats_port}");
    let server = Server { url, nats_url, port, directory, shell, alive };
    if matches!(read, Some(Ok(()))) && first == *b"ready" {
        return Ok(server);
    }
    Err("PostgreSQL or NATS did not start; their own words are above".to_owned())
}

/// The words that run a command as the servers' user: PostgreSQL refuses to be root's.
fn user_change(directory: &Path) -> Result<&'static [&'static str]> {
    if !needs::is_root() {
        return Ok(&["env"]);
    }
    let path = directory.to_string_lossy();
    if !needs::succeeds("chown", &["postgres:", &path]) {
        return Err(format!("{path}: cannot be given to the user postgres"));
    }
    Ok(&["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"])
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no port is free on 127.0.0.1: {error}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_next_lines_migrate_as_the_owner_and_run_without_it() {
        let [migrate, run] = next(5433);
        assert_eq!(
            migrate,
            "DRYSTONE__STORE__OWNER_URL=postgres://postgres@127.0.0.1:5433/postgres \
             DRYSTONE__STORE__URL=postgres://shop@127.0.0.1:5433/postgres cargo run -- migrate"
        );
        assert_eq!(run, "DRYSTONE__STORE__URL=postgres://shop@127.0.0.1:5433/postgres cargo run");
    }

    #[test]
    fn waiting_for_the_server_does_not_stop_it() {
        let mut server = start().unwrap();
        let (url, alive) = (server.url.clone(), server.alive.take());
        let waiter = std::thread::spawn(move || server.shell.wait().unwrap());
        // A shell whose input ended would stop the server within this second.
        let psql = needs::postgres_binaries().unwrap().join("psql");
        let output = Command::new(psql).args([&url, "-Atc", "select pg_sleep(1)"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!waiter.is_finished(), "the server still runs");
        drop(alive);
        assert!(waiter.join().unwrap().success());
    }

    #[test]
    fn the_servers_answer_and_leave_nothing_behind() {
        let server = start().unwrap();
        let psql = needs::postgres_binaries().unwrap().join("psql");
        let output = Command::new(psql).args([&server.url, "-Atc", "select 6 * 7"]).output().unwrap();
        assert_eq!(output.stdout, b"42\n", "{}", String::from_utf8_lossy(&output.stderr));
        let mut greeting = [0; 4];
        let address = server.nats_url.strip_prefix("nats://").unwrap().to_owned();
        TcpStream::connect(&address).unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"INFO");
        let directory = server.directory.clone();
        drop(server);
        assert!(!directory.exists());
        assert!(TcpStream::connect(&address).is_err(), "NATS still answers");
    }
}
