//! Many writers with seeded behaviour: what was acknowledged is there, what was not submitted is not, and nothing is there in part.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::Error;
use drystone_testkit::{Dropped, poll_and_drop};

use crate::world::World;

/// A small generator, so that a seed that fails can be run again: `DRYSTONE_SEED=n`.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What a writer knows of one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    There,
    NotThere,
    Open,
}

async fn write(world: Arc<World>, label: i64, mut rng: Rng) -> (i64, i64, Known) {
    let rows = 1 + i64::try_from(rng.below(3)).unwrap();
    let mut cx = world.cx();
    let ends = rng.below(8);
    let polls = usize::try_from(1 + rng.below(9)).unwrap();
    let work = async {
        for _ in 0..rng.below(3) {
            tokio::task::yield_now().await;
        }
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        for row in 0..rows {
            let insert = "insert into kinds (id, big) values ($1, $2)";
            tx.query(insert).bind((label * 10 + row, label)).execute().await.unwrap();
            if rng.below(3) == 0 {
                tokio::task::yield_now().await;
            }
        }
        match ends {
            0 => Known::NotThere,
            1 => {
                tx.refuse::<()>(Error::aborted("no")).await.unwrap_err();
                Known::NotThere
            }
            _ => {
                tx.commit().await.unwrap();
                Known::There
            }
        }
    };
    if ends >= 6 {
        let known = match poll_and_drop(work, polls).await {
            Dropped::Done(_) => Known::There,
            Dropped::After(_) => Known::Open,
        };
        return (label, rows, known);
    }
    (label, rows, work.await)
}

async fn run(seed: u64) {
    println!("DRYSTONE_SEED={seed}");
    let world = Arc::new(World::sqlite_with(|config| config.hold_limit = Duration::from_secs(20)).await);
    let tasks: Vec<_> = (0..400)
        .map(|label| {
            tokio::spawn(write(Arc::clone(&world), label, Rng(seed.wrapping_add(label as u64 * 7919))))
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    let mut cx = world.cx();
    world.store.begin(&mut cx).await.unwrap().commit().await.unwrap();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let found: Vec<(i64, i64)> =
        read.query("select big, count(*) from kinds group by big").all().await.unwrap();
    let found: HashMap<i64, i64> = found.into_iter().collect();
    for (label, rows, known) in &outcomes {
        let there = found.get(label).copied().unwrap_or(0);
        match known {
            Known::There => assert_eq!(there, *rows, "transaction {label} was acknowledged"),
            Known::NotThere => assert_eq!(there, 0, "transaction {label} was never submitted"),
            Known::Open => assert!(there == 0 || there == *rows, "transaction {label} is there in part"),
        }
    }
    for known in [Known::There, Known::NotThere, Known::Open] {
        assert!(outcomes.iter().any(|outcome| outcome.2 == known), "the seed never made {known:?}");
    }
    let metrics = world.store.metrics();
    assert_eq!(
        (metrics.open_transactions, metrics.writers_waiting, metrics.groups_lost),
        (0, 0, 0),
        "{metrics:?}"
    );
    assert!(metrics.largest_group > 1, "nothing was grouped: {metrics:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_writers_do_the_acknowledged_is_there() {
    if let Ok(seed) = std::env::var("DRYSTONE_SEED") {
        return run(seed.parse().unwrap()).await;
    }
    let start = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    for n in 0..5 {
        run(start.wrapping_add(n)).await;
    }
}
