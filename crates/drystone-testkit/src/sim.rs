//! The simulator: publish, relay and handle under every fault that we know, from one seed.
//!
//! The engine of events does no I/O of its own: [`drystone_events::Pump`], [`drystone_events::Receiver`], [`drystone_events::Retrier`] and [`drystone_events::Fence`]
//! run here unchanged, against stores, a network and a broker that are simulated. [`Plan::of`] draws from a seed which processes there are, what they
//! publish, and what goes wrong; [`run()`] runs it and compares what was published with what was applied; [`shrink()`] makes a failing plan smaller.
//!
//! # Deterministic to the bit, and why
//!
//! The same plan gives the same trace, in every process and on every machine. That rests on four things, each small enough to read.
//!
//! * **An executor of our own** (`executor.rs`): one thread, tasks in a map by number, wake-ups in the order in which they came; which of the ready tasks
//!   runs is the seed's choice, so that seeds also explore interleavings. Every future that a run polls is polled by this loop.
//! * **Time of our own** (`time.rs`): it moves only when no task can run, and then to the next timer. No clock of the machine is asked, and no thread exists.
//! * **Chance of our own** (`random.rs`): SplitMix64, one stream for each thing that is decided.
//! * **No order that comes from an address or from a hasher**: all maps and sets here are ordered. The engine returns a `HashSet` of ids and only asks what is in
//!   it; of tokio it uses the mutex, whose queue is first come, first served, and no runtime.
//!
//! tokio's own runtime with paused time was the alternative. Its current-thread scheduler is deterministic today and does not promise to be; `select!`
//! draws from its own generator unless each one says `biased`; dropping the tasks of one process at whichever await they stand, and pausing them, would still have to be
//! built. turmoil simulates hosts that speak TCP, on that same runtime: what is to be tested here are commits, claims and conflicts, which it does not know. madsim replaces
//! tokio and the standard library by a `cfg` for the whole build, so that what is tested is not what is shipped.
//!
//! # What is simulated
//!
//! * Two databases. The publisher's takes transaction ids, row locks and numbers in the order in which PostgreSQL takes them, and commits in another; the consumers'
//!   is serializable by validation. Both can refuse a commit, lose the news of one, or be out. On SQLite there is one writer and one process.
//! * A network of calls: late, lost in either direction, twice, cut.
//! * A broker's stream with a chain of expected last sequences, which forgets its tail or everything.
//! * Processes that crash at any await, also around a commit, stand still for longer than their claims live, and come back.
//! * Handlers that fail, undecodable messages, suspended tenants; operators who replay, drop and redrive.
//!
//! # What it deliberately lacks
//!
//! SQL, sockets, and the loops around the engine: the stores' conformance suite and the crash enumerator of real processes have those. A claim about how often a fault
//! happens in the world.

mod check;
mod executor;
mod fault;
mod handling;
mod inbox;
mod inbox_db;
mod lane;
mod network;
mod operator;
mod outbox_db;
mod plan;
mod processes;
mod publisher;
mod random;
mod reader;
mod run;
mod shrink;
mod stream;
mod time;
mod trace;
mod world;

pub use check::{Promise, Violation};
pub use fault::{Counts, Fault, Seen};
pub use plan::{Broken, Database, Plan, Planned, Route};
pub use run::{Outcome, report, run};
pub use shrink::shrink;
