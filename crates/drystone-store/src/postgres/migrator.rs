//! `Migrator`: what the owner of a database does so that a module's processes can work in it.
//!
//! Roles, schemas, the platform's tables, the module's migrations and the wall around each table.

use std::fmt;

use drystone_call::{Code, Error, Result};
use secrecy::SecretString;
use tokio_postgres::Client;

use super::connect::Server;
use super::names::{Names, literal, quoted};
use crate::clock::millis;
use crate::config::{Location, StoreConfig};
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

/// Brings databases to a module's version, as their owner. The processes that run the modules do not have the owner's connection string.
pub struct Migrator {
    client: Client,
}

impl Migrator {
    /// Connects as the owner.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the connection string is not one, `UNAVAILABLE` if the server cannot be reached, `FAILED_PRECONDITION` if it is too old.
    pub async fn connect(owner: &SecretString) -> Result<Self> {
        let client = Server::parse(owner)?.connect().await?;
        check_version(&client).await?;
        Ok(Self { client })
    }

    /// Makes the module's role and schemas and brings them to the version of `config`, one process at a time.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if a migration fails, was edited, or leaves a table without its wall; what ran before it stays.
    pub async fn migrate(&self, config: &StoreConfig) -> Result<()> {
        let Location::Postgres { url, password } = &config.location else {
            return Err(Error::invalid_argument("the store is not on PostgreSQL"));
        };
        let server = Server::parse(url)?;
        let names = Names::of(server.user(), config.home.module())?;
        let login = server.logging_in_as(&names.role, password.as_ref());
        let (client, now) = (&self.client, millis(config.home.now()));
        client.execute("select pg_advisory_lock(hashtextextended($1, 0))", &[&names.schema]).await?;
        let done = async {
            create(client, &names, login.password()).await?;
            migrate_schema(client, &names, &names.shared, config.migrations.shared_postgres, false, now)
                .await?;
            migrate_schema(client, &names, &names.schema, config.migrations.postgres, true, now).await
        };
        let done = done.await;
        client.execute("select pg_advisory_unlock(hashtextextended($1, 0))", &[&names.schema]).await?;
        done
    }
}

impl fmt::Debug for Migrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator").finish_non_exhaustive()
    }
}

async fn check_version(client: &Client) -> Result<()> {
    let version: i32 =
        client.query_one("select current_setting('server_version_num')::integer", &[]).await?.get(0);
    if version >= OLDEST {
        return Ok(());
    }
    Err(Error::new(Code::FailedPrecondition, format!("PostgreSQL {version} is too old: use 15 or newer")))
}

/// The role that the processes log in as owns nothing, so that the wall holds for it.
async fn create(client: &Client, names: &Names, password: Option<&[u8]>) -> Result<()> {
    let Names { role, schema, shared } = names;
    let password = match password {
        Some(password) => {
            let text = String::from_utf8_lossy(password);
            format!("alter role {} password {};", quoted(role), literal(&text))
        }
        None => String::new(),
    };
    let sql = format!(
        "do $$ begin create role {role} login; exception when duplicate_object or unique_violation then null; end $$;
         {password}
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
             grant usage on all sequences in schema {schema} to {role}; revoke insert, update, delete on {table} from {role};"
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
