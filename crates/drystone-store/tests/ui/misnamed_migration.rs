//! A directory that is not there.

use drystone_store::{Migrations, migrations};

const MISSING: Migrations = migrations!("no-such-directory");

fn main() {}
