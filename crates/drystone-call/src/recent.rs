//! The keyed calls that ran here lately, so that a repeat of one's own lost attempt is not taken for a repeat of an earlier call.

use std::sync::{Mutex, PoisonError};

/// How many are remembered.
const REMEMBERED: usize = 1024;

/// The span ids of the last keyed calls whose handlers ran here.
///
/// All attempts of a call have its span id. An answer from the record is a replay for the caller unless it is of an attempt of the same call. Where that attempt ran in
/// another process, or long ago, nobody remembers, and the answer is called a replay: it did come from the record.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    spans: Vec<u64>,
    oldest: usize,
}

impl Recent {
    /// Remembers a call.
    pub(crate) fn add(&self, span: u64) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.spans.len() < REMEMBERED {
            ring.spans.push(span);
        } else {
            let oldest = ring.oldest;
            ring.spans[oldest] = span;
            ring.oldest = (oldest + 1) % REMEMBERED;
        }
    }

    /// Whether the call is remembered.
    pub(crate) fn has(&self, span: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spans.contains(&span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let recent = Recent::default();
        (0..2000).for_each(|span| recent.add(span));
        assert!(!recent.has(975) && recent.has(976) && recent.has(1999));
    }
}
