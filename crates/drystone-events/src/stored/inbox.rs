//! A consumer's side of its module's store.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Error, Home, Result, TenantId};
use drystone_store::{Dialect, Row, Store, Tx};
use uuid::Uuid;

use super::rows::{context, ids, json};
use crate::clock::{Clock as _, HomeClock};
use crate::consumer::HeldTenants;
use crate::engine::{ApplyError, Held, HeldState, Hold, Inbox, InboxTx};
use crate::failpoint::broken;
use crate::handler::Handlers;
use crate::{Data, Envelope};

/// The inbox of one consumer in its module's store.
#[derive(Clone, Debug)]
pub struct StoredInbox(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    home: Arc<Home>,
    consumer: String,
    handlers: Handlers,
    held: Option<Arc<HeldTenants>>,
}

impl StoredInbox {
    /// The inbox of `consumer`, whose messages these handlers take.
    #[must_use]
    pub fn new(store: Store, home: Arc<Home>, consumer: &str, handlers: Handlers) -> Self {
        Self(Arc::new(Parts { store, home, consumer: consumer.to_owned(), handlers, held: None }))
    }

    /// As [`StoredInbox::new`], of a consumer that goes back to the tenants in `held`.
    pub(crate) fn telling(
        store: Store,
        home: Arc<Home>,
        consumer: &str,
        handlers: Handlers,
        held: Arc<HeldTenants>,
    ) -> Self {
        Self(Arc::new(Parts { store, home, consumer: consumer.to_owned(), handlers, held: Some(held) }))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.0.home
    }

    pub(crate) fn handlers(&self) -> &Handlers {
        &self.0.handlers
    }
}

/// A transaction of a consumer.
#[derive(Debug)]
pub struct StoredTx {
    tx: Tx<'static>,
    parts: Arc<Parts>,
    /// Whether it holds back a message that is to be tried again.
    holds: bool,
}

impl Inbox for StoredInbox {
    type Tx = StoredTx;

    fn consumer(&self) -> &str {
        &self.0.consumer
    }

    async fn begin(&self, tenant: &TenantId) -> Result<StoredTx> {
        let cx = context(&self.0.home, tenant)?;
        Ok(StoredTx { tx: self.0.store.begin_own(cx).await?, parts: Arc::clone(&self.0), holds: false })
    }
}

impl StoredTx {
    fn now(&self) -> i64 {
        HomeClock::new(Arc::clone(&self.parts.home)).now()
    }
}

#[derive(Row)]
struct HeldRow {
    place: i64,
    seq: i64,
    id: Uuid,
    event_type: String,
    format: String,
    data: Vec<u8>,
    created: i64,
    trace: Option<String>,
    state: String,
    attempts: i64,
    due: Option<i64>,
    reason: Option<String>,
}

impl InboxTx for StoredTx {
    async fn record(&mut self, messages: &[Uuid]) -> Result<HashSet<Uuid>> {
        const SQLITE: &str = "insert into drystone_inbox (consumer, id, handled) select $1, unhex(value), $3 from json_each($2) where true
            on conflict do nothing returning id";
        const POSTGRES: &str = "insert into drystone_inbox (consumer, id, handled)
            select $1::text, value::uuid, $3::bigint from json_array_elements_text($2::text::json) where true
            on conflict do nothing returning id";
        let sql = match self.tx.dialect() {
            Dialect::Sqlite => SQLITE,
            Dialect::Postgres => POSTGRES,
        };
        if broken("no-inbox") {
            return Ok(messages.iter().copied().collect());
        }
        let now = self.now();
        let fresh: Vec<(Uuid,)> =
            self.tx.query(sql).bind((&*self.parts.consumer, ids(messages), now)).all().await?;
        Ok(fresh.into_iter().map(|(id,)| id).collect())
    }

    async fn held_keys(&mut self, source: &str, keys: BTreeSet<&str>) -> Result<BTreeSet<String>> {
        const SQLITE: &str = "select value from json_each($3) where exists
            (select 1 from drystone_held where consumer = $1 and source = $2 and key = value)";
        const POSTGRES: &str = "select value from json_array_elements_text($3::text::json) where exists
            (select 1 from drystone_held where consumer = $1 and source = $2 and key = value)";
        let sql = match self.tx.dialect() {
            Dialect::Sqlite => SQLITE,
            Dialect::Postgres => POSTGRES,
        };
        let held: Vec<(String,)> =
            self.tx.query(sql).bind((&*self.parts.consumer, source, json(&keys))).all().await?;
        Ok(held.into_iter().map(|(key,)| key).collect())
    }

