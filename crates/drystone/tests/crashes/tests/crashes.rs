//! SIGKILL at every commit point of publishing, relaying, handling and acknowledging, on both databases, whole and split: nothing is lost, nothing is applied twice,
//! nothing is reordered within a key.
//!
//! The processes are real, and so are the databases. Each kill happens at a registered failpoint, at a passing that is counted; a failpoint that nobody comes by fails the test.

#[path = "crashes/enumerate.rs"]
mod enumerate;
#[path = "crashes/load.rs"]
mod load;
#[path = "crashes/process.rs"]
mod process;
#[path = "crashes/round.rs"]
mod round;
#[path = "crashes/site.rs"]
mod site;
#[path = "crashes/verdict.rs"]
mod verdict;

use enumerate::every_failpoint;
use site::{By, On, Shape};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_whole_by_calls_on_sqlite() {
    every_failpoint(On::Sqlite, Shape::Whole, By::Call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_split_by_calls_on_sqlite() {
    every_failpoint(On::Sqlite, Shape::Split, By::Call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_whole_by_nats_on_sqlite() {
    every_failpoint(On::Sqlite, Shape::Whole, By::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_split_by_nats_on_sqlite() {
    every_failpoint(On::Sqlite, Shape::Split, By::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_whole_by_calls_on_postgres() {
    every_failpoint(On::Postgres, Shape::Whole, By::Call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_split_by_calls_on_postgres() {
    every_failpoint(On::Postgres, Shape::Split, By::Call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_whole_by_nats_on_postgres() {
    every_failpoint(On::Postgres, Shape::Whole, By::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_split_by_nats_on_postgres() {
    every_failpoint(On::Postgres, Shape::Split, By::Nats).await;
}
