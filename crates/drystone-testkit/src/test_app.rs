//! Modules under a chosen runner, inside the test's process.

mod events;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use drystone_call::{Context, ContractClient, FaultCounts, FaultReport, IdempotencyKey, Served};
use drystone_runtime::{App, Module, Running};
use tempfile::TempDir;

use crate::test_stores::TestStores;
use crate::under::{SEED, seed_of_test};
use crate::{On, Runner, Under};

/// What a runner and a database leave behind when they really ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes that the encoded runner encoded.
    pub encoded_bytes: u64,
    /// Bytes of messages that crossed a connection.
    pub remote_bytes: u64,
    /// Connections between processes.
    pub connections: u64,
    /// Runs of handlers after the first, because a transaction met another.
    pub reruns: u64,
    /// Faults that the faulty runner injected.
    pub faults: FaultCounts,
}

/// Declares a [`TestApp`].
#[derive(Clone, Debug)]
#[must_use = "a test application runs once it is started"]
pub struct TestAppBuilder {
    app: App,
    modules: Vec<String>,
    tenants: Vec<String>,
    under: Under,
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
        self.under.runner = runner;
        self
    }

    /// Chooses the database; [`On::Sqlite`] otherwise. On PostgreSQL the test has a database of its own on the server of its process.
    pub fn on(mut self, on: On) -> Self {
        self.under.on = on;
        self
    }

    /// Chooses runner and database.
    pub fn under(mut self, under: Under) -> Self {
        self.under = under;
        self
    }

    /// Creates a tenant beside `demo`, which is always there; calls for a tenant that was not created are refused.
    pub fn tenant(mut self, name: &str) -> Self {
        self.tenants.push(name.to_owned());
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
        let settings = self.all_settings(&data);
        let stores = TestStores::make(self.under.on, &self.app, &settings).await;
        let started = self.app.settings(&settings).settings(&stores.settings()).start_topology().await;
        let processes = started.unwrap_or_else(|error| panic!("the application does not start: {error}"));
        TestApp { processes, modules: self.modules, runner: self.under.runner, stores: Some(stores), data }
    }

    fn all_settings(&self, data: &TempDir) -> String {
        let mut settings = format!(
            "[app]\ndata = {:?}\ndrain = 2\n[determinism]\nseed = 7\nclock = 2026-01-01T00:00:00Z\n\
             [tenants]\ncreate = {:?}\n[events]\npartial = true\n",
            data.path().display().to_string(),
            self.tenants
        );
        match self.under.runner {
            Runner::Direct => settings.push_str("[calls]\nrunner = \"direct\"\n"),
            Runner::Encoded => settings.push_str("[calls]\nrunner = \"encoded\"\n"),
            Runner::Faulty(profile) => {
                let seed = seed_of_test();
                println!("rehearsal: seed {seed}, {profile}");
                settings.push_str(&format!("[rehearsal]\nseed = {seed}\nprofile = \"{profile}\"\n"));
            }
            Runner::Remote => {
                for module in &self.modules {
                    settings.push_str(&format!("[processes.p-{module}]\nmodules = [{module:?}]\n"));
                }
            }
        }
        settings.push_str(&self.settings);
        settings
    }
}

/// Modules that run inside the test's process; end the test with [`TestApp::finish`].
#[derive(Debug)]
pub struct TestApp {
    processes: Vec<Running>,
    modules: Vec<String>,
    runner: Runner,
    /// Taken when the test ends as it should.
    stores: Option<TestStores>,
    data: TempDir,
}

impl TestApp {
    /// One module; the contracts that it calls need a [`TestAppBuilder::fake`].
    pub fn of(module: Module) -> TestAppBuilder {
        let modules = vec![module.name().to_owned()];
        Self::builder(App::new("test").module(module), modules)
    }

    /// A whole application.
    pub fn whole(app: App) -> TestAppBuilder {
        let modules = app.module_names();
        Self::builder(app, modules)
    }

