//! Rows and values.

use drystone_call::Code;
use drystone_store::{Column, Row, RowError, StatementError};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::world::{Item, World};

#[derive(Clone, Debug, PartialEq, Row)]
struct Kinds {
    big: Option<i64>,
    small: Option<i32>,
    words: Option<String>,
    raw: Option<Vec<u8>>,
    yes: Option<bool>,
    real: Option<f64>,
    ident: Option<Uuid>,
    at: Option<OffsetDateTime>,
    doc: Option<Value>,
}

const INSERT: &str = "insert into kinds (id, big, small, words, raw, yes, real, ident, at, doc) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning *";

async fn round_trip(world: &World, id: i64, kinds: &Kinds) -> (Kinds, Kinds) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let Kinds { big, small, words, raw, yes, real, ident, at, doc } = kinds;
    let query = tx.query(INSERT).bind((id, big, small, words, raw, yes, real, ident, at, doc));
    let returned: Kinds = query.one().await.unwrap();
    tx.commit().await.unwrap();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let selected: Kinds = read.query("select * from kinds where id = $1").bind((id,)).one().await.unwrap();
    (returned, selected)
}

pub(crate) async fn values_come_back_as_they_went(world: World) {
    let at = OffsetDateTime::from_unix_timestamp_nanos(1_900_000_000_123_456_000).unwrap();
    for (id, at, yes, doc) in [
        (1, at, true, json!({"a": [1, 2.5, null, "x"], "b": {"c": true}})),
        (2, OffsetDateTime::UNIX_EPOCH, false, json!("text that is not a number: 5")),
        (3, at.replace_microsecond(120_000).unwrap(), true, json!("17")),
        (4, at.replace_microsecond(0).unwrap(), true, json!([])),
    ] {
        let kinds = Kinds {
            big: Some(i64::MIN),
            small: Some(i32::MAX),
            words: Some("d\u{fc}rr 'quoted' \u{1f9f1}".to_owned()),
            raw: Some(vec![0, 255, 0]),
            yes: Some(yes),
            real: Some(0.1 + 0.2),
            ident: Some(Uuid::from_u128(7)),
            at: Some(at),
            doc: Some(doc),
        };
        let (returned, selected) = round_trip(&world, id, &kinds).await;
        assert_eq!(returned, kinds);
        assert_eq!(selected, kinds);
    }
}

pub(crate) async fn values_may_be_absent(world: World) {
    let kinds = Kinds {
        big: None,
        small: None,
        words: None,
        raw: None,
        yes: None,
        real: None,
        ident: None,
        at: None,
        doc: None,
    };
    assert_eq!(round_trip(&world, 1, &kinds).await, (kinds.clone(), kinds));
}

pub(crate) async fn rows_map_by_name(world: World) {
    let mut cx = world.cx();
    let item = world.add(&mut cx, "stone", 3).await.unwrap();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let sql = "select quantity, sku, id from items";
    assert_eq!(read.query(sql).one::<Item>().await.unwrap(), item);
    assert_eq!(read.query(sql).one::<(i64, String, Uuid)>().await.unwrap(), (3, "stone".to_owned(), item.id));
}

pub(crate) async fn parameters_bind_by_number(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let id = tx.new_id();
    let sql = "insert into items (quantity, sku, id) values ($3, $2, $1) returning *";
    let sku = String::from("late");
    let item: Item = tx.query(sql).bind(&(id, &sku, 5_i64)).one().await.unwrap();
    assert_eq!(item, Item { id, sku, count: 5 });
    let twice = "select sku from items where sku = $1 or ($2 = quantity and sku = $1)";
    let found: (String,) = tx.query(twice).bind(("late", 5_i64)).one().await.unwrap();
    assert_eq!(found.0, "late");
    let error = tx.query("select sku from items where sku = $1").one::<(String,)>().await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
}

pub(crate) async fn a_row_that_does_not_fit(world: World) {
    #[derive(Debug, Row)]
    struct Wrong {
        #[expect(dead_code, reason = "the row is never read")]
        weight: i64,
    }
    let mut cx = world.cx();
    world.add(&mut cx, "stone", 3).await.unwrap();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let error = read.query("select sku, quantity from items").one::<Wrong>().await.unwrap_err();
    let chain = format!("{error:?}");
    assert_eq!(error.code(), Code::Internal);
    assert!(
        chain.contains("weight") && chain.contains("sku, quantity"),
        "names the column and those there are: {chain}"
    );
    assert!(chain.contains("select sku, quantity from items"), "names the statement: {chain}");
    assert!(error.cause().unwrap().downcast_ref::<StatementError>().is_some());

    let error = read.query("select sku from items").one::<(i64,)>().await.unwrap_err();
    let chain = format!("{error:?}");
    assert!(chain.contains("sku") && chain.contains("i64"), "names the column and the type: {chain}");
    let fault = std::error::Error::source(error.cause().unwrap()).unwrap().to_string();
    assert!(fault.contains("\"sku\""), "{fault}");
    assert!(RowError::Missing { column: "a".into(), present: vec![] }.to_string().contains("rename"));
}

pub(crate) async fn rows_are_counted(world: World) {
    let mut cx = world.cx();
    for sku in ["a", "b", "c"] {
        world.add(&mut cx, sku, 1).await.unwrap();
    }
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let changed =
        tx.query("update items set quantity = 2 where sku <> $1").bind(("b",)).execute().await.unwrap();
    assert_eq!(changed, 2);
    assert_eq!(tx.query("update items set quantity = 2 where sku = 'x'").execute().await.unwrap(), 0);
    let rows: Vec<(String, i64)> =
        tx.query("select sku, quantity from items order by sku").all().await.unwrap();
    assert_eq!(rows, [("a".to_owned(), 2), ("b".to_owned(), 1), ("c".to_owned(), 2)]);
    assert_eq!(tx.query("delete from items").execute().await.unwrap(), 3);
}

#[derive(Clone, Debug, PartialEq, Column)]
struct Sku(String);

pub(crate) async fn newtypes_are_columns(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let sql = "insert into kinds (id, words) values (1, $1) returning words, (select $2) as none";
    let row: (Sku, Option<Sku>) = tx.query(sql).bind((Sku("s".to_owned()), None::<Sku>)).one().await.unwrap();
    assert_eq!(row, (Sku("s".to_owned()), None));
}

pub(crate) async fn one_means_one(world: World) {
    let mut cx = world.cx();
    for sku in ["a", "b"] {
        world.add(&mut cx, sku, 1).await.unwrap();
    }
    let mut read = world.store.read(&mut cx).await.unwrap();
    let sql = "select sku from items where sku > $1";
    let missing = read.query(sql).bind(("z",)).one::<(String,)>().await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(read.query(sql).bind(("z",)).optional::<(String,)>().await.unwrap(), None);
    assert_eq!(read.query(sql).bind(("a",)).optional::<(String,)>().await.unwrap(), Some(("b".to_owned(),)));
    for several in [
        read.query(sql).bind(("",)).one::<(String,)>().await.unwrap_err(),
        read.query(sql).bind(("",)).optional::<(String,)>().await.unwrap_err(),
    ] {
        assert_eq!(several.code(), Code::Internal);
        assert!(format!("{several:?}").contains("several rows"));
    }
}
