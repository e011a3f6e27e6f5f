//! Twelve writers with slow and rolled-back transactions, through the real relay to a real consumer; beside it, the two readers that do not hold.
//!
//! `DRYSTONE_STRESS_SECONDS` says how long they write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use drystone_call::Code;
use drystone_store::Isolation;
use tokio::task::JoinHandle;

use crate::readers::{ById, Naive, lost, reordered};
use crate::site::{Site, check_order, count, first_write, publish_next, send};

const WRITERS: u64 = 12;
const TENANTS: [&str; 6] = ["t0", "t1", "t2", "t3", "t4", "t5"];
const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
const SLOWEST_MILLIS: u64 = 200;

/// What the writers did.
#[derive(Default)]
struct Counts {
    committed: AtomicU64,
    rolled_back: AtomicU64,
    refused: AtomicU64,
    events: AtomicU64,
}

/// Chance that can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One transaction: it may write before it takes its locks, hold at any point, publish for one account or two, and roll back.
async fn transact(site: &Site, dice: &mut Dice, counts: &Counts) -> drystone_call::Result<()> {
    let tenant = TENANTS[usize::try_from(dice.below(6)).unwrap()];
    let isolation = if dice.below(4) == 0 { Isolation::Serializable } else { Isolation::ReadCommitted };
    let slow_at = dice.below(6);
    let slow = Duration::from_millis(dice.below(SLOWEST_MILLIS));
    let first = usize::try_from(dice.below(4)).unwrap();
    let second = first + 1 + usize::try_from(dice.below(6)).unwrap();
    let rolls_back = dice.below(5) == 0;
    let mut cx = site.cx(tenant);
    let mut tx = site.ledger.begin_with(&mut cx, isolation).await?;
    let mut step = 0;
    let mut maybe_slow = async || {
        if step == slow_at {
            tokio::time::sleep(slow).await;
        }
        step += 1;
    };
    if dice.below(2) == 0 {
        first_write(&mut tx).await?;
    }
    maybe_slow().await;
    // In one order, so that no two wait for each other.
    let mut events = 0;
    for account in ACCOUNTS.iter().enumerate().filter(|(at, _)| *at == first || *at == second) {
        publish_next(&mut tx, account.1).await?;
        events += 1;
        maybe_slow().await;
    }
    send(&mut tx).await?;
    maybe_slow().await;
    if rolls_back {
        drop(tx);
        counts.rolled_back.fetch_add(1, SeqCst);
        return Ok(());
    }
    tx.commit().await?;
    counts.committed.fetch_add(1, SeqCst);
    counts.events.fetch_add(events, SeqCst);
    Ok(())
}

fn write(site: &Arc<Site>, seed: u64, until: Instant, counts: &Arc<Counts>) -> JoinHandle<()> {
    let (site, counts) = (Arc::clone(site), Arc::clone(counts));
    tokio::spawn(async move {
        let mut dice = Dice(seed);
        while Instant::now() < until {
            match transact(&site, &mut dice, &counts).await {
                Ok(()) => {}
                Err(error) if error.code() == Code::Aborted => drop(counts.refused.fetch_add(1, SeqCst)),
                Err(error) => panic!("{error:?}"),
            }
        }
    })
}

/// Reads along until it is told that nothing more comes, and then once more.
macro_rules! read_along {
    ($site:expr, $stop:expr, $reader:expr, $pause:expr) => {{
        let (owner, stop) = ($site.owner().await, Arc::clone(&$stop));
        tokio::spawn(async move {
            let mut reader = $reader;
            while !stop.load(SeqCst) {
                reader.read(&owner).await;
                tokio::time::sleep($pause).await;
            }
            reader.read(&owner).await;
            reader.seen
        })
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_writers_lose_reorder_and_repeat_nothing() {
    let seconds = std::env::var("DRYSTONE_STRESS_SECONDS").map_or(10, |text| text.parse().unwrap());
    let site = Arc::new(Site::new().await);
    site.create(&TENANTS, &ACCOUNTS).await;
    let (running, stop) = (site.run(), Arc::new(AtomicBool::new(false)));
    let naive = read_along!(site, stop, Naive::default(), Duration::from_millis(2));
    let by_id = read_along!(site, stop, ById::default(), Duration::from_millis(100));
    let counts = Arc::<Counts>::default();
    let seed = u64::from(std::process::id()) << 8;
    let until = Instant::now() + Duration::from_secs(seconds);
    let writers: Vec<_> = (1..=WRITERS).map(|n| write(&site, seed + n, until, &counts)).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut published = 0;
    let owner = site.owner().await;
    for tenant in TENANTS {
        let wanted = published_of(&site, tenant).await;
        published += wanted.values().sum::<i64>();
        let applied =
            site.applied_at_least(tenant, usize::try_from(wanted.values().sum::<i64>()).unwrap()).await;
        check_order(&applied);
        let reached: std::collections::BTreeMap<String, i64> = applied.into_iter().collect();
        assert_eq!(reached, wanted, "{tenant}, seed {seed}");
    }
    assert_eq!(published, i64::try_from(counts.events.load(SeqCst)).unwrap());
    assert_eq!(published, count(&owner, "select count(*) from ledger.drystone_outbox").await);
    // The ids pass the last message only when nobody is before it.
    stop.store(true, SeqCst);
    let (naive, by_id) = (naive.await.unwrap(), by_id.await.unwrap());
    let (lost, late) = (lost(&owner, &naive).await.len(), reordered(&by_id));
    let percent = |part: usize| part as f64 * 100.0 / published as f64;
    println!(
        "{seconds} s, seed {seed}: {published} events of {} transactions, {} rolled back, {} refused; ours 0 lost, 0 reordered, 0 twice; \
         by the last number {lost} lost ({:.2} %); by the ids {late} reordered ({:.2} %), {} seen",
        counts.committed.load(SeqCst),
        counts.rolled_back.load(SeqCst),
        counts.refused.load(SeqCst),
        percent(lost),
        percent(late),
        by_id.len(),
    );
    assert!(lost > 0 && late > 0, "the run was too tame to show anything");
    assert!(running.relay.fence().settled.get() >= published);
    Arc::into_inner(site).unwrap();
    running.stop().await;
}

/// How many events of each account there are, by the accounts' own counts.
async fn published_of(site: &Site, tenant: &str) -> std::collections::BTreeMap<String, i64> {
    let mut cx = site.cx(tenant);
    let mut tx = site.ledger.read(&mut cx).await.unwrap();
    let rows: Vec<(String, i64)> =
        tx.query("select account, n from accounts where n > 0").all().await.unwrap();
    rows.into_iter().collect()
}
