//! The shop's contracts under every runner, on both databases: each call sent twice, each reason, each rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use drystone::{Code, Context, Error, PlatformReason, Result};
use drystone_testkit::{TestApp, Under, eventually, on_both_databases};
use inventory_api::{
    AddStockRequest, ConfirmRequest, GetStockRequest, InventoryClient, InventoryReason, ListItemsRequest,
    Money, ReleaseRequest, ReservationState, ReserveRequest, TakeBackRequest,
};
use notifications_api::{
    ListNotificationsRequest, ListNotificationsResponse, Notification, NotificationKind, NotificationsClient,
};
use orders_api::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, OrderPlaced, OrderState, OrdersClient,
    OrdersReason, PlaceOrderRequest,
};
use payments_api::{
    ChargeRequest, ChargeState, GetChargeRequest, PaymentsClient, PaymentsReason, RefundRequest,
};
use users_api::{CreateUserRequest, GetUserRequest, ListUsersRequest, UsersClient, UsersReason};

on_both_databases!(
    users_are_created_read_and_listed,
    stock_moves_from_available_to_reserved_and_out_or_back,
    charges_are_captured_declined_and_refunded,
    orders_are_placed_declined_and_cancelled,
    every_mutating_call_sent_twice_has_one_effect_and_one_answer,
    a_refusal_is_replayed_as_the_refusal,
    every_module_walls_its_tenants,
    what_becomes_of_an_order_is_told_in_order,
);

async fn shop(under: Under) -> TestApp {
    TestApp::whole(shop::app()).under(under).tenant("acme").start().await
}

fn order(sku: &str, quantity: i32, card: &str) -> PlaceOrderRequest {
    PlaceOrderRequest { user_id: "ada".into(), sku: sku.into(), quantity, card_token: card.into() }
}

fn reserve(id: &str, sku: &str, quantity: i32) -> ReserveRequest {
    ReserveRequest { reservation_id: id.into(), sku: sku.into(), quantity }
}

fn charge(id: &str, minor_units: i64, card: &str) -> ChargeRequest {
    let amount = payments_api::Money { currency_code: "EUR".into(), minor_units };
    ChargeRequest {
        charge_id: id.into(),
        order_id: "o".into(),
        amount: Some(amount),
        card_token: card.into(),
    }
}

async fn stock(inventory: &InventoryClient, cx: &Context, sku: &str) -> (i32, i32) {
    let stock = inventory.get_stock(cx, GetStockRequest { sku: sku.into() }).await.expect("a known item");
    (stock.available, stock.reserved)
}

async fn users_are_created_read_and_listed(under: Under) {
    let app = shop(under).await;
    let users: UsersClient = app.client();
    let cx = app.context();
    let create = |email: &str| CreateUserRequest { email: email.into(), display_name: "Bo".into() };
    let made = users.create_user(&cx, create("bo@example.com")).await.unwrap();
    assert_eq!(users.get_user(&cx, GetUserRequest { user_id: made.id.clone() }).await.unwrap(), made);
    let taken = users.create_user(&cx, create("BO@example.com")).await.unwrap_err();
    assert_eq!(UsersReason::of(&taken), Some(UsersReason::EmailTaken));
    let unknown = users.get_user(&cx, GetUserRequest { user_id: "x".into() }).await.unwrap_err();
    assert!(unknown.is(UsersReason::UserNotFound));
    let wrong = users.create_user(&cx, CreateUserRequest::default()).await.unwrap_err();
    assert_eq!((wrong.code(), wrong.violations().len()), (Code::InvalidArgument, 2));
    let page = users.list_users(&cx, ListUsersRequest { page_size: 1, ..Default::default() }).await.unwrap();
    let rest = ListUsersRequest { page_size: 9, page_token: page.next_page_token };
    let rest = users.list_users(&cx, rest).await.unwrap();
    assert_eq!((page.users.len(), rest.users.len()), (1, 1));
    app.finish().await;
}

