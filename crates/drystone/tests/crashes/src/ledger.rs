//! The ledger: entries, each published in the transaction that writes it.

use std::time::Duration;

use crashes_api::{
    ArmLedgerRequest, ArmLedgerResponse, Books, Entry, GetBooksRequest, GetLagRequest, Lag, Ledger,
    LedgerServer, PostRequest, Posted, Posting, Pump, Reminded,
};
use drystone::prelude::*;
use drystone::store::Dialect;
use drystone_call::Payload as _;
use drystone_events::failpoint;

/// How long a reminder waits.
const LATER: Duration = Duration::from_millis(40);

struct LedgerService {
    store: Store,
    shared: Store,
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("ledger").migrations(migrations!("migrations/ledger")).wire(|w| {
        w.publishes::<Posted>();
        w.publishes::<Reminded>();
        w.serve(LedgerServer::new(LedgerService { store: w.store(), shared: w.shared_store() }));
    })
}

impl Ledger for LedgerService {
    async fn post(&self, cx: &mut Context, req: PostRequest) -> Result<Posting> {
        let mut tx = self.store.begin(cx).await?;
        let mut written = 0;
        for account in &req.accounts {
            for _ in 0..req.count {
                write(&mut tx, account, &req).await?;
                written += 1;
            }
        }
        if let Ok(hold @ 1..) = u64::try_from(req.hold_ms) {
            // What was queued is written by now; whoever reads past it would never see it.
            tx.query("select count(*) from entries").one::<(i64,)>().await?;
            tokio::time::sleep(Duration::from_millis(hold)).await;
        }
        if req.refuse {
            return tx.refuse(Error::invalid_argument("refused, as was asked")).await;
        }
        let posting = tx.commit_with(Posting { entries: written }).await?;
        failpoint("publish.committed");
        Ok(posting)
    }

    async fn get_books(&self, cx: &mut Context, req: GetBooksRequest) -> Result<Books> {
        let mut tx = self.store.read(cx).await?;
        let entries: Vec<(String, i64, String, i64)> = tx
            .query("select account, n, text, later from entries where substr(account, 1, length($1)) = $1 order by account, n")
            .bind((&req.prefix,))
            .all()
            .await?;
        let published: Vec<(String, Vec<u8>)> = tx
            .query(
                "select type, data from drystone_outbox where substr(key, 1, length($1)) = $1 order by seq",
            )
            .bind((&req.prefix,))
            .all()
            .await?;
        let entry = |(account, n, text, later)| Entry { account, n: small(n), text, later: later != 0 };
        Ok(Books {
            entries: entries.into_iter().map(entry).collect(),
            published: published.into_iter().map(decoded).collect::<Result<_>>()?,
        })
    }

    async fn get_lag(&self, cx: &mut Context, _: GetLagRequest) -> Result<Lag> {
        let mut tx = self.store.read(cx).await?;
        let (scheduled,) = tx.query("select count(*) from drystone_scheduled").one::<(i64,)>().await?;
        let (last, messages) = tx
            .query("select coalesce(max(seq), 0), count(*) from drystone_outbox")
            .one::<(i64, i64)>()
            .await?;
        drop(tx);
        let pumps = self.pumps(cx).await?;
        Ok(Lag { scheduled: small(scheduled), last: small(last), messages: small(messages), pumps })
    }

    async fn arm_ledger(&self, _: &mut Context, req: ArmLedgerRequest) -> Result<ArmLedgerResponse> {
        drystone_events::arm(&req.name, u64::try_from(req.nth)?);
        Ok(ArmLedgerResponse {})
    }
}

impl LedgerService {
    /// How far the pumps have come: on SQLite a tenant's file has its own, on PostgreSQL they are with the data of no tenant.
    async fn pumps(&self, cx: &mut Context) -> Result<Vec<Pump>> {
        let sqlite = self.store.dialect()? == Dialect::Sqlite;
        let mut tx = if sqlite { self.store.read(cx).await? } else { self.shared.read(cx).await? };
        let rows: Vec<(String, i64)> = tx.query("select name, position from drystone_pumps").all().await?;
        Ok(rows.into_iter().map(|(name, position)| Pump { name, position: small(position) }).collect())
    }
}

/// Writes the next entry of an account, and publishes it.
async fn write(tx: &mut Tx<'_>, account: &str, req: &PostRequest) -> Result<()> {
    let counted = "update accounts set last = last + 1 where account = $1 returning last";
    let n = match tx.query(counted).bind((account,)).optional::<(i64,)>().await? {
        Some((n,)) => n,
        None => {
            tx.query("insert into accounts (account, last) values ($1, 1)")
                .bind((account,))
                .execute()
                .await?;
            1
        }
    };
    tx.query("insert into entries (account, n, text, later) values ($1, $2, $3, $4)")
        .bind((account, n, &req.text, i64::from(req.later)))
        .execute()
        .await?;
    let (account, n, text) = (account.to_owned(), small(n), req.text.clone());
    if req.later {
        let due = tx.caller().now() + LATER;
        tx.publish_at(Reminded { account, n, text }, due)?;
    } else {
        tx.publish(Posted { account, n, text })?;
    }
    Ok(())
}

fn decoded((kind, data): (String, Vec<u8>)) -> Result<Entry> {
    let (later, data) = (kind.ends_with("Reminded"), data.into());
    // The two have the same fields.
    let Posted { account, n, text } = Posted::from_binary(data, &kind)?;
    Ok(Entry { account, n, text, later })
}

pub(crate) fn small(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
