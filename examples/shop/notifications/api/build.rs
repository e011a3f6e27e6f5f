//! Generates the contract from its `.proto` files.

fn main() {
    drystone_codegen::build("proto");
}
