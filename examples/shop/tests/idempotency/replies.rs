//! On PostgreSQL: the server commits and its reply is kept back, at each commit of an order; then the shop is killed, or hears that the connection broke.

use drystone_testkit::{Database, PostgresProxy, Withhold};

use crate::door::{Ask, Door, Outcome};
use crate::site::{Site, migrated, on_postgres, settled, until};
use crate::support::Shape;
use crate::trial::Trial;

/// A shop that reaches its database through a proxy.
async fn behind_a_proxy(shape: Shape) -> (PostgresProxy, Site) {
    let database = migrated();
    let proxy = PostgresProxy::before(&database).expect("a socket");
    let through = Database { url: proxy.url().to_owned(), ..database };
    let site = Site::start(shape, &on_postgres(&through)).await;
    (proxy, site)
}

/// Asks while the reply to one commit is kept back; the call itself if that came about.
async fn ask_until_withheld(
    site: &Site,
    proxy: &PostgresProxy,
    door: Door,
    ask: &Ask,
) -> Result<Outcome, tokio::task::JoinHandle<Outcome>> {
    let (to, ask) = (site.address.clone(), ask.clone());
    let asked = tokio::spawn(async move { door.ask(&to, &ask).await });
    until("an answer, or a reply is kept back", || async { asked.is_finished() || proxy.has_withheld() })
        .await;
    if proxy.has_withheld() { Err(asked) } else { Ok(asked.await.expect("no panic")) }
}

/// Makes one call after another, the reply to its first, second, .. commit kept back, until one is made without that.
async fn at_each_commit(trial: Trial, proxy: &PostgresProxy, mut site: Site, how: Withhold) -> Site {
    let mut progress = trial.begin(&site).await;
    loop {
        let (door, ask) = progress.next();
        proxy.withhold(progress.commit, how);
        let asked = ask_until_withheld(&site, proxy, door, &ask).await;
        proxy.disarm();
        let (cut, outcome) = match (asked, how) {
            (Ok(outcome), _) => (None, outcome),
            (Err(asked), Withhold::Silence) => {
                site = site.killed_and_started().await;
                let outcome = asked.await.expect("no panic");
                (Some(outcome == Outcome::Lost), outcome)
            }
            (Err(asked), Withhold::Cut) => {
                let outcome = asked.await.expect("no panic");
                (Some(outcome == Outcome::Failed("UNKNOWN".to_owned())), outcome)
            }
        };
        println!("{trial:?}, commit {}: cut {cut:?}, {outcome:?}", progress.commit);
        // A busy machine may be too slow for the call's deadline.
        let slow = outcome == Outcome::Failed("DEADLINE_EXCEEDED".to_owned());
        let fits = cut == Some(true) || slow || matches!(outcome, Outcome::Own { replayed: false, .. });
        assert!(fits, "{trial:?}, commit {}: {outcome:?}", progress.commit);
        if progress.heals(&site, door, &ask, cut).await {
            return site;
        }
    }
}

/// Each trial in a shop of this shape.
async fn at_each_commit_of_each(shape: Shape, how: Withhold) {
    let (proxy, mut site) = behind_a_proxy(shape).await;
    for trial in [Trial::Order, Trial::Addition] {
        site = at_each_commit(trial, &proxy, site, how).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_the_reply_to_each_commit_is_healed_by_a_retry_on_postgres() {
    at_each_commit_of_each(Shape::Whole, Withhold::Silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_each_commit_is_unknown_and_healed_by_a_retry_on_postgres() {
    at_each_commit_of_each(Shape::Whole, Withhold::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_unknown_to_the_caller_of_the_caller_on_postgres() {
    at_each_commit_of_each(Shape::Split, Withhold::Cut).await;
}

/// The process that committed hangs; the record is there, so another answers from it and does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_from_the_record_of_one_that_hangs_on_postgres() {
    let database = migrated();
    let proxy = PostgresProxy::before(&database).expect("a socket");
    let through = Database { url: proxy.url().to_owned(), ..database.clone() };
    let hanging = Site::start(Shape::Whole, &on_postgres(&through)).await;
    let healthy = Site::start(Shape::Whole, &on_postgres(&database)).await;
    let (mut call, mut seen) = (0, 0);
    while seen < 2 {
        call += 1;
        assert!(call < 20, "every commit is one of the store's own");
        let door = if seen == 0 { Door::Rest } else { Door::Grpc };
        let before = healthy.stock("demo", "tea-sencha").await;
        let ask = Ask::stock(&format!("{call}"), 3);
        proxy.withhold(1, Withhold::Silence);
        let asked = ask_until_withheld(&hanging, &proxy, door, &ask).await;
        let outcome = door.ask(&healthy.address, &ask).await;
        proxy.disarm();
        let first = match asked {
            Ok(first) => first,
            Err(asked) => asked.await.expect("no panic"),
        };
        // Otherwise the proxy has met a commit of the store's own.
        if first == Outcome::Failed("DEADLINE_EXCEEDED".to_owned()) {
            assert!(matches!(outcome, Outcome::Own { replayed: true, .. }), "{door:?}: {outcome:?}");
            seen += 1;
        }
        let other = Ask::stock(&format!("{call}"), 5);
        settled(door, &healthy.address, &ask).await;
        assert_eq!(door.ask(&healthy.address, &other).await, Outcome::Reused, "{door:?}");
        assert_eq!(healthy.stock("demo", "tea-sencha").await, (before.0 + 3, before.1), "{door:?}");
    }
}
