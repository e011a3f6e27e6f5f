//! What the shop's notifications tell, and how long it may take until they do.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use std::collections::BTreeMap;

use drystone_testkit::{Http, eventually};

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) order_id: String,
}

/// All notifications of a tenant, the newest first; `None` if the shop does not answer.
pub(crate) async fn all(http: &Http, tenant: &str, filter: &str) -> Option<Vec<Told>> {
    let (mut told, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/notifications?pageSize=100&pageToken={next}&{filter}");
        let answer = http.try_send("GET", &path, &[("drystone-tenant", tenant)], "").await?;
        if answer.status != 200 {
            return None;
        }
        let page = answer.json();
        told.extend(page["notifications"].as_array()?.iter().map(|notification| {
            let text = |name: &str| notification[name].as_str().unwrap_or_default();
            let kind = text("kind").trim_start_matches("NOTIFICATION_KIND_").to_owned();
            Told { id: text("id").to_owned(), kind, order_id: text("orderId").to_owned() }
        }));
        match page["nextPageToken"].as_str() {
            Some(token) if !token.is_empty() => token.clone_into(&mut next),
            _ => return Some(told),
        }
    }
}

/// Waits until a tenant has so many notifications.
///
/// # Panics
/// If there are more, or fewer after half a minute.
pub(crate) async fn so_many(http: &Http, tenant: &str, filter: &str, count: usize) -> Vec<Told> {
    let told = eventually(format!("{count} notifications {filter}"), async || {
        all(http, tenant, filter).await.filter(|told| told.len() >= count)
    });
    let told = told.await;
    assert_eq!(told.len(), count, "{told:?}");
    told
}

/// Waits until each of these confirmed orders is told to be placed and then to be confirmed: each once, in this order, and no other order is.
///
/// # Panics
/// If something else is told, or less after half a minute.
pub(crate) async fn orders_are_told(http: &Http, tenant: &str, ids: impl IntoIterator<Item = String>) {
    let expected: BTreeMap<String, Vec<String>> =
        ids.into_iter().map(|id| (id.clone(), steps(&id))).collect();
    let count = expected.len() * 2;
    let told = eventually(format!("{count} notifications about orders of {tenant}"), async || {
        let told = all(http, tenant, "").await?.into_iter().filter(|told| !told.order_id.is_empty());
        let told: Vec<Told> = told.collect();
        (told.len() >= count).then_some(told)
    });
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Told { id, kind, order_id } in told.await.into_iter().rev() {
        seen.entry(order_id).or_default().push(format!("{id} {kind}"));
    }
    assert_eq!(seen, expected, "what is told of {tenant} is not what happened");
}

fn steps(order: &str) -> Vec<String> {
    vec![format!("orders/{order}/1 ORDER_PLACED"), format!("orders/{order}/2 ORDER_CONFIRMED")]
}
