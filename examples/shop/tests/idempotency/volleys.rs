//! Two hundred requests at once, under one key and under keys that only look alike.

use std::collections::BTreeSet;

use crate::door::{Ask, Door, Outcome};
use crate::site::{Site, migrated, on_postgres, settled};
use crate::support::Shape;

/// How many requests arrive together.
const REQUESTS: usize = 200;

/// One or more replicas of the shop on the same data.
struct Replicas(Vec<Site>);

impl Replicas {
    /// The request so many times, the replicas taking turns.
    fn share(&self, ask: &Ask, times: usize) -> Vec<(&str, Ask)> {
        self.0.iter().cycle().take(times).map(|site| (site.address.as_str(), ask.clone())).collect()
    }

    fn any(&self) -> &Site {
        &self.0[0]
    }

    /// Everything that this suite asks of volleys, by both doors.
    async fn withstand(&self) {
        for door in [Door::Rest, Door::Grpc] {
            self.one_addition(door).await;
        }
        let mut confirmed = 0;
        for door in [Door::Rest, Door::Grpc] {
            self.one_order(door).await;
            confirmed += 1;
            self.any().stands(confirmed, 2 * i64::try_from(confirmed).expect("few")).await;
            let declined = self.any().orders("DECLINED").await.len();
            self.one_refusal(door).await;
            assert_eq!(self.any().orders("DECLINED").await.len(), declined + 1, "{door:?}");
            self.any().stands(confirmed, 2 * i64::try_from(confirmed).expect("few")).await;
        }
        for door in [Door::Rest, Door::Grpc] {
            self.one_of_two_payloads(door).await;
            self.one_of_each_scope(door).await;
        }
    }

    /// Equal requests of a call with one short transaction: one effect.
    async fn one_addition(&self, door: Door) {
        let before = self.any().stock("demo", "tea-sencha").await;
        self.one_outcome(door, &Ask::stock(&format!("addition-{door:?}"), 3)).await;
        assert_eq!(self.any().stock("demo", "tea-sencha").await, (before.0 + 3, before.1), "{door:?}");
    }

    /// Equal requests: one order; every answer is that of the one or says that the one is running.
    async fn one_order(&self, door: Door) {
        let ask = Ask::order(&format!("order-{door:?}"), 2, "tok_visa");
        let answer = self.one_outcome(door, &ask).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(door == Door::Grpc || text.contains("ORDER_STATE_CONFIRMED"), "{text}");
        // The two doors lead to one call.
        let other = if door == Door::Rest { Door::Grpc } else { Door::Rest };
        let again = other.ask(&self.any().address, &ask).await;
        assert!(matches!(again, Outcome::Own { replayed: true, .. }), "{again:?}");
    }

    /// Equal requests that are refused: one refusal, given to all.
    async fn one_refusal(&self, door: Door) {
        let ask = Ask::order(&format!("refused-{door:?}"), 2, "tok_declined");
        let answer = self.one_outcome(door, &ask).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("CARD_DECLINED"), "{text}");
    }

    async fn one_outcome(&self, door: Door, ask: &Ask) -> Vec<u8> {
        let asks = self.share(ask, REQUESTS);
        let outcomes = door.volley(&asks).await;
        let own = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Own { .. })).count();
        println!("{door:?}: of {REQUESTS} {own} have the outcome, the others met it running");
        one_of(door, asks.iter().zip(&outcomes)).await
    }

    /// Two payloads under one key: one of them happens, and the other never does.
    async fn one_of_two_payloads(&self, door: Door) {
        let (key, before) = (format!("payloads-{door:?}"), self.any().stock("demo", "tea-sencha").await.0);
        let payloads = [Ask::stock(&key, 3), Ask::stock(&key, 5)];
        let mut asks = Vec::new();
        for pair in
            self.share(&payloads[0], REQUESTS / 2).into_iter().zip(self.share(&payloads[1], REQUESTS / 2))
        {
            asks.extend([pair.0, pair.1]);
        }
        let outcomes = door.volley(&asks).await;
        let after = self.any().stock("demo", "tea-sencha").await.0;
        let winner = match after - before {
            3 => 0,
            5 => 1,
            other => panic!("{door:?}: {other} units came of 3 or 5"),
        };
        for (n, outcome) in outcomes.iter().enumerate() {
            let won = n % 2 == winner;
            let fits = match outcome {
                Outcome::InUse => true,
                Outcome::Own { .. } => won,
                Outcome::Reused => !won,
                Outcome::Failed(_) | Outcome::Lost => won && is_late(outcome),
            };
            assert!(
                fits,
                "{door:?}, request {n} of the {}: {outcome:?}",
                if won { "winner" } else { "loser" }
            );
        }
        for site in &self.0 {
            assert_eq!(door.ask(&site.address, &payloads[1 - winner]).await, Outcome::Reused);
            let (_, replayed) = settled(door, &site.address, &payloads[winner]).await;
            assert!(replayed);
        }
        assert_eq!(self.any().stock("demo", "tea-sencha").await.0, after, "{door:?}: no later effect");
    }

    /// One key of two tenants, two principals and two methods: four calls, each with one effect.
    async fn one_of_each_scope(&self, door: Door) {
        let key = format!("scope-{door:?}");
        let demo = self.any().stock("demo", "tea-sencha").await.0;
        let scopes = [
            Ask::stock(&key, 1),
            Ask::stock(&key, 1).by("user:bo"),
            Ask::stock(&key, 1).of_tenant("acme"),
            Ask::order(&key, 1, "tok_declined"),
        ];
        let rounds: Vec<(&str, Ask)> = self.share(&scopes[0], REQUESTS / scopes.len());
        let asks: Vec<(&str, Ask)> =
            rounds.iter().flat_map(|(to, _)| scopes.iter().map(|scope| (*to, scope.clone()))).collect();
        let outcomes = door.volley(&asks).await;
        for n in 0..scopes.len() {
            one_of(door, asks.iter().zip(&outcomes).skip(n).step_by(scopes.len())).await;
        }
        assert_eq!(self.any().stock("demo", "tea-sencha").await.0, demo + 2, "{door:?}: two principals");
        let acme = self.any().stock("acme", "tea-sencha").await.0;
        assert_eq!(acme, if door == Door::Rest { 1 } else { 2 }, "{door:?}: another tenant");
    }
}

