//! On SQLite: a process that is killed after a commit and before its answer, at each commit of an order; and a commit that lasts.

use std::net::TcpListener;

use crate::cut::{Cut, Then};
use crate::door::{Ask, Door, Outcome};
use crate::site::{Site, settled, until};
use crate::support::Shape;

/// More commits than an order has.
const MOST: usize = 30;

/// Places one order after another, cut after its first, second, .. sync, until one is placed without a cut. `again` makes the shop ready after a cut.
async fn at_each_commit<F: Future<Output = Site>>(
    mut site: Site,
    cut: &Cut,
    least: usize,
    mut again: impl FnMut(Site) -> F,
) {
    // What a tenant's first call makes, its files above all, is there before the first cut.
    let (_, replayed) = settled(Door::Rest, &site.address, &Ask::order("warm", 1, "tok_visa")).await;
    assert!(!replayed);
    let mut replays = Vec::new();
    for number in 1..=MOST {
        let door = if number % 2 == 0 { Door::Rest } else { Door::Grpc };
        let ask = Ask::order(&format!("cut-{number}"), 1, "tok_visa");
        cut.arm(number, Then::Kill);
        let outcome = door.ask(&site.address, &ask).await;
        let syncs = cut.syncs();
        cut.disarm();
        println!("sync {number}: {syncs} syncs, {outcome:?}");
        let placed = i64::try_from(number).expect("few");
        if syncs < number {
            assert!(matches!(outcome, Outcome::Own { replayed: false, .. }), "not cut: {outcome:?}");
            site.stands(number + 1, placed + 1).await;
            assert!(number > least, "an order of {} commits", number - 1);
            assert_eq!(replays.last(), Some(&true), "the last commit has the record: {replays:?}");
            assert_eq!(replays.first(), Some(&false), "the first commit has not: {replays:?}");
            return;
        }
        let cut_off = matches!(outcome, Outcome::Lost | Outcome::Failed(_));
        assert!(cut_off, "answered before the commit of sync {number} was told: {outcome:?}");
        site = again(site).await;
        let (bytes, replayed) = settled(door, &site.address, &ask).await;
        site.stands(number + 1, placed + 1).await;
        let once_more = door.ask(&site.address, &ask).await;
        assert_eq!(once_more, Outcome::Own { bytes, replayed: true }, "the answer is stored");
        replays.push(replayed);
    }
    panic!("an order of more than {MOST} commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_each_commit_is_healed_by_a_retry() {
    let cut = Cut::new();
    let site = Site::start(Shape::Whole, &cut.env()).await;
    at_each_commit(site, &cut, 5, Site::killed_and_started).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_whichever_process_commits_is_healed_by_a_retry() {
    let cut = Cut::new();
    let mut env = cut.env();
    // The killed process is started again by `up` and must be found where it was.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    env.push(("DRYSTONE__GATEWAY__LISTEN".to_owned(), free.to_string()));
    let site = Site::start(Shape::Split, &env).await;
    at_each_commit(site, &cut, 5, |site| async {
        site.ready().await;
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_commit_lasts_its_key_is_in_use() {
    let cut = Cut::new();
    let site = Site::start(Shape::Whole, &cut.env()).await;
    for door in [Door::Rest, Door::Grpc] {
        let before = site.stock("demo", "tea-sencha").await;
        let (running, other) = (Ask::stock(&format!("{door:?}"), 3), Ask::stock(&format!("{door:?}"), 5));
        cut.arm(1, Then::Hold);
        let (to, ask) = (site.address.clone(), running.clone());
        let first = tokio::spawn(async move { door.ask(&to, &ask).await });
        until("the commit lasts", || async { cut.holds() }).await;
        for ask in [&running, &other] {
            assert_eq!(door.ask(&site.address, ask).await, Outcome::InUse, "{door:?}: {ask:?}");
        }
        cut.disarm();
        let Outcome::Own { bytes, replayed: false } = first.await.expect("no panic") else {
            panic!("{door:?}: the held call has no answer");
        };
        let (again, replayed) = settled(door, &site.address, &running).await;
        assert!(replayed && again == bytes, "{door:?}");
        assert_eq!(door.ask(&site.address, &other).await, Outcome::Reused, "{door:?}");
        assert_eq!(site.stock("demo", "tea-sencha").await, (before.0 + 3, before.1), "{door:?}");
    }
}
