//! Held messages: to look at, to edit, to try again, to give up.

use drystone_call::{Error, PlatformReason, Result, TenantId};
use drystone_store::Store;
use uuid::Uuid;

use super::{ConsumerStatus, Done, Format, Held, HeldFilter, HeldId, HeldKey, Operator, Replay, Sql, named};
use crate::stored::context;

/// Keys of which something is held, with how much, and how urgent. `min(place)` is the first message's.
const KEYS: &str = "(select tenant, consumer, source, key, min(place) as place, count(*) as messages,
        max(case when state = 'parked' then 1 else 0 end) as parked, min(case when state = 'retrying' then due end) as due,
        max(case when state = $3 then 1 else 0 end) as wanted
    from {rows} h where (cast($2 as text) is null or consumer = cast($2 as text)) group by tenant, consumer, source, key)";

impl Operator {
    /// What each consumer that holds anything back holds back.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn consumers(&self) -> Result<Vec<ConsumerStatus>> {
        let sql = format!(
            "select consumer, count(*) as held_keys, cast(sum(messages) as bigint) as held_messages,
                cast(sum(parked) as bigint) as parked_keys, min(due) as next_retry from {KEYS} k group by consumer order by consumer"
        );
        let none = None::<String>;
        let sql = Sql::over("drystone_held", &sql);
        let rows: Vec<ConsumerStatus> =
            self.read(None, &sql, |tenant| (tenant, none.clone(), "parked")).await?;
        let mut all: Vec<ConsumerStatus> = Vec::new();
        for row in rows {
            match all.iter_mut().find(|known| known.consumer == row.consumer) {
                None => all.push(row),
                Some(known) => {
                    known.held_keys += row.held_keys;
                    known.held_messages += row.held_messages;
                    known.parked_keys += row.parked_keys;
                    known.next_retry = [known.next_retry, row.next_retry].into_iter().flatten().min();
                }
            }
        }
        Ok(all)
    }

    /// The keys of which something is held back, the longest held first.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn held(&self, filter: &HeldFilter) -> Result<Vec<HeldKey>> {
        let sql = format!(
            "select h.tenant, h.consumer, h.source, h.key, h.id, h.type as event_type, h.state, h.attempts,
                case when h.state = 'retrying' then h.due end as due, h.since, h.reason, k.messages - 1 as behind
            from {{rows}} h join {KEYS} k on h.place = k.place and h.tenant = k.tenant
            where (cast($3 as text) is null or k.wanted = 1) order by h.since, h.place limit $4"
        );
        let sql = Sql::over("drystone_held", &sql);
        let limit = i64::from(filter.limit);
        let params = |tenant| (tenant, filter.consumer.clone(), filter.state.clone(), limit);
        let mut all: Vec<HeldKey> =
            self.read(named(filter.tenant.as_deref())?.as_ref(), &sql, params).await?;
        all.sort_by_key(|key| key.since);
        all.truncate(filter.limit as usize);
        Ok(all)
    }

    /// A held message, of each consumer that holds it back.
    ///
    /// # Errors
    /// What keeps the store from working.
    pub async fn message(&self, id: Uuid) -> Result<Vec<Held>> {
        const ONE: &str = "select h.tenant, h.consumer, h.source, h.key, h.id, h.type as event_type, h.format, h.data, h.created, h.trace,
                h.seq, h.state, h.attempts, case when h.state = 'retrying' then h.due end as due, h.reason, h.since,
                (select count(*) from {rows} b where b.tenant = h.tenant and b.consumer = h.consumer and b.source = h.source
                    and b.key = h.key and b.place < h.place) as before
            from {rows} h where h.id = $2 order by h.consumer";
        self.read(None, &Sql::over("drystone_held", ONE), |tenant| (tenant, id)).await
    }

    /// Gives a held message other content. It stays where it is: what was parked waits for [`Operator::replay`].
    ///
    /// # Errors
    /// `NOT_FOUND` if the message is not held any more; `TENANT_SUSPENDED`; what keeps the store from working.
    pub async fn edit(&self, message: &HeldId, format: Format, data: Vec<u8>) -> Result<()> {
        const EDIT: &str = "update drystone_held set format = $3, data = $4 where consumer = $1 and id = $2";
        let mut cx = context(&self.home, &TenantId::new(&message.tenant)?)?;
        let mut tx = self.store.begin(&mut cx).await?;
        let edited =
            tx.query(EDIT).bind((&*message.consumer, message.id, format.as_str(), data)).execute().await?;
        if edited == 0 {
            return Err(gone(message));
        }
        tx.commit().await?;
        self.tell(message, "an operator edited a held message");
        Ok(())
    }

    /// Makes the first messages of held keys due now, as if they had never been tried.
    ///
    /// # Errors
    /// What keeps the store from working. Tenants that are suspended are left out, and named, unless it is one that was asked for.
    pub async fn replay(&self, what: &Replay) -> Result<Done> {
        let mut done = Done::default();
        for tenant in self.holding(what).await? {
            match self.replay_of(&tenant, what).await {
                Ok(0) => {}
                Ok(keys) => {
                    done.count += keys;
                    done.tenants.push(tenant.as_str().to_owned());
                }
                Err(error) if error.is(PlatformReason::TenantSuspended) && what.tenant.is_none() => {
                    done.skipped.push(tenant.as_str().to_owned());
                }
                Err(error) => return Err(error),
            }
        }
        tracing::warn!(target: "drystone::events", module = self.module(), consumer = what.consumer, key = what.key, keys = done.count,
            "an operator had held keys tried again");
        Ok(done)
    }

    /// The tenants of which a consumer holds something back.
    async fn holding(&self, what: &Replay) -> Result<Vec<TenantId>> {
        const WHO: &str = "select distinct tenant from {rows} h where consumer = $2";
        let params = |tenant| (tenant, what.consumer.clone());
        let names: Vec<(String,)> = self
            .read(named(what.tenant.as_deref())?.as_ref(), &Sql::over("drystone_held", WHO), params)
            .await?;
        names.into_iter().map(|(name,)| TenantId::new(&name)).collect()
    }

    async fn replay_of(&self, tenant: &TenantId, what: &Replay) -> Result<u64> {
        const AGAIN: &str = "update drystone_held set state = 'retrying', due = $4, attempts = 0 where place in
            (select min(place) from drystone_held where consumer = $1 and (cast($2 as text) is null or key = cast($2 as text))
                and (cast($3 as text) is null or source = cast($3 as text)) group by source, key)";
        let mut cx = context(&self.home, tenant)?;
        let mut tx = self.store.begin(&mut cx).await?;
        let again = tx
            .query(AGAIN)
            .bind((&*what.consumer, what.key.clone(), what.source.clone(), self.now()))
            .execute()
            .await?;
        tx.commit().await?;
        Ok(again)
    }

    /// Gives up one held message. Those behind it go on; the consumer never applies it, also not when it is sent again.
    ///
    /// # Errors
    /// `NOT_FOUND` if the message is not held any more; `TENANT_SUSPENDED`; what keeps the store from working.
    pub async fn drop_message(&self, message: &HeldId) -> Result<()> {
        const DROP: &str = "delete from drystone_held where consumer = $1 and id = $2 returning source, key";
        const NEXT: &str =
            "update drystone_held set state = 'retrying', due = $4 where state = 'waiting' and place =
            (select min(place) from drystone_held where consumer = $1 and source = $2 and key = $3)";
        let mut cx = context(&self.home, &TenantId::new(&message.tenant)?)?;
        let mut tx = self.store.begin(&mut cx).await?;
        let dropped: Option<(String, String)> =
            tx.query(DROP).bind((&*message.consumer, message.id)).optional().await?;
        let Some((source, key)) = dropped else { return Err(gone(message)) };
        tx.query(NEXT).bind((&*message.consumer, &*source, &*key, self.now())).execute().await?;
        tx.commit().await?;
        self.tell(message, "an operator dropped a held message: it will not be applied");
        Ok(())
    }

    /// The log keeps what an operator decided.
    fn tell(&self, message: &HeldId, what: &str) {
        let HeldId { tenant, consumer, id } = message;
        tracing::warn!(target: "drystone::events", module = self.module(), consumer, tenant, %id, "{what}");
    }

    /// The module's store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

fn gone(message: &HeldId) -> Error {
    Error::not_found(format!(
        "consumer {} holds no message {} of tenant {}: it was applied or dropped meanwhile",
        message.consumer, message.id, message.tenant
    ))
}
