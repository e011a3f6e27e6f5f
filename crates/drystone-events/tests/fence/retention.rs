//! What is deleted and when, with the clock turned: an outbox keeps what somebody may still need, an inbox knows what an outbox may still send.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drystone_call::{ManualClock, TenantId};
use drystone_events::operate::{Operator, Redrive, Wanted};
use drystone_events::{Retention, testing};

use crate::site::{Posted, Site, check_order};
use drystone_call::Event as _;

const HOUR: Duration = Duration::from_hours(1);

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(false).await; })+ }
        mod postgres { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(true).await; })+ }
    };
}

on_both! {
    an_outbox_keeps_what_a_declared_pump_has_not_carried,
    an_outbox_keeps_what_a_refused_tenant_still_needs,
    an_inbox_knows_what_the_outbox_may_still_send,
    many_batches_go_and_what_is_young_stays,
    whatever_happens_within_the_retention_everything_is_applied_once,
}

struct Aging {
    site: Site,
    clock: Arc<ManualClock>,
}

impl Aging {
    async fn new(on_postgres: bool) -> Self {
        let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50)));
        Self { site: Site::with_clock(on_postgres, &clock).await, clock }
    }

    /// Rows of a table, over both tenants.
    async fn rows(&self, of_mirror: bool, table: &str) -> i64 {
        let (store, sql) = if of_mirror { (&self.site.mirror, table) } else { (&self.site.ledger, table) };
        let sql = format!("select count(*) from {sql}");
        let mut all = 0;
        for tenant in ["acme", "bolt"] {
            let mut cx = self.site.cx_of(of_mirror, tenant);
            let mut tx = store.read(&mut cx).await.unwrap();
            all += tx.query(&sql).one::<(i64,)>().await.unwrap().0;
        }
        all
    }

    async fn outbox(&self) -> i64 {
        self.rows(false, "drystone_outbox").await
    }

    async fn inbox(&self) -> i64 {
        self.rows(true, "drystone_inbox").await
    }

    /// Deletes what is old from the outbox, where these pumps are declared.
    async fn forget_sent(&self, pumps: &[&str]) -> u64 {
        let pumps: Vec<String> = pumps.iter().map(|pump| (*pump).to_owned()).collect();
        let keep = Retention::default().outbox();
        testing::forget_sent(&self.site.ledger, &self.site.ledger_home, keep, &pumps).await.unwrap()
    }

    async fn forget_handled(&self) -> u64 {
        let keep = Retention::default().inbox();
        testing::forget_handled(&self.site.mirror, &self.site.mirror_home, keep).await.unwrap()
    }

    async fn post(&self, tenant: &str, count: usize) {
        for _ in 0..count {
            self.site.post(tenant, "a").await;
        }
    }

    /// Carries everything, and stores that it did.
    async fn carry(&self, acme: usize, bolt: usize) {
        let running = self.site.run();
        for (tenant, count) in [("acme", acme), ("bolt", bolt)] {
            let applied = self.site.applied_at_least(tenant, count).await;
            assert_eq!(applied.len(), count, "{tenant}: {applied:?}");
            check_order(&applied);
        }
        self.until_stored().await;
        running.stop().await;
    }

    /// Waits until the pump's positions say that nothing is behind them.
    async fn until_stored(&self) {
        for _ in 0..3000 {
            let status = self.operator().pumps(&wanted()).await.unwrap();
            if status.iter().all(|pump| pump.lag == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("positions were not stored");
    }

    fn operator(&self) -> Operator {
        Operator::new(self.site.ledger.clone(), Arc::clone(&self.site.ledger_home))
    }

    /// Sends everything of the last so long again, when something carries next.
    async fn redrive(&self, last: Duration) -> drystone_call::Result<()> {
        let since = self.site.ledger_home.now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - last;
        let since = i64::try_from(since.as_micros()).unwrap();
        let what = Redrive { since, pumps: wanted(), tenant: None };
        self.operator().redrive(&what, Retention::default()).await.map(drop)
    }
}

fn wanted() -> Vec<Wanted> {
    vec![Wanted { pump: "mirror".to_owned(), types: Some(vec![Posted::TYPE.to_owned()]) }]
}

async fn an_outbox_keeps_what_a_declared_pump_has_not_carried(on_postgres: bool) {
    let aging = Aging::new(on_postgres).await;
    aging.post("acme", 5).await;
    aging.clock.advance(Retention::default().outbox() + HOUR);
    assert_eq!(aging.forget_sent(&["mirror"]).await, 0, "nothing was carried");
    aging.carry(5, 0).await;
    aging.post("acme", 3).await;
    assert_eq!(aging.forget_sent(&["mirror", "audit"]).await, 0, "another pump has not begun");
    assert_eq!(aging.forget_sent(&["mirror"]).await, 5);
    aging.clock.advance(Retention::default().outbox());
    assert_eq!(aging.forget_sent(&["mirror"]).await, 0, "not older than the retention, and not carried");
    aging.clock.advance(HOUR);
    assert_eq!(aging.forget_sent(&["mirror"]).await, 0, "not carried");
    aging.carry(8, 0).await;
    assert_eq!((aging.forget_sent(&["mirror"]).await, aging.outbox().await), (3, 0));
    aging.post("acme", 2).await;
    aging.clock.advance(Retention::default().outbox() + HOUR);
    assert_eq!(aging.forget_sent(&[]).await, 2, "where nobody wants anything, age decides");
}

async fn an_outbox_keeps_what_a_refused_tenant_still_needs(on_postgres: bool) {
    let aging = Aging::new(on_postgres).await;
    let bolt = TenantId::new("bolt").unwrap();
    aging.site.mirror.tenants().suspend(&bolt).await.unwrap();
    aging.post("bolt", 3).await;
    aging.post("acme", 4).await;
    let running = aging.site.run();
    aging.site.applied_at_least("acme", 4).await;
    // Carried for the one tenant; the other's messages are left behind, with a position of their own where both share an outbox.
    for _ in 0..3000 {
        let status = aging.operator().pumps(&wanted()).await.unwrap();
        if status[0].position.is_none_or(|position| position == 7) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    aging.clock.advance(Retention::default().outbox() + HOUR);
    aging.forget_sent(&["mirror"]).await;
    aging.site.mirror.tenants().resume(&bolt).await.unwrap();
    aging.clock.advance(HOUR);
    running.relay.look_again();
    check_order(&aging.site.applied_at_least("bolt", 3).await);
    for _ in 0..3000 {
        aging.forget_sent(&["mirror"]).await;
        if aging.outbox().await == 0 {
            return running.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("what every tenant has is not deleted");
}

async fn an_inbox_knows_what_the_outbox_may_still_send(on_postgres: bool) {
    let aging = Aging::new(on_postgres).await;
    aging.post("acme", 4).await;
    aging.carry(4, 0).await;
    let second = Duration::from_secs(1);
    aging.clock.advance(Retention::default().outbox() - second);
    assert_eq!((aging.forget_sent(&["mirror"]).await, aging.forget_handled().await), (0, 0));
    // As late as it may be: all four come again, and none counts.
    aging.redrive(Retention::default().outbox()).await.unwrap();
    aging.carry(4, 0).await;
    aging.clock.advance(2 * second);
    assert!(aging.redrive(Retention::default().outbox() + second).await.is_err(), "they may be gone");
    assert_eq!((aging.forget_sent(&["mirror"]).await, aging.forget_handled().await), (4, 0));
    // An hour more, for what is on its way and for clocks that differ.
    aging.clock.advance(HOUR - 2 * second);
    assert_eq!((aging.forget_handled().await, aging.inbox().await), (0, 4));
    aging.clock.advance(2 * second);
    assert_eq!((aging.forget_handled().await, aging.inbox().await), (4, 0));
}

/// More rows than one transaction deletes.
async fn many_batches_go_and_what_is_young_stays(on_postgres: bool) {
    let aging = Aging::new(on_postgres).await;
    let mut cx = aging.site.cx("acme");
    let mut tx = aging.site.ledger.begin(&mut cx).await.unwrap();
    for n in 1..=2500 {
        drystone_events::Publish::publish(&mut tx, Posted { account: "a".to_owned(), n }).unwrap();
    }
    tx.commit().await.unwrap();
    aging.carry(2500, 0).await;
    aging.clock.advance(Retention::default().inbox() + HOUR);
    let mut cx = aging.site.cx("acme");
    let mut tx = aging.site.ledger.begin(&mut cx).await.unwrap();
    for n in 2501..=2503 {
        drystone_events::Publish::publish(&mut tx, Posted { account: "a".to_owned(), n }).unwrap();
    }
    tx.commit().await.unwrap();
    aging.carry(2503, 0).await;
    assert_eq!((aging.forget_sent(&["mirror"]).await, aging.outbox().await), (2500, 3));
    assert_eq!((aging.forget_handled().await, aging.inbox().await), (2500, 3));
}

/// Histories by chance: publishing, carrying, time, deleting, and redrives of whatever still may be redriven.
async fn whatever_happens_within_the_retention_everything_is_applied_once(on_postgres: bool) {
    let (mut sent, mut handled) = (0, 0);
    for seed in 1..=4_u64 {
        let aging = Aging::new(on_postgres).await;
        let (mut acme, mut bolt) = (0, 0);
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |limit: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % limit
        };
        let mut story = Vec::new();
        for _ in 0..40 {
            match below(9) {
                0 => {
                    story.push("acme".to_owned());
                    aging.post("acme", 2).await;
                    acme += 2;
                }
                1 => {
                    story.push("bolt".to_owned());
                    aging.post("bolt", 1).await;
                    bolt += 1;
                }
                2..=4 => {
                    let hours = below(60);
                    story.push(format!("{hours} h"));
                    aging.clock.advance(u32::try_from(hours).unwrap() * HOUR);
                }
                5..=6 => {
                    let (out, known) = (aging.forget_sent(&["mirror"]).await, aging.forget_handled().await);
                    story.push(format!("forget {out} {known}"));
                    (sent, handled) = (sent + out, handled + known);
                }
                7 => {
                    let hours = below(24 * 7 + 1);
                    story.push(format!("redrive {hours} h"));
                    aging.redrive(u32::try_from(hours).unwrap() * HOUR).await.unwrap();
                    // What is sent again is sent before it is forgotten.
                    aging.carry(acme, bolt).await;
                }
                _ => {
                    story.push("carry".to_owned());
                    aging.carry(acme, bolt).await;
                }
            }
        }
        println!("seed {seed}: {}", story.join(", "));
        aging.carry(acme, bolt).await;
    }
    assert!(sent > 0 && handled > 0, "some of each were old enough to go");
}
