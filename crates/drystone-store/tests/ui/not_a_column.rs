//! A field of a type that no column holds.

use drystone_store::Row;

struct Money(i64);

#[derive(Row)]
struct Order {
    price: Money,
}

fn main() {}
