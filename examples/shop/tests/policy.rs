//! The settings of calls in the shop's real processes: shown with their origin, changed while they work, and nothing dropped.

#[path = "support/shop.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use drystone_testkit::{Http, Program};
use serde_json::Value;
use support::{order, run};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The gateway's reading of a user has less time than a call needs at least: it is refused before it begins.
const HASTY: &str = "[calls.edge.\"gateway -> shop.users.v1.Users/GetUser\"]\ntimeout = \"1ms\"\ndeadline = { floor = \"1m\" }\n";

/// On a busy machine too, every call has the time that it needs.
const PATIENT: &str = "\
[calls.contract.\"shop.users.v1.Users\"]
timeout = \"1m\"
[calls.contract.\"shop.orders.v1.Orders\"]
timeout = \"1m\"
[calls.contract.\"shop.inventory.v1.Inventory\"]
timeout = \"1m\"
[calls.contract.\"shop.payments.v1.Payments\"]
timeout = \"1m\"
";

/// A shop with a settings file in its directory.
struct Site {
    data: TempDir,
    program: Program,
    http: Http,
}

impl Site {
    async fn start(args: &[&str], settings: &str) -> Self {
        let data = TempDir::new().expect("a temporary directory");
        set(data.path(), settings);
        let mut program = run(args, data.path(), &[]);
        let http = Http::new(&program.wait_for("REST and gRPC"));
        let began = Instant::now();
        while http.get("/readyz").await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", http.get("/readyz").await);
            tokio::task::yield_now().await;
        }
        Self { data, program, http }
    }

    fn set(&self, settings: &str) {
        set(self.data.path(), settings);
    }

    /// Runs `policy` in the shop's directory.
    fn policy(&self, args: &[&str]) -> (bool, String) {
        let args: Vec<&str> = ["policy"].iter().chain(args).copied().collect();
        let (status, said) = run(&args, self.data.path(), &[]).wait_for_end();
        (status.success(), said)
    }

    /// The value and the origin of a setting of `gateway -> shop.users.v1.Users/GetUser`, as the running process has it.
    fn live_timeout(&self) -> (String, String) {
        let (ok, said) = self.policy(&["--live", "--json", "--edge", "gateway -> shop.users.v1.Users"]);
        assert!(ok, "{said}");
        let reports: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        let methods = reports[0]["edges"][0]["methods"].as_array().expect("methods");
        let method = methods.iter().find(|method| method["method"] == "GetUser").expect("GetUser");
        assert!(method["live"]["in_flight"].is_u64(), "{method}");
        let timeout =
            method["policy"].as_array().expect("values").iter().find(|value| value["key"] == "timeout");
        let timeout = timeout.expect("a timeout");
        let text = |name: &str| timeout[name].as_str().expect("a text").to_owned();
        (text("value"), text("from"))
    }

    async fn user_status(&self) -> u16 {
        self.http.get("/v1/users/ada").await.status
    }

    /// Waits until reading a user is answered in this way.
    async fn users_answer(&self, status: u16) {
        let began = Instant::now();
        while self.user_status().await != status {
            assert!(began.elapsed() < Duration::from_secs(30), "still {}", self.user_status().await);
            tokio::task::yield_now().await;
        }
    }
}

fn set(data: &Path, settings: &str) {
    // Whole or not at all: a process may read it at any moment.
    let next = data.join("drystone.toml.next");
    std::fs::write(&next, settings).expect("a settings file");
    std::fs::rename(next, data.join("drystone.toml")).expect("the file in its place");
}

/// Calls that go on until they are told to stop: orders and reads, each of which must be answered well.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(http: &Http) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let workers = (0..4)
            .map(|worker| {
                let (http, stop, answered) = (http.clone(), Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(async move {
                    for n in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        let answer = if worker == 0 && n < 40 {
                            let body = order("tea-assam", 1, "tok_visa");
                            http.post("/v1/orders", &format!("k{n}"), &body).await
                        } else {
                            http.get("/v1/stock/tea-assam").await
                        };
                        assert_eq!(answer.status, 200, "{answer:?}");
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        Self { stop, answered, workers }
    }

    /// Waits for this many more answers.
    async fn more(&self, answers: usize) {
        let goal = self.answered.load(Ordering::SeqCst) + answers;
        let began = Instant::now();
        while self.answered.load(Ordering::SeqCst) < goal {
            assert!(began.elapsed() < Duration::from_secs(30), "the load stands still");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.await.expect("every call was answered well");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_under_load_takes_effect_and_drops_no_call() {
    change_under_load(&["run"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_under_load_takes_effect_in_every_process_of_a_topology() {
    change_under_load(&["up", "--topology", support::SPLIT]).await;
}

async fn change_under_load(args: &[&str]) {
    let hasty = format!("{PATIENT}{HASTY}");
    let mut site = Site::start(args, PATIENT).await;
    assert_eq!(
        (site.user_status().await, site.live_timeout()),
        (200, ("1m".to_owned(), "drystone.toml:2".to_owned()))
    );
    let load = Load::start(&site.http);
    load.more(20).await;
    for _ in 0..3 {
        site.set(&hasty);
        site.program.signal(1);
        site.users_answer(504).await;
        load.more(20).await;
        site.set(PATIENT);
        site.program.signal(1);
        site.users_answer(200).await;
        load.more(20).await;
    }
    site.set(&hasty);
    site.program.signal(1);
    site.users_answer(504).await;
    assert_eq!(site.live_timeout(), ("1ms".to_owned(), "drystone.toml:10".to_owned()));
    load.stop().await;
    site.program.signal(15);
    let (status, said) = site.program.wait_for_end();
    assert!(status.success(), "SIGHUP ends no process: {status}: {said}");
    assert!(said.contains("timeout = \"1ms\" (drystone.toml:10)"), "the log says what changed: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_changes_nothing_and_what_needs_a_restart_is_named() {
    let mut site = Site::start(&["run"], HASTY).await;
    assert_eq!(site.user_status().await, 504);
    // The first line alone would fit.
    site.set("[calls]\ntimeout = \"5s\"\nretry.atempts = 2\n");
    let (ok, said) = site.policy(&["--reload"]);
    assert!(!ok && said.contains("drystone.toml:3: calls.retry.atempts"), "{said}");
    site.program.signal(1);
    let logged = site.program.wait_for("nothing has changed");
    assert!(logged.contains("did you mean retry.attempts?"), "{logged}");
    assert_eq!(site.user_status().await, 504);
    assert_eq!(site.live_timeout(), ("1ms".to_owned(), "drystone.toml:2".to_owned()));

    site.set("[calls.contract.\"shop.users.v1.Users\"]\ntimeout = \"5s\"\n[calls]\nrunner = \"encoded\"\n[app]\ndrain = 3\n");
    let (ok, said) = site.policy(&["--reload"]);
    assert!(ok, "{said}");
    assert!(said.contains("main: ") && said.contains(".timeout = \"5s\" (drystone.toml:2)"), "{said}");
    let (_, restart) = said.split_once("needs a restart: ").unwrap_or_else(|| panic!("no restart: {said}"));
    assert!(restart.contains("app.drain = 3") && restart.contains("calls.runner = \"encoded\""), "{said}");
    assert_eq!((site.user_status().await, site.live_timeout().0), (200, "5s".to_owned()));
    // Said once of what changed, and as long as it is so of what needs a restart.
    let (_, said) = site.policy(&["--reload"]);
    assert!(said.contains("nothing has changed; needs a restart: "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_states_of_the_layers_are_metrics() {
    let site = Site::start(&["run"], "[serving]\nlimit = 50\n").await;
    assert_eq!(site.user_status().await, 200);
    let metrics = site.http.get("/metrics").await.body;
    for line in [
        "drystone_call_in_flight{from=\"gateway\",method=\"shop.users.v1.Users/GetUser\"} 0",
        "drystone_breaker_state{from=\"gateway\",method=\"shop.users.v1.Users/GetUser\"} 0",
        "drystone_admission_limit{module=\"users\",method=\"shop.users.v1.Users/GetUser\"} 50",
        "drystone_admission_admitted_total{module=\"users\",method=\"shop.users.v1.Users/GetUser\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn policies_are_shown_from_the_settings_alone() {
    let data = TempDir::new().expect("a temporary directory");
    set(
        data.path(),
        "[calls]\nretry = { attempts = 5 }\n[calls.edge.\"orders -> shop.payments.v1.Payments/Charge\"]\ntimeout = \"900ms\"\n",
    );
    let env = [("DRYSTONE__CALLS__BULKHEAD", "99")];
    let show = |args: &[&str]| {
        let (status, said) = run(args, data.path(), &env).wait_for_end();
        assert!(status.success(), "{said}");
        said
    };
    let said = show(&["policy", "--edge", "orders"]);
    assert!(said.starts_with("orders -> shop."), "{said}");
    assert!(!said.contains("gateway -> "), "{said}");
    let line = |start: &[&str]| {
        let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no line of {start:?}: {said}")).join(" ")
    };
    assert_eq!(line(&["Charge", "timeout"]), "Charge timeout 900ms drystone.toml:4");
    assert_eq!(line(&["*", "bulkhead"]), "* bulkhead 99 $DRYSTONE__CALLS__BULKHEAD");
    assert!(line(&["*", "retry"]).ends_with("attempts: drystone.toml:2"), "{said}");
    let all = show(&["policy"]);
    assert!(
        all.contains("gateway -> shop.users.v1.Users") && all.contains("users serves shop.users.v1.Users"),
        "{all}"
    );
    let (status, said) = run(&["policy", "--edge", "order"], data.path(), &env).wait_for_end();
    assert!(!status.success() && said.contains("the callers are gateway, "), "{said}");
}
