//! Counters of one edge, written by the call stack and read by telemetry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::{Code, ContractInfo, Result};

/// Upper bounds of the latency buckets, in nanoseconds: powers of four from 256 ns to about 17 s.
pub const LATENCY_BUCKETS: [u64; 14] = {
    let mut bounds = [256; 14];
    let mut i = 1;
    while i < bounds.len() {
        bounds[i] = bounds[i - 1] * 4;
        i += 1;
    }
    bounds
};

/// What was counted on the edge from one module to one contract.
#[derive(Debug)]
pub struct EdgeMetrics {
    /// The calling module.
    pub from: Arc<str>,
    /// The contract that is called.
    pub contract: &'static ContractInfo,
    /// One entry a method.
    pub methods: Box<[MethodMetrics]>,
    /// Bytes that the encoded runner encoded, requests and responses.
    pub encoded_bytes: AtomicU64,
    /// Bytes that the remote runner sent and received, without headers.
    pub remote_bytes: AtomicU64,
}

/// What was counted for one method on one edge.
#[derive(Debug, Default)]
pub struct MethodMetrics {
    /// Calls that failed, by the number of their code.
    pub failed: [AtomicU64; 17],
    /// Calls whose caller went away before the answer.
    pub dropped: AtomicU64,
    /// Attempts over a wire, the first of each call included.
    pub attempts: AtomicU64,
    /// Attempts after the first.
    pub retries: AtomicU64,
    /// Attempts that might have helped and that the budget did not grant.
    pub retries_refused: AtomicU64,
    /// Calls and attempts that this edge's bulkhead, rate or breaker refused; they were not sent.
    pub refused_here: AtomicU64,
    /// Reads that shared the call of another, or were answered with what one had brought.
    pub coalesced: AtomicU64,
    /// Latency histogram: calls up to the bound of the same index in [`LATENCY_BUCKETS`]; the last holds the rest.
    pub latency: [AtomicU64; 15],
    /// Sum of latencies in nanoseconds.
    pub latency_sum: AtomicU64,
    /// The most that [`Self::ok`] has told.
    told_ok: AtomicU64,
}

impl EdgeMetrics {
    pub(crate) fn new(from: Arc<str>, contract: &'static ContractInfo) -> Self {
        let methods = contract.methods.iter().map(|_| MethodMetrics::default()).collect();
        Self { from, contract, methods, encoded_bytes: AtomicU64::new(0), remote_bytes: AtomicU64::new(0) }
    }
}

impl MethodMetrics {
    pub(crate) fn record<T>(&self, outcome: &Result<T>, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latency[bucket(nanos)].fetch_add(1, Relaxed);
        self.latency_sum.fetch_add(nanos, Relaxed);
        // Those that did not fail follow from the histogram: one count less for each call.
        if let Err(error) = outcome {
            self.failed[failed_index(error.code())].fetch_add(1, Relaxed);
        }
    }

    /// Calls answered, with a response or a failure.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.latency.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Calls answered with a response; never fewer than told before.
    #[must_use]
    pub fn ok(&self) -> u64 {
        let failed: u64 = self.failed.iter().map(|count| count.load(Relaxed)).sum();
        let ok = self.calls().saturating_sub(failed);
        // The counts are read one after the other, so that calls that end in between could let the difference fall.
        self.told_ok.fetch_max(ok, Relaxed).max(ok)
    }
}

/// The place of a latency in [`MethodMetrics::latency`]: the bounds are powers of four, so its bits say it.
fn bucket(nanos: u64) -> usize {
    let bits = u64::BITS - (nanos.saturating_sub(1) / LATENCY_BUCKETS[0]).leading_zeros();
    usize::try_from(bits.div_ceil(2)).unwrap_or(usize::MAX).min(LATENCY_BUCKETS.len())
}

/// The place of a code in [`MethodMetrics::failed`].
fn failed_index(code: Code) -> usize {
    usize::try_from(code.number()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed() {
        let around = |bound: u64| [bound - 1, bound, bound + 1];
        for nanos in LATENCY_BUCKETS.into_iter().flat_map(around).chain([0, 1, u64::MAX]) {
            assert_eq!(bucket(nanos), LATENCY_BUCKETS.partition_point(|bound| *bound < nanos), "{nanos} ns");
        }
    }
}
