//! `cargo xtask tour`: does what the README tells its reader to do, and compares what is printed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::markdown::blocks;
use crate::tour_script::{Session, Step, matches};
use crate::{Result, needs, tree};

const README: &str = "README.md";
/// Long enough for a first build on two cores.
const START: Duration = Duration::from_mins(30);
/// How long it may take until a read shows what is told by events.
const SEEN: Duration = Duration::from_secs(10);
/// Longer than a server's own limit for draining.
const STOP: Duration = Duration::from_secs(60);

/// Runs every session in order. A server runs until the next one starts or the tour ends.
pub(crate) fn run() -> Result {
    needs::ensure(&[needs::CURL])?;
    let path = tree::root().join(README);
    let page =
        fs::read_to_string(&path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    let mut server: Option<Server> = None;
    let mut count = 0;
    for block in blocks(&page).iter().filter(|block| block.language == "console") {
        let session =
            Session::parse(&block.lines).map_err(|text| format!("{README}:{}: {text}", block.line))?;
        for step in &session.steps {
            eprintln!("$ {}", step.command);
            let outcome = if step.is_server() {
                drop(server.take());
                empty_data().and_then(|()| Server::start(step)).map(|started| server = Some(started))
            } else {
                until_seen(step.only_reads(), || run_to_end(step))
            };
            outcome.map_err(|text| format!("{README}:{}: this session fails\n{text}", block.line))?;
            count += 1;
        }
    }
    println!("tour: {count} commands, ok");
    Ok(())
}

/// Runs a command, and one that only reads again until it prints what it should: what a module learns by an event, it learns a moment later.
fn until_seen(only_reads: bool, mut run: impl FnMut() -> Result) -> Result {
    let began = Instant::now();
    loop {
        match run() {
            Err(_) if only_reads && began.elapsed() < SEEN => thread::sleep(Duration::from_millis(50)),
            done => return done,
        }
    }
}

fn run_to_end(step: &Step) -> Result {
    let output = shell(step).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("sh cannot be started: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = step.compare(&String::from_utf8_lossy(&output.stdout));
    printed.map_err(|text| format!("{text}\n--- errors\n{errors}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("$ {}\n--- {}\n{errors}", step.command, output.status))
}

/// The command in a shell, on data of the tour's own.
fn shell(step: &Step) -> Command {
    let mut command = Command::new("sh");
    let line = if step.is_server() { format!("exec {}", step.command) } else { step.command.clone() };
    command.args(["-c", &line]).current_dir(tree::root());
    command.env("DRYSTONE__APP__DATA", data());
    command
}

fn data() -> std::path::PathBuf {
    tree::root().join("target/tour")
}

/// Every server starts as on the first day.
fn empty_data() -> Result {
    match fs::remove_dir_all(data()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: cannot be removed: {error}", data().display()))
        }
        _ => Ok(()),
    }
}

/// A running server; it is stopped when this is dropped.
struct Server {
    child: Child,
}

impl Server {
    /// Starts the server and waits until it has printed every expected line.
    fn start(step: &Step) -> Result<Self> {
        let spawned = shell(step).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("sh cannot be started: {error}"))?;
        let lines = lines_of(&mut child);
        let server = Self { child };
        await_lines(&lines, step)?;
        Ok(server)
    }

    /// Asks the server's process group to stop, as a terminal or a service manager would.
    fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} -- -{}", self.child.id());
        needs::succeeds("sh", &["-c", &kill]);
    }

    /// Whether the server ends within a time.
    fn ends_within(&mut self, time: Duration) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < time {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("TERM");
        if !self.ends_within(STOP) {
            eprintln!("the server does not stop within {STOP:?} and is killed");
            self.signal("KILL");
            self.ends_within(STOP);
        }
    }
}

/// The server's lines as they come; the thread goes on reading, so that the server never waits for a full pipe.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                // Once the tour waits for no more lines, they are only drained.
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

/// Waits until every expected line was printed, in whatever order: processes that start side by side print side by side.
fn await_lines(lines: &Receiver<String>, step: &Step) -> Result {
    let began = Instant::now();
    let mut open: Vec<&String> = step.expect.iter().collect();
    let mut seen = Vec::new();
    while let Some(next) = open.first() {
        let left = START.saturating_sub(began.elapsed());
        let Ok(line) = lines.recv_timeout(left) else {
            return Err(format!("the server did not print `{next}`, but\n{}", seen.join("\n")));
        };
        if let Some(at) = open.iter().position(|expect| matches(expect, line.trim_end())) {
            open.remove(at);
        }
        seen.push(line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &str, expect: &[&str]) -> Step {
        Step { command: command.to_owned(), expect: expect.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn a_command_must_print_what_the_page_says() {
        assert_eq!(run_to_end(&step("echo one; echo two", &["one", "t..."])), Ok(()));
        assert!(run_to_end(&step("echo one; echo oops >&2", &["two"])).unwrap_err().contains("oops"));
        assert!(run_to_end(&step("echo one; exit 3", &["one"])).unwrap_err().contains("3"));
    }

    #[test]
    fn a_read_is_repeated_until_it_shows_what_it_should() {
        let mut runs = 0;
        let mut third = || {
            runs += 1;
            if runs == 3 { Ok(()) } else { Err(runs.to_string()) }
        };
        assert_eq!(until_seen(false, &mut third), Err("1".to_owned()), "what writes runs once");
        assert_eq!(until_seen(true, &mut third), Ok(()));
    }

    #[test]
    fn a_server_is_started_and_stopped_with_its_children() {
        let mut server = Server::start(&step("sleep 600 & echo ready; wait", &["ready"])).unwrap();
        assert!(matches!(server.child.try_wait(), Ok(None)));
        server.signal("TERM");
        assert!(server.ends_within(STOP));
    }

    #[test]
    fn a_server_is_waited_for_by_its_lines() {
        let (sender, receiver) = mpsc::channel();
        for line in ["building", "listening on http://127.0.0.1:1", "ready"] {
            sender.send(line.to_owned()).unwrap();
        }
        drop(sender);
        assert_eq!(await_lines(&receiver, &step("cargo run", &["ready", "listening on ..."])), Ok(()));
        let error = await_lines(&receiver, &step("cargo run", &["more"])).unwrap_err();
        assert!(error.contains("`more`"), "{error}");
    }
}
