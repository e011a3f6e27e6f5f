//! Every kind of statement that a handler can run through its `Tx`, on both databases.

use std::pin::Pin;

use drystone_call::Code;
use drystone_store::Native;
use uuid::Uuid;

use crate::world::{Item, World};

type Attack = fn(World, bool) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! attacks {
    ($($name:ident)+) => { &[$((stringify!($name), |world, on_postgres| Box::pin($name(world, on_postgres)))),+] };
}

pub(crate) const ATTACKS: &[(&str, Attack)] = attacks! {
    reading_sees_nothing changing_changes_nothing another_tenant_cannot_be_named an_upsert_meets_its_own_rows_only
    a_foreign_key_does_not_reach_across the_same_key_is_free_for_everybody
    whose_data_it_is_cannot_be_changed the_native_connection_is_behind_the_wall
};

/// A row of `other`, with everything about it that an attacker could guess.
async fn theirs(world: &World) -> Item {
    let mut other = world.cx_of("other");
    let item = world.add(&mut other, "theirs", 5).await.unwrap();
    let mut tx = world.store.begin(&mut other).await.unwrap();
    let line = "insert into lines (id, item) values (1, $1)";
    tx.query(line).bind((item.id,)).execute().await.unwrap();
    tx.query("insert into kinds (id, words) values (1, 'secret')").execute().await.unwrap();
    tx.commit().await.unwrap();
    item
}

/// Whether everything of `other` is as it was.
async fn untouched(world: &World, item: &Item) {
    let mut other = world.cx_of("other");
    let mut read = world.store.read(&mut other).await.unwrap();
    let items: Vec<Item> = read.query("select id, sku, quantity from items").all().await.unwrap();
    assert_eq!(items, std::slice::from_ref(item));
    let lines: Vec<(i64, Uuid)> = read.query("select id, item from lines").all().await.unwrap();
    assert_eq!(lines, [(1, item.id)]);
    assert_eq!(read.query("select words from kinds").one::<(String,)>().await.unwrap().0, "secret");
}

async fn reading_sees_nothing(world: World, on_postgres: bool) {
    let item = theirs(&world).await;
    let mut reads = vec![
        "select sku from items",
        "select sku from items where id = $1",
        "select sku from items where quantity >= 0 or true",
        "select i.sku from items i join lines l on l.item = i.id",
        "select i.sku from lines l left join items i on i.id = l.item",
        "select i.sku from items i cross join kinds",
        "select sku from items where exists (select 1 from lines where lines.item = items.id)",
        "select words from kinds where words like 's%'",
        "with all_items as (select * from items) select sku from all_items",
        "select sku from items union all select words from kinds",
        "select max(sku) from items having count(*) > 0",
        "select key from drystone_idempotency",
    ];
    if on_postgres {
        reads.extend([
            "select sku from items where tenant = 'other'",
            "select sku from only items where ctid is not null",
            "select sku from items tablesample system (100)",
            "select items::text from items",
            "select to_jsonb(i)::text from items i",
            "select query_to_xml('select * from items', true, true, '')::text where false",
            "select sku from items for update",
            "table items",
        ]);
    }
    for sql in reads {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let query = tx.query(sql);
        let seen: drystone_call::Result<Vec<(String,)>> =
            if sql.contains("$1") { query.bind((item.id,)).all().await } else { query.all().await };
        assert_eq!(seen.unwrap_or_else(|error| panic!("{sql}: {error:?}")), [], "{sql}");
    }
    let mut acme = world.cx();
    let mut read = world.store.read(&mut acme).await.unwrap();
    for table in ["items", "lines", "kinds", "drystone_idempotency"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(read.query(&count).one::<(i64,)>().await.unwrap().0, 0, "{table}");
    }
    assert!(
        read.query("select id, sku, quantity from items where id = $1")
            .bind((item.id,))
            .optional::<Item>()
            .await
            .unwrap()
            .is_none()
    );
}

