//! A call to another module while a snapshot is open, though the snapshot is not used any more.

use drystone_call::{Context, Result};
use drystone_store::Store;

async fn ask_another_module(_: &Context) -> Result<i64> {
    Ok(1)
}

async fn handler(store: &Store, cx: &mut Context) -> Result<i64> {
    let mut read = store.read(cx).await?;
    let (count,): (i64,) = read.query("select count(*) from orders").one().await?;
    Ok(count + ask_another_module(cx).await?)
}

fn main() {}
