//! A process of the application under test: what it says may come in any order, and it is killed at any time.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a process may take to say what a test waits for.
const PATIENCE: Duration = Duration::from_secs(40);

/// A process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    said: Said,
}

/// What a process has said so far.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    /// What follows `text` on the first line that has it.
    pub(crate) fn after(&self, text: &str) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find_map(|line| Some(line.split_once(text)?.1.trim().to_owned()))
    }

    /// Everything.
    pub(crate) fn all(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    fn listen(&self, output: impl Read + Send + 'static) {
        let said = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }
}

impl Process {
    pub(crate) fn start(args: &[&str], env: &[(String, String)], dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crashes"));
        command.args(args).envs(env.iter().map(|(name, value)| (name, value))).current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the application can be started");
        let said = Said::default();
        said.listen(child.stdout.take().expect("it is piped"));
        said.listen(child.stderr.take().expect("it is piped"));
        Self { child, said }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// Waits until it says `text`, and gives what follows on the line.
    pub(crate) async fn says(&self, text: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(rest) = self.said.after(text) {
                return rest;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the process never said {text:?}; it said:\n{}",
                self.said.all()
            );
            pause().await;
        }
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Runs to the end, which must be a good one.
    pub(crate) fn succeeds(args: &[&str], env: &[(String, String)], dir: &Path) {
        let mut process = Self::start(args, env, dir);
        let status = process.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{args:?}: {}", process.said.all());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two looks at something that another process does.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