async fn stock_moves_from_available_to_reserved_and_out_or_back(under: Under) {
    let app = shop(under).await;
    let inventory: InventoryClient = app.client();
    let cx = app.context();
    let held = inventory.reserve(&cx, reserve("r1", "tea-sencha", 15)).await.unwrap();
    assert_eq!(held.state(), ReservationState::Held);
    assert_eq!(stock(&inventory, &cx, "tea-sencha").await, (25, 15));
    let short = inventory.reserve(&cx, reserve("r2", "tea-sencha", 26)).await.unwrap_err();
    assert!(short.is(InventoryReason::OutOfStock), "stock cannot go negative: {short:?}");
    let id = || "r1".to_owned();
    inventory.release(&cx, ReleaseRequest { reservation_id: id() }).await.unwrap();
    assert_eq!(stock(&inventory, &cx, "tea-sencha").await, (40, 0));
    let closed = inventory.confirm(&cx, ConfirmRequest { reservation_id: id() }).await.unwrap_err();
    assert!(closed.is(InventoryReason::ReservationClosed));
    inventory.reserve(&cx, reserve("r3", "tea-sencha", 5)).await.unwrap();
    inventory.confirm(&cx, ConfirmRequest { reservation_id: "r3".into() }).await.unwrap();
    assert_eq!(stock(&inventory, &cx, "tea-sencha").await, (35, 0));
    inventory.take_back(&cx, TakeBackRequest { reservation_id: "r3".into() }).await.unwrap();
    assert_eq!(stock(&inventory, &cx, "tea-sencha").await, (40, 0));
    let price = Some(Money { currency_code: "EUR".into(), minor_units: 300 });
    let new = AddStockRequest { sku: "spoon".into(), quantity: 9, title: "Spoon".into(), price };
    assert_eq!(inventory.add_stock(&cx, new).await.unwrap().available, 9);
    let items = inventory.list_items(&cx, ListItemsRequest::default()).await.unwrap().items;
    assert!(items.is_sorted_by(|a, b| a.sku < b.sku) && items.len() == 5);
    app.finish().await;
}

async fn charges_are_captured_declined_and_refunded(under: Under) {
    let app = shop(under).await;
    let payments: PaymentsClient = app.client();
    let cx = app.context();
    let captured = payments.charge(&cx, charge("c1", 500, "tok_visa")).await.unwrap();
    assert_eq!(captured.state(), ChargeState::Captured);
    for (card, amount) in [("tok_declined", 500), ("tok_visa", 513)] {
        let error = payments.charge(&cx, charge("c2", amount, card)).await.unwrap_err();
        assert!(error.is(PaymentsReason::CardDeclined), "{error:?}");
    }
    let nothing = payments.get_charge(&cx, GetChargeRequest { charge_id: "c2".into() }).await.unwrap_err();
    assert!(nothing.is(PaymentsReason::ChargeNotFound), "a declined card leaves no charge");
    let back = payments.refund(&cx, RefundRequest { charge_id: "c1".into() }).await.unwrap();
    assert_eq!(back.state(), ChargeState::Refunded);
    let again = payments.refund(&cx, RefundRequest { charge_id: "c1".into() }).await.unwrap_err();
    assert!(again.is(PaymentsReason::AlreadyRefunded));
    app.finish().await;
}

