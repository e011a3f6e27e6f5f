//! The contract of a ledger in two versions of one proto package, as two releases of an application have it.

/// The contract as it was released first.
pub mod before {
    include!(concat!(env!("OUT_DIR"), "/before/test.ledger.v1.rs"));
}

/// The contract with a field more.
pub mod after {
    include!(concat!(env!("OUT_DIR"), "/after/test.ledger.v1.rs"));
}
