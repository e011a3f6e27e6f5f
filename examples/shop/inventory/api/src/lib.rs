//! What the shop's inventory promises to its callers: the catalogue, and stock that can be reserved, released and confirmed.
//!
//! Everything here is generated from `proto/shop/inventory/v1/inventory.proto`; its comments are the documentation.

drystone_call::include_contract!("shop.inventory.v1");
