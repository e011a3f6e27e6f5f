//! Before something is taken away: does a process of an older version still work?
//!
//! Every process keeps a lease with the versions that it knows. A contract step first takes the table of leases, so that a process that starts now waits with its
//! lease, and then sees the step; deletes the leases that have run out, so that a process that comes back late finds its own gone and looks at the
//! migrations before it writes again; and then looks for those that live.

use std::time::Duration;

use drystone_call::Result;
use tokio_postgres::Client;

use super::names::{Names, quoted};
use super::platform::Kind;
use crate::migrate::{self, Migration};

/// How long a lease lives after its last renewal, by the server's clock.
pub(crate) const LEASE_LIVES: Duration = Duration::from_secs(15);

/// Refuses a contract step beside a process whose version does not include it, and keeps others from starting until the transaction ends.
///
/// # Errors
/// `FAILED_PRECONDITION`, naming the step, the processes, their versions and what to do.
pub(super) async fn check(client: &Client, names: &Names, kind: Kind, migration: &Migration) -> Result<()> {
    let leases = format!("{}.drystone_leases", quoted(&names.shared));
    let version = match kind {
        Kind::Shared => "shared_version",
        Kind::Tenants => "version",
    };
    client.batch_execute(&format!("lock table {leases} in share row exclusive mode")).await?;
    let (step, lives) = (i64::from(migration.version), LEASE_LIVES.as_secs_f64());
    // The clock and not `now()`: the transaction may have waited for the table.
    let late = "clock_timestamp() - renewed > make_interval(secs => $2)";
    client
        .execute(&format!("delete from {leases} where {version} < $1 and {late}"), &[&step, &lives])
        .await?;
    let older = format!(
        "select format('%s (version %s, renewed %s s ago)', process, {version}, greatest(0, extract(epoch from clock_timestamp() - renewed)::bigint))
         from {leases} where {version} < $1 order by renewed desc, process"
    );
    let older: Vec<String> = client.query(&older, &[&step]).await?.iter().map(|row| row.get(0)).collect();
    if older.is_empty() {
        return Ok(());
    }
    Err(migrate::refuse(format!(
        "DRY-M012: contract step {} on schema {} has to wait for processes of older versions: {}. Stop them, or wait until they are gone ({} s after \
         the last sign of life), and migrate again; the expand steps alone can run beside them",
        migration.name,
        kind.schema(names),
        older.join(", "),
        LEASE_LIVES.as_secs(),
    )))
}
