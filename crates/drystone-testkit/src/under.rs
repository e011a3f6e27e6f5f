//! Under which runner a test's modules call each other, on which database their stores are, and the macros that run a test under all of them.

/// How the modules of a test call each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The message moves.
    Direct,
    /// The message is encoded and decoded.
    Encoded,
    /// Every module in a process of its own as far as the modules can tell: own stores, own port, own certificate, mutual TLS.
    Remote,
}

impl Runner {
    /// Every runner.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Encoded, Self::Remote];
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
/// Each becomes a test `direct::name`, `encoded::name` and `remote::name`.
#[macro_export]
macro_rules! under_every_runner {
    ($($name:ident),+ $(,)?) => {
        $crate::under_every_runner!(@each direct Direct $($name)+);
        $crate::under_every_runner!(@each encoded Encoded $($name)+);
        $crate::under_every_runner!(@each remote Remote $($name)+);
    };
    (@each $module:ident $runner:ident $($name:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Runner::$runner).await;
            })+
        }
    };
}

/// Runs test functions of the form `async fn name(under: Under)` under every runner, on both databases.
///
/// On SQLite each becomes a test `sqlite_direct::name`, `sqlite_encoded::name` and `sqlite_remote::name`. On PostgreSQL there is one test a runner,
/// `postgres::direct`, `postgres::encoded` and `postgres::remote`, which runs the functions one after another on one server, since starting the server takes
/// longer than most functions; it says which one it runs, and which one failed.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        $crate::on_both_databases!(@sqlite sqlite_direct Direct $($name)+);
        $crate::on_both_databases!(@sqlite sqlite_encoded Encoded $($name)+);
        $crate::on_both_databases!(@sqlite sqlite_remote Remote $($name)+);
        mod postgres {
            $crate::on_both_databases!(@postgres direct Direct $($name)+);
            $crate::on_both_databases!(@postgres encoded Encoded $($name)+);
            $crate::on_both_databases!(@postgres remote Remote $($name)+);
        }
    };
    (@sqlite $module:ident $runner:ident $($name:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Under { runner: $crate::Runner::$runner, on: $crate::On::Sqlite }).await;
            })+
        }
    };
    (@postgres $test:ident $runner:ident $($name:ident)+) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            $({
                let _case = $crate::Case::begin(stringify!($name));
                super::$name($crate::Under { runner: $crate::Runner::$runner, on: $crate::On::Postgres }).await;
            })+
        }
    };
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
        Self(name)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case that failed is `{}`", self.0);
        }
    }
}
