//! The shop's binary: `run`, `up`, `graph`, `routes`, `config`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shop::app().run()
}
