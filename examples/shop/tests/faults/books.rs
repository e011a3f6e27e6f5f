//! The books after a fault: every acknowledged order is there once, as it was acknowledged, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use drystone_testkit::{Answer, Http};

use crate::load::Key;
use crate::told::orders_are_told;
use crate::world::{PATIENCE, TENANTS, UNITS};

/// The most orders that a page holds.
const PAGE: usize = 100;

/// Compares what the shop has with what it has acknowledged: first that nothing is missing, and only then that a repeat finds its outcome, for a repeat
/// of a lost order would make it anew.
///
/// # Errors
/// What does not agree.
pub(crate) async fn audit(http: &Http, placed: &BTreeMap<Key, Answer>) -> Result<(), String> {
    for tenant in TENANTS {
        let of_tenant: Vec<_> = placed.iter().filter(|((of, _), _)| *of == tenant).collect();
        let mut ids = BTreeSet::new();
        for ((_, key), answer) in &of_tenant {
            let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
            let order = get(http, tenant, &format!("/v1/orders/{id}")).await;
            agree(&format!("order {key} of {tenant}"), &order.body, &answer.body)?;
            let charge = get(http, tenant, &format!("/v1/charges/{id}")).await;
            agree(&format!("the charge of {id}"), &charge.json()["state"], &"CHARGE_STATE_CAPTURED".into())?;
            ids.insert(id);
        }
        agree(&format!("orders of {tenant}, one a key"), &ids.len(), &of_tenant.len())?;
        agree(&format!("confirmed orders of {tenant}"), &orders(http, tenant, "CONFIRMED").await, &ids)?;
        for state in ["PLACING", "DECLINED", "CANCELLED"] {
            agree(
                &format!("{state} orders of {tenant}"),
                &orders(http, tenant, state).await,
                &BTreeSet::new(),
            )?;
        }
        let stock = get(http, tenant, "/v1/stock/brick").await.json();
        let left = UNITS - i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let units = (stock["available"].as_i64(), stock["reserved"].as_i64());
        agree(&format!("available and reserved units of {tenant}"), &units, &(Some(left), Some(0)))?;
    }
    Ok(())
}

/// Asserts that every key still stands for its outcome.
pub(crate) async fn replays(http: &Http, placed: &BTreeMap<Key, Answer>, users: &[(&'static str, String)]) {
    for ((tenant, key), answer) in placed {
        let (_, user) = users.iter().find(|(of, _)| of == tenant).expect("every tenant has a user");
        let body = format!(r#"{{"userId":"{user}","sku":"brick","quantity":1,"cardToken":"tok_visa"}}"#);
        let headers = [("drystone-tenant", *tenant), ("idempotency-key", key.as_str())];
        let again = http.send("POST", "/v1/orders", &headers, &body).await;
        assert_eq!(
            (&again.body, again.header("idempotency-replayed")),
            (&answer.body, "true"),
            "{key} of {tenant}"
        );
    }
}

/// Asserts that every acknowledged order is told: placed and then confirmed, each once, and no other order.
pub(crate) async fn all_are_told(http: &Http, placed: &BTreeMap<Key, Answer>) {
    for tenant in TENANTS {
        let of_tenant = placed.iter().filter(|((of, _), _)| *of == tenant);
        let ids = of_tenant.map(|(_, answer)| answer.json()["id"].as_str().unwrap_or_default().to_owned());
        orders_are_told(http, tenant, ids).await;
    }
}

/// The ids of a tenant's orders in a state.
async fn orders(http: &Http, tenant: &str, state: &str) -> BTreeSet<String> {
    let (mut ids, mut next) = (BTreeSet::new(), String::new());
    loop {
        let path = format!("/v1/orders?pageSize={PAGE}&state=ORDER_STATE_{state}&pageToken={next}");
        let page = get(http, tenant, &path).await.json();
        let orders = page["orders"].as_array().cloned().unwrap_or_default();
        ids.extend(orders.iter().filter_map(|order| order["id"].as_str().map(str::to_owned)));
        match page["nextPageToken"].as_str() {
            Some(token) if !token.is_empty() => token.clone_into(&mut next),
            _ => return ids,
        }
    }
}

/// An answer of the data, repeated where a busy machine is late.
async fn get(http: &Http, tenant: &str, path: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = http.send("GET", path, &[("drystone-tenant", tenant)], "").await;
        if ![503, 504].contains(&answer.status) || began.elapsed() > PATIENCE {
            return answer;
        }
    }
}

fn agree<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?}, where {should:?} was acknowledged")) }
}
