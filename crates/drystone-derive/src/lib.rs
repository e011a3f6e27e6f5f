//! Derive macros of the store.
