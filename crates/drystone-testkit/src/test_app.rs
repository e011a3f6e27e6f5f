//! Modules under a chosen runner, inside the test's process.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use drystone_call::{Context, ContractClient, IdempotencyKey, Served};
use drystone_runtime::{App, Module, Running};
use tempfile::TempDir;

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

/// What a runner leaves behind when it really ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes that the encoded runner encoded.
    pub encoded_bytes: u64,
    /// Bytes of messages that crossed a connection.
    pub remote_bytes: u64,
    /// Connections between processes.
    pub connections: u64,
}

/// Declares a [`TestApp`].
#[derive(Clone, Debug)]
#[must_use = "a test application runs once it is started"]
pub struct TestAppBuilder {
    app: App,
    modules: Vec<String>,
    runner: Runner,
    settings: String,
}

impl TestAppBuilder {
    /// Serves a contract by a fake: `.fake(InventoryServer::new(FakeInventory))`.
    pub fn fake(mut self, served: Served) -> Self {
        let name = format!("fake{}", self.modules.len());
        self.modules.push(name.clone());
        self.app = self.app.module(Module::new(&name).wire(move |w| w.serve(served.clone())));
        self
    }

    /// Chooses the runner; [`Runner::Direct`] otherwise.
    pub fn runner(mut self, runner: Runner) -> Self {
        self.runner = runner;
        self
    }

    /// More settings, as TOML.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self
    }

    /// Starts the application on stores of its own.
    ///
    /// # Panics
    /// If it does not start, with the reason.
    pub async fn start(self) -> TestApp {
        let data = TempDir::new().expect("a temporary directory");
        let mut settings = format!(
            "[app]\ndata = {:?}\ndrain = 2\n[determinism]\nseed = 7\nclock = 2026-01-01T00:00:00Z\n",
            data.path().display().to_string()
        );
        match self.runner {
            Runner::Direct => settings.push_str("[calls]\nrunner = \"direct\"\n"),
            Runner::Encoded => settings.push_str("[calls]\nrunner = \"encoded\"\n"),
            Runner::Remote => {
                for module in &self.modules {
                    settings.push_str(&format!("[processes.p-{module}]\nmodules = [{module:?}]\n"));
                }
            }
        }
        settings.push_str(&self.settings);
        let started = self.app.settings(&settings).start_topology().await;
        let processes = started.unwrap_or_else(|error| panic!("the application does not start: {error}"));
        TestApp { processes, runner: self.runner, finished: false, data }
    }
}

/// Modules that run inside the test's process; end the test with [`TestApp::finish`].
#[derive(Debug)]
pub struct TestApp {
    processes: Vec<Running>,
    runner: Runner,
    finished: bool,
    data: TempDir,
}

impl TestApp {
    /// One module; the contracts that it calls need a [`TestAppBuilder::fake`].
    pub fn of(module: Module) -> TestAppBuilder {
        let modules = vec![module.name().to_owned()];
        let app = App::new("test").module(module);
        TestAppBuilder { app, modules, runner: Runner::Direct, settings: String::new() }
    }

    /// A whole application.
    pub fn whole(app: App) -> TestAppBuilder {
        let modules = app.module_names();
        TestAppBuilder { app, modules, runner: Runner::Direct, settings: String::new() }
    }

    /// A client of a contract, calling as the gateway does.
    ///
    /// # Panics
    /// If no module serves the contract.
    #[must_use]
    pub fn client<C: ContractClient>(&self) -> C {
        self.processes[0].client().expect("a module serves the contract")
    }

    /// A context of tenant `demo`, as the gateway mints them.
    ///
    /// # Panics
    /// Never: the names are well-formed.
    #[must_use]
    pub fn context(&self) -> Context {
        self.processes[0].context("demo", "user:test").expect("both names are well-formed")
    }

    /// A context of tenant `demo` with an idempotency key.
    ///
    /// # Panics
    /// If the text is not a key.
    #[must_use]
    pub fn keyed(&self, key: &str) -> Context {
        self.context().with_key(IdempotencyKey::new(key).expect("a well-formed key"))
    }

    /// Turns the time of day forward in every process; it stands still otherwise. Deadlines run on tokio's clock and are not moved.
    ///
    /// # Panics
    /// If the test's own settings have set the clock going.
    pub fn turn_clock(&self, by: Duration) {
        assert!(
            self.processes.iter().all(|process| process.turn_clock(by)),
            "the clock does not stand still"
        );
    }

    /// The processes: one, or under [`Runner::Remote`] `main` and one a module.
    #[must_use]
    pub fn processes(&self) -> &[Running] {
        &self.processes
    }

    /// The directory with the application's data.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// What the runner left behind so far.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::default();
        for process in &self.processes {
            evidence.connections += process.remote_connections();
            for edge in process.edges() {
                evidence.encoded_bytes += edge.encoded_bytes.load(Relaxed);
                evidence.remote_bytes += edge.remote_bytes.load(Relaxed);
            }
        }
        evidence
    }

    /// Stops the application and checks that the runner was the one that the test asked for.
    ///
    /// # Panics
    /// If it was not: no byte encoded, no connection made, or one where there should be none.
    pub async fn finish(mut self) -> Evidence {
        self.finished = true;
        let evidence = self.evidence();
        let seen = (evidence.encoded_bytes > 0, evidence.remote_bytes > 0 && evidence.connections > 0);
        let expected = match self.runner {
            Runner::Direct => (false, false),
            Runner::Encoded => (true, false),
            Runner::Remote => (false, true),
        };
        assert_eq!(seen, expected, "the test ran under another runner than {:?}: {evidence:?}", self.runner);
        for process in std::mem::take(&mut self.processes) {
            process.stop().await;
        }
        evidence
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        assert!(
            self.finished || std::thread::panicking(),
            "end the test with `app.finish().await`, which checks the runner"
        );
    }
}
