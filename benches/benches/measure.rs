//! Runs the suites that its arguments name; see `benches/README.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    drystone_benches::main()
}
