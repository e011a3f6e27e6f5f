//! Where a store lives and which limits it keeps.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::Home;
use secrecy::SecretString;

use crate::migrate::Migrations;

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Location {
    /// Embedded SQLite: files below `<dir>/<module>/`.
    Sqlite {
        /// The directory that holds one directory per module.
        dir: PathBuf,
    },
    /// A PostgreSQL database: a schema and a role per module, made by [`crate::Migrator`].
    Postgres {
        /// The connection string, never printed. Module `orders` logs in as `<user>_orders`, where `<user>` is the string's user,
        /// and as `<user>_orders_relay` where the events of all its tenants are carried.
        url: SecretString,
        /// The password of the module's roles, where it is not the connection string's.
        password: Option<SecretString>,
    },
}

/// What a store needs to open.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where the data is.
    pub location: Location,
    /// The module's migrations.
    pub migrations: Migrations,
    /// The module's name, clock and ids.
    pub home: Arc<Home>,
    /// How long a transaction may be held open; on SQLite the tenant's other writers wait meanwhile. 1 s by default.
    pub hold_limit: Duration,
    /// How many tenants' files stay open. 256 by default.
    pub max_open_files: usize,
    /// How many readers of a file work at once on SQLite. 8 by default.
    pub max_readers: usize,
    /// How many connections a process has for a module's transactions on PostgreSQL; four more are for keys, for the lease and for what carries events.
    /// They are made as needed. 10 by default: three modules in two processes stay below the 100 that a server allows unless it is told otherwise.
    pub max_connections: usize,
    /// Whether a tenant that nobody created is created at its first use; refused with `TENANT_UNKNOWN` otherwise. True by default; an application's
    /// settings say otherwise.
    pub create_tenants: bool,
    /// How long outcomes are kept under their idempotency keys. 7 days by default.
    pub key_retention: Duration,
    /// The types of events that the module may publish, as [`crate::Tx::may_publish`] says. None by default: any.
    pub publishes: Option<Arc<BTreeSet<&'static str>>>,
    /// Whether SQLite's work is done where it is asked for: no thread commits, no file is opened beside the caller, and nothing is synced. For rehearsals, which
    /// repeat only if no thread is part of them; what was acknowledged does not survive a power cut. False by default.
    #[doc(hidden)]
    pub in_place: bool,
    /// What only tests turn.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub testing: Testing,
}

/// Knobs for tests that show what a safeguard is for.
#[cfg(feature = "testing")]
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Testing {
    /// Acknowledge without an fsync.
    pub synchronous_off: bool,
    /// The file's limit in pages: a full disk, at will.
    pub max_pages: Option<u32>,
    /// How old a group may grow before it is committed, where the machine's pace must not decide.
    pub group_age: Option<Duration>,
    /// How long a process may go on without renewing its lease.
    pub lease_lives: Option<Duration>,
}

impl Location {
    /// A PostgreSQL database by its connection string.
    #[must_use]
    pub fn postgres(url: impl Into<SecretString>) -> Self {
        Self::Postgres { url: url.into(), password: None }
    }
}

impl StoreConfig {
    /// The defaults for a module at `home`.
    #[must_use]
    pub fn new(location: Location, migrations: Migrations, home: Arc<Home>) -> Self {
        Self {
            location,
            migrations,
            home,
            hold_limit: Duration::from_secs(1),
            max_open_files: 256,
            max_readers: 8,
            max_connections: 10,
            create_tenants: true,
            key_retention: Duration::from_hours(7 * 24),
            publishes: None,
            in_place: false,
            #[cfg(feature = "testing")]
            testing: Testing::default(),
        }
    }
}
