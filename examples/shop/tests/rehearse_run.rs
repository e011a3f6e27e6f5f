//! `shop run --rehearse`: the ordinary program, whole, with the faults of a network between its modules.

#[path = "support/shop.rs"]
mod support;

use drystone_testkit::Http;
use support::{order, run};
use tempfile::TempDir;

/// What stands behind the name of a family with these labels in the text of `/metrics`, summed.
fn sum(metrics: &str, family: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(family) && line.contains(label));
    lines
        .map(|line| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count"))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_runs_with_faults_says_so_and_reports_them() {
    let data = TempDir::new().expect("a temporary directory");
    let create = [("DRYSTONE__TENANTS__CREATE", r#"["demo"]"#)];
    let mut shop = run(&["run", "--rehearse", "seed=7,profile=wan"], data.path(), &create);
    let said = shop.wait_for("rehearsal");
    assert!(said.contains("seed 7, profile wan"), "{said}");
    let http = Http::new(&shop.wait_for("REST and gRPC"));
    for n in 0..5 {
        let placed = http.post("/v1/orders", &format!("o{n}"), &order("tea-assam", 1, "tok_visa")).await;
        assert_eq!(placed.status, 200, "{placed:?}");
    }
    let metrics = http.get("/metrics").await.body;
    let family = "drystone_rehearsal_faults_total";
    assert!(
        sum(&metrics, family, "from=\"gateway\",method=\"shop.orders.v1.Orders/PlaceOrder\"") >= 5,
        "{metrics}"
    );
    assert!(
        sum(&metrics, family, "from=\"orders\",method=\"shop.payments.v1.Payments/Charge\"") >= 5,
        "{metrics}"
    );
    // Events go the same way.
    let told = async || {
        sum(&http.get("/metrics").await.body, family, "method=\"drystone.events.v1.Delivery/Deliver\"")
    };
    drystone_testkit::eventually("an event is delivered", async || (told().await > 0).then_some(())).await;
    shop.signal(15);
    let (status, said) = shop.wait_for_end();
    assert!(status.success(), "{status}: {said}");
    let report = said.lines().find(|line| line.starts_with("rehearsal: seed 7, wan: ")).expect(&said);
    assert!(report.contains(" delays") && report.contains(" calls"), "{report}");
    println!("{report}");
}

#[test]
fn what_cannot_be_rehearsed_is_named() {
    let data = TempDir::new().expect("a temporary directory");
    for (argument, expected) in [
        ("seed=7,profile=lossy", "the profiles are absorbable, hostile, lan, wan"),
        ("chance=7", "write it as seed=7,profile=wan"),
    ] {
        let (status, said) = run(&["run", "--rehearse", argument], data.path(), &[]).wait_for_end();
        assert!(
            !status.success() && said.contains(expected) && said.contains("--rehearse"),
            "{argument}: {said}"
        );
    }
}
