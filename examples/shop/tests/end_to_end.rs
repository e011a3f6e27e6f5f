//! The shop's real job over HTTP: one story, told to the shop whole and to the shop taken apart, on SQLite and on PostgreSQL.
//!
//! Ids and clock are seeded, nothing is masked: all give the same answers byte for byte.

#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;

use drystone_testkit::{Answer, Http, On};
use support::{Shape, Shop, order};
use told::Told;

/// What the story heard, in order.
#[derive(Default)]
struct Heard(Vec<String>);

impl Heard {
    fn note(&mut self, what: &str, answer: &Answer) -> Answer {
        let replayed = answer.header("idempotency-replayed");
        let kind = answer.header("content-type");
        self.0.push(format!("{what}: {} {kind} replayed={replayed:?}\n{}", answer.status, answer.body));
        answer.clone()
    }
}

/// Tells the whole story and checks every answer.
async fn story(http: &Http) -> Vec<String> {
    let mut heard = Heard::default();
    catalogue_and_users(http, &mut heard).await;
    ordering(http, &mut heard).await;
    refusals(http, &mut heard).await;
    keys(http, &mut heard).await;
    cancelling(http, &mut heard).await;
    telling(http, &mut heard).await;
    mistakes(http, &mut heard).await;
    heard.0
}

async fn stock(http: &Http, sku: &str) -> (i64, i64) {
    let json = http.get(&format!("/v1/stock/{sku}")).await.json();
    (json["available"].as_i64().expect("available"), json["reserved"].as_i64().expect("reserved"))
}

