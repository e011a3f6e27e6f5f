//! The contract that the suites call, generated.

#![allow(unreachable_pub, reason = "generated code is public where it stands")]

drystone_call::include_contract!("bench.prices.v1");
