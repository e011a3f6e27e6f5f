//! Runners, fault injection and conformance suites for tests.
