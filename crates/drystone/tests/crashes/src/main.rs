//! A small application that lives on its events: a ledger, and two copies of it that must come out the same, whatever is killed when.

mod copies;
mod ledger;

use std::process::ExitCode;

use drystone::App;

fn main() -> ExitCode {
    App::new("crashes").module(ledger::module()).module(copies::mirror()).module(copies::audit()).run()
}
