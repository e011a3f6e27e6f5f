//! Where replicas are: names, files and lists, looked at again and again.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drystone_transport::{Discovery, Lookup, Reach};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

/// A name server that answers what it is told to.
struct Names {
    answers: Mutex<Result<Vec<&'static str>, &'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn answering(addresses: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(Ok(addresses.to_vec())), asked: Mutex::default() })
    }
}

impl Lookup for Names {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let answer = self.answers.lock().unwrap().clone();
        let addresses = answer
            .map(|all| all.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect::<Vec<_>>());
        std::future::ready(addresses.map_err(io::Error::other)).boxed()
    }
}

fn looks(discovery: &Discovery) -> u64 {
    discovery.metrics().looks.load(SeqCst)
}

/// Lets a discovery look so many times more; time is paused, so that costs none.
async fn after_looks(discovery: &Discovery, more: u64) {
    let wanted = looks(discovery) + more;
    while looks(discovery) < wanted {
        tokio::time::advance(Duration::from_millis(100)).await;
        // Files are read on another thread.
        std::thread::yield_now();
    }
    tokio::task::yield_now().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_again_and_a_failure_changes_nothing() {
    let names = Names::answering(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    let reach: Reach = "dns:echo.internal:7001".parse().unwrap();
    let mut discovery = Discovery::start_with(reach, Arc::clone(&names) as _);
    assert_eq!(discovery.addresses(), [""; 0], "nothing is known before the first look");
    discovery.changed().await;
    assert_eq!(discovery.addresses(), ["10.0.0.1:7001", "10.0.0.2:7001"]);
    let began = tokio::time::Instant::now();
    *names.answers.lock().unwrap() = Ok(vec!["10.0.0.2", "10.0.0.3"]);
    discovery.changed().await;
    assert_eq!(discovery.addresses(), ["10.0.0.2:7001", "10.0.0.3:7001"]);
    assert_eq!(began.elapsed().as_secs(), 5, "names are resolved every 5 s");
    for answer in [Err("the name server is away"), Ok(vec![])] {
        *names.answers.lock().unwrap() = answer;
        after_looks(&discovery, 2).await;
        assert_eq!(discovery.addresses(), ["10.0.0.2:7001", "10.0.0.3:7001"]);
    }
    assert!(discovery.metrics().failures.load(SeqCst) >= 3);
    assert_eq!(discovery.metrics().changes.load(SeqCst), 2);
    *names.answers.lock().unwrap() = Ok(vec!["10.0.0.4"]);
    discovery.changed().await;
    assert_eq!(discovery.addresses(), ["10.0.0.4:7001"]);
    assert!(names.asked.lock().unwrap().iter().all(|host| host == "echo.internal"));
}

#[tokio::test]
async fn the_task_ends_with_its_last_owner() {
    let names = Names::answering(&["10.0.0.1"]);
    let mut discovery =
        Discovery::start_with("dns:echo.internal:1".parse().unwrap(), Arc::clone(&names) as _);
    discovery.changed().await;
    let other = discovery.clone();
    drop(discovery);
    tokio::task::yield_now().await;
    assert_eq!(other.addresses(), ["10.0.0.1:1"]);
    assert_eq!(Arc::strong_count(&names), 2, "the task has the resolver");
    drop(other);
    let gone = async {
        while Arc::strong_count(&names) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the task goes on without an owner");
}

#[tokio::test]
async fn the_machines_resolver_knows_localhost() {
    let mut discovery = Discovery::start("dns:localhost:7001".parse().unwrap());
    tokio::time::timeout(Duration::from_secs(30), discovery.changed()).await.unwrap();
    let found = discovery.addresses();
    let loopback = |address: &String| address.parse::<SocketAddr>().unwrap().ip().is_loopback();
    assert!(!found.is_empty() && found.iter().all(loopback), "{found:?}");
    assert!(found.iter().all(|address| address.ends_with(":7001")), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_and_a_bad_one_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("echo");
    let mut discovery = Discovery::start(Reach::File(path.clone()));
    after_looks(&discovery, 1).await;
    assert_eq!(discovery.addresses(), [""; 0], "there is no file yet");
    for (text, expected) in [
        ("127.0.0.1:7001\n", &["127.0.0.1:7001"][..]),
        ("# two\n127.0.0.1:7002\n127.0.0.1:7001 # the first\n", &["127.0.0.1:7001", "127.0.0.1:7002"]),
        ("127.0.0.1:7003\n", &["127.0.0.1:7003"]),
    ] {
        fs::write(&path, text).unwrap();
        while discovery.addresses() != expected {
            discovery.changed().await;
        }
    }
    for bad in ["127.0.0.1:7004\nnonsense\n", "# nobody\n", ""] {
        fs::write(&path, bad).unwrap();
        after_looks(&discovery, 2).await;
        assert_eq!(discovery.addresses(), ["127.0.0.1:7003"], "{bad:?}");
    }
    fs::remove_file(&path).unwrap();
    after_looks(&discovery, 2).await;
    assert_eq!(discovery.addresses(), ["127.0.0.1:7003"]);
}
