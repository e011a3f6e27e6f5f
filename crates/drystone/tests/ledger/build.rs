//! Generates both versions of the contract, each into a directory of its own, for they are one proto package.

use std::path::PathBuf;

use drystone_codegen::Builder;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it for build scripts"));
    for version in ["before", "after"] {
        let directory = out.join(version);
        std::fs::create_dir_all(&directory).expect("the directory is cargo's");
        Builder::new(version).out_dir(directory).build();
    }
}
