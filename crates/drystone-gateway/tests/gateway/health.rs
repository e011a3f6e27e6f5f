//! `/healthz` and `/readyz`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drystone_call::{Error, Home, ManualClock, SeededIds};
use drystone_gateway::Check;
use futures_util::FutureExt as _;
use serde_json::json;

use crate::support::{builder, send};

fn check(outcome: fn() -> drystone_call::Result<()>) -> Check {
    Arc::new(move || async move { outcome() }.boxed())
}

#[tokio::test]
async fn a_living_process_says_so() {
    let gateway = builder().check("broken", check(|| Err(Error::internal("no")))).build().unwrap();
    let answer = send(&gateway, "GET /healthz", &[], "").await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &br#"{"status":"ok"}"#[..]));
}

#[tokio::test(start_paused = true)]
async fn readiness_names_what_is_missing() {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let home = Home::new("gateway", Arc::new(clock), Arc::new(SeededIds::new(1, "gateway")));
    let hangs: Check = Arc::new(|| std::future::pending().boxed());
    let gateway = builder()
        .home(home)
        .check("store:orders", check(|| Ok(())))
        .check("peer:inventory", check(|| Err(Error::unavailable("connection refused"))))
        .check("store:users", Arc::clone(&hangs))
        .check("store:payments", hangs)
        .build()
        .unwrap();
    tokio::time::advance(Duration::from_secs(90)).await;
    let began = tokio::time::Instant::now();
    let answer = send(&gateway, "GET /readyz", &[], "").await;
    assert_eq!(began.elapsed(), Duration::from_secs(1), "checks run at the same time, each within its limit");
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({
            "status": "unavailable",
            "uptime_seconds": 91,
            "time": "2027-01-15T08:00:00Z",
            "checks": [
                { "name": "store:orders", "ok": true, "took_ms": 0 },
                { "name": "peer:inventory", "ok": false, "error": "UNAVAILABLE: connection refused", "took_ms": 0 },
                { "name": "store:users", "ok": false, "error": "no answer within 1 s", "took_ms": 1000 },
                { "name": "store:payments", "ok": false, "error": "no answer within 1 s", "took_ms": 1000 },
            ],
        })
    );
}

#[tokio::test]
async fn a_check_that_panics_is_one_that_fails() {
    let gateway = builder().check("store:orders", check(|| panic!("a defect"))).build().unwrap();
    let answer = send(&gateway, "GET /readyz", &[], "").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["checks"][0]["error"]),
        (503, &json!("the check panicked"))
    );
}

#[tokio::test]
async fn a_process_with_all_it_needs_is_ready() {
    let gateway = builder().check("store:orders", check(|| Ok(()))).build().unwrap();
    let answer = send(&gateway, "GET /readyz", &[], "").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("ok")));
}
