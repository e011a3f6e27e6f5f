//! Raw SQL on PostgreSQL, as the module's role over a connection of its own: what the native connection of a `Tx` can do.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::site::{Site, login, step, tenants};

const SCHEMA: &str = "
create sequence numbers;
create table items (tenant text not null, id bigint not null, sku text not null, primary key (tenant, id), unique (tenant, sku));
create table lines (tenant text not null, id bigint not null, item bigint not null, primary key (tenant, id),
    foreign key (tenant, item) references items (tenant, id) on delete cascade on update cascade);
create table parted (tenant text not null, id bigint not null, primary key (tenant, id)) partition by hash (tenant);
create table parted_0 partition of parted for values with (modulus 2, remainder 0);
create table parted_1 partition of parted for values with (modulus 2, remainder 1);
create view skus with (security_invoker = true) as select sku from items;
create function peek() returns bigint language sql as 'select count(*) from items';
create function tell(sku text) returns boolean language plpgsql cost 0.0000001 as $$
begin if sku = 'theirs' then raise exception 'saw %', sku; end if; return true; end $$;
create index items_by_tell on items (tenant, sku text_pattern_ops)";

/// A module `stock` with rows of `acme` and `other`.
pub(crate) async fn seeded(site: Site) -> Site {
    // As where the database's owner migrates: the public loses its right to temporary objects.
    let user = site.owner.replace("_owner", "");
    site.admin.batch_execute(&format!("alter database {user} owner to {}", site.owner)).await.unwrap();
    site.migrate("stock", tenants(&[step(1, "expand_all", SCHEMA)])).await.unwrap();
    let rows =
        "insert into stock.items values ('acme', 1, 'mine'), ('other', 1, 'theirs'), ('other', 2, 'more');
        insert into stock.lines values ('acme', 1, 1), ('other', 1, 1);
        insert into stock.parted values ('acme', 1), ('other', 1), ('third', 1);
        insert into stock.drystone_idempotency values ('other', 'p', 'm', 'k', '', 0, 0, 'secret', 0);
        insert into stock.drystone_outbox (tenant, id, type, key, data, created) values ('other', gen_random_uuid(), 't', 'theirs', '', 0);
        insert into stock.drystone_scheduled values ('other', gen_random_uuid(), 't', 'theirs', '', 0, 0);
        insert into stock.drystone_inbox values ('other', 'c', gen_random_uuid(), 0);
        insert into stock.drystone_held (tenant, consumer, source, key, id, type, data, created, seq, state, attempts, since)
            values ('other', 'c', 's', 'theirs', gen_random_uuid(), 't', '', 0, 1, 'parked', 0, 0);
        analyze stock.items";
    site.admin.batch_execute(rows).await.unwrap();
    site
}

/// A session as the store sets one up, in a transaction of a tenant.
pub(crate) async fn session(site: &Site, tenant: &str) -> Client {
    let client = site.session("stock").await;
    client.batch_execute("set search_path = stock").await.unwrap();
    begin(&client, tenant).await;
    client
}

pub(crate) async fn begin(client: &Client, tenant: &str) {
    client.batch_execute(&format!("begin; select set_config('app.tenant', '{tenant}', true)")).await.unwrap();
}

async fn count(client: &Client, sql: &str) -> usize {
    client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).len()
}

async fn denied(client: &Client, sql: &str) {
    client.batch_execute("savepoint attack").await.unwrap();
    let error = client.batch_execute(sql).await.expect_err(sql);
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
    client.batch_execute("rollback to savepoint attack").await.unwrap();
}

/// Everything of `other`.
async fn theirs(site: &Site) -> Vec<String> {
    let sql = "select items::text from stock.items where tenant <> 'acme' union all select lines::text from stock.lines where tenant <> 'acme'
        union all select parted::text from stock.parted where tenant <> 'acme'
        union all select o::text from stock.drystone_outbox o union all select s::text from stock.drystone_scheduled s
        union all select i::text from stock.drystone_inbox i union all select h::text from stock.drystone_held h order by 1";
    site.lines(sql).await
}

