//! A field of a type that no column holds.

use drystone_store::Row;

struct Money(i64);

#[derive(Row)]
struct Order {
    price: Money,
}

#[derive(Row)]
struct Pair(i64, i64);

#[derive(Row)]
struct Renamed {
    #[row(name = "x")]
    value: i64,
}

fn main() {}
