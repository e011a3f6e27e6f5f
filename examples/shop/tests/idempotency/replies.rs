//! On PostgreSQL: the server commits and its reply is kept back, at each commit of an order; then the shop is killed, or hears that the connection broke.

use drystone_testkit::{Database, PostgresProxy, Withhold};

use crate::door::{Ask, Door, Outcome};
use crate::site::{Site, migrated, on_postgres, settled, until};
use crate::support::Shape;

/// More commits than an order has.
const MOST: usize = 30;

/// A shop that reaches its database through a proxy.
async fn behind_a_proxy(shape: Shape) -> (PostgresProxy, Site) {
    let database = migrated();
    let proxy = PostgresProxy::before(&database).expect("a socket");
    let through = Database { url: proxy.url().to_owned(), ..database };
    let site = Site::start(shape, &on_postgres(&through)).await;
    let (_, replayed) = settled(Door::Rest, &site.address, &Ask::order("warm", 1, "tok_visa")).await;
    assert!(!replayed);
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

/// Places one order after another, the reply to its first, second, .. commit kept back, until one is placed without that.
async fn at_each_commit(shape: Shape, how: Withhold) {
    let (proxy, mut site) = behind_a_proxy(shape).await;
    let mut replays = Vec::new();
    for number in 1..=MOST {
        let door = if number % 2 == 0 { Door::Rest } else { Door::Grpc };
        let ask = Ask::order(&format!("cut-{number}"), 1, "tok_visa");
        proxy.withhold(number, how);
        let placed = i64::try_from(number).expect("few");
        let asked = match ask_until_withheld(&site, &proxy, door, &ask).await {
            Ok(outcome) => {
                println!("commit {number}: {} commits, {outcome:?}", proxy.commits());
                assert!(matches!(outcome, Outcome::Own { replayed: false, .. }), "not cut: {outcome:?}");
                site.stands(number + 1, placed + 1).await;
                assert!(number > 5, "an order of {} commits", number - 1);
                assert_eq!(replays.last(), Some(&true), "the last commit has the record: {replays:?}");
                assert_eq!(replays.first(), Some(&false), "the first commit has not: {replays:?}");
                return;
            }
            Err(asked) => asked,
        };
        proxy.disarm();
        match how {
            Withhold::Silence => {
                site = site.killed_and_started().await;
                assert_eq!(asked.await.expect("no panic"), Outcome::Lost);
            }
            Withhold::Cut => {
                let outcome = asked.await.expect("no panic");
                println!("commit {number}: {outcome:?}");
                assert_eq!(outcome, Outcome::Failed("UNKNOWN".to_owned()), "commit {number}");
            }
        }
        let (bytes, replayed) = settled(door, &site.address, &ask).await;
        site.stands(number + 1, placed + 1).await;
        let once_more = door.ask(&site.address, &ask).await;
        assert_eq!(once_more, Outcome::Own { bytes, replayed: true }, "the answer is stored");
        replays.push(replayed);
    }
    panic!("an order of more than {MOST} commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_the_reply_to_each_commit_is_healed_by_a_retry_on_postgres() {
    at_each_commit(Shape::Whole, Withhold::Silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_each_commit_is_unknown_and_healed_by_a_retry_on_postgres() {
    at_each_commit(Shape::Whole, Withhold::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_unknown_to_the_caller_of_the_caller_on_postgres() {
    at_each_commit(Shape::Split, Withhold::Cut).await;
}

/// The process that committed hangs; the record is there, so another answers from it and does not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_from_the_record_of_one_that_hangs_on_postgres() {
    let database = migrated();
    let proxy = PostgresProxy::before(&database).expect("a socket");
    let through = Database { url: proxy.url().to_owned(), ..database.clone() };
    let hanging = Site::start(Shape::Whole, &on_postgres(&through)).await;
    let healthy = Site::start(Shape::Whole, &on_postgres(&database)).await;
    for (n, door) in [Door::Rest, Door::Grpc].into_iter().enumerate() {
        let before = healthy.stock("demo", "tea-sencha").await;
        let ask = Ask::stock(&format!("{n}"), 3);
        proxy.withhold(1, Withhold::Silence);
        let Err(asked) = ask_until_withheld(&hanging, &proxy, door, &ask).await else {
            panic!("{door:?}: the call had no commit");
        };
        let outcome = door.ask(&healthy.address, &ask).await;
        assert!(matches!(outcome, Outcome::Own { replayed: true, .. }), "{door:?}: {outcome:?}");
        assert_eq!(
            door.ask(&healthy.address, &Ask::stock(&format!("{n}"), 5)).await,
            Outcome::Reused,
            "{door:?}"
        );
        let given_up = asked.await.expect("no panic");
        assert_eq!(given_up, Outcome::Failed("DEADLINE_EXCEEDED".to_owned()), "{door:?}");
        proxy.disarm();
        assert_eq!(healthy.stock("demo", "tea-sencha").await, (before.0 + 3, before.1), "{door:?}");
    }
}
