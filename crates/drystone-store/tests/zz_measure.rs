//! throwaway
#![allow(clippy::all, missing_docs, dead_code, unused)]
#[path = "support/world.rs"]
mod world;
use world::World;
use drystone_testkit::Postgres;
use std::time::{Duration, Instant};
use std::sync::Arc;
use std::sync::atomic::*;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    for extra in ["", "-c enable_seqscan=off -c jit=off", "-c enable_seqscan=off -c enable_bitmapscan=off -c jit=off", ""] {
      for analyzed in [false, true] { for same in [false, true] {
        std::fs::write("/tmp/dry_extra", extra).unwrap();
        let database = Postgres::of_process().database().unwrap();
        let world = Arc::new(World::postgres_in(&database).await);
        for t in 0..16 { for k in 0..16 {
            let mut cx = world.cx_of(&if same {"one".to_string()} else {format!("t{t}")});
            world.add(&mut cx, &format!("sku{t}x{k}"), 1000).await.unwrap();
            if !same && k > 2 { break }
        }}
        if analyzed { let (c, conn) = tokio_postgres::connect(&database.owner_url, tokio_postgres::NoTls).await.unwrap(); tokio::spawn(conn); c.batch_execute("analyze").await.unwrap(); }
        let stop = Instant::now() + Duration::from_secs(3);
        let (ok, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for t in 0..16 {
            let (world, ok, bad) = (world.clone(), ok.clone(), bad.clone());
            tasks.push(tokio::spawn(async move { let mut n = 0; while Instant::now() < stop { n += 1;
                let mut cx = world.cx_of(&if same {"one".to_string()} else {format!("t{t}")});
                let r: drystone_call::Result<()> = async {
                    let mut tx = world.store.begin(&mut cx).await?;
                    let sku = format!("sku{t}x0");
                    let (id, q): (uuid::Uuid, i64) = tx.query("select id, quantity from items where sku = $1").bind((sku,)).one().await?;
                    tx.query("update items set quantity = $2 where id = $1").bind((id, q + 1)).execute().await?;
                    tx.query("insert into lines (id, item) values ($1, $2)").bind((t * 1_000_000 + n, id)).execute().await?;
                    tx.commit().await
                }.await;
                if r.is_ok() { ok.fetch_add(1, Ordering::Relaxed); } else { bad.fetch_add(1, Ordering::Relaxed); }
            }}));
        }
        for t in tasks { t.await.unwrap(); }
        println!("RESULT extra={extra:?} analyzed={analyzed} same_tenant={same}: ok {} failed {}", ok.load(Ordering::Relaxed), bad.load(Ordering::Relaxed));
        world.store.close().await.unwrap();
      }}
    }
}
