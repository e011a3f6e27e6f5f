//! The orders of the guide's examples: a module that calls the inventory.

drystone_call::include_contract!("guide.orders.v1");