pub(crate) async fn nothing_is_seen(site: &Site) {
    let tables = site
        .lines("select relname::text from pg_class where relnamespace = 'stock'::regnamespace and relkind in ('r', 'p', 'v') and relname <> 'drystone_migrations'")
        .await;
    assert_eq!(tables.len(), 11, "{tables:?}");
    for (tenant, expected) in [("acme", 1), ("", 0), ("nobody", 0)] {
        let client = session(site, tenant).await;
        for table in &tables {
            let seen = count(&client, &format!("select * from {table}")).await;
            let partition = table.starts_with("parted_");
            assert!(
                seen <= expected && (partition || table.starts_with("drystone") || seen == expected),
                "{tenant} {table}: {seen}"
            );
        }
        client.batch_execute("rollback").await.unwrap();
        if tenant.is_empty() {
            // Without a transaction, and so without a tenant.
            assert_eq!(count(&client, "select * from items").await, 0);
        }
    }
    let client = session(site, "acme").await;
    for sql in ["copy items to stdout", "copy (select * from items) to stdout", "copy parted_1 to stdout"] {
        use futures_util::TryStreamExt as _;
        let parts: Vec<_> = client.copy_out(sql).await.unwrap().try_collect().await.unwrap();
        let text: String = parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        assert!(!text.contains("other") && !text.contains("third"), "{sql}: {text}");
    }
    client.batch_execute("declare rows cursor for select * from items").await.unwrap();
    assert_eq!(count(&client, "fetch all from rows").await, 1);
    for sql in [
        "select query_to_xml('select * from stock.items', true, true, '')::text",
        "select schema_to_xml('stock', true, true, '')::text",
        "select table_to_xml('stock.items', true, true, '')::text",
    ] {
        let text: String = client.query_one(sql, &[]).await.unwrap().get(0);
        assert!(text.contains("mine") && !text.contains("theirs"), "{sql}: {text}");
    }
}

pub(crate) async fn nothing_is_changed(site: &Site) {
    let before = theirs(site).await;
    let client = session(site, "acme").await;
    for sql in [
        "insert into items values ('other', 9, 'planted')",
        "insert into parted_1 values ('third', 9)",
        "insert into drystone_outbox (tenant, id, type, key, data, created) values ('other', gen_random_uuid(), 't', 'planted', '', 0)",
        "insert into drystone_inbox values ('other', 'c', gen_random_uuid(), 0)",
        "update drystone_outbox set key = 'x'",
        "delete from drystone_outbox",
        "update drystone_inbox set handled = 0",
        "insert into parted_0 values ('third', 9)",
        "update items set tenant = 'other'",
        "insert into items values ('other', 1, 'theirs') on conflict (tenant, id) do update set sku = 'x'",
        "truncate items",
        "truncate items cascade",
        // It reads no column, so that the server lets it meet every row, and then refuses to change one.
        "merge into items using (select 1) s on true when matched then delete",
        "merge into items i using (values (1)) s on i.tenant = 'other' when not matched then insert values ('other', 9, 'planted')",
    ] {
        denied(&client, sql).await;
    }
    for sql in [
        "update items set sku = sku || 'x' where tenant = 'other'",
        "delete from items where tenant = 'other'",
        "delete from parted_0 where tenant <> 'acme'",
        "delete from drystone_inbox",
        "update drystone_held set state = 'waiting'",
        "delete from drystone_scheduled",
        "delete from parted_1 where tenant <> 'acme'",
    ] {
        assert_eq!(client.execute(sql, &[]).await.unwrap(), 0, "{sql}");
    }
    client.batch_execute("savepoint copying").await.unwrap();
    let refused = client.batch_execute("copy items from stdin").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{refused:?}");
    client.batch_execute("rollback to savepoint copying").await.unwrap();
    // What cascades stays within the tenant.
    assert_eq!(client.execute("update items set id = 5", &[]).await.unwrap(), 1);
    assert_eq!(client.execute("delete from items", &[]).await.unwrap(), 1);
    client.batch_execute("commit").await.unwrap();
    assert_eq!(theirs(site).await, before);
    site.admin.batch_execute("insert into stock.items values ('acme', 1, 'mine'); insert into stock.lines values ('acme', 1, 1)").await.unwrap();
}

