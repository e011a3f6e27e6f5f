//! What a key means across two versions of a contract: a caller who repeats a request with the other version, at a server of either, gets the answer
//! that is stored, and not the complaint that the key stands for another payload.
//!
//! One module is built against both versions of its contract and served from the same data, as before and after a release: on SQLite one
//! after the other, on PostgreSQL side by side.

#[path = "contract_versions/callers.rs"]
mod callers;
#[path = "contract_versions/servers.rs"]
mod servers;

use callers::{Caller, Outcome};
use drystone_testkit::{Postgres, at_once, grpc_request};
use servers::{Place, Server, Version};

/// Every way in which a request can be repeated across a release.
fn ways() -> Vec<[(Version, Caller); 2]> {
    let both = [Version::Before, Version::After];
    let callers: Vec<Caller> =
        both.into_iter().flat_map(|version| [Caller::rest(version), Caller::grpc(version)]).collect();
    let mut ways = Vec::new();
    for first in both {
        for second in both {
            for caller in &callers {
                for repeating in &callers {
                    ways.push([(first, *caller), (second, *repeating)]);
                }
            }
        }
    }
    ways
}

fn key_of(way: &[(Version, Caller); 2]) -> String {
    way.map(|(server, caller)| format!("{server:?}-{caller:?}")).join("-then-")
}

/// The first half of each way whose server is of this version.
async fn book(server: &Server, answers: &mut Vec<(String, Outcome)>) {
    for way in ways().iter().filter(|way| way[0].0 == server.version) {
        let (key, (_, caller)) = (key_of(way), way[0]);
        let outcome = caller.book(server, &key, 7, "").await;
        assert!(matches!(outcome, Outcome::Entry { replayed: false, .. }), "{key}: {outcome:?}");
        answers.push((key, outcome));
    }
}

/// The second half of each way whose servers are of these versions.
async fn repeat(first: Version, server: &Server, answers: &[(String, Outcome)]) {
    for way in ways().iter().filter(|way| way[0].0 == first && way[1].0 == server.version) {
        let (key, (_, caller)) = (key_of(way), way[1]);
        let Some((_, Outcome::Entry { id, .. })) = answers.iter().find(|(known, _)| *known == key) else {
            panic!("{key} was not booked");
        };
        let again = caller.book(server, &key, 7, "").await;
        assert_eq!(again, Outcome::Entry { id: id.clone(), replayed: true }, "{key}");
        if first == server.version {
            assert_eq!(caller.book(server, &key, 8, "").await, Outcome::Reused, "{key}: another payload");
        }
        assert_eq!(caller.balance(server, &key).await, (1, 7), "{key}: one entry");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_outlives_a_release_and_its_rollback_on_sqlite() {
    let place = Place::sqlite();
    let mut answers = Vec::new();
    for order in [[Version::Before, Version::After], [Version::After, Version::Before]] {
        let server = Server::start(order[0], &place).await;
        book(&server, &mut answers).await;
        repeat(order[0], &server, &answers).await;
        server.stop().await;
        let server = Server::start(order[1], &place).await;
        repeat(order[0], &server, &answers).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_call_to_two_versions_side_by_side_on_postgres() {
    let database = tokio::task::spawn_blocking(|| Postgres::of_process().database()).await;
    let place = Place::postgres(database.expect("no panic").expect("a database")).await;
    let servers = [Server::start(Version::Before, &place).await, Server::start(Version::After, &place).await];
    let mut answers = Vec::new();
    for server in &servers {
        book(server, &mut answers).await;
    }
    for first in [Version::Before, Version::After] {
        for server in &servers {
            repeat(first, server, &answers).await;
        }
    }
    for server in servers {
        server.stop().await;
    }
}

/// A field that only the newer version has is part of the payload there, and nothing to the older.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_one_version_lacks_is_no_other_payload_to_it() {
    let place = Place::sqlite();
    let caller = Caller::grpc(Version::After);
    let server = Server::start(Version::Before, &place).await;
    let booked = caller.book(&server, "purpose", 7, "rent").await;
    let Outcome::Entry { id, replayed: false } = booked else { panic!("{booked:?}") };
    let replay = Outcome::Entry { id, replayed: true };
    assert_eq!(
        caller.book(&server, "purpose", 7, "tea").await,
        replay,
        "the older server does not know the field"
    );
    server.stop().await;
    let server = Server::start(Version::After, &place).await;
    assert_eq!(
        caller.book(&server, "purpose", 7, "rent").await,
        replay,
        "the release made no other request of it"
    );
    let fresh = caller.book(&server, "another", 7, "rent").await;
    let Outcome::Entry { id, replayed: false } = fresh else { panic!("{fresh:?}") };
    assert_eq!(
        caller.book(&server, "another", 7, "tea").await,
        Outcome::Reused,
        "the newer server knows the field"
    );
    server.stop().await;
    let server = Server::start(Version::Before, &place).await;
    let replay = Outcome::Entry { id, replayed: true };
    assert_eq!(
        caller.book(&server, "another", 7, "rent").await,
        replay,
        "the rollback made no other request of it"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_requires_a_key_refuses_a_call_without_one() {
    let place = Place::sqlite();
    let server = Server::start(Version::Before, &place).await;
    let json = r#"{"account":"a","amount":"7"}"#;
    let request = |key: Option<&str>| {
        let mut request =
            http::Request::post("/v1/entries:carefully").header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        vec![(server.address.clone(), request.body(json.into()).expect("a well-formed request"))]
    };
    let refused =
        at_once(drystone_testkit::Protocol::Http1, request(None)).await.remove(0).expect("an answer");
    assert_eq!(refused.status, 400, "{refused:?}");
    let problem: serde_json::Value = serde_json::from_slice(&refused.body).expect("a problem document");
    assert_eq!(problem["reason"], "IDEMPOTENCY_KEY_MISSING");
    let call = grpc_request("/test.ledger.v1.Ledger/BookCarefully", &[], b"\x0a\x01a\x10\x07");
    let refused = at_once(drystone_testkit::Protocol::Http2, vec![(server.address.clone(), call)]).await;
    assert_eq!(refused[0].as_ref().expect("an answer").grpc_code(), 3, "INVALID_ARGUMENT: {refused:?}");
    let caller = Caller::rest(Version::Before);
    assert_eq!(caller.balance(&server, "a").await, (0, 0), "no effect without a key");
    let booked =
        at_once(drystone_testkit::Protocol::Http1, request(Some("k"))).await.remove(0).expect("an answer");
    assert_eq!((booked.status, caller.balance(&server, "a").await), (200, (1, 7)), "{booked:?}");
    server.stop().await;
}
