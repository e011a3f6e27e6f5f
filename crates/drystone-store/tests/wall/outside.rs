//! What the wall does not stop, shown to be so: each is a line of the guide. A line that stops being true is to be taken out there with joy.

use std::path::Path;

use tokio_postgres::{AsyncMessage, NoTls};

use crate::native::{begin, session};
use crate::site::Site;

/// A line of "Outside the promise" that the tests show to be so.
fn written(line: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/tenants.md");
    let text = std::fs::read_to_string(page).unwrap();
    let section = text.split("## Outside the promise").nth(1).expect("the guide has the section");
    let section = section.split("\n## ").next().unwrap();
    assert!(section.contains(&format!("* **{line}.**")), "not in the guide: {line}");
}

pub(crate) async fn what_is_written_down_is_so(site: Site) {
    let acme = session(&site, "acme").await;

    written("The setting that names the tenant");
    acme.batch_execute("savepoint before; select set_config('app.tenant', 'other', true)").await.unwrap();
    assert_eq!(acme.query("select * from items", &[]).await.unwrap().len(), 2);
    acme.batch_execute("rollback to savepoint before").await.unwrap();

    written("Cursors that are held");
    acme.batch_execute("declare kept cursor with hold for select sku from items; commit").await.unwrap();
    begin(&acme, "other").await;
    let kept: String = acme.query_one("fetch all from kept", &[]).await.unwrap().get(0);
    assert_eq!(kept, "mine");
    acme.batch_execute("close kept; commit").await.unwrap();

    written("Settings of the session");
    acme.batch_execute("select set_config('app.note', 'of acme', false)").await.unwrap();
    begin(&acme, "other").await;
    let note: String = acme.query_one("select current_setting('app.note')", &[]).await.unwrap().get(0);
    assert_eq!(note, "of acme");

    written("Large objects");
    begin(&acme, "acme").await;
    let object: u32 = acme.query_one("select lo_from_bytea(0, 'of acme')", &[]).await.unwrap().get(0);
    acme.batch_execute("commit").await.unwrap();
    begin(&acme, "other").await;
    let bytes: Vec<u8> = acme.query_one("select lo_get($1)", &[&object]).await.unwrap().get(0);
    assert_eq!(bytes, b"of acme");
    acme.batch_execute("commit").await.unwrap();

    written("Sequences");
    begin(&acme, "acme").await;
    acme.query_one("select nextval('numbers')", &[]).await.unwrap();
    begin(&acme, "other").await;
    let next: i64 = acme.query_one("select nextval('numbers')", &[]).await.unwrap().get(0);
    assert_eq!(next, 2);
    acme.batch_execute("commit").await.unwrap();

    written("Sizes and estimates");
    let rows: f32 = acme
        .query_one("select reltuples from pg_class where oid = 'stock.items'::regclass", &[])
        .await
        .unwrap()
        .get(0);
    assert!((rows - 3.0).abs() < 0.5, "{rows}");

    locks_are_everybodys(&site).await;
}

async fn locks_are_everybodys(site: &Site) {
    written("Locks");
    let (acme, other) = (session(site, "acme").await, session(site, "other").await);
    acme.batch_execute("lock table items in access exclusive mode; select pg_advisory_xact_lock(7)")
        .await
        .unwrap();
    other.batch_execute("savepoint before").await.unwrap();
    assert!(other.batch_execute("lock table items in access share mode nowait").await.is_err());
    other.batch_execute("rollback to savepoint before").await.unwrap();
    let free: bool = other.query_one("select pg_try_advisory_xact_lock(7)", &[]).await.unwrap().get(0);
    assert!(!free);

    written("Notifications");
    let (listener, mut connection) = tokio_postgres::connect(&site.url_of("stock"), NoTls).await.unwrap();
    let (send, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(news) = message {
                send.send(news.payload().to_owned()).unwrap();
            }
        }
    });
    listener.batch_execute("listen news").await.unwrap();
    acme.batch_execute("notify news, 'of acme'; commit").await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), "of acme");

    written("What sessions of the module run");
    other.batch_execute("select 'of other'").await.unwrap();
    let sql =
        "select count(*) from pg_stat_activity where query like '%of other%' and pid <> pg_backend_pid()";
    let seen: i64 = acme.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(seen, 1);
}
