//! Roles, schemas, the platform's tables, the module's migrations and the wall around each table.

use drystone_call::{Code, Error, Result};
use tokio_postgres::Client;

use super::module::Names;
use crate::migrate::{self, Applied, Migration};

/// Older servers have no `security_invoker` views.
const OLDEST: i32 = 150_000;

const PLATFORM: &str = "
create table if not exists drystone_migrations (
    version bigint primary key, name text not null, checksum text not null, applied bigint not null
);
create table if not exists drystone_idempotency (
    tenant text not null,
    principal text not null,
    method text not null,
    key text not null,
    fingerprint bytea not null,
    descriptor_hash bigint not null,
    kind bigint not null,
    body bytea not null,
    created bigint not null,
    primary key (tenant, principal, method, key)
);";

const REGISTRY: &str =
    "create table if not exists drystone_tenants (name text primary key, created bigint not null);";

/// The tables of a schema that have no complete wall yet, and whether they have a tenant.
const UNWALLED: &str = "
select c.relname::text, exists (
    select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname <> 'drystone_migrations'
and not (c.relrowsecurity and c.relforcerowsecurity)";

/// Brings the database to the module's version, one process at a time.
pub(crate) async fn prepare(
    client: &Client,
    names: &Names,
    tenants: &[Migration],
    shared: &[Migration],
    now: i64,
) -> Result<()> {
    check_version(client).await?;
    client.execute("select pg_advisory_lock(hashtextextended($1, 0))", &[&names.schema]).await?;
    let done = async {
        create(client, names).await?;
        migrate_schema(client, names, &names.shared, shared, false, now).await?;
        migrate_schema(client, names, &names.schema, tenants, true, now).await
    };
    let done = done.await;
    client.execute("select pg_advisory_unlock(hashtextextended($1, 0))", &[&names.schema]).await?;
    done
}

async fn check_version(client: &Client) -> Result<()> {
    let version: i32 =
        client.query_one("select current_setting('server_version_num')::integer", &[]).await?.get(0);
    if version >= OLDEST {
        return Ok(());
    }
    Err(Error::new(Code::FailedPrecondition, format!("PostgreSQL {version} is too old: use 15 or newer")))
}

/// The role that handlers work as owns nothing, so that the wall holds for it.
async fn create(client: &Client, names: &Names) -> Result<()> {
    let Names { role, schema, shared } = names;
    let sql = format!(
        "do $$ begin create role {role} nologin; exception when duplicate_object or unique_violation then null; end $$;
         grant {role} to current_user;
         create schema if not exists {schema}; create schema if not exists {shared};
         grant usage on schema {schema}, {shared} to {role};",
        role = quoted(role),
        schema = quoted(schema),
        shared = quoted(shared),
    );
    Ok(client.batch_execute(&sql).await?)
}

async fn migrate_schema(
    client: &Client,
    names: &Names,
    schema: &str,
    all: &[Migration],
    walled: bool,
    now: i64,
) -> Result<()> {
    let place = format!("schema {schema}");
    let platform = if walled { PLATFORM.to_owned() } else { format!("{PLATFORM}{REGISTRY}") };
    in_schema(client, schema, async { Ok(client.batch_execute(&platform).await?) }).await?;
    let table = format!("{}.drystone_migrations", quoted(schema));
    let rows =
        client.query(&format!("select version, name, checksum from {table} order by version"), &[]).await?;
    let applied: Vec<Applied> = rows
        .iter()
        .map(|row| Applied { version: row.get(0), name: row.get(1), checksum: row.get(2) })
        .collect();
    for migration in migrate::plan(all, &applied, &place)? {
        let line = format!("insert into {table} (version, name, checksum, applied) values ($1, $2, $3, $4)");
        let checksum = migrate::checksum(migration);
        let run = in_schema(client, schema, async {
            client
                .batch_execute(migration.sql)
                .await
                .map_err(|cause| migrate::failed(migration, &place, cause))?;
            client.execute(&line, &[&i64::from(migration.version), &migration.name, &checksum, &now]).await?;
            if walled { wall(client, schema).await } else { Ok(()) }
        });
        run.await?;
        tracing::info!(target: "drystone::store", place, migration = migration.name, "migrated");
    }
    in_schema(client, schema, async {
        if walled {
            wall(client, schema).await?;
        }
        let (schema, role) = (quoted(schema), quoted(&names.role));
        let grant = format!(
            "grant select, insert, update, delete on all tables in schema {schema} to {role};
             grant usage on all sequences in schema {schema} to {role}; revoke all on {table} from {role};"
        );
        Ok(client.batch_execute(&grant).await?)
    })
    .await
}

/// Puts the wall around tables that have none: their rows belong to the tenant of the transaction.
async fn wall(client: &Client, schema: &str) -> Result<()> {
    for row in client.query(UNWALLED, &[&schema]).await? {
        let (table, has_tenant): (String, bool) = (row.get(0), row.get(1));
        if !has_tenant {
            return Err(Error::new(
                Code::FailedPrecondition,
                format!(
                    "table {table} of schema {schema} has no tenant: add `tenant text not null` and let its keys begin with it, or \
                     create it in migrations/shared if its rows are of no tenant"
                ),
            ));
        }
        let (table, own) = (quoted(&table), "nullif(current_setting('app.tenant', true), '')");
        let sql = format!(
            "alter table {table} enable row level security; alter table {table} force row level security;
             alter table {table} alter column tenant set default {own};
             create policy drystone_tenant on {table} using (tenant = {own}) with check (tenant = {own});"
        );
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

async fn in_schema(client: &Client, schema: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    client.batch_execute(&format!("begin; set local search_path = {}", quoted(schema))).await?;
    let done = work.await;
    client.batch_execute(if done.is_ok() { "commit" } else { "rollback" }).await?;
    done
}

/// An identifier, quoted.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
