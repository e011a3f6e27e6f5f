//! Rows of the outbox as messages, and values that both databases take.

use drystone_call::{Context, Home, Principal, Result, TenantId};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use crate::{Data, Envelope};

/// How long a statement of the engine, or waiting for its turn, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// seq, tenant, id, type, key, data, created, trace
pub(crate) type OutboxRow = (i64, String, Uuid, String, String, Vec<u8>, i64, Option<String>);

pub(crate) fn message(source: &str, row: OutboxRow) -> Result<Envelope> {
    let (seq, tenant, id, event_type, key, data, time, trace) = row;
    Ok(Envelope {
        id,
        source: source.to_owned(),
        event_type,
        tenant: TenantId::new(&tenant)?,
        key,
        seq,
        time,
        trace,
        data: Data::Protobuf(data.into()),
    })
}

/// A context in which a module works for itself on one tenant's data.
pub(crate) fn context(home: &Arc<Home>, tenant: &TenantId) -> Result<Context> {
    let principal = Principal::new(&format!("module:{}", home.module()))?;
    Ok(Context::mint(Arc::clone(home), tenant.clone(), principal).detach(PATIENCE))
}

/// The tenant that a context names which is for all of them.
pub(crate) fn nobody() -> Result<TenantId> {
    TenantId::new("relay")
}

/// A list, as JSON: a statement takes lists in no other form that both databases know.
pub(crate) fn json(list: &impl Serialize) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

/// Ids in a form that both databases read.
pub(crate) fn ids(ids: &[Uuid]) -> String {
    json(&ids.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>())
}
