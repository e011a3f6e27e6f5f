//! Orders of all tenants: in turn, at random, and of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use drystone::TenantId;
use tokio::task::JoinSet;

use super::{Bench, OPEN_FILES, TENANTS, WRITERS, name};
use crate::cpu::Meter;
use crate::prices::said;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan};

/// Whose order is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Always the same tenant's.
    One,
    /// Each tenant's in turn.
    InTurn,
    /// Any tenant's.
    AtRandom,
}

impl Next {
    fn tenant(self, turn: usize) -> usize {
        match self {
            Self::One => 0,
            Self::InTurn => turn % TENANTS,
            Self::AtRandom => scattered(turn) % TENANTS,
        }
    }
}

/// A number that has no order in it, always the same for the same turn (the finalizer of SplitMix64).
fn scattered(turn: usize) -> usize {
    let mut bits = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The upper half fits wherever a `usize` has 32 bits or more.
    ((bits ^ (bits >> 31)) >> 32) as usize
}

/// A name, the writers, whose orders, and which of [`OPEN_FILES`].
type Side = (&'static str, usize, Next, usize);

const ONE: &str = "64 writers, one tenant";
const ALONE: &str = "1 writer, one tenant";
const HITS: &str = "1 writer, each tenant in turn, all files open";
const MISSES: &str = "1 writer, each tenant in turn, 256 open";

const SIDES: [Side; 8] = [
    (ONE, WRITERS, Next::One, 0),
    ("64 writers, each tenant in turn, all files open", WRITERS, Next::InTurn, 1),
    ("64 writers, tenants at random, all files open", WRITERS, Next::AtRandom, 1),
    ("64 writers, each tenant in turn, 256 open", WRITERS, Next::InTurn, 0),
    ("64 writers, tenants at random, 256 open", WRITERS, Next::AtRandom, 0),
    (ALONE, 1, Next::One, 0),
    (HITS, 1, Next::InTurn, 1),
    (MISSES, 1, Next::InTurn, 0),
];

/// Makes every tenant, one after another, and does nothing for it yet.
pub(super) async fn create(bench: &Bench, rounds: &mut Rounds) -> Result<(), Failure> {
    let meter = Meter::start(&[std::process::id()])?;
    for tenant in 0..TENANTS {
        let new = TenantId::new(&name(tenant)).map_err(said)?;
        if !bench.store.tenants().create(&new).await.map_err(said)? {
            return Err(format!("{} was there already", new.as_str()).into());
        }
    }
    let taken = meter.stop()?;
    rounds.add("created", taken.wall.as_secs_f64());
    rounds.add("created cpu", taken.cpu[0].as_secs_f64() * 1e3 / TENANTS as f64);
    Ok(())
}

/// Makes every tenant by its first order.
pub(super) async fn make(bench: &Arc<Bench>, rounds: &mut Rounds) -> Result<(), Failure> {
    let meter = Meter::start(&[std::process::id()])?;
    all(bench).await?;
    let taken = meter.stop()?;
    rounds.add("made", taken.wall.as_secs_f64());
    rounds.add("made cpu", taken.cpu[0].as_secs_f64() * 1e3 / TENANTS as f64);
    Ok(())
}

/// One order of every tenant.
pub(super) async fn all(bench: &Arc<Bench>) -> Result<(), Failure> {
    storm(bench, WRITERS, Next::InTurn, |turn| turn < TENANTS).await.map(drop)
}

/// Measures every side in turns.
pub(super) async fn measure(benches: &[Arc<Bench>], plan: &Plan, rounds: &mut Rounds) -> Result<(), Failure> {
    // So that where all files may be open, all are.
    all(&benches[1]).await?;
    for round in 0..=plan.rounds {
        for (name, writers, next, which) in SIDES {
            let time = if round == 0 { plan.time / 4 } else { plan.time };
            let meter = Meter::start(&[std::process::id()])?;
            let until = Instant::now() + time;
            let kept = storm(&benches[which], writers, next, move |_| Instant::now() < until).await?;
            let taken = meter.stop()?;
            if round > 0 {
                rounds.add(format!("rate {name}"), kept / taken.wall.as_secs_f64());
                rounds.add(format!("cpu {name}"), taken.cpu[0].as_secs_f64() * 1e6 / kept);
                rounds.add(format!("each {name}"), taken.wall.as_secs_f64() * 1e6 / kept);
            }
        }
    }
    for (bench, limit) in benches.iter().zip(OPEN_FILES) {
        let open = bench.store.metrics().open_files;
        if open != limit.min(TENANTS) as u64 {
            return Err(format!("{open} files are open where {limit} may be").into());
        }
    }
    Ok(())
}

/// Writes with so many writers while `goes_on`, and says how many orders were kept.
async fn storm(
    bench: &Arc<Bench>,
    writers: usize,
    next: Next,
    goes_on: impl Fn(usize) -> bool + Copy + Send + 'static,
) -> Result<f64, Failure> {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let (bench, turn) = (Arc::clone(bench), Arc::clone(&turn));
        tasks.spawn(async move {
            let mut kept = 0.0;
            loop {
                let turn = turn.fetch_add(1, Relaxed);
                if !goes_on(turn) {
                    return Ok::<f64, Failure>(kept);
                }
                bench.order(next.tenant(turn)).await?;
                kept += 1.0;
            }
        });
    }
    let mut kept = 0.0;
    while let Some(task) = tasks.join_next().await {
        kept += task??;
    }
    Ok(kept)
}

