//! Interrupted orders: visible as such, and completed or declined once by a repeat with the same key.

use std::collections::BTreeMap;

use drystone::{NotSo, Rehearser};
use orders_api::{Order, OrderState, OrdersClient, OrdersReason};

use super::books::{Books, Outcome, Wish};
use super::invariants::{agree, all_orders, charges, money, stock};
use super::workload::TENANTS;

/// Nothing but the orders of callers who went away is interrupted; after a repeat of each, nothing is, and money and stock agree to the cent and to the unit.
pub(super) async fn interrupted(callers: &Rehearser, books: &Books) -> Result<(), NotSo> {
    for tenant in TENANTS {
        let open: Vec<Wish> = books
            .wishes_of(tenant)
            .into_iter()
            .filter(|wish| matches!(wish.outcome, Outcome::Open))
            .collect();
        let placing = interrupted_of(callers, tenant).await?;
        if placing.len() > open.len() {
            let text = format!(
                "{tenant} has {} interrupted orders, and {} callers went away",
                placing.len(),
                open.len()
            );
            return Err(NotSo(text));
        }
        let before = all_orders(callers, tenant).await?.len();
        let mut begun = 0;
        for wish in open {
            let first = repeat(callers, &wish).await;
            let second = repeat(callers, &wish).await;
            agree(
                &format!("the second answer to {} of {tenant}", wish.key),
                &shown(&second),
                &shown(&first),
            )?;
            begun += usize::from(is_new(&first, &placing));
        }
        agree(
            &format!("interrupted orders of {tenant} after the repeats"),
            &interrupted_of(callers, tenant).await?.len(),
            &0,
        )?;
        let after = all_orders(callers, tenant).await?.len();
        if after > before + begun {
            return Err(NotSo(format!(
                "{tenant} had {before} orders, {begun} callers came back with new ones, and now it has {after}"
            )));
        }
    }
    charges(callers, books).await?;
    money(callers, books).await?;
    stock(callers, books).await
}

/// Whether an answer tells of an order that was not among the interrupted ones.
fn is_new(answer: &drystone::Result<Order>, placing: &BTreeMap<String, Order>) -> bool {
    match answer {
        Ok(order) => !placing.contains_key(&order.id),
        Err(error) => error.metadata().get("order_id").is_none_or(|id| !placing.contains_key(id)),
    }
}

async fn interrupted_of(callers: &Rehearser, tenant: &str) -> Result<BTreeMap<String, Order>, NotSo> {
    let all = all_orders(callers, tenant).await?.into_iter();
    let placing = all.filter(|order| order.state == OrderState::Placing as i32);
    Ok(placing.map(|order| (order.id.clone(), order)).collect())
}

async fn repeat(callers: &Rehearser, wish: &Wish) -> drystone::Result<Order> {
    callers
        .settled(wish.tenant, &wish.principal, &wish.key, async |cx| {
            callers.client::<OrdersClient>()?.place_order(cx, wish.request.clone()).await
        })
        .await
}

fn shown(answer: &drystone::Result<Order>) -> String {
    match answer {
        Ok(order) => format!("{order:?}"),
        Err(error) if error.is(OrdersReason::OutOfStock) || error.is(OrdersReason::CardDeclined) => {
            error.message().to_owned()
        }
        Err(error) => format!("{:?} {error}, which is no answer to an order", error.code()),
    }
}
