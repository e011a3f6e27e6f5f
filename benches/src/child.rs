//! Processes beside this one: servers, and suites that need a recorder of their own.
//!
//! This program starts itself again with its role in the environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::events::backlog;
use crate::recorder::Recorder;
use crate::suites::Failure;
use crate::{bare, calls, overload, prices, tenants, work};

/// The variable that says what a process started by this program does, and with which recorder: `prices/off`.
const ROLE: &str = "DRYSTONE_BENCH_ROLE";
/// The variable that says where its data is.
const DATA: &str = "DRYSTONE_BENCH_DATA";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs the application of [`prices`] by its own command line.
    Prices,
    /// Serves the same by a bare axum route.
    Bare,
    /// Measures calls and prints the rounds.
    Calls,
    /// Opens a store of many tenants and prints what that takes.
    Tenants,
    /// Makes a backlog of events.
    Fill,
    /// Drains it and prints what that takes.
    Backlog,
    /// Runs the application of [`work`] by its own command line.
    Work,
    /// Overloads it and prints what came of that.
    Overload,
}

impl Role {
    const ALL: [Self; 8] = [
        Self::Prices,
        Self::Bare,
        Self::Calls,
        Self::Tenants,
        Self::Fill,
        Self::Backlog,
        Self::Work,
        Self::Overload,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Prices => "prices",
            Self::Bare => "bare",
            Self::Calls => "calls",
            Self::Tenants => "tenants",
            Self::Fill => "fill",
            Self::Backlog => "backlog",
            Self::Work => "work",
            Self::Overload => "overload",
        }
    }
}

/// What this process does in its role, if it has one.
pub(crate) fn act() -> Option<ExitCode> {
    let text = std::env::var(ROLE).ok()?;
    let outcome = role(&text).and_then(|(role, recorder)| {
        recorder.install()?;
        let data = PathBuf::from(std::env::var_os(DATA).ok_or_else(|| format!("{DATA} is not set"))?);
        match role {
            Role::Prices => Ok(prices::app(&data).run()),
            Role::Bare => bare::serve(&data).map(|()| ExitCode::SUCCESS),
            Role::Calls => calls::print(&data).map(|()| ExitCode::SUCCESS),
            Role::Tenants => tenants::print(&data).map(|()| ExitCode::SUCCESS),
            Role::Fill => backlog::fill(&data).map(|()| ExitCode::SUCCESS),
            Role::Backlog => backlog::print(&data).map(|()| ExitCode::SUCCESS),
            Role::Work => Ok(work::app(&data).run()),
            Role::Overload => overload::print(&data).map(|()| ExitCode::SUCCESS),
        }
    });
    Some(outcome.unwrap_or_else(|error| {
        eprintln!("{text}: {error}");
        ExitCode::FAILURE
    }))
}

fn role(text: &str) -> Result<(Role, Recorder), Failure> {
    let parsed = text.split_once('/').and_then(|(role, recorder)| {
        Some((Role::ALL.into_iter().find(|known| known.name() == role)?, Recorder::named(recorder)?))
    });
    parsed.ok_or_else(|| format!("{ROLE} is {text:?}; it is set by this program alone").into())
}

/// A command that starts this program in a role.
pub(crate) fn command(role: Role, recorder: Recorder, data: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, format!("{}/{}", role.name(), recorder.name())).env(DATA, data);
    Ok(command)
}

/// The same command on one core alone, by util-linux's `taskset`, which becomes it.
pub(crate) fn pinned(core: &str, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", core]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    pinned
}

/// A server in a process of its own, killed when dropped.
pub(crate) struct Server {
    child: Child,
    data: PathBuf,
    process: &'static str,
}

impl Server {
    /// Starts a server that writes its addresses to `run/<process>.json` below its data, and waits for that.
    pub(crate) fn start(mut command: Command, data: &Path, process: &'static str) -> Result<Self, Failure> {
        // Its standard input ends when this process does, in whatever way.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut server = Self { child, data: data.to_owned(), process };
        let began = Instant::now();
        while !server.file().exists() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server {process} ended with {status} before it served").into());
            }
            if began.elapsed() > START {
                return Err(format!("the server {process} did not start within {} s", START.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    fn file(&self) -> PathBuf {
        self.data.join("run").join(format!("{}.json", self.process))
    }

    /// The address that the process file calls `name`: `gateway` or `internal`.
    pub(crate) fn address(&self, name: &str) -> Result<String, Failure> {
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(self.file())?)?;
        let address =
            file[name].as_str().ok_or_else(|| format!("{} has no {name}", self.file().display()))?;
        Ok(address.to_owned())
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
