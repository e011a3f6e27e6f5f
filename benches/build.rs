//! Generates the contract that the suites call.

fn main() {
    drystone_codegen::build("proto");
}