    async fn apply(&mut self, message: &Envelope) -> Result<(), ApplyError> {
        self.parts.handlers.apply(&mut self.tx, message).await
    }

    async fn hold(&mut self, message: &Envelope, hold: &Hold) -> Result<()> {
        const HOLD: &str = "insert into drystone_held (consumer, source, key, id, type, format, data, created, trace, seq, state, since, attempts, due)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0)";
        const MORE: &str =
            "update drystone_held set attempts = $3, due = $4, reason = $5 where consumer = $1 and id = $2";
        self.holds |= hold.state == HeldState::Retrying;
        let now = self.now();
        let format = match &message.data {
            Data::Protobuf(_) => "protobuf",
            Data::Json(_) => "json",
        };
        let consumer = &*self.parts.consumer;
        let (data, trace) = (message.data.bytes().to_vec(), message.trace.clone());
        self.tx
            .query(HOLD)
            .bind((
                consumer,
                &*message.source,
                &*message.key,
                message.id,
                &*message.event_type,
                format,
                data,
                message.time,
                trace,
                message.seq,
                hold.state.as_str(),
                now,
            ))
            .execute()
            .await?;
        let attempts = i64::from(hold.attempts);
        self.tx.query(MORE).bind((consumer, message.id, attempts, hold.due, &*hold.reason)).execute().await?;
        Ok(())
    }

    async fn first(&mut self, source: &str, key: &str) -> Result<Option<Held>> {
        const FIRST: &str = "select place, seq, id, type as event_type, format, data, created, trace, state, attempts, due, reason from drystone_held
            where consumer = $1 and source = $2 and key = $3 order by place limit 1";
        let found: Option<HeldRow> =
            self.tx.query(FIRST).bind((&*self.parts.consumer, source, key)).optional().await?;
        found.map(|row| held(source, key, self.tx.caller().tenant(), row)).transpose()
    }

    async fn change(&mut self, place: i64, hold: &Hold) -> Result<()> {
        const CHANGE: &str =
            "update drystone_held set state = $2, attempts = $3, due = $4, reason = $5 where place = $1";
        let (state, attempts) = (hold.state.as_str(), i64::from(hold.attempts));
        self.tx.query(CHANGE).bind((place, state, attempts, hold.due, &*hold.reason)).execute().await?;
        Ok(())
    }

    async fn release(&mut self, held: &Held) -> Result<()> {
        const NEXT: &str = "update drystone_held set state = 'retrying', due = $4 where place =
            (select min(place) from drystone_held where consumer = $1 and source = $2 and key = $3)";
        let (consumer, now) = (self.parts.consumer.clone(), self.now());
        let Envelope { source, key, .. } = held.message.clone();
        self.tx.query("delete from drystone_held where place = $1").bind((held.place,)).queue();
        self.tx.query(NEXT).bind((consumer, source, key, now)).queue();
        Ok(())
    }

    fn held_for(&self) -> Duration {
        self.tx.held_for()
    }

    async fn commit(self) -> Result<()> {
        let Self { tx, parts, holds } = self;
        let Some(held) = parts.held.clone().filter(|_| holds) else { return tx.commit().await };
        // A commit completes though its caller is gone, as when the process that delivers ends: somebody must go back to what it holds all the same.
        let tenant = tx.caller().tenant().clone();
        let committing = tokio::spawn(async move {
            let done = tx.commit().await;
            held.add(&tenant);
            done
        });
        committing.await.unwrap_or_else(|ended| Err(Error::unavailable("the process stops").caused_by(ended)))
    }
}

fn held(source: &str, key: &str, tenant: &TenantId, row: HeldRow) -> Result<Held> {
    let HeldRow { place, seq, id, event_type, created: time, trace, .. } = row;
    let state = HeldState::parse(&row.state)
        .ok_or_else(|| Error::internal(format!("a held message has the unknown state {:?}", row.state)))?;
    let data =
        if row.format == "json" { Data::Json(row.data.into()) } else { Data::Protobuf(row.data.into()) };
    let (source, key, tenant) = (source.to_owned(), key.to_owned(), tenant.clone());
    let message = Envelope { id, source, event_type, tenant, key, seq, time, trace, data };
    let attempts = u32::try_from(row.attempts).unwrap_or(u32::MAX);
    let (due, reason) = (row.due.unwrap_or(0), row.reason.unwrap_or_default());
    Ok(Held { place, message, hold: Hold { state, attempts, due, reason } })
}