async fn orders_are_placed_declined_and_cancelled(under: Under) {
    let app = shop(under).await;
    let (orders, inventory): (OrdersClient, InventoryClient) = (app.client(), app.client());
    let cx = app.context();
    app.turn_clock(Duration::from_secs(90));
    let placed = orders.place_order(&cx, order("tea-assam", 2, "tok_visa")).await.unwrap();
    let seconds = placed.create_time.as_ref().unwrap().seconds;
    assert_eq!(seconds, 1_767_225_600 + 90, "90 s into 2026");
    assert_eq!((placed.state(), placed.total.as_ref().unwrap().minor_units), (OrderState::Confirmed, 1780));
    let read = orders.get_order(&cx, GetOrderRequest { order_id: placed.id.clone() }).await.unwrap();
    assert_eq!(read, placed);
    let declined = orders.place_order(&cx, order("tea-assam", 2, "tok_declined")).await.unwrap_err();
    assert!(declined.is(OrdersReason::CardDeclined), "{declined:?}");
    let short = orders.place_order(&cx, order("cup-stone", 4, "tok_visa")).await.unwrap_err();
    assert!(short.is(OrdersReason::OutOfStock), "{short:?}");
    assert_eq!(stock(&inventory, &cx, "tea-assam").await, (98, 0));
    orders.cancel_order(&cx, CancelOrderRequest { order_id: placed.id.clone() }).await.unwrap();
    assert_eq!(stock(&inventory, &cx, "tea-assam").await, (100, 0));
    let states = |state: OrderState| ListOrdersRequest { state: state as i32, ..Default::default() };
    for (state, count) in [(OrderState::Declined, 2), (OrderState::Cancelled, 1), (OrderState::Placing, 0)] {
        assert_eq!(orders.list_orders(&cx, states(state)).await.unwrap().orders.len(), count, "{state:?}");
    }
    app.finish().await;
}

/// Sends a call twice under one key and once more with another payload.
macro_rules! twice {
    ($app:ident, $client:ident.$method:ident, $req:expr, $other:expr) => {{
        let key = stringify!($method);
        let first_cx = $app.keyed(key);
        let first = $client.$method(&first_cx, $req).await.unwrap();
        assert!(!first_cx.replayed(), "{key}");
        let again_cx = $app.keyed(key);
        assert_eq!($client.$method(&again_cx, $req).await.unwrap(), first, "{key}");
        assert!(again_cx.replayed(), "{key}: the second answer came from the record");
        let other = $client.$method(&$app.keyed(key), $other).await.unwrap_err();
        assert!(other.is(PlatformReason::KeyReused) && other.http_status() == 422, "{key}: {other:?}");
        first
    }};
}

async fn every_mutating_call_sent_twice_has_one_effect_and_one_answer(under: Under) {
    let app = shop(under).await;
    let (users, inventory): (UsersClient, InventoryClient) = (app.client(), app.client());
    let (payments, orders): (PaymentsClient, OrdersClient) = (app.client(), app.client());
    let user = |email: &str| CreateUserRequest { email: email.into(), display_name: "Bo".into() };
    twice!(app, users.create_user, user("bo@example.com"), user("c@example.com"));
    let add = |quantity| AddStockRequest { sku: "pot-clay".into(), quantity, ..Default::default() };
    twice!(app, inventory.add_stock, add(3), add(4));
    twice!(app, inventory.reserve, reserve("r1", "pot-clay", 2), reserve("r1", "pot-clay", 3));
    inventory.reserve(&app.context(), reserve("r2", "pot-clay", 1)).await.unwrap();
    let id = |id: &str| id.to_owned();
    twice!(
        app,
        inventory.release,
        ReleaseRequest { reservation_id: id("r1") },
        ReleaseRequest { reservation_id: id("z") }
    );
    twice!(
        app,
        inventory.confirm,
        ConfirmRequest { reservation_id: id("r2") },
        ConfirmRequest { reservation_id: id("z") }
    );
    let back = |reservation: &str| TakeBackRequest { reservation_id: id(reservation) };
    twice!(app, inventory.take_back, back("r2"), back("z"));
    twice!(app, payments.charge, charge("c1", 500, "tok_visa"), charge("c1", 600, "tok_visa"));
    twice!(app, payments.refund, RefundRequest { charge_id: id("c1") }, RefundRequest { charge_id: id("z") });
    let placed =
        twice!(app, orders.place_order, order("tea-assam", 2, "tok_visa"), order("tea-assam", 3, "tok_visa"));
    let cancel = |order: &str| CancelOrderRequest { order_id: order.to_owned() };
    let cx = app.context();
    assert_eq!(stock(&inventory, &cx, "tea-assam").await, (98, 0), "one order of two");
    twice!(app, orders.cancel_order, cancel(&placed.id), cancel("z"));
    assert_eq!(stock(&inventory, &cx, "tea-assam").await, (100, 0));
    assert_eq!(stock(&inventory, &cx, "pot-clay").await, (15, 0), "three added once");
    app.finish().await;
}

