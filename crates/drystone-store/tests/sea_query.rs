//! Statements that sea-query built, the same on both databases.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "support/world.rs"]
mod world;

use drystone_call::Code;
use drystone_store::{Built, Location};
use drystone_testkit::Postgres;
use sea_query::{Alias, Expr, ExprTrait as _, OnConflict, Order, PostgresQueryBuilder, Query};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;
use world::World;

async fn values_go_in_and_come_out(world: &World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let (ident, at, doc) = (Uuid::from_u128(7), tx.now(), json!({"a": [1, null]}));
    let names = ["id", "big", "small", "words", "raw", "yes", "real", "ident", "at", "doc"].map(Alias::new);
    let (sql, values) = Query::insert()
        .into_table(Alias::new("kinds"))
        .columns(names)
        .values_panic([
            1_i32.into(),
            5_u64.into(),
            7_i64.into(),
            "it's".into(),
            vec![0_u8, 255].into(),
            true.into(),
            0.5_f64.into(),
            ident.into(),
            at.into(),
            doc.clone().into(),
        ])
        .build(PostgresQueryBuilder);
    tx.query(&sql).bind(Built::from(values)).queue();
    type Read = (i64, i32, String, Vec<u8>, bool, f64, Uuid, OffsetDateTime);
    let read: Read =
        tx.query("select big, small, words, raw, yes, real, ident, at from kinds").one().await.unwrap();
    assert_eq!(read, (5, 7, "it's".to_owned(), vec![0, 255], true, 0.5, ident, at));
    let (read,): (serde_json::Value,) = tx.query("select doc from kinds").one().await.unwrap();
    assert_eq!(read, doc);
    tx.commit().await.unwrap();
}

async fn what_is_built_reads_and_writes(world: &World) {
    let mut cx = world.cx();
    let item = |sku: &str, quantity: i64| {
        Query::insert()
            .into_table(Alias::new("items"))
            .columns(["id", "sku", "quantity"].map(Alias::new))
            .values_panic([Uuid::new_v4().into(), sku.into(), quantity.into()])
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .build(PostgresQueryBuilder)
    };
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let mut added = 0;
    for (sku, quantity) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        let (sql, values) = item(sku, quantity);
        added += tx.query(&sql).bind(Built::from(values)).execute().await.unwrap();
    }
    assert_eq!(added, 3);
    tx.commit().await.unwrap();
    let (sql, values) = Query::select()
        .columns(["sku", "quantity"].map(Alias::new))
        .from(Alias::new("items"))
        .and_where(Expr::col(Alias::new("sku")).is_in(["a", "c", "x"]))
        .and_where(Expr::col(Alias::new("quantity")).gt(0_i64))
        .order_by(Alias::new("sku"), Order::Desc)
        .limit(10)
        .build(PostgresQueryBuilder);
    let mut read = world.store.read(&mut cx).await.unwrap();
    let rows: Vec<(String, i64)> = read.query(&sql).bind(Built::from(values)).all().await.unwrap();
    assert_eq!(rows, [("c".to_owned(), 3), ("a".to_owned(), 1)]);
}

async fn what_no_column_holds_is_refused(world: &World) {
    let mut cx = world.cx();
    for value in [u64::MAX.into(), sea_query::Value::TimeDate(None)] {
        let (sql, values) = Query::select().expr(Expr::value(value).eq(1_i64)).build(PostgresQueryBuilder);
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let error = tx.query(&sql).bind(Built::from(values)).one::<(bool,)>().await.unwrap_err();
        assert_eq!(error.code(), Code::Internal, "{error:?}");
    }
}

async fn all(world: &World) {
    values_go_in_and_come_out(world).await;
    what_is_built_reads_and_writes(world).await;
    what_no_column_holds_is_refused(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    all(&World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let database = tokio::task::spawn_blocking(|| Postgres::of_process().database()).await.unwrap().unwrap();
    let world = World::postgres_in(&database).await;
    assert!(matches!(world.config().location, Location::Postgres { .. }));
    all(&world).await;
}