/// Orders by side.
pub(super) fn table(rounds: &Rounds) -> String {
    let mut table = Table::new(&["writers and tenants", "orders/s", "CPU µs", "rate beside one tenant"]);
    for (name, writers, ..) in SIDES {
        let base = if writers == 1 { ALONE } else { ONE };
        let cells = [
            format!("{:.0}", rounds.median(&format!("rate {name}"))),
            format!("{:.1}", rounds.median(&format!("cpu {name}"))),
            format!("{:.0} %", 100.0 * rounds.ratio(&format!("rate {name}"), &format!("rate {base}"))),
        ];
        table.row(name, &cells);
    }
    table.into_text()
}

/// What a tenant costs when it is made, and when its file has to be opened in place of another's.
pub(super) fn costs(rounds: &Rounds) -> String {
    let mut table = Table::new(&["", "ms", "CPU ms"]);
    let all = TENANTS as f64;
    for (kind, how) in [
        ("created", "a tenant created, one after another".to_owned()),
        ("made", format!("a tenant created by its first order, {WRITERS} at once")),
    ] {
        let made = [
            format!("{:.2}", 1e3 * rounds.median(kind) / all),
            format!("{:.2}", rounds.median(&format!("{kind} cpu"))),
        ];
        table.row(&how, &made);
    }
    let more = |kind: &str| rounds.difference(&format!("{kind} {MISSES}"), &format!("{kind} {HITS}")) / 1e3;
    let eviction = [format!("{:.2}", more("each")), format!("{:.2}", more("cpu"))];
    table.row("a file closed and another opened for an order, 1 writer", &eviction);
    format!(
        "{TENANTS} tenants were created in {:.1} s, or in {:.1} s by their first orders.\n\n{}",
        rounds.median("created"),
        rounds.median("made"),
        table.into_text()
    )
}

/// How long a time is, for those who wait for it.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_at_random_are_all_tenants_in_no_order() {
        let mut times = vec![0; TENANTS];
        let mut rising = 0;
        for turn in 0..20 * TENANTS {
            let tenant = Next::AtRandom.tenant(turn);
            times[tenant] += 1;
            rising += usize::from(Next::AtRandom.tenant(turn + 1) > tenant);
        }
        assert!(times.iter().all(|times| (1..60).contains(times)), "{times:?}");
        assert!((9 * TENANTS..11 * TENANTS).contains(&rising), "{rising}");
    }
}