async fn catalogue_and_users(http: &Http, heard: &mut Heard) {
    let first = heard.note("items", &http.get("/v1/items?page_size=3").await).json();
    assert_eq!(first["items"].as_array().expect("items").len(), 3);
    let token = first["nextPageToken"].as_str().expect("a token");
    let second =
        heard.note("items 2", &http.get(&format!("/v1/items?pageSize=3&pageToken={token}")).await).json();
    assert_eq!(second["items"].as_array().expect("items").len(), 1);
    let created = http.post("/v1/users", "u1", r#"{"email":"Bo@example.com","displayName":"Bo"}"#).await;
    assert_eq!(heard.note("create user", &created).status, 200);
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    let read = heard.note("user", &http.get(&format!("/v1/users/{id}")).await);
    assert_eq!(read.body, created.body);
    let taken = http.post("/v1/users", "u2", r#"{"email":"bo@EXAMPLE.com","displayName":"B"}"#).await;
    assert_eq!(heard.note("e-mail taken", &taken).status, 409);
    assert_eq!(taken.json()["reason"], "EMAIL_TAKEN");
    heard.note("users", &http.get("/v1/users").await);
}

async fn ordering(http: &Http, heard: &mut Heard) {
    let placed = http.post("/v1/orders", "o1", &order("tea-assam", 2, "tok_visa")).await;
    assert_eq!(heard.note("place", &placed).status, 200);
    let json = placed.json();
    assert_eq!(json["state"], "ORDER_STATE_CONFIRMED");
    assert_eq!(json["total"]["minorUnits"], "1780");
    assert_eq!(json["createTime"], "2026-01-01T00:00:00Z");
    let id = json["id"].as_str().expect("an id");
    let read = heard.note("read", &http.get(&format!("/v1/orders/{id}")).await);
    assert_eq!(read.body, placed.body);
    assert_eq!(stock(http, "tea-assam").await, (98, 0));
    let charge = heard.note("charge", &http.get(&format!("/v1/charges/{id}")).await).json();
    assert_eq!(charge["amount"]["minorUnits"], "1780");
    heard.note("list", &http.get("/v1/orders?userId=ada&state=ORDER_STATE_CONFIRMED").await);
}

async fn refusals(http: &Http, heard: &mut Heard) {
    let declined = http.post("/v1/orders", "o2", &order("tea-assam", 3, "tok_declined")).await;
    assert_eq!(heard.note("declined", &declined).status, 402);
    assert_eq!(declined.header("content-type"), "application/problem+json");
    let problem = declined.json();
    assert_eq!((&problem["reason"], &problem["domain"]), (&"CARD_DECLINED".into(), &"shop.orders.v1".into()));
    assert_eq!(stock(http, "tea-assam").await, (98, 0), "the stock is back");
    let id = problem["metadata"]["order_id"].as_str().expect("the order's id");
    let order_json = heard.note("declined order", &http.get(&format!("/v1/orders/{id}")).await).json();
    assert_eq!(order_json["state"], "ORDER_STATE_DECLINED");
    let sold_out = http.post("/v1/orders", "o3", &order("cup-stone", 4, "tok_visa")).await;
    assert_eq!(heard.note("out of stock", &sold_out).status, 409);
    assert_eq!(sold_out.json()["reason"], "OUT_OF_STOCK");
    let unknown = http.post("/v1/orders", "o4", &order("no-such", 1, "tok_visa")).await;
    assert_eq!(heard.note("unknown item", &unknown).json()["reason"], "UNKNOWN_SKU");
    let nobody = r#"{"userId":"nobody","sku":"tea-assam","quantity":1,"cardToken":"t"}"#;
    let nobody = http.post("/v1/orders", "o5", nobody).await;
    assert_eq!(heard.note("unknown user", &nobody).json()["reason"], "UNKNOWN_USER");
    let ending = http.post("/v1/charges", "c1", r#"{"chargeId":"c","orderId":"o","amount":{"currencyCode":"EUR","minorUnits":"113"},"cardToken":"t"}"#).await;
    assert_eq!(heard.note("declined by amount", &ending).status, 402);
}

async fn keys(http: &Http, heard: &mut Heard) {
    let again = http.post("/v1/orders", "o1", &order("tea-assam", 2, "tok_visa")).await;
    assert_eq!(heard.note("again", &again).status, 200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(stock(http, "tea-assam").await, (98, 0), "one effect");
    let refused = http.post("/v1/orders", "o2", &order("tea-assam", 3, "tok_declined")).await;
    assert_eq!(heard.note("refused again", &refused).status, 402);
    assert_eq!(refused.header("idempotency-replayed"), "true");
    let other = http.post("/v1/orders", "o1", &order("tea-assam", 5, "tok_visa")).await;
    assert_eq!(heard.note("other payload", &other).status, 422);
    assert_eq!(other.json()["reason"], "IDEMPOTENCY_KEY_REUSED");
    let malformed =
        http.send("POST", "/v1/orders", &[("idempotency-key", "\"open")], &order("tea-assam", 1, "t")).await;
    assert_eq!(heard.note("malformed key", &malformed).status, 400);
    let other_tenant = [("drystone-tenant", "acme"), ("idempotency-key", "o1")];
    let walled = http.send("POST", "/v1/orders", &other_tenant, &order("tea-assam", 2, "tok_visa")).await;
    assert_eq!(heard.note("another tenant", &walled).json()["reason"], "UNKNOWN_USER");
}

async fn cancelling(http: &Http, heard: &mut Heard) {
    let placed = http.post("/v1/orders", "o6", &order("pot-clay", 1, "tok_visa")).await.json();
    let id = placed["id"].as_str().expect("an id");
    assert_eq!(stock(http, "pot-clay").await, (11, 0));
    let cancelled = http.post(&format!("/v1/orders/{id}:cancel"), "x1", "{}").await;
    assert_eq!(heard.note("cancel", &cancelled).json()["state"], "ORDER_STATE_CANCELLED");
    assert_eq!(stock(http, "pot-clay").await, (12, 0));
    let twice = http.post(&format!("/v1/orders/{id}:cancel"), "x2", "{}").await;
    assert_eq!(heard.note("cancel again", &twice).json()["reason"], "NOT_CANCELLABLE");
    let charge = heard.note("refunded", &http.get(&format!("/v1/charges/{id}")).await).json();
    assert_eq!(charge["state"], "CHARGE_STATE_REFUNDED");
}

/// Sells out of an item until it is low, and reads what was told of everything so far.
async fn telling(http: &Http, heard: &mut Heard) {
    let placed = http.post("/v1/orders", "o7", &order("pot-clay", 4, "tok_visa")).await.json();
    let id = placed["id"].as_str().expect("an id");
    assert_eq!(stock(http, "pot-clay").await, (8, 0));
    // Two orders refused, two confirmed, one cancelled, one item low.
    let all = told::so_many(http, "demo", "", 10).await;
    heard.note("everything told", &http.get("/v1/notifications").await);
    let low: Vec<&Told> = all.iter().filter(|told| told.kind == "STOCK_LOW").collect();
    assert!(matches!(low[..], [Told { id, .. }] if id == "items/pot-clay/1"), "{all:?}");
    let told = told::so_many(http, "demo", &format!("orderId={id}"), 2).await;
    let told: Vec<(&str, &str)> = told.iter().map(|told| (&*told.id, &*told.kind)).collect();
    let (first, second) = (format!("orders/{id}/1"), format!("orders/{id}/2"));
    assert_eq!(told, [(&*second, "ORDER_CONFIRMED"), (&*first, "ORDER_PLACED")], "the newest first");
    let mut next = String::new();
    for page in ["first", "second", "last"] {
        let path = format!("/v1/notifications?userId=ada&pageSize=4&pageToken={next}");
        let answer = heard.note(page, &http.get(&path).await).json();
        answer["nextPageToken"].as_str().expect("a token").clone_into(&mut next);
    }
    assert_eq!(next, "", "nine of them are ada's");
    let walled = http.send("GET", "/v1/notifications", &[("drystone-tenant", "acme")], "").await;
    assert_eq!(heard.note("told to another tenant", &walled).json()["notifications"], serde_json::json!([]));
}

async fn mistakes(http: &Http, heard: &mut Heard) {
    let incomplete = http.post("/v1/orders", "m1", r#"{"sku":"tea-assam"}"#).await;
    assert_eq!(heard.note("incomplete", &incomplete).status, 400);
    assert_eq!(incomplete.json()["violations"].as_array().expect("violations").len(), 3);
    for (what, method, path, headers, body, status) in [
        ("no such path", "GET", "/v1/nothing", &[][..], "", 404),
        ("wrong method", "DELETE", "/v1/orders", &[], "", 405),
        ("unknown parameter", "GET", "/v1/items?colour=red", &[], "", 400),
        ("not JSON", "POST", "/v1/orders", &[], "{", 400),
        ("unknown field", "POST", "/v1/orders", &[], r#"{"colour":"red"}"#, 400),
        ("not a JSON type", "POST", "/v1/orders", &[("content-type", "text/plain")], "x", 415),
        ("no such order", "GET", "/v1/orders/none", &[], "", 404),
        ("no such tenant name", "GET", "/v1/items", &[("drystone-tenant", "../etc")], "", 400),
    ] {
        let answer = heard.note(what, &http.send(method, path, headers, body).await);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    }
    let large = format!(r#"{{"sku":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    let large = http.post("/v1/orders", "m2", &large).await;
    assert_eq!(heard.note("too large", &large).status, 413);
}

/// Tells the story to a shop of this shape and checks that it really had that shape, and its data where it was told.
async fn told(shape: Shape, on: On) -> Vec<String> {
    let shop = Shop::start_on(shape, on).await;
    let heard = story(&shop.http).await;
    let metrics = shop.http.get("/metrics").await.body;
    let counted =
        |name: &str| metrics.lines().any(|line| line.starts_with(&format!("{name}{{from=\"orders\"")));
    let bytes = (counted("drystone_encoded_bytes_total"), counted("drystone_remote_bytes_total"));
    let seen = (bytes.0, bytes.1, counted("drystone_rehearsal_faults_total"));
    let expected = match shape {
        Shape::Whole => (false, false, false),
        Shape::Encoded => (true, false, false),
        Shape::Faulty | Shape::SplitFaulty => (false, true, true),
        Shape::Split => (false, true, false),
    };
    assert_eq!(seen, expected, "{shape:?}: {metrics}");
    assert_eq!(shop.stands_on(), (on == On::Sqlite, on == On::Postgres), "{shape:?} {on:?}");
    heard
}

#[tokio::test]
async fn every_shape_on_either_database_gives_the_same_answers_byte_for_byte() {
    let first = told(Shape::Whole, On::Sqlite).await;
    for on in On::BOTH {
        for shape in [Shape::Whole, Shape::Encoded, Shape::Faulty, Shape::Split, Shape::SplitFaulty] {
            let other =
                if (shape, on) == (Shape::Whole, On::Sqlite) { continue } else { told(shape, on).await };
            assert_eq!(first.len(), other.len());
            for (first, other) in first.iter().zip(&other) {
                assert_eq!(first, other, "{shape:?} {on:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_and_the_checks_are_there() {
    let shop = Shop::start(Shape::Split).await;
    let ready = shop.http.get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    let names: Vec<String> = ready.json()["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| check["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(
        names,
        ["store users", "store orders", "module inventory", "module notifications", "module payments"]
    );
    assert_eq!(shop.http.get("/healthz").await.status, 200);
    let document = shop.http.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/orders/{order_id}"]["get"].is_object(), "{}", document["paths"]);
    let metrics = shop.http.get("/metrics").await.body;
    assert!(metrics.contains("# TYPE drystone_calls_total counter"), "{metrics}");
    assert!(metrics.contains("drystone_store_commit_groups_total{module=\"users\"} "), "{metrics}");
}
