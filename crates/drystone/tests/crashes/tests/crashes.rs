//! SIGKILL at every commit point of publishing, relaying, handling and acknowledging, on both databases, whole and split: nothing is lost, nothing is applied twice,
//! nothing is reordered within a key.
//!
//! The processes are real, and so are the databases. Each kill happens at a registered failpoint, at a passing that is counted; a failpoint that nobody comes by fails the test.

#[path = "crashes/broken.rs"]
mod broken;
#[path = "crashes/enumerate.rs"]
mod enumerate;
#[path = "crashes/load.rs"]
mod load;
#[path = "crashes/poison.rs"]
mod poison;
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

/// Whole and split side by side: they mostly wait for processes to begin.
async fn every_failpoint_whole_and_split(on: On, by: By) {
    tokio::join!(every_failpoint(on, Shape::Whole, by), every_failpoint(on, Shape::Split, by));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_by_calls_on_sqlite() {
    every_failpoint_whole_and_split(On::Sqlite, By::Call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_by_nats_on_sqlite() {
    every_failpoint_whole_and_split(On::Sqlite, By::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_by_calls_on_postgres() {
    every_failpoint_whole_and_split(On::Postgres, By::Call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failpoint_by_nats_on_postgres() {
    every_failpoint_whole_and_split(On::Postgres, By::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_inbox_messages_are_applied_twice_on_sqlite() {
    broken::without_the_inbox_messages_are_applied_twice(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_inbox_messages_are_applied_twice_on_postgres() {
    broken::without_the_inbox_messages_are_applied_twice(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_before_delivery_loses_messages_on_sqlite() {
    broken::a_position_before_delivery_loses_messages(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_before_delivery_loses_messages_on_postgres() {
    broken::a_position_before_delivery_loses_messages(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_fence_messages_are_lost() {
    broken::without_the_fence_messages_are_lost().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_parks_its_key_whole_on_sqlite() {
    poison::a_poison_message_parks_its_key_and_a_replay_restores_the_order(On::Sqlite, Shape::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_parks_its_key_split_on_sqlite() {
    poison::a_poison_message_parks_its_key_and_a_replay_restores_the_order(On::Sqlite, Shape::Split).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_parks_its_key_whole_on_postgres() {
    poison::a_poison_message_parks_its_key_and_a_replay_restores_the_order(On::Postgres, Shape::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_parks_its_key_split_on_postgres() {
    poison::a_poison_message_parks_its_key_and_a_replay_restores_the_order(On::Postgres, Shape::Split).await;
}
