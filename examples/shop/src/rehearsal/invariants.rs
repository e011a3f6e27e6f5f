//! What must be true when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use drystone::store::Row;
use drystone::{NotSo, Rehearser};
use inventory_api::{GetStockRequest, InventoryClient, ReservationState};
use notifications_api::{ListNotificationsRequest, NotificationKind, NotificationsClient};
use orders_api::{GetOrderRequest, ListOrdersRequest, Order, OrderState, OrdersClient};
use payments_api::ChargeState;

use super::books::{Books, Outcome};
use super::workload::{ITEMS, TENANTS};

/// The most that a page holds.
const PAGE: i32 = 100;

type Held = Result<(), NotSo>;

#[derive(Row)]
struct Charge {
    id: String,
    order_id: String,
    amount_minor: i64,
    state: i32,
}

#[derive(Row)]
struct Reservation {
    id: String,
    sku: String,
    quantity: i32,
    state: i32,
}

/// Nobody was told what nobody should be told.
pub(super) async fn answers(_: &Rehearser, books: &Books) -> Held {
    let wrong = books.wrong.borrow();
    if wrong.is_empty() { Ok(()) } else { Err(NotSo(wrong.join("\n"))) }
}

/// Every acknowledged order is there as it was acknowledged, every refused one is declined, and no order is there that nobody wished for.
pub(super) async fn orders(callers: &Rehearser, books: &Books) -> Held {
    for tenant in TENANTS {
        let (mut expected, mut open) = (BTreeSet::new(), 0);
        for wish in books.wishes_of(tenant) {
            match wish.outcome {
                Outcome::Placed(mut order) => {
                    expected.insert(order.id.clone());
                    if books.is_cancelled(&order.id) {
                        order.state = OrderState::Cancelled as i32;
                    }
                    let read = get(callers, tenant, &order.id).await?;
                    agree(&format!("order {} of {tenant}", order.id), &read, &order)?;
                }
                Outcome::Refused(reason, Some(id)) => {
                    let read = get(callers, tenant, &id).await?;
                    let (state, why) = (OrderState::Declined as i32, reason.as_str());
                    agree(
                        &format!("refused order {id} of {tenant}"),
                        &(read.state, &*read.decline_reason),
                        &(state, why),
                    )?;
                    expected.insert(id);
                }
                Outcome::Refused(..) | Outcome::Open => open += 1,
            }
        }
        let there: BTreeSet<String> =
            all_orders(callers, tenant).await?.into_iter().map(|order| order.id).collect();
        let unknown: Vec<_> = there.difference(&expected).collect();
        if unknown.len() > open {
            return Err(NotSo(format!(
                "{tenant} has {unknown:?}, and {open} callers who do not know what became of theirs"
            )));
        }
    }
    Ok(())
}

/// No order has two charges, and each charge is of its order and of its total.
pub(super) async fn charges(callers: &Rehearser, _: &Books) -> Held {
    for tenant in TENANTS {
        let totals = by_id(all_orders(callers, tenant).await?);
        let mut charged = BTreeSet::new();
        for charge in all_charges(callers, tenant).await? {
            let total = totals.get(&charge.order_id).map(total);
            agree(
                &format!("the charge {} of {tenant}, beside the order's total", charge.id),
                &Some(charge.amount_minor),
                &total,
            )?;
            if !charged.insert(charge.order_id.clone()) {
                return Err(NotSo(format!("order {} of {tenant} is charged twice", charge.order_id)));
            }
        }
    }
    Ok(())
}

/// What was taken and not given back is what the confirmed orders cost, and what the interrupted ones were charged.
pub(super) async fn money(callers: &Rehearser, _: &Books) -> Held {
    for tenant in TENANTS {
        let (orders, charges) = (all_orders(callers, tenant).await?, all_charges(callers, tenant).await?);
        let of_state = |state: OrderState| orders.iter().filter(move |order| order.state == state as i32);
        let interrupted: BTreeSet<_> = of_state(OrderState::Placing).map(|order| &order.id).collect();
        let sum = |state: ChargeState, among: &dyn Fn(&Charge) -> bool| -> i64 {
            let of_state = charges.iter().filter(|charge| charge.state == state as i32 && among(charge));
            of_state.map(|charge| charge.amount_minor).sum()
        };
        let taken = sum(ChargeState::Captured, &|charge| !interrupted.contains(&charge.order_id));
        let sold: i64 = of_state(OrderState::Confirmed).map(total).sum();
        agree(&format!("cents taken by {tenant}, beside what its confirmed orders cost"), &taken, &sold)?;
        let back: i64 = of_state(OrderState::Cancelled).map(total).sum();
        let returned = sum(ChargeState::Refunded, &|_| true);
        agree(
            &format!("cents given back by {tenant}, beside what its cancelled orders cost"),
            &returned,
            &back,
        )?;
    }
    Ok(())
}

