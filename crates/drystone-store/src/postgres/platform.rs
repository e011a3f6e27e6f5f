//! What the platform keeps in a module's schemas, and the wall that it puts around each table.
//!
//! Each statement may run any number of times and brings an older form to this one, so that a newer platform finds what it needs after `migrate`, beside
//! processes of an older one.

use std::collections::BTreeSet;

use drystone_call::Result;
use tokio_postgres::Client;

use super::names::{Names, quoted};

/// Tables of both schemas: what was applied, and the outcomes of keyed calls.
const BOTH: &str = "
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

/// Tables of the schema of no tenant: the registry of tenants, whose changes are numbered, and the leases of the processes at work.
const SHARED: &str = "
create sequence if not exists drystone_tenants_changed;
create table if not exists drystone_tenants (name text primary key, created bigint not null);
alter table drystone_tenants add column if not exists state text not null default 'active';
alter table drystone_tenants add column if not exists changed bigint not null default nextval('drystone_tenants_changed');
create index if not exists drystone_tenants_by_change on drystone_tenants (changed);
create table if not exists drystone_leases (
    id uuid primary key,
    process text not null,
    version bigint not null,
    shared_version bigint not null,
    seen bigint not null default 0,
    renewed timestamptz not null default now()
);";

/// Tables of a schema that nothing of the wall stands around yet.
const UNWALLED: &str = "
select c.relname::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
where n.nspname = $1 and c.relkind in ('r', 'p') and c.relname <> 'drystone_migrations'
and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname in ('drystone_tenant', 'drystone_owner'))
order by 1";

/// The tenant of the transaction. After a `set local` the setting is empty and not absent.
pub(super) const TENANT: &str = "nullif(current_setting('app.tenant', true), '')";

/// What lets the owner, in a migration and nowhere else, see the rows of all tenants.
pub(super) const MIGRATING: &str = "(current_setting('drystone.migrating', true) = 'on')";

/// Which of the module's two schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The data of no tenant.
    Shared,
    /// The tenants' data.
    Tenants,
}

impl Kind {
    pub(super) fn schema(self, names: &Names) -> &str {
        match self {
            Self::Shared => &names.shared,
            Self::Tenants => &names.schema,
        }
    }
}

/// Makes the platform's objects, in the schema that is first on the search path.
pub(super) async fn create(client: &Client, kind: Kind) -> Result<()> {
    client.batch_execute(BOTH).await?;
    match kind {
        Kind::Shared => client.batch_execute(SHARED).await?,
        Kind::Tenants => {}
    }
    Ok(())
}

/// Puts the wall around tables that have none: their rows belong to the tenant of the transaction.
pub(super) async fn wall(client: &Client, schema: &str) -> Result<()> {
    let tables: BTreeSet<String> =
        client.query(UNWALLED, &[&schema]).await?.iter().map(|row| row.get(0)).collect();
    for table in tables {
        let table = format!("{}.{}", quoted(schema), quoted(&table));
        let sql = format!(
            "alter table {table} enable row level security; alter table {table} force row level security;
             alter table {table} alter column tenant set default {TENANT};
             create policy drystone_tenant on {table} using (tenant = {TENANT}) with check (tenant = {TENANT});
             create policy drystone_owner on {table} to current_user using {MIGRATING} with check {MIGRATING};"
        );
        client.batch_execute(&sql).await?;
    }
    Ok(())
}
