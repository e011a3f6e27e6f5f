//! Under which runner a test's modules call each other, on which database their stores are, and the macros that run a test under all of them.

use std::cell::Cell;

use drystone_call::Profile;

/// How the modules of a test call each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The message moves.
    Direct,
    /// The message is encoded and decoded.
    Encoded,
    /// As to another process, with the faults of a profile on the way, from a seed that the test's name gives.
    Faulty(Profile),
    /// Every module in a process of its own as far as the modules can tell: own stores, own port, own certificate, mutual TLS.
    Remote,
}

impl Runner {
    /// Every runner; the faulty one with the faults that the call stack absorbs.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Encoded, Self::Faulty(Profile::Absorbable), Self::Remote];
}

/// On which database the stores of a test are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Embedded SQLite, in the test's own directory.
    Sqlite,
    /// A database of the test's own on the [`Postgres`](crate::Postgres) of the test's process.
    Postgres,
}

impl On {
    /// Both databases.
    pub const BOTH: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

/// A runner and a database: what a test that [`on_both_databases!`](crate::on_both_databases) runs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Under {
    /// How the modules call each other.
    pub runner: Runner,
    /// Where their stores are.
    pub on: On,
}

/// Runs test functions of the form `async fn name(runner: Runner)` under every runner.
///
/// Each becomes a test `direct::name`, `encoded::name`, `faulty::name` and `remote::name`; faulty is with the faults that the call stack absorbs.
#[macro_export]
macro_rules! under_every_runner {
    ($($name:ident),+ $(,)?) => {
        $crate::under_every_runner!(@each direct 0 $($name)+);
        $crate::under_every_runner!(@each encoded 1 $($name)+);
        $crate::under_every_runner!(@each faulty 2 $($name)+);
        $crate::under_every_runner!(@each remote 3 $($name)+);
    };
    (@each $module:ident $runner:literal $($name:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Runner::ALL[$runner]).await;
            })+
        }
    };
}

/// Runs test functions of the form `async fn name(under: Under)` under every runner, on both databases.
///
/// On SQLite each becomes a test `sqlite_direct::name`, `sqlite_encoded::name`, `sqlite_faulty::name` and `sqlite_remote::name`. On PostgreSQL there is one
/// test a runner, `postgres::direct`, `postgres::encoded`, `postgres::faulty` and `postgres::remote`, which runs the functions one after another on one server, since starting the server takes
/// longer than most functions; it says which one it runs, and which one failed.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        $crate::on_both_databases!(@sqlite sqlite_direct 0 $($name)+);
        $crate::on_both_databases!(@sqlite sqlite_encoded 1 $($name)+);
        $crate::on_both_databases!(@sqlite sqlite_faulty 2 $($name)+);
        $crate::on_both_databases!(@sqlite sqlite_remote 3 $($name)+);
        mod postgres {
            $crate::on_both_databases!(@postgres direct 0 $($name)+);
            $crate::on_both_databases!(@postgres encoded 1 $($name)+);
            $crate::on_both_databases!(@postgres faulty 2 $($name)+);
            $crate::on_both_databases!(@postgres remote 3 $($name)+);
        }
    };
    (@sqlite $module:ident $runner:literal $($name:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Under { runner: $crate::Runner::ALL[$runner], on: $crate::On::Sqlite }).await;
            })+
        }
    };
    (@postgres $test:ident $runner:literal $($name:ident)+) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            $({
                let _case = $crate::Case::begin(stringify!($name));
                super::$name($crate::Under { runner: $crate::Runner::ALL[$runner], on: $crate::On::Postgres }).await;
            })+
        }
    };
}

thread_local! {
    static CASE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// One of several cases of a test: says when it begins, and when it fails.
#[doc(hidden)]
#[derive(Debug)]
pub struct Case(&'static str);

impl Case {
    /// Begins a case.
    #[must_use]
    pub fn begin(name: &'static str) -> Self {
        println!("case {name}");
        CASE.set(Some(name));
        Self(name)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        CASE.set(None);
        if std::thread::panicking() {
            eprintln!("the case that failed is `{}`", self.0);
        }
    }
}

/// The variable that overrides the seed of [`Runner::Faulty`].
pub(crate) const SEED: &str = "DRYSTONE_SEED";

/// The seed of this test's faults: of its name without its module, so that a test has the same faults on both databases.
///
/// # Panics
/// If `DRYSTONE_SEED` is set and not a number that TOML can hold.
pub(crate) fn seed_of_test() -> u64 {
    if let Ok(text) = std::env::var(SEED) {
        let seed = text.parse().ok().filter(|seed| i64::try_from(*seed).is_ok());
        return seed.unwrap_or_else(|| panic!("{SEED}={text} is not a number from 0 to {}", i64::MAX));
    }
    let thread = std::thread::current();
    let name = CASE.get().or(thread.name()).unwrap_or_default();
    let name = name.rsplit("::").next().unwrap_or(name);
    // FNV-1a, of which 20 bits are short enough to be typed.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) & 0xf_ffff
}
