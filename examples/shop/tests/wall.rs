//! The wall between tenants: every way into the shop, walked by one tenant with the ids of another's data.
//!
//! The ways are those of the OpenAPI document, so a method that is new fails this test until it is walked too.

#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;

use std::collections::BTreeSet;

use drystone_testkit::{Answer, Http, On};
use support::{Shape, Shop, order};

/// The tenant whose data it is.
const OWNER: &str = "demo";
/// The tenant that tries its ids.
const STRANGER: &str = "acme";

/// Who calls, and the ways that were walked.
struct Walk<'s> {
    http: &'s Http,
    walked: BTreeSet<String>,
}

impl Walk<'_> {
    /// Calls as the stranger: `{}` in the route stands for `id`.
    async fn go(&mut self, method: &str, route: &str, id: &str, body: &str) -> Answer {
        self.walked.insert(format!("{method} {route}"));
        let start = route.find('{').unwrap_or(route.len());
        let end = route.find('}').map_or(route.len(), |at| at + 1);
        let path = format!("{}{id}{}", &route[..start], &route[end..]);
        as_tenant(self.http, STRANGER, method, &path, body).await
    }

    async fn refused(&mut self, method: &str, route: &str, id: &str, body: &str, reason: &str) {
        let answer = self.go(method, route, id, body).await;
        assert_eq!(answer.json()["reason"], reason, "{method} {route}: {answer:?}");
    }

    /// A list in which nothing may be.
    async fn empty(&mut self, route: &str, list: &str) {
        let answer = self.go("GET", route, "", "").await;
        assert_eq!(
            (answer.status, answer.json()[list].as_array().map(Vec::len)),
            (200, Some(0)),
            "{route}: {answer:?}"
        );
    }
}

async fn as_tenant(http: &Http, tenant: &str, method: &str, path: &str, body: &str) -> Answer {
    let key = format!("{tenant} {method} {path}");
    let key: &[(&str, &str)] = if method == "GET" { &[] } else { &[("idempotency-key", &key)] };
    http.send(method, path, &[&[("drystone-tenant", tenant)], key].concat(), body).await
}

/// Everything that the owner can see, as text.
async fn seen_by_owner(http: &Http, order: &str, user: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for path in [
        "/v1/items".to_owned(),
        "/v1/users".to_owned(),
        "/v1/orders".to_owned(),
        "/v1/notifications".to_owned(),
        format!("/v1/orders/{order}"),
        format!("/v1/charges/{order}"),
        format!("/v1/users/{user}"),
        "/v1/stock/tea-assam".to_owned(),
    ] {
        let answer = as_tenant(http, OWNER, "GET", &path, "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        seen.push(answer.body);
    }
    seen
}

async fn nobody_reaches_the_data_of_another(shape: Shape, on: On) {
    let shop = Shop::start_on(shape, on).await;
    let http = &shop.http;
    let placed = http.post("/v1/orders", "o1", &order("tea-assam", 2, "tok_visa")).await;
    assert_eq!(placed.status, 200, "{placed:?}");
    let order_id = placed.json()["id"].as_str().expect("an id").to_owned();
    let user = http.post("/v1/users", "u1", r#"{"email":"bo@example.com","displayName":"Bo"}"#).await;
    let user_id = user.json()["id"].as_str().expect("an id").to_owned();
    let held = http
        .post("/v1/reservations", "r1", r#"{"reservationId":"held","sku":"tea-assam","quantity":3}"#)
        .await;
    assert_eq!(held.status, 200, "{held:?}");
    told::so_many(http, OWNER, "", 2).await;
    let before = seen_by_owner(http, &order_id, &user_id).await;

    let mut walk = Walk { http, walked: BTreeSet::new() };
    walk.empty("/v1/items", "items").await;
    walk.empty("/v1/users", "users").await;
    walk.empty("/v1/orders", "orders").await;
    walk.empty("/v1/notifications", "notifications").await;
    walk.refused("GET", "/v1/users/{user_id}", &user_id, "", "USER_NOT_FOUND").await;
    walk.refused("GET", "/v1/stock/{sku}", "tea-assam", "", "UNKNOWN_SKU").await;
    walk.refused("GET", "/v1/orders/{order_id}", &order_id, "", "ORDER_NOT_FOUND").await;
    walk.refused("GET", "/v1/orders/{order_id}/receipt", &order_id, "", "ORDER_NOT_FOUND").await;
    walk.refused("GET", "/v1/charges/{charge_id}", &order_id, "", "CHARGE_NOT_FOUND").await;
    walk.refused("POST", "/v1/orders", "", &order("tea-assam", 1, "tok_visa"), "UNKNOWN_USER").await;
    walk.refused("POST", "/v1/orders/{order_id}:cancel", &order_id, "{}", "ORDER_NOT_FOUND").await;
    walk.refused("POST", "/v1/charges/{charge_id}:refund", &order_id, "{}", "CHARGE_NOT_FOUND").await;
    walk.refused("POST", "/v1/stock/{sku}:add", "tea-assam", r#"{"quantity":5}"#, "UNKNOWN_SKU").await;
    let reserve = r#"{"reservationId":"held","sku":"tea-assam","quantity":1}"#;
    walk.refused("POST", "/v1/reservations", "", reserve, "UNKNOWN_SKU").await;
    for (route, id) in [("release", "held"), ("confirm", "held"), ("takeBack", order_id.as_str())] {
        let route = format!("/v1/reservations/{{reservation_id}}:{route}");
        walk.refused("POST", &route, id, "{}", "RESERVATION_NOT_FOUND").await;
    }
    // What is taken there is free here: that it is taken is not told.
    let same_user = r#"{"email":"bo@example.com","displayName":"Other"}"#;
    let free = walk.go("POST", "/v1/users", "", same_user).await;
    assert_eq!(free.status, 200, "{free:?}");
    let same_charge = format!(
        r#"{{"chargeId":"{order_id}","orderId":"o","amount":{{"currencyCode":"EUR","minorUnits":"100"}},"cardToken":"tok_visa"}}"#
    );
    let free = walk.go("POST", "/v1/charges", "", &same_charge).await;
    assert_eq!(free.status, 200, "{free:?}");

    assert_eq!(walk.walked, all_ways(http).await, "a way into the shop was not walked");
    assert_eq!(seen_by_owner(http, &order_id, &user_id).await, before, "the stranger changed something");
}

/// Every verb and path of the shop's contracts.
async fn all_ways(http: &Http) -> BTreeSet<String> {
    let document = http.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    let ways = paths.iter().flat_map(|(path, verbs)| {
        let verbs = verbs.as_object().expect("verbs").keys();
        verbs.filter(|verb| *verb != "parameters").map(move |verb| format!("{} {path}", verb.to_uppercase()))
    });
    ways.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_the_data_of_another_on_sqlite() {
    nobody_reaches_the_data_of_another(Shape::Whole, On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_the_data_of_another_under_faults() {
    nobody_reaches_the_data_of_another(Shape::Faulty, On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reaches_the_data_of_another_on_postgres() {
    nobody_reaches_the_data_of_another(Shape::Whole, On::Postgres).await;
}