async fn changing_changes_nothing(world: World, on_postgres: bool) {
    let item = theirs(&world).await;
    let mut changes = vec![
        "update items set quantity = 0",
        "update items set quantity = 0 where id = $1",
        "update items set sku = 'mine' where id = $1 returning id",
        "update items set quantity = (select count(*) from lines) where id in (select item from lines)",
        "delete from items where id = $1",
        "delete from lines",
        "delete from kinds returning words",
        "insert into kinds (id, words) select 2, sku from items",
    ];
    if on_postgres {
        changes.extend([
            "update items set tenant = 'acme'",
            "update items i set quantity = 0 from lines l where l.item = i.id",
            "delete from items using lines where lines.item = items.id",
            "with gone as (delete from lines returning item) update items set quantity = 0 where id in (select item from gone)",
            "merge into items i using (select 'theirs') s (sku) on i.sku = s.sku when matched then delete",
            "merge into items i using lines l on l.item = i.id when matched then update set quantity = 0",
        ]);
    }
    for sql in changes {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let query = tx.query(sql);
        let done =
            if sql.contains("$1") { query.bind((item.id,)).execute().await } else { query.execute().await };
        assert_eq!(done.unwrap_or_else(|error| panic!("{sql}: {error:?}")), 0, "{sql}");
        tx.commit().await.unwrap();
    }
    untouched(&world, &item).await;
}

async fn another_tenant_cannot_be_named(world: World, on_postgres: bool) {
    let item = theirs(&world).await;
    let mut namings = vec![
        "insert into items (tenant, id, sku, quantity) values ('other', $1, 'planted', 1)",
        "insert into items (tenant, id, sku, quantity) values ('other', $1, 'planted', 1) returning sku",
        "insert into items (tenant, id, sku, quantity) select 'other', $1, 'planted', 1",
    ];
    if on_postgres {
        namings.extend([
            "insert into items (tenant, id, sku, quantity) values ('other', $1, 'planted', 1) on conflict do nothing",
            "insert into items (tenant, id, sku, quantity) values ('other', $1, 'theirs', 1) on conflict (tenant, sku) do update set quantity = 0",
            "insert into items (tenant, id, sku, quantity) values (null, $1, 'planted', 1)",
            "insert into items (tenant, id, sku, quantity) values ('', $1, 'planted', 1)",
            "with mine as (insert into items (id, sku, quantity) values ($1, 'mine', 1) returning id) update items set tenant = 'other'",
        ]);
    }
    for sql in namings {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let id = tx.new_id();
        let done = tx.query(sql).bind((id,)).execute().await;
        let failed = done.is_err();
        // One statement does not see the row that it adds itself, so it changes nothing.
        assert!(failed || sql.starts_with("with mine"), "{sql}: {done:?}");
        drop(tx);
        if on_postgres && !failed {
            let mut acme = world.cx();
            let mut tx = world.store.begin(&mut acme).await.unwrap();
            let add = "insert into items (id, sku, quantity) values ($1, 'mine', 1)";
            tx.query(add).bind((id,)).execute().await.unwrap();
            assert!(
                tx.query("update items set tenant = 'other'").execute().await.is_err(),
                "a row cannot be given away"
            );
        }
    }
    untouched(&world, &item).await;
}

async fn an_upsert_meets_its_own_rows_only(world: World, on_postgres: bool) {
    let item = theirs(&world).await;
    let target = if on_postgres { "(tenant, sku)" } else { "(sku)" };
    for (then, expected) in [("do nothing", 1), ("do update set quantity = 0", 1)] {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let id = tx.new_id();
        let sql = format!(
            "insert into items (id, sku, quantity) values ($1, $2, 1) on conflict {target} {then} returning quantity"
        );
        let quantity: (i64,) = tx.query(&sql).bind((id, "theirs")).one().await.unwrap();
        assert_eq!(quantity.0, expected, "the row is new for acme");
    }
    untouched(&world, &item).await;
}