    fn builder(app: App, modules: Vec<String>) -> TestAppBuilder {
        let under = Under { runner: Runner::Direct, on: On::Sqlite };
        TestAppBuilder { app, modules, tenants: vec!["demo".to_owned()], under, settings: String::new() }
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
            evidence.faults.add(&process.faults().map(|faults| faults.report().counts()).unwrap_or_default());
            for edge in process.edges() {
                evidence.encoded_bytes += edge.encoded_bytes.load(Relaxed);
                evidence.remote_bytes += edge.remote_bytes.load(Relaxed);
            }
            for served in process.served() {
                let methods = served.contract().methods.iter();
                evidence.reruns += methods.map(|method| served.reruns(method.index)).sum::<u64>();
            }
        }
        evidence
    }

    /// What the faulty runner has injected so far, if the test runs under it.
    #[must_use]
    pub fn faults(&self) -> Option<FaultReport> {
        let mut reports = self.processes.iter().filter_map(|process| Some(process.faults()?.report()));
        let mut all = reports.next()?;
        reports.for_each(|report| all.add(&report));
        Some(all)
    }

    /// Stops the application and checks that runner and database were those that the test asked for.
    ///
    /// # Panics
    /// If they were not: no byte encoded, no connection made, no fault injected, no file or no connection to the database, or one where there should be none.
    pub async fn finish(mut self) -> Evidence {
        let Some(stores) = self.stores.take() else { return Evidence::default() };
        let evidence = self.evidence();
        if let Some(faults) = self.faults() {
            println!("rehearsal: {faults}");
        }
        self.check_runner(evidence);
        self.check_stores(&stores).await;
        for process in std::mem::take(&mut self.processes) {
            process.stop().await;
        }
        stores.remove().await;
        evidence
    }

    fn check_runner(&self, evidence: Evidence) {
        let Evidence { encoded_bytes, remote_bytes, connections, faults, .. } = evidence;
        let seen = (encoded_bytes > 0, remote_bytes > 0, connections > 0, faults.total() > 0);
        let expected = match self.runner {
            Runner::Direct => (false, false, false, false),
            Runner::Encoded => (true, false, false, false),
            Runner::Faulty(_) => (false, true, false, true),
            Runner::Remote => (false, true, true, false),
        };
        assert_eq!(seen, expected, "the test ran under another runner than {:?}: {evidence:?}", self.runner);
    }

    async fn check_stores(&self, stores: &TestStores) {
        let has_store =
            |module: &String| self.processes.iter().any(|process| process.store(module).is_some());
        let used = self.modules.iter().any(has_store);
        let (files, connections) = stores.opened(self.data.path()).await;
        let expected = (used && stores.on() == On::Sqlite, used && stores.on() == On::Postgres);
        assert_eq!(
            (files > 0, connections > 0),
            expected,
            "the stores were not on {:?}: {files} files of SQLite, {connections} connections to PostgreSQL",
            stores.on()
        );
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(faults) = self.faults().filter(|_| std::thread::panicking()) {
            eprintln!("rehearsal: {faults}; {SEED}={} repeats its faults", faults.seed);
        }
        assert!(
            self.stores.is_none() || std::thread::panicking(),
            "end the test with `app.finish().await`, which checks runner and database"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_call::Profile;

    use crate::{Case, Postgres};

    async fn app(on: On) -> TestApp {
        TestApp::of(Module::new("notes").wire(|w| drop(w.store()))).on(on).start().await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_faulty_run_without_a_fault_is_noticed() {
        for runner in [Runner::Direct, Runner::Faulty(Profile::Absorbable)] {
            // Nobody calls anybody.
            let app = TestApp::of(Module::new("notes")).runner(runner).start().await;
            let finished = tokio::spawn(app.finish()).await;
            assert_eq!(finished.is_ok(), runner == Runner::Direct, "{runner:?}");
            if let Err(panic) = finished {
                let panic = panic.into_panic();
                let said = panic.downcast_ref::<String>().unwrap();
                assert!(said.contains("the test ran under another runner than Faulty"), "{said}");
            }
        }
    }

    #[test]
    fn seeds_are_those_of_the_tests_name_on_both_databases() {
        let alone = seed_of_test();
        let case = Case::begin("seeds_are_those_of_the_tests_name_on_both_databases");
        assert_eq!(seed_of_test(), alone);
        drop(case);
        let _case = Case::begin("another");
        assert_ne!(seed_of_test(), alone);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stores_on_sqlite_that_were_to_be_on_postgres_are_noticed() {
        for on in On::BOTH {
            app(on).await.finish().await;
            let mut app = app(on).await;
            app.stores = Some(match on {
                On::Sqlite => TestStores::Postgres(Postgres::of_process().database().unwrap()),
                On::Postgres => TestStores::Sqlite,
            });
            let panic = tokio::spawn(app.finish()).await.unwrap_err().into_panic();
            let said = panic.downcast_ref::<String>().unwrap();
            assert!(said.contains("the stores were not on"), "{said}");
        }
    }
}
