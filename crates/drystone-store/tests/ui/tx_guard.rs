//! A call to another module inside an open transaction.

use drystone_call::{Context, Result};
use drystone_store::Store;

async fn ask_another_module(_: &Context) -> Result<i64> {
    Ok(1)
}

async fn handler(store: &Store, cx: &mut Context) -> Result<()> {
    let mut tx = store.begin(cx).await?;
    let stock = ask_another_module(cx).await?;
    tx.query("insert into orders (stock) values ($1)").bind((stock,)).execute().await?;
    tx.commit().await
}

fn main() {}
