//! Least privilege: what the role of a module may do, read from the catalog, and what it meets in the schemas of another module.

use tokio_postgres::error::SqlState;

use crate::site::{ITEMS, Site, step};
use drystone_store::Migrations;

/// Everything that a role has been given, by itself and as one of the public, outside the server's own schemas.
const PRIVILEGES: &str = "
with own as (select oid from pg_roles where rolname = $1),
mine as (select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema')
select format('%s %s.%s: %s', case relkind when 'S' then 'sequence' when 'v' then 'view' else 'table' end, nspname, relname,
    string_agg(lower(privilege_type) || case when is_grantable then '*' else '' end, ', ' order by privilege_type))
from mine join pg_class c on relnamespace = mine.oid and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
cross join lateral aclexplode(coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::\"char\", relowner))) a, own
where grantee in (own.oid, 0) group by nspname, relname, relkind
union all
select format('column %s.%s.%s: %s', nspname, relname, attname, privilege_type)
from mine join pg_class c on relnamespace = mine.oid join pg_attribute t on attrelid = c.oid cross join lateral aclexplode(attacl) a, own
where grantee in (own.oid, 0)
union all
select format('function %s.%s: %s%s', nspname, proname, lower(privilege_type), case when grantee = 0 then ' (public)' else '' end)
from mine join pg_proc p on pronamespace = mine.oid cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner))) a, own
where grantee in (own.oid, 0)
union all
select format('schema %s: %s%s', nspname, lower(privilege_type), case when grantee = 0 then ' (public)' else '' end)
from pg_namespace n join mine using (oid, nspname) cross join lateral aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a, own
where grantee in (own.oid, 0)
union all
select format('database: %s%s', lower(privilege_type), case when grantee = 0 then ' (public)' else '' end)
from pg_database d cross join lateral aclexplode(coalesce(datacl, acldefault('d', datdba))) a, own
where datname = current_database() and grantee in (own.oid, 0)
union all
select format('role: %s', (select string_agg(word, ' ') from (values (rolsuper, 'superuser'), (rolbypassrls, 'bypassrls'),
    (rolcreaterole, 'createrole'), (rolcreatedb, 'createdb'), (rolreplication, 'replication'), (rolcanlogin, 'login')) w (has, word) where has))
from pg_roles where rolname = $1
union all
select format('member of %s', roleid::regrole) from pg_auth_members, own where member = own.oid
order by 1";

const GOLDEN: &str = "\
database: connect
database: connect (public)
function stock.drystone_admit: execute
function stock.half: execute
role: login
schema public: usage (public)
schema stock: usage
schema stock_shared: usage
sequence stock.drystone_held_place_seq: usage
sequence stock.drystone_outbox_seq_seq: usage
sequence stock.numbers: usage
sequence stock_shared.drystone_tenants_changed: usage
table stock.drystone_held: delete, insert, select, update
table stock.drystone_idempotency: delete, insert, select
table stock.drystone_inbox: delete, insert, select
table stock.drystone_migrations: select
table stock.drystone_outbox: insert, select
table stock.drystone_scheduled: delete, insert, select, update
table stock.items: delete, insert, select, update
table stock.later: delete, insert, select, update
table stock_shared.drystone_idempotency: delete, insert, select
table stock_shared.drystone_leases: delete, insert, select, update
table stock_shared.drystone_migrations: select
table stock_shared.drystone_pumps: delete, insert, select, update
table stock_shared.drystone_tenants: delete, insert, select, update
table stock_shared.rates: delete, insert, select, update
view stock.skus: delete, insert, select, update";

/// Of the role that carries the module's events.
const GOLDEN_RELAY: &str = "\
database: connect
database: connect (public)
role: login
schema public: usage (public)
schema stock: usage
schema stock_shared: usage
sequence stock.drystone_outbox_seq_seq: select, usage
table stock.drystone_held: delete, insert, select, update
table stock.drystone_inbox: delete, insert, select, update
table stock.drystone_outbox: delete, insert, select, update
table stock.drystone_scheduled: delete, insert, select, update
table stock_shared.drystone_pumps: delete, insert, select, update";

