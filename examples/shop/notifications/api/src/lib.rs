//! What the shop's notifications promise to their callers: what happened, for whom, in order.
//!
//! Everything here is generated from `proto/shop/notifications/v1/notifications.proto`; its comments are the documentation.

drystone_call::include_contract!("shop.notifications.v1");