async fn a_refusal_is_replayed_as_the_refusal(under: Under) {
    let app = shop(under).await;
    let (orders, inventory): (OrdersClient, InventoryClient) = (app.client(), app.client());
    let seen = |error: &Error| {
        let reason = error.reason_info().map(|info| info.name().to_owned());
        (error.code(), reason, error.message().to_owned(), error.metadata().clone())
    };
    let first = orders.place_order(&app.keyed("d"), order("cup-stone", 4, "tok_visa")).await.unwrap_err();
    let add = AddStockRequest { sku: "cup-stone".into(), quantity: 9, ..Default::default() };
    inventory.add_stock(&app.context(), add).await.unwrap();
    let cx = app.keyed("d");
    let again = orders.place_order(&cx, order("cup-stone", 4, "tok_visa")).await.unwrap_err();
    assert_eq!(seen(&again), seen(&first), "though there would be stock by now");
    assert!(first.is(OrdersReason::OutOfStock) && cx.replayed());
    orders.place_order(&app.keyed("e"), order("cup-stone", 4, "tok_visa")).await.unwrap();
    app.finish().await;
}

async fn every_module_walls_its_tenants(under: Under) {
    let app = shop(under).await;
    let inventory: InventoryClient = app.client();
    let users: UsersClient = app.client();
    let acme = app.processes()[0].context("acme", "user:test").unwrap();
    let items: Result<_> = inventory.list_items(&acme, ListItemsRequest::default()).await;
    assert!(items.unwrap().items.is_empty(), "the catalogue is tenant demo's");
    let ada = users.get_user(&acme, GetUserRequest { user_id: "ada".into() }).await.unwrap_err();
    assert!(ada.is(UsersReason::UserNotFound));
    app.finish().await;
}

async fn what_becomes_of_an_order_is_told_in_order(under: Under) {
    use NotificationKind::{OrderCancelled, OrderConfirmed, OrderPlaced as Placed, StockLow};
    let app = shop(under).await;
    let (orders, notifications): (OrdersClient, NotificationsClient) = (app.client(), app.client());
    let kept = orders.place_order(&app.keyed("a"), order("pot-clay", 4, "tok_visa")).await.unwrap();
    let gone = orders.place_order(&app.keyed("b"), order("tea-assam", 2, "tok_visa")).await.unwrap();
    orders.cancel_order(&app.keyed("c"), CancelOrderRequest { order_id: gone.id.clone() }).await.unwrap();
    assert_eq!(app.published::<OrderPlaced>().await.len(), 2);
    let page = |page_size: i32, page_token: String| ListNotificationsRequest {
        page_size,
        page_token,
        ..Default::default()
    };
    let cx = app.context();
    let all = eventually("six notifications", async || {
        let told = notifications.list_notifications(&cx, page(0, String::new())).await.unwrap().notifications;
        (told.len() >= 6).then_some(told)
    });
    let all = all.await;
    for (order_id, expected) in [
        (&kept.id, &[OrderConfirmed, Placed][..]),
        (&gone.id, &[OrderCancelled, OrderConfirmed, Placed]),
        (&String::new(), &[StockLow]),
    ] {
        let kinds: Vec<_> =
            all.iter().filter(|one| one.order_id == *order_id).map(Notification::kind).collect();
        assert_eq!(kinds, expected, "the newest first: {all:?}");
    }
    let first = notifications.list_notifications(&cx, page(4, String::new())).await.unwrap();
    let rest = notifications.list_notifications(&cx, page(4, first.next_page_token)).await.unwrap();
    assert_eq!([first.notifications, rest.notifications].concat(), all);
    assert_eq!(rest.next_page_token, "");
    let acme = app.processes()[0].context("acme", "user:test").unwrap();
    let walled = notifications.list_notifications(&acme, page(0, String::new())).await.unwrap();
    assert_eq!(walled, ListNotificationsResponse::default());
    app.finish().await;
}