async fn a_foreign_key_does_not_reach_across(world: World, _: bool) {
    let item = theirs(&world).await;
    let mut messages = Vec::new();
    for id in [item.id, Uuid::from_u128(1)] {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let insert = "insert into lines (id, item) values (7, $1)";
        let refused = match tx.query(insert).bind((id,)).execute().await {
            Ok(_) => tx.commit().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        messages.push(refused.message().to_owned());
    }
    assert_eq!(messages[0], messages[1], "whether the row exists is not told");
    untouched(&world, &item).await;
}

async fn the_same_key_is_free_for_everybody(world: World, _: bool) {
    let item = theirs(&world).await;
    let mut acme = world.cx();
    let mut tx = world.store.begin(&mut acme).await.unwrap();
    let insert = "insert into items (id, sku, quantity) values ($1, 'theirs', 1)";
    assert_eq!(tx.query(insert).bind((item.id,)).execute().await.unwrap(), 1);
    tx.query("insert into lines (id, item) values (1, $1)").bind((item.id,)).execute().await.unwrap();
    tx.commit().await.unwrap();
    untouched(&world, &item).await;
    assert_eq!(world.skus(&mut world.cx()).await, ["theirs"]);
}

async fn whose_data_it_is_cannot_be_changed(world: World, _: bool) {
    let item = theirs(&world).await;
    for sql in [
        "select set_config('app.tenant', 'other', true)",
        "with a as (select Set_Config('app.tenant', 'other', true)) select * from a, items",
        "set app.tenant = 'other'",
        "set local role postgres",
        "reset role",
        "declare kept cursor with hold for select * from items",
        "prepare kept as select * from items",
        "do $$ begin perform 1; end $$",
        "pragma database_list",
    ] {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let error = tx.query(sql).execute().await.expect_err(sql);
        assert_eq!(error.code(), Code::Internal, "{sql}: {error:?}");
        drop(tx);
        let mut read = world.store.read(&mut acme).await.unwrap();
        assert!(read.query(sql).all::<(String,)>().await.is_err(), "{sql}");
    }
    untouched(&world, &item).await;
}

async fn the_native_connection_is_behind_the_wall(world: World, on_postgres: bool) {
    let item = theirs(&world).await;
    let mut acme = world.cx();
    let mut tx = world.store.begin(&mut acme).await.unwrap();
    let client = match tx.native().await.unwrap() {
        Native::Postgres(client) => Some(client),
        Native::Sqlite(db) => {
            let count: i64 = db.query_row("select count(*) from items", [], |row| row.get(0)).unwrap();
            assert_eq!(count, 0);
            for sql in ["attach 'other.db' as other", "pragma database_list", "commit", "vacuum into 'x'"] {
                let error = db.execute_batch(sql).unwrap_err();
                let says = error.to_string();
                assert!(
                    says.contains("not authorized") || says.contains("from within a transaction"),
                    "{sql}: {says}"
                );
            }
            None
        }
    };
    assert_eq!(client.is_some(), on_postgres);
    if let Some(client) = client {
        assert!(client.query("select * from items", &[]).await.unwrap().is_empty());
        assert_eq!(client.execute("update items set quantity = 0", &[]).await.unwrap(), 0);
        assert_eq!(client.execute("delete from lines", &[]).await.unwrap(), 0);
    }
    drop(tx);
    untouched(&world, &item).await;
}

/// On SQLite the other tenant's rows are in another file.
pub(crate) async fn other_files_are_out_of_reach(world: World) {
    let item = theirs(&world).await;
    let drystone_store::Location::Sqlite { dir } = world.config().location else { unreachable!() };
    let file = dir.join(crate::world::MODULE).join("tenants/other.db");
    assert!(file.exists());
    let copy = dir.join("copy.db");
    let (file, copy) = (file.display(), copy.display());
    for sql in [
        format!("attach database '{file}' as other"),
        format!("explain attach database '{file}' as other"),
        format!("/* */ attach '{file}' as other"),
        format!("with a as (select 1) select * from a; attach '{file}' as other"),
        "select file from pragma_database_list".to_owned(),
        "pragma database_list".to_owned(),
        format!("vacuum into '{copy}'"),
        "select load_extension('x')".to_owned(),
        format!("select readfile('{file}')"),
        format!("select writefile('{copy}', 'x')"),
    ] {
        let mut acme = world.cx();
        let mut tx = world.store.begin(&mut acme).await.unwrap();
        let error = tx.query(&sql).execute().await.expect_err(&sql);
        assert_eq!(error.code(), Code::Internal, "{sql}: {error:?}");
    }
    assert!(!dir.join("copy.db").exists());
    untouched(&world, &item).await;
}
