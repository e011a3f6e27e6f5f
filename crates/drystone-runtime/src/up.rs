//! `up`: every process of the topology as a child of this one.
//!
//! A child stops when its standard input ends. So closing that pipe is how the parent asks it to stop, and a parent that is killed
//! takes its children along: none is orphaned. A child that ends unasked is started again, with a growing pause.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::StartError;
use crate::cli::Files;
use crate::commands::policy;
use crate::graph::Graph;
use crate::settings::{ENV_PREFIX, Settings};
use crate::signals::{Hangups, stop_signal};
use crate::surroundings::AppSettings;
use crate::topology::{Process, Topology};

/// The pause before the first restart; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A child that ran this long starts with [`FIRST_PAUSE`] again.
const STEADY: Duration = Duration::from_secs(30);

/// Runs the topology until a signal, then stops the children, callers before those they call.
pub(crate) async fn run(
    settings: &Settings,
    mut topology: Topology,
    graph: &Graph,
    files: &Files,
) -> Result<(), StartError> {
    let drain = settings.section::<AppSettings>("app")?.drain();
    if topology.is_split() {
        choose_ports(&mut topology)?;
    }
    let (stop, mut hangups) = (stop_signal()?, Hangups::new()?);
    let width = topology.processes.iter().map(|process| process.name.len()).max().unwrap_or(0);
    let mut children = Vec::new();
    for name in stop_order(&topology, graph) {
        let process = topology.process(&name)?.clone();
        let (stopper, stopping) = watch::channel(false);
        let supervisor = Supervisor {
            process,
            addresses: addresses(&topology),
            files: files.clone(),
            label: format!("{name:width$} | "),
            drain,
            stopping,
        };
        children.push((stopper, tokio::spawn(supervisor.run())));
    }
    let reload = async {
        loop {
            hangups.next().await;
            // The children do not hear the signal, in process groups of their own.
            if let Err(error) = policy::reload(settings).await {
                eprintln!("{error}");
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = reload => {}
    }
    for (stopper, child) in children {
        // An error means that the supervisor ended already.
        let _ = stopper.send(true);
        let _ = child.await;
    }
    Ok(())
}

/// Gives every process without an address a free port of loopback.
fn choose_ports(topology: &mut Topology) -> Result<(), StartError> {
    if let Some(lost) = topology.processes.iter().find(|p| p.listen.is_none() && p.reach.is_some()) {
        return Err(StartError::Topology(format!(
            "process `{0}` is found by processes.{0}.reach, so `up` chooses no port for it: set processes.{0}.listen to one of its addresses",
            lost.name
        )));
    }
    // All are held until all are chosen, so that no two are equal.
    let mut held = Vec::new();
    for process in topology.processes.iter_mut().filter(|process| process.listen.is_none()) {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(|error| StartError::part("choosing a port", error))?;
        process.listen = listener.local_addr().ok();
        held.push(listener);
    }
    Ok(())
}

fn addresses(topology: &Topology) -> Vec<(String, SocketAddr)> {
    topology.processes.iter().filter_map(|p| Some((p.name.clone(), p.listen?))).collect()
}

/// The processes with every caller before those it calls; `main`, which has the gateway, comes first.
fn stop_order(topology: &Topology, graph: &Graph) -> Vec<String> {
    let mut left: Vec<&Process> = topology.processes.iter().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let called_by_others = |process: &Process| {
            left.iter().any(|other| {
                other.name != process.name
                    && graph.edges.iter().any(|edge| {
                        other.modules.iter().any(|m| **m == *edge.from)
                            && process.modules.iter().any(|m| **m == *edge.to)
                    })
            })
        };
        let next = left.iter().position(|p| order.is_empty() || !called_by_others(p)).unwrap_or(0);
        order.push(left.remove(next).name.clone());
    }
    order
}

struct Supervisor {
    process: Process,
    addresses: Vec<(String, SocketAddr)>,
    files: Files,
    label: String,
    drain: Duration,
    stopping: watch::Receiver<bool>,
}

impl Supervisor {
    /// Keeps the child running until asked to stop.
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            match self.spawn() {
                Ok((child, stdin)) => {
                    if self.watch(child, stdin).await {
                        return;
                    }
                }
                Err(error) => eprintln!("{}could not be started: {error}", self.label),
            }
            if began.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            eprintln!("{}starts again in {} ms", self.label, pause.as_millis());
            tokio::select! {
                () = sleep_until(Instant::now() + pause) => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn spawn(&self) -> std::io::Result<(Child, ChildStdin)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--until-stdin-ends", "--process", &self.process.name]);
        for (flag, file) in [("--config", &self.files.config), ("--topology", &self.files.topology)] {
            if let Some(file) = file {
                command.arg(flag).arg(file);
            }
        }
        for (name, address) in &self.addresses {
            command
                .env(format!("{ENV_PREFIX}PROCESSES__{}__LISTEN", name.to_uppercase()), address.to_string());
        }
        // The owner migrates; the processes do without.
        command.env_remove(format!("{ENV_PREFIX}STORE__OWNER_URL"));
        // A process group of its own: Ctrl-C in a terminal reaches the parent alone, which stops the children in order.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin =
            child.stdin.take().ok_or_else(|| std::io::Error::other("the child has no standard input"))?;
        if let Some(output) = child.stdout.take() {
            tokio::spawn(copy_lines(self.label.clone(), output, |line| println!("{line}")));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(copy_lines(self.label.clone(), output, |line| eprintln!("{line}")));
        }
        Ok((child, stdin))
    }

    /// Waits for the child's end; true if it was asked for.
    async fn watch(&mut self, mut child: Child, stdin: ChildStdin) -> bool {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            ended = child.wait() => {
                match ended {
                    Ok(status) => eprintln!("{}ended unasked: {status}", self.label),
                    Err(error) => eprintln!("{}cannot be watched: {error}", self.label),
                }
                return *self.stopping.borrow();
            }
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        drop(stdin);
        // The child drains within its own limit; a second more for its stores to close.
        if timeout(self.drain + Duration::from_secs(1), child.wait()).await.is_err() {
            eprintln!("{}did not stop in time and is killed", self.label);
            if let Err(error) = child.kill().await {
                eprintln!("{}cannot be killed: {error}", self.label);
            }
        }
        true
    }
}

/// Copies lines with a prefix until the output ends.
async fn copy_lines(label: String, output: impl AsyncRead + Unpin, print: fn(String)) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        print(format!("{label}{}", String::from_utf8_lossy(&line)));
    }
}
