//! What was acknowledged survives: processes killed, restarted and missing while orders are placed, on SQLite and on PostgreSQL.

#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use drystone_testkit::{Answer, Http, On, Program};
use support::{Shape, Shop, order, pid_of, run};
use tempfile::TempDir;

/// Orders placed under load.
const ORDERS: usize = 60;

/// Places an order until its outcome is known, and notes how the shop answered meanwhile.
async fn place(http: &Http, key: &str, unavailable: &AtomicUsize) -> Answer {
    loop {
        let began = Instant::now();
        let headers = [("idempotency-key", key)];
        let answer = http.try_send("POST", "/v1/orders", &headers, &order("tea-assam", 1, "tok_visa")).await;
        // Two seconds are the deadline of the call; the rest is this machine's.
        assert!(began.elapsed() < Duration::from_secs(4), "an answer after {:?}", began.elapsed());
        match answer {
            Some(answer) if answer.status == 200 => return answer,
            Some(answer) => {
                assert!([503, 504, 409].contains(&answer.status), "{answer:?}");
                unavailable.fetch_add(usize::from(answer.status == 503), Ordering::SeqCst);
            }
            None => {}
        }
        tokio::task::yield_now().await;
    }
}

/// One unit and one charge for each order, one order for each key, and each told once.
async fn conserved(http: &Http, placed: &BTreeMap<String, Answer>, units_before: i64) {
    let stock = http.get("/v1/stock/tea-assam").await.json();
    let sold = i64::try_from(placed.len()).expect("a small number");
    assert_eq!(
        (stock["available"].as_i64(), stock["reserved"].as_i64()),
        (Some(units_before - sold), Some(0))
    );
    let mut ids = std::collections::BTreeSet::new();
    for (key, answer) in placed {
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            http.get(&format!("/v1/orders/{id}")).await.body,
            answer.body,
            "{key} is as it was acknowledged"
        );
        let charge = http.get(&format!("/v1/charges/{id}")).await.json();
        assert_eq!(charge["state"], "CHARGE_STATE_CAPTURED", "{key}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), placed.len(), "one order for each key");
    for state in ["PLACING", "DECLINED", "CANCELLED"] {
        let left = http.get(&format!("/v1/orders?state=ORDER_STATE_{state}")).await.json();
        assert_eq!(left["orders"].as_array().map(Vec::len), Some(0), "{state}");
    }
    told::orders_are_told(http, "demo", ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_kill_9() {
    what_was_acknowledged_is_there(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_kill_9_on_postgres() {
    what_was_acknowledged_is_there(On::Postgres).await;
}

async fn what_was_acknowledged_is_there(on: On) {
    let mut shop = Shop::start_on(Shape::Whole, on).await;
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    for round in 0..3 {
        let mut tasks = Vec::new();
        for worker in 0..6 {
            let (http, acknowledged) = (shop.http.clone(), Arc::clone(&acknowledged));
            tasks.push(tokio::spawn(async move {
                for n in 0.. {
                    let key = format!("r{round}w{worker}n{n}");
                    let headers = [("idempotency-key", key.as_str())];
                    let body = order("tea-assam", 1, "tok_visa");
                    let answer = loop {
                        match http.try_send("POST", "/v1/orders", &headers, &body).await {
                            None => return,
                            Some(answer) if answer.status == 200 => break answer,
                            // On a busy machine an answer may be late, and its key in use a moment longer.
                            Some(answer) => assert!([409, 503, 504].contains(&answer.status), "{answer:?}"),
                        }
                        tokio::task::yield_now().await;
                    };
                    acknowledged.lock().expect("no panic").insert(key, answer);
                }
            }));
        }
        let target = (round + 1) * 10;
        while acknowledged.lock().expect("no panic").len() < target {
            tokio::task::yield_now().await;
        }
        shop = shop.kill_and_restart().await;
        for task in tasks {
            task.await.expect("a worker");
        }
        let known = acknowledged.lock().expect("no panic").clone();
        for (key, answer) in &known {
            let again = shop.http.post("/v1/orders", key, &order("tea-assam", 1, "tok_visa")).await;
            assert_eq!((again.status, &again.body), (200, &answer.body), "{key}");
        }
    }
    finish_interrupted(&shop.http, &acknowledged).await;
}

/// Sends every key again that may have been interrupted, then counts.
async fn finish_interrupted(http: &Http, acknowledged: &std::sync::Mutex<BTreeMap<String, Answer>>) {
    let mut all = acknowledged.lock().expect("no panic").clone();
    for round in 0..3 {
        for worker in 0..6 {
            let prefix = format!("r{round}w{worker}n");
            let next = format!("{prefix}{}", all.keys().filter(|key| key.starts_with(&prefix)).count());
            let answer = place(http, &next, &AtomicUsize::new(0)).await;
            all.insert(next, answer);
        }
    }
    conserved(http, &all, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_resume_when_a_killed_process_is_back() {
    orders_resume(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_resume_when_a_killed_process_is_back_on_postgres() {
    orders_resume(On::Postgres).await;
}

async fn orders_resume(on: On) {
    let shop = Shop::start_on(Shape::Split, on).await;
    let (unavailable, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for worker in 0..6 {
        let (http, unavailable, done) = (shop.http.clone(), Arc::clone(&unavailable), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let mut placed = Vec::new();
            for n in 0..ORDERS / 6 {
                let key = format!("w{worker}n{n}");
                placed.push((key.clone(), place(&http, &key, &unavailable).await));
                done.fetch_add(1, Ordering::SeqCst);
            }
            placed
        }));
    }
    for (kills, process) in ["inventory", "payments", "inventory"].into_iter().enumerate() {
        while done.load(Ordering::SeqCst) < (kills + 1) * 8 {
            tokio::task::yield_now().await;
        }
        kill(shop.pid_of(process), 9);
    }
    let mut placed = BTreeMap::new();
    for task in tasks {
        placed.extend(task.await.expect("a worker"));
    }
    assert!(unavailable.load(Ordering::SeqCst) > 0, "nobody noticed that a process was gone");
    conserved(&shop.http, &placed, 100).await;
}

/// Starts one process of a topology by hand, on a port that stays the same.
fn process(name: &str, data: &Path, ports: &[(String, String)]) -> Program {
    let env: Vec<(&str, &str)> = ports.iter().map(|(name, port)| (name.as_str(), port.as_str())).collect();
    let mut program = run(&["run", "--process", name, "--topology", support::SPLIT], data, &env);
    program.wait_for(&format!("process {name}"));
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_placed_order_is_visible_and_its_retry_completes_it_once() {
    let data = TempDir::new().expect("a temporary directory");
    let ports: Vec<(String, String)> = ["MAIN", "INVENTORY", "PAYMENTS", "NOTIFICATIONS"]
        .iter()
        .map(|name| {
            let free =
                std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
            (format!("DRYSTONE__PROCESSES__{name}__LISTEN"), free.to_string())
        })
        .collect();
    let _inventory = process("inventory", data.path(), &ports);
    let mut payments = process("payments", data.path(), &ports);
    let mut main = process("main", data.path(), &ports);
    let http = Http::new(&main.wait_for("REST and gRPC"));
    payments.kill();
    let began = Instant::now();
    let failed = http.post("/v1/orders", "k", &order("tea-assam", 2, "tok_visa")).await;
    assert_eq!((failed.status, &failed.json()["code"]), (503, &"UNAVAILABLE".into()), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "within the deadline");
    let listed = http.get("/v1/orders?state=ORDER_STATE_PLACING").await.json();
    assert_eq!(
        listed["orders"].as_array().map(Vec::len),
        Some(1),
        "the half-placed order is visible: {listed}"
    );
    assert_eq!(http.get("/v1/stock/tea-assam").await.json()["reserved"], 2);
    payments = process("payments", data.path(), &ports);
    let placed = http.post("/v1/orders", "k", &order("tea-assam", 2, "tok_visa")).await;
    assert_eq!(placed.json()["state"], "ORDER_STATE_CONFIRMED", "{placed:?}");
    assert_eq!(placed.json()["id"], listed["orders"][0]["id"], "the same order");
    let stock = http.get("/v1/stock/tea-assam").await.json();
    assert_eq!((&stock["available"], &stock["reserved"]), (&98.into(), &0.into()));
    assert_ne!(payments.pid(), main.pid());
    // What happened while its process was not there is told when it is.
    let _notifications = process("notifications", data.path(), &ports);
    let id = placed.json()["id"].as_str().expect("an id").to_owned();
    told::orders_are_told(&http, "demo", [id]).await;
}

fn kill(pid: u32, signal: i32) {
    let status = std::process::Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(status.expect("the kill command").success(), "kill -{signal} {pid}");
}

/// Whether a process is there and not a zombie.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn no_child_outlives_a_killed_parent() {
    let mut shop = Shop::start(Shape::Split).await;
    let children =
        ["main", "inventory", "payments", "notifications"].map(|process| pid_of(shop.data(), process));
    assert!(children.iter().all(|pid| lives(*pid)));
    shop.program.kill();
    let began = Instant::now();
    while children.iter().any(|pid| lives(*pid)) {
        assert!(began.elapsed() < Duration::from_secs(20), "a child lives on: {children:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_signal_stops_callers_before_those_they_call_and_exits_well() {
    let mut shop = Shop::start(Shape::Split).await;
    kill(shop.program.pid(), 2);
    let (status, said) = shop.program.wait_for_end();
    assert!(status.success(), "{status}: {said}");
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text:?} is not in {said}"));
    assert!(at("main stops") < at("inventory stops") && at("main stops") < at("payments stops"), "{said}");
    assert!(!shop.data().join("run").join("main.json").exists());
}

/// Places orders with a key each, all for the same item, through both replicas at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_on_one_database_are_one_shop() {
    let first = Shop::start_on(Shape::Whole, On::Postgres).await;
    let second = first.replica().await;
    let mut tasks = Vec::new();
    for worker in 0..6 {
        let http = if worker % 2 == 0 { first.http.clone() } else { second.http.clone() };
        tasks.push(tokio::spawn(async move {
            let mut placed = Vec::new();
            for n in 0..8 {
                let key = format!("w{worker}n{n}");
                placed.push((key.clone(), place(&http, &key, &AtomicUsize::new(0)).await));
            }
            placed
        }));
    }
    let mut placed = BTreeMap::new();
    for task in tasks {
        placed.extend(task.await.expect("a worker"));
    }
    for http in [&first.http, &second.http] {
        conserved(http, &placed, 100).await;
    }
    for (key, answer) in &placed {
        let by_first = ["w0", "w2", "w4"].iter().any(|worker| key.starts_with(worker));
        let other = if by_first { &second.http } else { &first.http };
        let again = other.post("/v1/orders", key, &order("tea-assam", 1, "tok_visa")).await;
        assert_eq!((again.status, &again.body), (200, &answer.body), "{key}");
        assert_eq!(again.header("idempotency-replayed"), "true", "{key}");
    }
}

/// A claim lives for fifteen seconds: a process that was killed is waited for that long, one that stopped in order is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_goes_on_soon_after_a_restart_in_order() {
    let mut shop = Shop::start_on(Shape::Split, On::Postgres).await;
    let mut ids = Vec::new();
    for round in 0..2 {
        let began = Instant::now();
        let placed = place(&shop.http, &format!("k{round}"), &AtomicUsize::new(0)).await;
        ids.push(placed.json()["id"].as_str().expect("an id").to_owned());
        told::orders_are_told(&shop.http, "demo", ids.clone()).await;
        assert!(began.elapsed() < Duration::from_secs(10), "round {round}: {:?}", began.elapsed());
        if round == 0 {
            shop = shop.stop_and_restart().await;
        }
    }
}
