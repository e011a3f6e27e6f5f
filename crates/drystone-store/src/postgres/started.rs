//! What a starting process asks of the schemas: is everything there that this version needs, and nothing gone that it needs?
//!
//! A missing expand step keeps a version from starting, a missing contract step does not: that is run when the older version has gone. An expand step that
//! this version does not know belongs to a newer one, which works beside it.

use drystone_call::Result;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::names::{Names, quoted};
use crate::migrate::{self, Applied, Migration, Migrations, Step};

/// Whether the schemas are what the binary's version works with.
///
/// # Errors
/// `FAILED_PRECONDITION` if the schemas were not made, lack an expand step, or have lost what this version needs.
pub(crate) async fn check_migrated(client: &Client, names: &Names, migrations: &Migrations) -> Result<()> {
    check(client, &names.shared, migrations.shared_postgres).await?;
    check(client, &names.schema, migrations.postgres).await?;
    check_platform(client, names).await
}

/// Whether the platform's own objects are those of this version: the last of them in each schema, with the rights that are given last.
const PLATFORM: &str = "
select format('schema %s lacks %s', schema, wanted)
from (values ($1, 'drystone_pumps'), ($2, 'drystone_held')) last (schema, wanted)
where not exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.rolname = $3
    where nspname = schema and relname = wanted and has_table_privilege(r.oid, c.oid, 'select'))
limit 1";

async fn check_platform(client: &Client, names: &Names) -> Result<()> {
    let missing = client.query_opt(PLATFORM, &[&names.shared, &names.schema, &names.relay]).await?;
    match missing {
        None => Ok(()),
        Some(missing) => Err(behind(missing.try_get(0)?)),
    }
}

async fn check(client: &Client, schema: &str, all: &[Migration]) -> Result<()> {
    let place = format!("schema {schema}");
    let applied = applied(client, schema).await?;
    let left = migrate::plan(all, &applied, &place)?;
    match left.iter().rfind(|migration| migration.step == Step::Expand) {
        None => Ok(()),
        Some(missing) => Err(behind(&format!("{place} lacks {}", missing.name))),
    }
}

/// The error of a process that started before its schemas were brought to its version.
pub(crate) fn behind(what: &str) -> drystone_call::Error {
    migrate::refuse(format!(
        "DRY-M017: {what}, which this version needs: run the application's `migrate` command before this version starts"
    ))
}

/// What a schema has recorded, in order.
pub(crate) async fn applied(client: &Client, schema: &str) -> Result<Vec<Applied>> {
    let sql = format!(
        "select version, name, checksum from {}.drystone_migrations order by version",
        quoted(schema)
    );
    let rows = match client.query(&sql, &[]).await {
        Ok(rows) => rows,
        Err(cause)
            if matches!(
                cause.code(),
                Some(&(SqlState::UNDEFINED_TABLE | SqlState::INSUFFICIENT_PRIVILEGE))
            ) =>
        {
            return Err(behind(&format!("schema {schema} is not there")).caused_by(cause));
        }
        Err(cause) => return Err(cause.into()),
    };
    rows.iter()
        .map(|row| Ok(Applied { version: row.try_get(0)?, name: row.try_get(1)?, checksum: row.try_get(2)? }))
        .collect()
}
