//! The contract.

drystone_call::include_contract!("test.crashes.v1");
