//! The contract of an application whose processes are killed: a ledger, and two copies of it that are made of its events.

drystone_call::include_contract!("test.crashes.v1");
