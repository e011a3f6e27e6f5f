//! How the shop is rehearsed: a busy day with faults between its modules, and what must be true in the evening.
//!
//! What is compared is what callers were told, in the books, with what the modules hold. Every caller asks again with the same key until it is answered, but some
//! who go away: their orders may stay interrupted, which must be visible, and a repeat must complete them.

mod books;
mod invariants;
mod repeats;
mod workload;

use drystone::Rehearsal;

use books::Books;

/// Money that is in the wrong place.
pub const MONEY: &str = "money is conserved";
/// Units that are in the wrong place.
pub const STOCK: &str = "stock is conserved";
/// An order that was acknowledged and is not there, or is another one.
pub const ORDERS: &str = "no order is lost";
/// An order that was charged twice.
pub const CHARGES: &str = "an order is charged once";
/// An answer that no caller should get.
pub const ANSWERS: &str = "a repeat is answered as the first time";
/// An order that was told twice, or not at all.
pub const TOLD: &str = "everything is told once";
/// An interrupted order that does not look like one, or that a repeat does not complete.
pub const INTERRUPTED: &str = "an interrupted order is visible and a repeat completes it once";

/// The workload and the invariants of the shop.
#[must_use]
pub fn rehearsal() -> Rehearsal<Books> {
    Rehearsal::new(workload::a_busy_day)
        .settings("[tenants]\ncreate = [\"demo\", \"acme\"]\n")
        .invariant(ANSWERS, invariants::answers)
        .invariant(ORDERS, invariants::orders)
        .invariant(CHARGES, invariants::charges)
        .invariant(MONEY, invariants::money)
        .invariant(STOCK, invariants::stock)
        .invariant(TOLD, invariants::told)
        // Last, for it changes what there is.
        .invariant(INTERRUPTED, repeats::interrupted)
}
