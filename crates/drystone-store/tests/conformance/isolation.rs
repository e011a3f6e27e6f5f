//! Two served calls that cannot both be right: one effect after the other, and the same answers on both databases.
//!
//! On PostgreSQL both read before one writes, so the second to commit is refused by the database and its handler runs again. On SQLite the second
//! waits until the first is done. A caller sees no difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drystone_call::{Context, Error, Result};
use drystone_store::Store;
use tokio::sync::{Barrier, Notify};

use crate::keyed::{Client, Text, keyed, text};
use crate::world::World;

/// What each of the two does: looks, decides by what it saw, acts.
#[derive(Clone, Copy)]
struct Work {
    /// Gives a number; `$1` is who looks.
    look: &'static str,
    /// Whether that number lets the work be done; it is refused otherwise.
    may: fn(i64) -> bool,
    /// `$1` is who acts, `$2` the number that was seen.
    act: &'static str,
}

/// Makes the two calls meet in their first runs, as far as the database lets them.
struct Meeting {
    store: Store,
    on_postgres: bool,
    first_looked: Notify,
    both_looked: Barrier,
    first_answered: Notify,
    runs: [AtomicUsize; 2],
}

impl Meeting {
    fn new(world: &World) -> Arc<Self> {
        Arc::new(Self {
            store: world.store.clone(),
            on_postgres: world.is_on_postgres(),
            first_looked: Notify::new(),
            both_looked: Barrier::new(2),
            first_answered: Notify::new(),
            runs: Default::default(),
        })
    }

    /// Stands between looking and acting.
    async fn after_looking(&self, who: &str) {
        let is_first = who == "first";
        if self.runs[usize::from(!is_first)].fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        if is_first {
            self.first_looked.notify_one();
        }
        if self.on_postgres {
            self.both_looked.wait().await;
            if !is_first {
                self.first_answered.notified().await;
            }
        } else if is_first {
            while self.store.metrics().writers_waiting == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn serve(&self, cx: &mut Context, who: &str, work: Work) -> Result<Text> {
        let mut tx = self.store.begin(cx).await?;
        let (seen,): (i64,) = tx.query(work.look).bind((who,)).one().await?;
        self.after_looking(who).await;
        if !(work.may)(seen) {
            return tx.refuse(Error::failed_precondition(format!("{who} saw {seen}"))).await;
        }
        tx.query(work.act).bind((who, seen)).execute().await?;
        tx.commit_with(text(&format!("{who} saw {seen}"))).await
    }
}

/// Makes the two calls, and each once more with its key; gives what both answered.
async fn meet(world: &World, work: Work) -> [String; 2] {
    let meeting = Meeting::new(world);
    let serving = Arc::clone(&meeting);
    let client = Client::of(world, move |cx, req| {
        let meeting = Arc::clone(&serving);
        Box::pin(async move { meeting.serve(cx, &req.text, work).await })
    });
    let call = |who: &'static str| {
        let (client, cx) = (client.clone(), keyed(world, who));
        tokio::spawn(async move { answer(client.call(&cx, who).await.0) })
    };
    let first = call("first");
    meeting.first_looked.notified().await;
    let second = call("second");
    let first = first.await.unwrap();
    meeting.first_answered.notify_one();
    let answers = [first, second.await.unwrap()];
    let runs = [0, 1].map(|who| meeting.runs[who].load(Ordering::SeqCst));
    assert_eq!(runs, if world.is_on_postgres() { [1, 2] } else { [1, 1] }, "they did not meet");
    let again = [call("first").await.unwrap(), call("second").await.unwrap()];
    assert_eq!((&again, runs), (&answers, [0, 1].map(|who| meeting.runs[who].load(Ordering::SeqCst))));
    answers
}

fn answer(outcome: Result<String>) -> String {
    outcome.unwrap_or_else(|error| format!("{}: {}", error.code().name(), error.message()))
}

/// A store whose transactions may wait for a busy machine.
async fn patient(mut world: World) -> World {
    let mut config = world.config();
    config.hold_limit = Duration::from_secs(20);
    world.reopen_with(config).await.unwrap();
    world
}

async fn rows(world: &World, sql: &str) -> Vec<(String, i64)> {
    let mut cx = world.cx();
    world.store.read(&mut cx).await.unwrap().query(sql).all().await.unwrap()
}

const ITEMS: &str = "select sku, quantity from items order by sku";

/// Two are on duty and one must stay: each may go if it sees the other.
pub(crate) async fn write_skew_is_the_same_for_callers(world: World) {
    let world = patient(world).await;
    for who in ["first", "second"] {
        world.add(&mut world.cx(), who, 1).await.unwrap();
    }
    let leave = Work {
        look: "select count(*) from items where quantity = 1 and sku <> $1",
        may: |others| others > 0,
        act: "update items set quantity = 0 where sku = $1 and quantity <= $2",
    };
    assert_eq!(meet(&world, leave).await, ["first saw 1", "FAILED_PRECONDITION: second saw 0"]);
    assert_eq!(rows(&world, ITEMS).await, [("first".to_owned(), 0), ("second".to_owned(), 1)]);
}

/// Both count one up from what they read.
pub(crate) async fn no_update_is_lost(world: World) {
    let world = patient(world).await;
    world.add(&mut world.cx(), "stone", 5).await.unwrap();
    let count = Work {
        look: "select quantity from items where sku <> $1",
        may: |_| true,
        act: "update items set quantity = cast($2 as bigint) + 1 where sku <> $1",
    };
    assert_eq!(meet(&world, count).await, ["first saw 5", "second saw 6"]);
    assert_eq!(rows(&world, ITEMS).await, [("stone".to_owned(), 7)]);
}

/// One seat, and who finds nobody on it sits down.
pub(crate) async fn no_phantom_takes_the_seat(world: World) {
    let world = patient(world).await;
    let sit = Work {
        look: "select count(*) from kinds where words <> $1",
        may: |others| others == 0,
        act: "insert into kinds (id, words, big) values (length($1), $1, $2)",
    };
    assert_eq!(meet(&world, sit).await, ["first saw 0", "FAILED_PRECONDITION: second saw 1"]);
    assert_eq!(rows(&world, "select words, big from kinds order by id").await, [("first".to_owned(), 0)]);
}
