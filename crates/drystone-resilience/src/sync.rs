//! The primitives of shared state, in one place.
//!
//! Files that share state take them from `crate::sync`. The test target `tests/loom` compiles the same files with another `crate::sync`, loom's, which
//! tries every order in which threads can meet.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};