/// What equal requests came to: one outcome, given to all, to those that met the one running when they ask again, together.
async fn one_of<'a>(door: Door, of: impl Iterator<Item = (&'a (&'a str, Ask), &'a Outcome)>) -> Vec<u8> {
    let (mut first, mut late, mut all, mut again) = (0, false, Vec::new(), Vec::new());
    for ((to, ask), outcome) in of {
        match outcome {
            Outcome::Own { bytes, replayed } => {
                first += usize::from(!replayed);
                all.push(bytes.clone());
            }
            Outcome::InUse => again.push((*to, ask.clone())),
            outcome if is_late(outcome) => {
                late = true;
                again.push((*to, ask.clone()));
            }
            outcome => panic!("{door:?}, {ask:?}: {outcome:?}"),
        }
    }
    // One alone first: a crowd that asks again and again would keep the running call from the processor that it needs.
    if let Some((to, ask)) = again.first() {
        first += usize::from(!settled(door, to, ask).await.1);
    }
    for ((to, ask), outcome) in again.iter().zip(door.volley(&again).await) {
        let (bytes, replayed) = match outcome {
            Outcome::Own { bytes, replayed } => (bytes, replayed),
            outcome if is_late(&outcome) => settled(door, to, ask).await,
            outcome => panic!("{door:?}, {ask:?}: {outcome:?}"),
        };
        assert!(replayed, "{door:?}: {ask:?} was answered before, and not from the record");
        all.push(bytes);
    }
    let texts = all.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect::<BTreeSet<_>>();
    assert_eq!(texts.len(), 1, "{door:?}: different answers: {texts:?}");
    // The first answer of a call that was late may be lost.
    assert!(first == 1 || first == 0 && late, "{door:?}: {first} answers are not from the record");
    all.swap_remove(0)
}

/// Whether a call was too slow for its deadline, as on a busy machine; its retry then completes it.
fn is_late(outcome: &Outcome) -> bool {
    *outcome == Outcome::Failed("DEADLINE_EXCEEDED".to_owned())
}

/// A site whose methods let everybody in at once, so that it is the keys that keep the requests apart.
async fn start(shape: Shape, env: &[(String, String)]) -> Site {
    let mut env = env.to_vec();
    env.push(("DRYSTONE__SERVING__LIMIT".to_owned(), "false".to_owned()));
    Site::start(shape, &env).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_are_one_on_sqlite() {
    Replicas(vec![start(Shape::Whole, &[]).await]).withstand().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_are_one_on_sqlite_taken_apart() {
    Replicas(vec![start(Shape::Split, &[]).await]).withstand().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_are_one_on_postgres() {
    let env = on_postgres(&migrated());
    Replicas(vec![start(Shape::Whole, &env).await]).withstand().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_are_one_on_postgres_taken_apart() {
    let env = on_postgres(&migrated());
    Replicas(vec![start(Shape::Split, &env).await]).withstand().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_are_one_to_two_replicas_on_postgres() {
    let env = on_postgres(&migrated());
    let replicas = [start(Shape::Whole, &env).await, start(Shape::Whole, &env).await];
    Replicas(replicas.into()).withstand().await;
}
