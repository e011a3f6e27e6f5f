//! Calls dropped at each of their await points, under every runner, on both databases: no half transaction, no lost writer, no leak.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::pin;
use std::task::Poll;

use drystone::{Context, PlatformReason};
use drystone_testkit::{
    Dropped, Runner, TestApp, Under, drop_at_every_await, on_both_databases, poll_and_drop,
};
use inventory_api::{AddStockRequest, GetStockRequest, InventoryClient};
use orders_api::{ListOrdersRequest, Order, OrderState, OrdersClient, PlaceOrderRequest};
use payments_api::{GetChargeRequest, PaymentsClient};

on_both_databases!(
    a_placed_order_survives_being_dropped_anywhere,
    a_read_dropped_anywhere_leaves_nothing_open
);

/// More polls than a call takes.
const MOST: usize = 400;

/// Units added to the stock of the seeded catalogue.
const MANY: i32 = 1000;

async fn shop(under: Under) -> TestApp {
    let app = TestApp::whole(shop::app()).under(under).start().await;
    let inventory: InventoryClient = app.client();
    let more = AddStockRequest { sku: "tea-assam".into(), quantity: MANY, ..Default::default() };
    inventory.add_stock(&app.context(), more).await.expect("a known item");
    app
}

fn request() -> PlaceOrderRequest {
    PlaceOrderRequest {
        user_id: "ada".into(),
        sku: "tea-assam".into(),
        quantity: 1,
        card_token: "tok_visa".into(),
    }
}

/// Repeats the call with its key until its outcome is known: what the dropped attempt began may still be running.
async fn settle(orders: &OrdersClient, cx: &Context) -> Order {
    loop {
        match orders.place_order(cx, request()).await {
            Ok(order) => return order,
            Err(error) => {
                // Either the dropped call itself is still being undone, or one of its onward calls is.
                assert!(error.is(PlatformReason::KeyInUse), "{error:?}");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn a_placed_order_survives_being_dropped_anywhere(under: Under) {
    let app = shop(under).await;
    let orders: OrdersClient = app.client();
    let (mut count, mut turns, mut done) = (0, 0, false);
    while !done {
        count += 1;
        // A turn is short on an idle machine and long on a busy one: the steps grow with the number.
        turns += 1 + turns / 8;
        assert!(count < MOST, "the call is not done within {count} turns");
        let cx = app.keyed(&format!("k{count}"));
        // A call to another process has few awaits at this end; those of the other end are met by the time that passes there.
        done = match under.runner {
            Runner::Remote => drop_after_turns(orders.place_order(&cx, request()), turns).await,
            _ => matches!(poll_and_drop(orders.place_order(&cx, request()), count).await, Dropped::Done(_)),
        };
        let order = settle(&orders, &app.keyed(&format!("k{count}"))).await;
        assert_eq!(order.state(), OrderState::Confirmed);
    }
    assert!(count > 3, "the call was done after {count} turns: it was not dropped anywhere that matters");
    one_effect_each(&app, count).await;
    nothing_open(&app).await;
    app.finish().await;
}

/// Polls a future, giving everybody else so many turns, and drops it; true if it was done before.
async fn drop_after_turns<F: Future>(future: F, turns: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..turns {
        if std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// One unit, one order and one charge for each key, and nothing left reserved.
async fn one_effect_each(app: &TestApp, count: usize) {
    let (orders, inventory): (OrdersClient, InventoryClient) = (app.client(), app.client());
    let payments: PaymentsClient = app.client();
    let cx = app.context();
    let stock = inventory.get_stock(&cx, GetStockRequest { sku: "tea-assam".into() }).await.unwrap();
    let sold = i32::try_from(count).unwrap();
    assert_eq!((stock.available, stock.reserved), (MANY + 100 - sold, 0));
    let (mut seen, mut page_token) = (0, String::new());
    loop {
        let page = ListOrdersRequest { page_size: 100, page_token, ..Default::default() };
        let page = orders.list_orders(&cx, page).await.unwrap();
        for order in page.orders {
            payments.get_charge(&cx, GetChargeRequest { charge_id: order.id }).await.expect("charged");
            seen += 1;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, count);
}

async fn a_read_dropped_anywhere_leaves_nothing_open(under: Under) {
    let app = shop(under).await;
    let inventory: InventoryClient = app.client();
    drop_at_every_await(
        MOST,
        || {
            let (inventory, cx) = (inventory.clone(), app.context());
            async move { inventory.get_stock(&cx, GetStockRequest { sku: "tea-assam".into() }).await }
        },
        |_| std::future::ready(()),
    )
    .await;
    nothing_open(&app).await;
    app.finish().await;
}

/// Waits until no store holds a transaction or a key; a leak would make it wait for ever.
async fn nothing_open(app: &TestApp) {
    for process in app.processes() {
        for module in ["users", "inventory", "payments", "orders", "notifications"] {
            let Some(store) = process.store(module) else { continue };
            while store.metrics().open_transactions + store.metrics().claims + store.metrics().writers_waiting
                > 0
            {
                tokio::task::yield_now().await;
            }
        }
    }
}
