//! Generates the contract from its `.proto` file.

fn main() {
    drystone_codegen::build("proto");
}
