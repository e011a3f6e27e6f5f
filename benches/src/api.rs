//! The contract that the suites call, generated.

#![expect(dead_code, unreachable_pub, reason = "generated code is whole, whatever is used of it")]

drystone_call::include_contract!("bench.prices.v1");
