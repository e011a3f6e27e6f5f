//! On SQLite: a process that is killed after a commit and before its answer, at each commit of an order; and a commit that lasts.

use std::net::TcpListener;

use crate::cut::{Cut, Then};
use crate::door::{Ask, Door, Outcome};
use crate::site::{Site, settled, until};
use crate::support::Shape;
use crate::trial::Trial;

/// Makes one call after another, cut after its first, second, .. sync, until one is made without a cut. `again` makes the shop ready after a cut.
async fn at_each_commit<F: Future<Output = Site>>(
    trial: Trial,
    mut site: Site,
    cut: &Cut,
    mut again: impl FnMut(Site) -> F,
) -> Site {
    let mut progress = trial.begin(&site).await;
    loop {
        let (door, ask) = progress.next();
        cut.at_rest().await;
        cut.arm(progress.commit, Then::Kill);
        let outcome = door.ask(&site.address, &ask).await;
        let was_cut = cut.disarm() >= progress.commit;
        println!("{trial:?}, sync {}: cut {was_cut}, {outcome:?}", progress.commit);
        let cut_off = matches!(outcome, Outcome::Lost | Outcome::Failed(_));
        // An order's events are carried and handled beside it: of its syncs some are theirs, also after its answer.
        let of_the_call = cut_off || trial == Trial::Addition;
        if was_cut {
            assert!(
                cut_off || !of_the_call,
                "answered before sync {} was told: {outcome:?}",
                progress.commit
            );
            site = again(site).await;
        }
        if progress.heals(&site, door, &ask, (was_cut && of_the_call).then_some(true)).await {
            return site;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_each_commit_is_healed_by_a_retry() {
    let cut = Cut::new();
    let mut site = Site::start(Shape::Whole, &cut.env()).await;
    for trial in [Trial::Order, Trial::Addition] {
        site = at_each_commit(trial, site, &cut, Site::killed_and_started).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_whichever_process_commits_is_healed_by_a_retry() {
    let cut = Cut::new();
    let mut env = cut.env();
    // The killed process is started again by `up` and must be found where it was.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    env.push(("DRYSTONE__GATEWAY__LISTEN".to_owned(), free.to_string()));
    let mut site = Site::start(Shape::Split, &env).await;
    for trial in [Trial::Order, Trial::Addition] {
        let ready = |site: Site| async {
            site.ready().await;
            site
        };
        site = at_each_commit(trial, site, &cut, ready).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_commit_lasts_its_key_is_in_use() {
    let cut = Cut::new();
    let site = Site::start(Shape::Whole, &cut.env()).await;
    for door in [Door::Rest, Door::Grpc] {
        let before = site.stock("demo", "tea-sencha").await;
        let (running, other) = (Ask::stock(&format!("{door:?}"), 3), Ask::stock(&format!("{door:?}"), 5));
        cut.at_rest().await;
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
