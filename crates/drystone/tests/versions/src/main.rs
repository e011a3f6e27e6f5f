//! A ledger in three releases; the variable `LEDGER_RELEASE` says which one runs, as the version of an image does elsewhere.
//!
//! Release 1 keeps a memo with every entry. Release 2 adds a purpose, in the contract and in the database, and still writes the memo for release 1 beside it.
//! Release 3 takes the memo away.

mod service;

use std::process::ExitCode;

use drystone::App;
use drystone::prelude::*;
use drystone::store::Migrations;
use ledger_api::{after, before};

use crate::service::{First, Second, Third};

const ALL: Migrations = migrations!("migrations");

/// The migrations that a release knows: one more each.
fn known_to(release: usize) -> Migrations {
    Migrations { sqlite: &ALL.sqlite[..release], postgres: &ALL.postgres[..release], ..ALL }
}

fn module(release: usize) -> Module {
    let module = Module::new("ledger").migrations(known_to(release));
    match release {
        1 => module.wire(|w| w.serve(before::LedgerServer::new(First(w.store())))),
        2 => module.wire(|w| w.serve(after::LedgerServer::new(Second(w.store())))),
        _ => module.wire(|w| w.serve(after::LedgerServer::new(Third(w.store())))),
    }
}

fn main() -> ExitCode {
    let release = std::env::var("LEDGER_RELEASE").ok().and_then(|text| text.parse().ok());
    let Some(release @ 1..=3) = release else {
        eprintln!("set LEDGER_RELEASE to 1, 2 or 3");
        return ExitCode::FAILURE;
    };
    App::new("ledger").module(module(release)).run()
}
