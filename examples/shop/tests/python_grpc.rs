//! The shop as a client in another language sees it: Python's grpcio, with stubs made from nothing but the `.proto` files.

#[path = "support/python.rs"]
mod python;
#[path = "support/shop.rs"]
mod support;

use drystone_testkit::On;
use python::Python;
use support::{Shape, Shop};

async fn checks_pass(shape: Shape, on: On) {
    let python = Python::ready();
    let stubs = python.stubs();
    let shop = Shop::start_on(shape, on).await;
    let said = python.run(&["tests/python/check_shop.py", &shop.address], Some(stubs.path()));
    println!("{said}");
    assert!(said.contains("9 of 9 checks passed"), "{said}");
}

#[tokio::test]
async fn python_calls_the_shop_whole() {
    checks_pass(Shape::Whole, On::Sqlite).await;
}

#[tokio::test]
async fn python_calls_the_shop_taken_apart() {
    checks_pass(Shape::Split, On::Sqlite).await;
}

#[tokio::test]
async fn python_calls_the_shop_taken_apart_on_postgres() {
    checks_pass(Shape::Split, On::Postgres).await;
}
