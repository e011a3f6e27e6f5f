//! Structs that a row cannot be mapped to.

use drystone_store::{Column, Row};

#[derive(Row)]
struct Pair(i64, i64);

#[derive(Row)]
struct Renamed {
    #[row(name = "x")]
    value: i64,
}

#[derive(Column)]
struct Money {
    minor_units: i64,
}

fn main() {}