pub(crate) async fn settings_and_roles_do_not_open_it(site: &Site) {
    let client = session(site, "acme").await;
    for sql in [
        "set local role postgres".to_owned(),
        format!("set local role {}", site.owner),
        "set session authorization postgres".to_owned(),
        "set local session_replication_role = replica".to_owned(),
        "alter table items disable row level security".to_owned(),
        "alter table items no force row level security".to_owned(),
        "drop policy drystone_tenant on items".to_owned(),
        "create policy open on items using (true)".to_owned(),
        "alter table items owner to current_user".to_owned(),
        "create table mine as select * from items".to_owned(),
        "create view mine as select * from items".to_owned(),
        "create function mine() returns void language sql as ''".to_owned(),
        "create temporary table mine (id bigint)".to_owned(),
        "create temporary view mine as select 1".to_owned(),
        "select * into temporary mine from items".to_owned(),
        "create rule mine as on select to items do instead select 1".to_owned(),
        "create trigger mine before insert on items execute function tell()".to_owned(),
    ] {
        denied(&client, &sql).await;
    }
    for sql in [
        "set local role none; select 1",
        "set local search_path = public, stock",
        "set local drystone.migrating = 'on'",
    ] {
        client.batch_execute(sql).await.unwrap();
        assert_eq!(count(&client, "select * from stock.items").await, 1, "{sql}");
    }
    // Who may not pass a right on is not told so, and passes nothing on.
    client.batch_execute("grant select on items to public").await.unwrap();
    let open =
        "select 1 from pg_class, aclexplode(relacl) a where oid = 'stock.items'::regclass and a.grantee = 0";
    assert_eq!(count(&client, open).await, 0);
    // Asked to do without the wall, the server refuses rather than shows.
    client.batch_execute("set local row_security = off").await.unwrap();
    denied(&client, "select * from items").await;
}

pub(crate) async fn code_of_the_module_does_not_open_it(site: &Site) {
    let client = session(site, "acme").await;
    assert_eq!(client.query_one("select peek()", &[]).await.unwrap().get::<_, i64>(0), 1);
    assert_eq!(count(&client, "select * from skus").await, 1);
    // A function that tells what it is shown is shown nothing before the wall has looked, however cheap it claims to be.
    assert_eq!(count(&client, "select * from items where tell(sku)").await, 1);
    assert_eq!(count(&client, "select * from items where sku like 't%' and tell(sku)").await, 0);
    assert_eq!(count(&client, "select * from skus where tell(sku)").await, 1);
}

pub(crate) async fn statistics_show_no_values(site: &Site) {
    let client = session(site, "acme").await;
    denied(&client, "select * from pg_statistic").await;
    for view in ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"] {
        assert_eq!(
            count(&client, &format!("select * from {view} where schemaname = 'stock'")).await,
            0,
            "{view}"
        );
    }
    for plan in [
        "explain (analyze, verbose) select * from items",
        "explain (analyze) select * from items where sku = 'theirs'",
    ] {
        for row in client.query(plan, &[]).await.unwrap() {
            let line: String = row.get(0);
            assert!(!line.contains("other") && !line.contains("more"), "{line}");
        }
    }
}

pub(crate) async fn what_outlives_a_transaction(site: &Site) {
    let client = session(site, "acme").await;
    // A statement prepared by one tenant is the next one's when the next one runs it.
    let statement = client.prepare("select sku from items order by 1").await.unwrap();
    client.batch_execute("prepare kept as select sku from items order by 1").await.unwrap();
    for _ in 0..8 {
        assert_eq!(client.query(&statement, &[]).await.unwrap().len(), 1);
    }
    client.batch_execute("commit").await.unwrap();
    begin(&client, "other").await;
    let seen: Vec<String> =
        client.query(&statement, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["more", "theirs"]);
    assert_eq!(count(&client, "execute kept").await, 2);
    client.batch_execute("commit").await.unwrap();
    // What was set for a transaction ends with it: the next one begins without a tenant.
    assert_eq!(count(&client, "select * from items").await, 0);
    begin(&client, "acme").await;
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(count(&client, "select * from items").await, 0);
}

pub(crate) async fn keys_do_not_tell_what_exists(site: &Site) {
    let client = session(site, "acme").await;
    client.batch_execute("insert into items values ('acme', 2, 'theirs')").await.unwrap();
    client.batch_execute("savepoint one").await.unwrap();
    let there = client.batch_execute("insert into lines values ('acme', 7, 1000)").await.unwrap_err();
    client.batch_execute("rollback to savepoint one").await.unwrap();
    site.admin.batch_execute("insert into stock.items values ('other', 1000, 'new')").await.unwrap();
    let not_there = client.batch_execute("insert into lines values ('acme', 7, 1000)").await.unwrap_err();
    assert_eq!(
        there.as_db_error().map(ToString::to_string),
        not_there.as_db_error().map(ToString::to_string)
    );
    let owner = login(&site.owner_url).await;
    assert_eq!(count(&owner, "select * from stock.items").await, 0, "the owner outside a migration");
}
