//! Three ways to read an outbox while others write to it: two that are often seen, and ours.

use std::collections::{BTreeMap, BTreeSet};

use drystone_events::{Fence, testing};
use tokio_postgres::Client;

use crate::site::Site;

/// What a reader saw of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) seq: i64,
    tenant: String,
    key: String,
}

/// Goes on from the last number that it saw.
#[derive(Default)]
pub(crate) struct Naive {
    last: i64,
    pub(crate) seen: Vec<Seen>,
}

impl Naive {
    pub(crate) async fn read(&mut self, owner: &Client) {
        let sql = "select seq, tenant, key from ledger.drystone_outbox where seq > $1 order by seq";
        for row in owner.query(sql, &[&self.last]).await.unwrap() {
            self.last = row.get(0);
            self.seen.push(Seen { seq: row.get(0), tenant: row.get(1), key: row.get(2) });
        }
    }
}

/// Orders by the transactions' ids, and stays below those that still run.
#[derive(Default)]
pub(crate) struct ById {
    last: (i64, i64),
    pub(crate) seen: Vec<Seen>,
}

impl ById {
    pub(crate) async fn read(&mut self, owner: &Client) {
        let sql = "select seq, tenant, key, xmin::text::bigint as id from ledger.drystone_outbox
            where xmin::text::bigint < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
            and (xmin::text::bigint, seq) > ($1, $2) order by id, seq";
        for row in owner.query(sql, &[&self.last.0, &self.last.1]).await.unwrap() {
            self.last = (row.get(3), row.get(0));
            self.seen.push(Seen { seq: row.get(0), tenant: row.get(1), key: row.get(2) });
        }
    }
}

/// Reads behind the fence, by the relay's own looks and reads.
#[derive(Default)]
pub(crate) struct Fenced {
    pub(crate) fence: Fence,
    position: i64,
    pub(crate) seen: Vec<Seen>,
}

impl Fenced {
    /// Looks, and reads what is settled.
    pub(crate) async fn read(&mut self, site: &Site) {
        testing::look(&site.ledger, &site.ledger_home, &mut self.fence).await.unwrap();
        let upto = self.fence.settled();
        loop {
            let batch = testing::read(&site.ledger, &site.ledger_home, self.position, upto).await.unwrap();
            let Some(last) = batch.last() else { break };
            self.position = last.seq;
            let seen = |message: &drystone_events::Envelope| Seen {
                seq: message.seq,
                tenant: message.tenant.to_string(),
                key: message.key.clone(),
            };
            self.seen.extend(batch.iter().map(seen));
        }
        self.position = self.position.max(upto);
    }

    /// Reads until this number is settled.
    pub(crate) async fn read_to(&mut self, site: &Site, seq: i64) {
        for _ in 0..3000 {
            self.read(site).await;
            if self.fence.settled() >= seq {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{seq} is not settled: {:?}", self.fence);
    }
}

/// The numbers that a reader saw, in the order in which it saw them.
pub(crate) fn numbers(seen: &[Seen]) -> Vec<i64> {
    seen.iter().map(|seen| seen.seq).collect()
}

/// The numbers that are in the outbox and that a reader did not see.
pub(crate) async fn lost(owner: &Client, seen: &[Seen]) -> Vec<i64> {
    let seen: BTreeSet<i64> = seen.iter().map(|seen| seen.seq).collect();
    let rows = owner.query("select seq from ledger.drystone_outbox order by seq", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).filter(|seq| !seen.contains(seq)).collect()
}

/// The messages that a reader saw after a later one of their key.
pub(crate) fn reordered(seen: &[Seen]) -> usize {
    let mut greatest: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut late = 0;
    for Seen { seq, tenant, key } in seen {
        let greatest = greatest.entry((tenant, key)).or_default();
        late += usize::from(seq < greatest);
        *greatest = (*greatest).max(*seq);
    }
    late
}
