//! What tests look into: the fence's looks and the lane's reads one at a time, and the deleting of old rows, which otherwise happen in the background.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Home, Result};
use drystone_store::Store;
use tokio::sync::watch;

use crate::engine::{Outbox as _, Scan};
use crate::stored::{self, PostgresLane};
use crate::{Envelope, Fence};

/// Looks at the fence once, and says which is the greatest number that was taken.
///
/// # Errors
/// What keeps the store from working.
pub async fn look(store: &Store, home: &Arc<Home>, fence: &mut Fence) -> Result<i64> {
    stored::look(store, home, fence).await
}

/// Reads an outbox on PostgreSQL as a pump does, from `after` to `upto`.
///
/// # Errors
/// What keeps the store from working.
pub async fn read(store: &Store, home: &Arc<Home>, after: i64, upto: i64) -> Result<Vec<Envelope>> {
    let (_, settled) = watch::channel(upto);
    let lane = PostgresLane::new(store.clone(), Arc::clone(home), settled, "test".into());
    lane.read(Scan { after, upto, tenant: None, types: None, limit: 256 }).await
}

/// Deletes what an outbox has had for longer than `keep` and all of `pumps` have carried.
///
/// # Errors
/// What keeps the store from working.
pub async fn forget_sent(store: &Store, home: &Arc<Home>, keep: Duration, pumps: &[String]) -> Result<u64> {
    stored::forget_sent(store, home, keep, pumps).await
}

/// Deletes what an inbox has known for longer than `keep`.
///
/// # Errors
/// What keeps the store from working.
pub async fn forget_handled(store: &Store, home: &Arc<Home>, keep: Duration) -> Result<u64> {
    stored::forget_handled(store, home, keep).await
}