fn migrations(later: bool) -> Migrations {
    let objects = "create sequence numbers; create function half(n bigint) returns bigint language sql as 'select n / 2';
        create view skus with (security_invoker = true) as select sku from items";
    let mut all = vec![step(1, "expand_items", &format!("{ITEMS}; {objects}"))];
    if later {
        all.push(step(2, "expand_later", &ITEMS.replace("items", "later")));
    }
    let rates =
        step(1, "expand_rates", "create table rates (currency text primary key, rate bigint not null)");
    Migrations { postgres: Vec::leak(all), shared_postgres: Vec::leak(vec![rates]), ..Migrations::NONE }
}

pub(crate) async fn a_role_has_what_it_needs_and_nothing_else(site: Site) {
    // The database's owner migrates, so that the public loses its right to temporary objects.
    let user = site.owner.replace("_owner", "");
    site.admin.batch_execute(&format!("alter database {user} owner to {}", site.owner)).await.unwrap();
    site.migrate("stock", migrations(false)).await.unwrap();
    site.migrate("stock", migrations(true)).await.unwrap();
    for (role, golden) in [("stock", GOLDEN), ("stock_relay", GOLDEN_RELAY)] {
        let rows = site.admin.query(PRIVILEGES, &[&site.role(role)]).await.unwrap();
        let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows.join("\n"), golden, "{role}");
    }
}

/// The policies that let the second role through.
const POLICIES: &str = "select format('%s: %s %s %s %s', polrelid::regclass, polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    from pg_policy where '{role}'::regrole::oid = any (polroles) order by 1";

pub(crate) async fn a_relay_sees_the_events_of_all_tenants_and_nothing_else(site: Site) {
    site.migrate("stock", migrations(true)).await.unwrap();
    let policies = site.lines(&POLICIES.replace("{role}", &site.role("stock_relay"))).await;
    let through = ["held", "inbox", "outbox", "scheduled"];
    assert_eq!(policies, through.map(|table| format!("stock.drystone_{table}: drystone_relay * true true")));
    let event = "insert into stock.drystone_outbox (tenant, id, type, key, data, created) values";
    for tenant in ["acme", "other"] {
        let row = format!("{event} ('{tenant}', gen_random_uuid(), 't', 'k', '', 0)");
        site.admin.batch_execute(&row).await.unwrap();
        let item = format!("insert into stock.items values ('{tenant}', 1, 'x')");
        site.admin.batch_execute(&item).await.unwrap();
    }
    let relay = site.session("stock_relay").await;
    // Whatever it says of a tenant makes no difference.
    for setting in ["", "select set_config('app.tenant', 'acme', false)"] {
        relay.batch_execute(setting).await.unwrap();
        assert_eq!(relay.query("select * from stock.drystone_outbox", &[]).await.unwrap().len(), 2);
    }
    let mut attacks = Vec::new();
    for table in site
        .lines(
            "select format('%I.%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
             where nspname in ('stock', 'stock_shared') and relkind in ('r', 'p', 'v')
             and relname not in ('drystone_held', 'drystone_inbox', 'drystone_outbox', 'drystone_scheduled', 'drystone_pumps')",
        )
        .await
    {
        attacks.push(format!("select 1 from {table}"));
        attacks.push(format!("insert into {table} default values"));
        attacks.push(format!("delete from {table}"));
        attacks.push(format!("copy {table} to stdout"));
    }
    assert!(attacks.len() >= 4 * 9, "{attacks:?}");
    attacks.extend([
        "truncate stock.drystone_outbox".to_owned(),
        "alter table stock.drystone_outbox no force row level security".to_owned(),
        "drop policy drystone_tenant on stock.drystone_outbox".to_owned(),
        "select nextval('stock.numbers')".to_owned(),
        "select nextval('stock_shared.drystone_tenants_changed')".to_owned(),
        "select setval('stock.drystone_outbox_seq_seq', 1)".to_owned(),
        "select stock.half(2)".to_owned(),
        "select stock.drystone_admit(1, 'acme', '', '', '')".to_owned(),
        "create table stock.mine ()".to_owned(),
        format!("set role {}", site.role("stock")),
        format!("set role {}", site.owner),
    ]);
    for sql in attacks {
        let error = relay.batch_execute(&format!("begin; {sql}")).await.expect_err(&sql);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
        relay.batch_execute("rollback").await.unwrap();
    }
}

