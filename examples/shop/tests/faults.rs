//! The database fails under load, and the shop comes back by itself: PostgreSQL restarted, its backends killed, its disk full, its connections dead;
//! SQLite without space and with syncs that fail.
//!
//! Each case runs the shop's binary with writers and readers of several tenants, who repeat what failed as a client does, and then asks: does it serve
//! again without a restart, is every acknowledged order there once, did callers meet only errors that they may repeat, is the pool whole?

#[path = "faults/books.rs"]
mod books;
#[path = "faults/line.rs"]
mod line;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/pool.rs"]
mod pool;
#[path = "faults/postgres.rs"]
mod postgres;
#[path = "faults/sqlite.rs"]
mod sqlite;
#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;
#[path = "faults/world.rs"]
mod world;
