//! The condition of a module's schemas.

use std::time::Duration;

use drystone_call::Result;
use tokio::time::Instant;

use super::module::PostgresModule;
use super::open::Purpose;
use super::pool::connection;
use super::started::applied;
use super::tenants::SOON;
use crate::migrate::Migration;
use crate::status::{SchemaStatus, StoreStatus};

/// The database, where its server is, and how large the two schemas are.
const PLACE: &str = "
select current_database()::text, coalesce(host(inet_server_addr()), 'a unix socket'), coalesce((
    select sum(pg_total_relation_size(c.oid)) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ($1, $2) and c.relkind in ('r', 'm')), 0)::bigint";

/// The connections of the module's role, and how long the oldest of the others' transactions has been open, in seconds.
const ACTIVITY: &str = "
select count(*), max(extract(epoch from clock_timestamp() - xact_start)) filter (where pid <> pg_backend_pid())::double precision
from pg_stat_activity where usename = current_user and datname = current_database()";

impl PostgresModule {
    /// The condition of the module's schemas, over all processes.
    pub(crate) async fn status(&self, status: &mut StoreStatus) -> Result<()> {
        let deadline = Instant::now() + SOON;
        let (schema, shared) = (&self.names.schema, &self.names.shared);
        let mut tx = self.on_shared(Purpose::Read, deadline).await?;
        let place: Option<(String, String, i64)> = tx.optional(PLACE, &(schema, shared)).await?;
        let activity: Option<(i64, Option<f64>)> = tx.optional(ACTIVITY, &()).await?;
        drop(tx);
        status.kind = "postgres".to_owned();
        if let Some((database, host, bytes)) = place {
            status.place = format!("database {database} on {host}, schema {schema}");
            status.bytes = bytes.unsigned_abs();
        }
        if let Some((connections, oldest)) = activity {
            status.connections = connections.unsigned_abs();
            status.oldest_transaction = oldest.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        }
        let all = &self.config.migrations;
        status.schemas = vec![
            self.schema_status("tenants", schema, all.postgres, deadline).await?,
            self.schema_status("shared", shared, all.shared_postgres, deadline).await?,
        ];
        Ok(())
    }

    async fn schema_status(
        &self,
        of: &str,
        schema: &str,
        all: &[Migration],
        deadline: Instant,
    ) -> Result<SchemaStatus> {
        let conn = connection(&self.pool, deadline).await?;
        let applied: Vec<String> =
            applied(conn.client(), schema).await?.into_iter().map(|line| line.name).collect();
        Ok(SchemaStatus::of(of, all, &applied))
    }
}
