//! A real binary as a child process.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long a program may take to say what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running binary; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts a binary with arguments and environment, in `dir`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(binary: &str, args: &[&str], env: &[(&str, &str)], dir: &Path) -> Self {
        let mut command = Command::new(binary);
        command.args(args).envs(env.iter().copied()).current_dir(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{binary} cannot be started: {error}"));
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender);
        }
        let stdin = child.stdin.take();
        Self { child, stdin, lines, seen: Vec::new() }
    }

    /// Waits for a line that contains `text`, on either output, and gives what follows `text` on it.
    ///
    /// # Panics
    /// If the program ends or stays silent for a minute, with all that it said.
    pub fn wait_for(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the program never said {text:?}; it said:\n{}", self.seen.join("\n"));
            };
            let rest = line.split_once(text).map(|(_, rest)| rest.trim().to_owned());
            self.seen.push(line);
            if let Some(rest) = rest {
                return rest;
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the program as `kill -9` does.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends a signal by its number, such as 15.
    ///
    /// # Panics
    /// If there is no `kill` command.
    pub fn signal(&self, number: i32) {
        signal(self.pid(), number);
    }

    /// Closes the program's standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end and gives all that the program said.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn wait_for_end(&mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        // Both outputs close when the program and all that it started are gone.
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("the program does not end; it said:\n{}", self.seen.join("\n"))
                }
            }
        }
        (self.child.wait().expect("a child can be waited for"), self.seen.join("\n"))
    }
}

/// Sends a signal to a process.
fn signal(pid: u32, number: i32) {
    let status = Command::new("kill").args([format!("-{number}"), pid.to_string()]).status();
    assert!(status.is_ok(), "there is no `kill` command");
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(output: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}