/// What was added is available, reserved for interrupted orders, or sold.
pub(super) async fn stock(callers: &Rehearser, books: &Books) -> Held {
    for tenant in TENANTS {
        let orders = by_id(all_orders(callers, tenant).await?);
        let reservations = all_reservations(callers, tenant).await?;
        for (sku, _, _) in ITEMS {
            let cx = callers.context(tenant, "user:auditor")?;
            let request = GetStockRequest { sku: sku.to_owned() };
            let stock = callers.client::<InventoryClient>()?.get_stock(&cx, request).await?;
            let (mut held, mut sold) = (0, 0);
            for reservation in reservations.iter().filter(|reservation| reservation.sku == sku) {
                let state = orders.get(&reservation.id).map(|order| order.state);
                let (placing, confirmed) =
                    (Some(OrderState::Placing as i32), Some(OrderState::Confirmed as i32));
                let is_held = reservation.state == ReservationState::Held as i32;
                let is_sold = reservation.state == ReservationState::Confirmed as i32;
                held += if is_held && state == placing { reservation.quantity } else { 0 };
                sold += if is_sold && (state == placing || state == confirmed) {
                    reservation.quantity
                } else {
                    0
                };
            }
            agree(
                &format!("units of {sku} that {tenant} has reserved, beside those of interrupted orders"),
                &stock.reserved,
                &held,
            )?;
            let added = books.added.borrow().get(&(tenant, sku)).copied().unwrap_or_default();
            let all = i64::from(stock.available) + i64::from(stock.reserved) + i64::from(sold);
            agree(
                &format!(
                    "units of {sku} that {tenant} has, has reserved and has sold, beside those that were added"
                ),
                &all,
                &added,
            )?;
        }
    }
    Ok(())
}

/// Every order is told as placed, and those that were confirmed or cancelled as that, each once.
pub(super) async fn told(callers: &Rehearser, _: &Books) -> Held {
    use NotificationKind::{OrderCancelled, OrderConfirmed, OrderPlaced};
    for tenant in TENANTS {
        let mut expected = BTreeMap::new();
        for order in all_orders(callers, tenant).await? {
            let kinds: &[NotificationKind] = match OrderState::try_from(order.state) {
                Ok(OrderState::Confirmed) => &[OrderPlaced, OrderConfirmed],
                Ok(OrderState::Cancelled) => &[OrderPlaced, OrderConfirmed, OrderCancelled],
                _ => &[OrderPlaced],
            };
            expected.extend(kinds.iter().map(|kind| ((order.id.clone(), *kind as i32), 1)));
        }
        let mut is: BTreeMap<(String, i32), usize> = BTreeMap::new();
        for (order, kind) in all_told(callers, tenant).await? {
            *is.entry((order, kind)).or_default() += 1;
        }
        for about in expected.keys().chain(is.keys()) {
            let (is, should) = (
                is.get(about).copied().unwrap_or_default(),
                expected.get(about).copied().unwrap_or_default(),
            );
            let kind = NotificationKind::try_from(about.1).unwrap_or_default().as_str_name();
            agree(&format!("how often {tenant} was told {kind} of order {}", about.0), &is, &should)?;
        }
    }
    Ok(())
}

async fn get(callers: &Rehearser, tenant: &str, id: &str) -> Result<Order, NotSo> {
    let cx = callers.context(tenant, "user:auditor")?;
    let read =
        callers.client::<OrdersClient>()?.get_order(&cx, GetOrderRequest { order_id: id.to_owned() }).await;
    read.map_err(|error| NotSo(format!("order {id} of {tenant} cannot be read: {error}")))
}

pub(super) async fn all_orders(callers: &Rehearser, tenant: &str) -> Result<Vec<Order>, NotSo> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let cx = callers.context(tenant, "user:auditor")?;
        let request = ListOrdersRequest { page_size: PAGE, page_token, ..ListOrdersRequest::default() };
        let page = callers.client::<OrdersClient>()?.list_orders(&cx, request).await?;
        all.extend(page.orders);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        page_token = page.next_page_token;
    }
}

/// What was told of orders: the order and the kind.
async fn all_told(callers: &Rehearser, tenant: &str) -> Result<Vec<(String, i32)>, NotSo> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let cx = callers.context(tenant, "user:auditor")?;
        let request =
            ListNotificationsRequest { page_size: PAGE, page_token, ..ListNotificationsRequest::default() };
        let page = callers.client::<NotificationsClient>()?.list_notifications(&cx, request).await?;
        let of_orders = page.notifications.into_iter().filter(|told| !told.order_id.is_empty());
        all.extend(of_orders.map(|told| (told.order_id, told.kind)));
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        page_token = page.next_page_token;
    }
}

async fn all_charges(callers: &Rehearser, tenant: &str) -> Result<Vec<Charge>, NotSo> {
    let mut cx = callers.context(tenant, "user:auditor")?;
    let mut read = callers.store("payments")?.read(&mut cx).await?;
    Ok(read.query("select id, order_id, amount_minor, state from charges order by id").all().await?)
}

async fn all_reservations(callers: &Rehearser, tenant: &str) -> Result<Vec<Reservation>, NotSo> {
    let mut cx = callers.context(tenant, "user:auditor")?;
    let mut read = callers.store("inventory")?.read(&mut cx).await?;
    Ok(read.query("select id, sku, quantity, state from reservations order by id").all().await?)
}

fn by_id(orders: Vec<Order>) -> BTreeMap<String, Order> {
    orders.into_iter().map(|order| (order.id.clone(), order)).collect()
}

fn total(order: &Order) -> i64 {
    order.total.as_ref().map_or(0, |total| total.minor_units)
}

pub(super) fn agree<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Held {
    if is == should { Ok(()) } else { Err(NotSo(format!("{what}: {is:?}, not {should:?}"))) }
}
