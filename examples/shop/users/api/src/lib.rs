//! What the shop's users promise to their callers: create, read and list the people who order.
//!
//! Everything here is generated from `proto/shop/users/v1/users.proto`; its comments are the documentation.

drystone_call::include_contract!("shop.users.v1");
