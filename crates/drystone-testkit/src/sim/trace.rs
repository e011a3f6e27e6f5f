//! What happened, line by line, and a digest of it: two runs are the same if and only if their traces are.

use std::fmt::{self, Write as _};

/// The trace of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    keep: bool,
    lines: Vec<String>,
    line: String,
    digest: u128,
    count: u64,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self {
            keep,
            lines: Vec::new(),
            line: String::new(),
            digest: 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d,
            count: 0,
        }
    }

    pub(crate) fn note(&mut self, now: i64, process: usize, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:>6}.{:03} ms  p{process}  {what}", now / 1000, now % 1000);
        self.count += 1;
        for chunk in self.line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.digest = (self.digest ^ u128::from(u64::from_le_bytes(word)))
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
                .rotate_left(29);
        }
        if self.keep {
            self.lines.push(self.line.clone());
        }
    }

    /// A digest of every line, in order.
    pub(crate) fn digest(&self) -> String {
        format!("{:032x}-{}", self.digest, self.count)
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}
