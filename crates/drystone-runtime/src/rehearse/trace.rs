//! The trace of a rehearsal: what happened, in order, and the digest by which two runs are compared.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The lines of one run. Shared with the runners, which write from tasks of their own.
#[derive(Debug)]
pub(super) struct Trace {
    began: Instant,
    lines: Mutex<Vec<String>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), lines: Mutex::default() }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line with the moment at which it happened, in microseconds since the run began.
    pub(super) fn add(&self, line: &str) {
        let at = self.began.elapsed().as_micros();
        let mut text = String::with_capacity(line.len() + 12);
        let _ = write!(text, "{at:>10} {line}");
        self.lines().push(text);
    }

    /// The time of the run so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines())
    }
}

/// A digest of lines: FNV-1a of 64 bits (Fowler, Noll, Vo), to tell two runs apart, not to withstand anybody.
pub(super) fn digest(lines: &[String]) -> u64 {
    lines.iter().fold(FNV, |all, line| hash(hash(all, line.as_bytes()), b"\n"))
}

/// The digest of bytes, for answers that are too long to write down.
pub(super) fn short(bytes: &[u8]) -> u64 {
    hash(FNV, bytes)
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |all, byte| (all ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
