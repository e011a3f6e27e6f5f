//! The cut between a commit on SQLite and its answer: a library before the C library's `fsync`, armed for one sync of one call.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::site::PATIENCE;

/// A shop in which nothing synced for so long is at rest: a relay stores 200 ms after the last message how far it has come.
const REST: Duration = Duration::from_millis(400);

/// Where the library and what arms it lie.
pub(crate) struct Cut(TempDir);

/// What happens after the sync.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// The process is killed, as `kill -9` does.
    Kill,
    /// The thread that called it waits until the cut is disarmed.
    Hold,
}

impl Cut {
    /// Compiles the library.
    ///
    /// # Panics
    /// If there is no C compiler.
    pub(crate) fn new() -> Self {
        let cut = Self(TempDir::new().expect("a temporary directory"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/idempotency/cut.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(cut.file("cut.so")).arg(source);
        assert!(cc.status().expect("cc is there, for SQLite was built with it").success());
        cut
    }

    /// The settings that put the library into a process and its children.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(self.file("cut.so"))),
            ("DRYSTONE_CUT".to_owned(), text(self.0.path().to_owned())),
        ]
    }

    /// Waits until the shop is at rest: the next syncs are those of the next call and of what follows from it.
    ///
    /// # Panics
    /// If it is not within a minute.
    pub(crate) async fn at_rest(&self) {
        let began = Instant::now();
        loop {
            self.arm(1_000_000, Then::Hold);
            tokio::time::sleep(REST).await;
            if self.disarm() == 0 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the shop is not at rest within {PATIENCE:?}");
        }
    }

    /// Arms it for the sync of this number from now on, the first being 1.
    pub(crate) fn arm(&self, number: usize, then: Then) {
        self.disarm();
        let letter = match then {
            Then::Kill => 'k',
            Then::Hold => 'h',
        };
        // Renamed into place, so that it is never read half written.
        std::fs::write(self.file("new"), format!("{number}{letter}")).expect("the directory is the test's");
        std::fs::rename(self.file("new"), self.file("armed")).expect("the directory is the test's");
    }

    /// Lets a held thread go on; nothing is cut from now on. Says how many syncs were counted since it was armed.
    pub(crate) fn disarm(&self) -> usize {
        // None of the files need be there.
        let _ = std::fs::remove_file(self.file("armed"));
        let count = std::fs::metadata(self.file("count")).map_or(0, |count| count.len());
        for name in ["count", "held"] {
            let _ = std::fs::remove_file(self.file(name));
        }
        usize::try_from(count).expect("few")
    }

    /// Whether a thread is held.
    pub(crate) fn holds(&self) -> bool {
        self.file("held").exists()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
