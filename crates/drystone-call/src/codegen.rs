//! What generated code needs, under one name, so that a contract crate depends on this crate and prost alone.

pub use futures_util::future::BoxFuture;
pub use {pbjson, pbjson_types, prost, serde};
