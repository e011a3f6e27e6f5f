//! Bulkhead: at most so many calls at once, the rest refused at once.
//!
//! A ship's hull is divided by bulkheads, so that one hole does not sink it. Here the water is waiting: a callee that hangs keeps every call to it in flight,
//! and without a bound those take the memory, the connections and the patience that the calls to others need. A bulkhead bounds how much of a caller one
//! callee can hold (Nygard, *Release It!*, 2007). It has no queue: who waits in front of a hung callee is in the same trouble as who waits in it. A limit
//! that finds its own size is [`AdaptiveLimit`](crate::AdaptiveLimit), one with a queue [`Admission`](crate::Admission).

mod layer;
mod slots;

pub use layer::{BulkheadEvent, BulkheadFull, BulkheadLayer};
pub use slots::{Bulkhead, Slot};
