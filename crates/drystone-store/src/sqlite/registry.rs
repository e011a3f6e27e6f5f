//! What the shared file says at start: the module's tenants, and whether it has records of keyed calls.

use std::collections::HashSet;
use std::path::Path;

use drystone_call::{Result, TenantId};

use super::conn::Conn;

/// The tenants that the module has data of.
pub(crate) fn read(shared: &Path) -> Result<HashSet<TenantId>> {
    let conn = Conn::reader(shared)?;
    let mut statement = conn.db.prepare("select name from drystone_tenants")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    names.map(|name| TenantId::new(&name?)).collect()
}

/// Whether a keyed call was ever recorded with the data of no tenant.
pub(crate) fn has_keys(shared: &Path) -> Result<bool> {
    let conn = Conn::reader(shared)?;
    Ok(conn.db.query_row("select exists (select 1 from drystone_idempotency)", [], |row| row.get(0))?)
}