pub(crate) async fn nobody_becomes_a_relay(site: Site) {
    for module in ["stock", "orders"] {
        site.migrate(module, migrations(true)).await.unwrap();
    }
    let event = "insert into stock.drystone_outbox (tenant, id, type, key, data, created) values ('acme', gen_random_uuid(), 't', 'k', '', 0)";
    site.admin.batch_execute(event).await.unwrap();
    for module in ["stock", "orders", "orders_relay"] {
        let session = site.session(module).await;
        let set = format!("set role {}", site.role("stock_relay"));
        let error = session.batch_execute(&set).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{module}: {error:?}");
        let denied = session.query("select * from stock.drystone_outbox", &[]).await;
        assert!(denied.map_or(true, |rows| rows.is_empty()), "{module} sees the events of all tenants");
    }
}

pub(crate) async fn a_role_reaches_nothing_of_another_module(site: Site) {
    site.migrate("stock", migrations(true)).await.unwrap();
    site.migrate("orders", migrations(true)).await.unwrap();
    let orders = site.session("orders").await;
    let all =
        "select format('%I.%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname in ('stock', 'stock_shared') and relkind in ";
    let relations = site.lines(&format!("{all} ('r', 'p', 'v', 'S')")).await;
    let tables = site.lines(&format!("{all} ('r', 'p')")).await;
    assert!(tables.len() >= 7 && relations.len() == tables.len() + 5, "{relations:?}");
    let mut attacks = Vec::new();
    for relation in &relations {
        attacks.push(format!("select * from {relation}"));
        attacks.push(format!("copy {relation} to stdout"));
        attacks.push(format!("copy (select * from {relation}) to stdout"));
        attacks.push(format!("explain select * from {relation}"));
        attacks.push(format!("alter table {relation} owner to current_user"));
        attacks.push(format!("grant all on {relation} to current_user"));
        attacks.push(format!("select '{relation}'::regclass"));
    }
    for table in &tables {
        attacks.push(format!("lock table {table} in access share mode"));
        attacks.push(format!("truncate {table}"));
    }
    attacks.extend(
        ["items", "drystone_migrations", "drystone_idempotency"].into_iter().flat_map(|table| {
            [
                format!("insert into stock.{table} default values"),
                format!("update stock.{table} set ctid = ctid"),
                format!("delete from stock.{table}"),
                format!("merge into stock.{table} t using (select 1) s on false when not matched then insert default values"),
            ]
        }),
    );
    attacks.extend([
        "select nextval('stock.numbers')".to_owned(),
        "select currval('stock.numbers')".to_owned(),
        "select stock.half(2)".to_owned(),
        "create table stock.mine ()".to_owned(),
        "create function stock.mine() returns void language sql as 'select 1'".to_owned(),
        "create table orders.mine ()".to_owned(),
        "create schema mine".to_owned(),
        "create table public.mine ()".to_owned(),
        "create extension pgcrypto".to_owned(),
        format!("set role {}", site.role("stock")),
        format!("set role {}", site.owner),
        "set role postgres".to_owned(),
        format!("set session authorization {}", site.role("stock")),
        format!("alter role {} superuser", site.role("orders")),
        format!("grant {} to {}", site.role("stock"), site.role("orders")),
        "copy (select 1) to program 'true'".to_owned(),
        "select pg_read_file('postgresql.conf')".to_owned(),
        "select * from pg_authid".to_owned(),
        "select * from pg_statistic".to_owned(),
        "alter table orders.items no force row level security".to_owned(),
        "drop policy drystone_tenant on orders.items".to_owned(),
        "create policy mine on orders.items using (true)".to_owned(),
        "truncate orders.items".to_owned(),
        "insert into orders.drystone_migrations values (9, 'x', 'x', 1)".to_owned(),
        "update orders.drystone_idempotency set body = ''".to_owned(),
    ]);
    for sql in attacks {
        let error = orders.batch_execute(&format!("begin; {sql}")).await.expect_err(&sql);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
        orders.batch_execute("rollback").await.unwrap();
    }
    // The catalog names what is there; of the data it shows nothing.
    for sql in [
        "select 1 from information_schema.tables where table_schema like 'stock%'",
        "select 1 from information_schema.columns where table_schema like 'stock%'",
        "select 1 from information_schema.routines where routine_schema like 'stock%'",
        "select 1 from pg_stats where schemaname like 'stock%'",
        "select 1 from information_schema.role_table_grants where table_schema like 'stock%'",
    ] {
        assert!(orders.query(sql, &[]).await.unwrap().is_empty(), "{sql}");
    }
}
