//! Build it whole, take it apart later: the crate that modules depend on.
