//! W3C Trace Context.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The position of a call in its trace.
///
/// Source: W3C Trace Context, <https://www.w3.org/TR/trace-context/>. `tracestate` is not carried yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// The root of a new trace.
    #[must_use]
    pub fn root() -> Self {
        Self {
            trace_id: (u128::from(random()) << 64) | u128::from(random()),
            span_id: random(),
            sampled: true,
        }
    }

    /// The same trace, one span further.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: random(), ..self }
    }

    /// Reads a `traceparent` header; `None` if it is not one, as the specification asks (a new trace then begins).
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let lengths = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
        let closed = version != "00" || parts.next().is_none();
        if !lengths || !closed || version == "ff" || ![version, trace, span, flags].into_iter().all(lower_hex)
        {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span's id.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        self.span_id
    }
}

/// The form of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every request and every call over a wire writes one, and the formatter would show in their profiles.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], &self.trace_id.to_be_bytes());
        hex(&mut text[36..52], &self.span_id.to_be_bytes());
        hex(&mut text[53..], &[u8::from(self.sampled)]);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Writes `bytes` as lower-case digits, two a byte.
fn hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()));
}

/// Makes the random numbers of this thread repeat from a seed.
pub(crate) fn seed_thread(seed: u64) {
    STATE.set(mix(seed));
}

/// A non-zero random number, from a SplitMix64 a thread seeded by the standard library's random hasher keys.
/// Span ids need to be distinct, not secret.
pub(crate) fn random() -> u64 {
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        mix(next).max(1)
    })
}

/// The output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trips() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceContext::parse(header).unwrap().to_string(), header);
        let future = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(TraceContext::parse(future).is_some());
    }

    #[test]
    fn malformed_traceparents_are_refused() {
        for header in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }
}
