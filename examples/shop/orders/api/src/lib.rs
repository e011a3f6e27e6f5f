//! What the shop's orders promise to their callers: place, read, list and cancel an order, and the events of its life.
//!
//! Everything here is generated from `proto/shop/orders/v1/orders.proto`; its comments are the documentation.

drystone_call::include_contract!("shop.orders.v1");
