//! The events of the shop's modules, one module at a time: what each publishes, and what it does with what others publish.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "events/fakes.rs"]
mod fakes;

use std::time::Duration;

use drystone::Timestamp;
use drystone::store::Row;
use drystone_testkit::{On, Profile, Runner, TestApp, Under, eventually};
use fakes::{FullShelves, NearlyEveryone, PatientBank};
use inventory_api::{AddStockRequest, InventoryClient, InventoryServer, Money, ReserveRequest, StockLow};
use notifications_api::{ListNotificationsRequest, Notification, NotificationKind, NotificationsClient};
use orders_api::{
    CancelOrderRequest, OrderCancelled, OrderConfirmed, OrderPlaced, OrdersClient, OrdersReason,
    PlaceOrderRequest,
};
use payments_api::PaymentsServer;
use users_api::UsersServer;

const FAULTY: Runner = Runner::Faulty(Profile::Absorbable);

/// On both databases, each also with the faults that the call stack absorbs.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        on_both!(@ sqlite, super::Runner::Direct, super::On::Sqlite, $($name)+);
        on_both!(@ postgres, super::Runner::Direct, super::On::Postgres, $($name)+);
        on_both!(@ sqlite_faulty, super::FAULTY, super::On::Sqlite, $($name)+);
        on_both!(@ postgres_faulty, super::FAULTY, super::On::Postgres, $($name)+);
    };
    (@ $module:ident, $runner:expr, $on:expr, $($name:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Under { runner: $runner, on: $on }).await; })+
        }
    };
}

on_both!(
    orders_publish_each_step_of_an_order_with_the_step,
    two_cancellations_at_once_are_published_once,
    stock_is_low_once_until_it_is_added_to,
    a_sale_without_its_reservation_waits_for_it_and_the_others_go_on,
    what_happens_is_told_once_however_often_it_is_delivered,
    an_order_that_cannot_be_told_waits_in_order_and_the_others_go_on,
);

fn order(user: &str, card: &str) -> PlaceOrderRequest {
    PlaceOrderRequest { user_id: user.into(), sku: "tea-assam".into(), quantity: 2, card_token: card.into() }
}

/// Orders alone; money is given back when so many ask for it at once.
async fn orders_alone(under: Under, refunds_at_once: usize) -> TestApp {
    TestApp::of(orders::module())
        .fake(InventoryServer::new(FullShelves))
        .fake(UsersServer::new(NearlyEveryone))
        .fake(PaymentsServer::new(PatientBank::refunding(refunds_at_once)))
        .under(under)
        .start()
        .await
}

async fn two_cancellations_at_once_are_published_once(under: Under) {
    let app = orders_alone(under, 2).await;
    let orders: OrdersClient = app.client();
    let placed = orders.place_order(&app.keyed("o"), order("ada", "tok_visa")).await.unwrap();
    let cancel = || CancelOrderRequest { order_id: placed.id.clone() };
    let (first, second) = (app.keyed("first"), app.keyed("second"));
    let (first, second) =
        tokio::join!(orders.cancel_order(&first, cancel()), orders.cancel_order(&second, cancel()));
    // The later one finds the order cancelled, at its end or, where its transaction is run again, at its beginning.
    for error in [first, second].into_iter().filter_map(Result::err) {
        assert!(error.is(OrdersReason::NotCancellable), "{error:?}");
    }
    assert_eq!(app.published::<OrderCancelled>().await.len(), 1);
    app.finish().await;
}

async fn orders_publish_each_step_of_an_order_with_the_step(under: Under) {
    let app = orders_alone(under, 1).await;
    let orders: OrdersClient = app.client();
    let kept = orders.place_order(&app.keyed("kept"), order("ada", "tok_visa")).await.unwrap();
    app.turn_clock(Duration::from_secs(60));
    let gone = orders.place_order(&app.keyed("gone"), order("bo", "tok_visa")).await.unwrap();
    let cancel = || CancelOrderRequest { order_id: gone.id.clone() };
    orders.cancel_order(&app.keyed("cancel"), cancel()).await.unwrap();
    // A repeat is answered from its record, a refusal comes before or after the order is there: neither publishes more than it did.
    orders.place_order(&app.keyed("kept"), order("ada", "tok_visa")).await.unwrap();
    orders.cancel_order(&app.keyed("again"), cancel()).await.unwrap_err();
    let declined = orders.place_order(&app.keyed("d"), order("cy", "tok_declined")).await.unwrap_err();
    let nobody = orders.place_order(&app.keyed("n"), order("nobody", "tok_visa")).await.unwrap_err();
    assert!(declined.is(OrdersReason::CardDeclined) && nobody.is(OrdersReason::UnknownUser));

    let total = || Some(orders_api::Money { currency_code: "EUR".into(), minor_units: 1780 });
    let placed = app.published::<OrderPlaced>().await;
    let users: Vec<&str> = placed.iter().map(|event| &*event.user_id).collect();
    assert_eq!(users, ["ada", "bo", "cy"], "in the order of their transactions");
    let expected = OrderPlaced {
        order_id: kept.id.clone(),
        user_id: "ada".into(),
        sku: "tea-assam".into(),
        quantity: 2,
        total: total(),
        place_time: kept.create_time,
    };
    assert_eq!(placed[0], expected);
    let confirmed: Vec<String> =
        app.published::<OrderConfirmed>().await.into_iter().map(|event| event.order_id).collect();
    assert_eq!(confirmed, [&*kept.id, &*gone.id]);
    let cancelled = OrderCancelled {
        order_id: gone.id.clone(),
        user_id: "bo".into(),
        total: total(),
        cancel_time: gone.create_time,
    };
    assert_eq!(app.published::<OrderCancelled>().await, [cancelled]);
    app.finish().await;
}

/// An inventory with ten cups and the threshold at five.
async fn ten_cups(under: Under) -> (TestApp, InventoryClient) {
    let settings = "[modules.inventory]\nlow_stock = 5\n";
    let app = TestApp::of(inventory::module()).under(under).settings(settings).start().await;
    let inventory: InventoryClient = app.client();
    let price = Some(Money { currency_code: "EUR".into(), minor_units: 1450 });
    let cups = AddStockRequest { sku: "cup".into(), quantity: 10, title: "Cup".into(), price };
    inventory.add_stock(&app.context(), cups).await.unwrap();
    (app, inventory)
}

async fn reserve(app: &TestApp, order: &str, quantity: i32) {
    let reserve = ReserveRequest { reservation_id: order.into(), sku: "cup".into(), quantity };
    app.client::<InventoryClient>().reserve(&app.context(), reserve).await.unwrap();
}

fn confirmed(order: &str) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order.into(),
        user_id: "ada".into(),
        confirm_time: at(2),
        ..Default::default()
    }
}

/// What was published about low stock: the units that were left.
async fn low(app: &TestApp) -> Vec<i32> {
    app.published::<StockLow>().await.into_iter().map(|event| event.available).collect()
}

async fn stock_is_low_once_until_it_is_added_to(under: Under) {
    let (app, inventory) = ten_cups(under).await;
    reserve(&app, "a", 5).await;
    app.deliver(confirmed("a")).await;
    assert!(low(&app).await.is_empty(), "five are not fewer than five");
    reserve(&app, "b", 1).await;
    let message = app.deliver(confirmed("b")).await;
    let event = app.published::<StockLow>().await.pop().expect("four are");
    let StockLow { sku, title, available, threshold, notice_time } = event;
    assert_eq!((&*sku, &*title, available, threshold), ("cup", "Cup", 4, 5));
    assert_eq!(notice_time, Some(Timestamp { seconds: 1_767_225_600, nanos: 0 }));
    reserve(&app, "c", 1).await;
    app.deliver(confirmed("c")).await;
    let more = |quantity| AddStockRequest { sku: "cup".into(), quantity, ..Default::default() };
    inventory.add_stock(&app.context(), more(1)).await.unwrap();
    reserve(&app, "d", 1).await;
    app.deliver(confirmed("d")).await;
    assert_eq!(low(&app).await, [4], "it is low all the while");
    inventory.add_stock(&app.context(), more(2)).await.unwrap();
    app.deliver_again(&message).await;
    assert_eq!(low(&app).await, [4], "the sale of before was noticed");
    reserve(&app, "e", 3).await;
    app.deliver(confirmed("e")).await;
    assert_eq!(low(&app).await, [4, 2]);
    app.finish().await;
}

async fn a_sale_without_its_reservation_waits_for_it_and_the_others_go_on(under: Under) {
    let (app, _) = ten_cups(under).await;
    app.deliver(confirmed("early")).await;
    reserve(&app, "other", 6).await;
    app.deliver(confirmed("other")).await;
    assert_eq!(low(&app).await, [4]);
    let counts = |app: &TestApp| {
        let metrics = app.consumers().next().unwrap().metrics();
        (metrics.applied.get(), metrics.held.get())
    };
    assert_eq!(counts(&app), (1, 1));
    reserve(&app, "early", 1).await;
    eventually("the sale is handled", async || {
        app.turn_clock(Duration::from_secs(1));
        app.look_at_held();
        (counts(&app).0 == 2).then_some(())
    })
    .await;
    app.finish().await;
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn placed(order: &str) -> OrderPlaced {
    let (order_id, user_id, sku) = (order.into(), "ada".into(), "cup".into());
    OrderPlaced { order_id, user_id, sku, quantity: 2, total: None, place_time: at(1) }
}

fn cancelled(order: &str) -> OrderCancelled {
    OrderCancelled { order_id: order.into(), user_id: "ada".into(), total: None, cancel_time: at(3) }
}

async fn told(app: &TestApp, request: ListNotificationsRequest) -> Vec<Notification> {
    let notifications: NotificationsClient = app.client();
    notifications.list_notifications(&app.context(), request).await.unwrap().notifications
}

/// The ids of what is told of an order, the newest first.
async fn told_of(app: &TestApp, order: &str) -> Vec<String> {
    let request = ListNotificationsRequest { order_id: order.into(), ..Default::default() };
    told(app, request).await.into_iter().map(|notification| notification.id).collect()
}

async fn what_happens_is_told_once_however_often_it_is_delivered(under: Under) {
    let app = TestApp::of(notifications::module()).under(under).start().await;
    let first = app.deliver(placed("x")).await;
    let second = app.deliver(confirmed("x")).await;
    for message in [&first, &second, &first] {
        app.deliver_again(message).await;
    }
    let (sku, title) = ("cup".to_owned(), "Cup".to_owned());
    app.deliver(StockLow { sku, title, available: 4, threshold: 5, notice_time: at(9) }).await;
    app.deliver(cancelled("x")).await;
    let all = told(&app, ListNotificationsRequest::default()).await;
    let seen: Vec<_> =
        all.iter().map(|one| (&*one.id, one.kind(), one.create_time.unwrap().seconds)).collect();
    let expected = [
        ("items/cup/1", NotificationKind::StockLow, 9),
        ("orders/x/3", NotificationKind::OrderCancelled, 3),
        ("orders/x/2", NotificationKind::OrderConfirmed, 2),
        ("orders/x/1", NotificationKind::OrderPlaced, 1),
    ];
    assert_eq!(seen, expected);
    assert_eq!(all[0].text, "Cup runs low: 4 left, fewer than 5.");
    assert_eq!(
        (&*all[3].user_id, &*all[3].sku, &*all[3].text),
        ("ada", "cup", "Your order is placed: 2 of cup.")
    );
    let for_ada = ListNotificationsRequest { user_id: "ada".into(), ..Default::default() };
    assert_eq!(told(&app, for_ada).await, all[1..]);
    let metrics = app.consumers().next().unwrap().metrics();
    assert_eq!((metrics.applied.get(), metrics.repeated.get(), metrics.held.get()), (4, 3, 0));
    app.finish().await;
}

/// A row of the module's own that stands in the way: it says that the order was told to be placed already.
async fn stand_in_the_way(app: &TestApp, order: &str, stands: bool) {
    let mut cx = app.context();
    let store = app.processes()[0].store("notifications").unwrap();
    let mut tx = store.begin(&mut cx).await.unwrap();
    let kind = NotificationKind::OrderPlaced as i32;
    if stands {
        tx.query(
            "insert into notifications (subject, number, kind, user_id, order_id, sku, text, created)
             values ('wrong', 1, $1, '', $2, '', 'stands in the way', 0)",
        )
        .bind((kind, order.to_owned()))
        .queue();
    } else {
        tx.query("delete from notifications where subject = 'wrong'").bind(()).queue();
    }
    tx.commit().await.unwrap();
}

#[derive(Row)]
struct HeldRow {
    type_name: String,
    state: String,
    reason: Option<String>,
}

async fn held(app: &TestApp) -> Vec<HeldRow> {
    let mut cx = app.context();
    let store = app.processes()[0].store("notifications").unwrap();
    let mut read = store.read(&mut cx).await.unwrap();
    let sql = "select type as type_name, state, reason from drystone_held order by place";
    read.query(sql).all().await.unwrap()
}

async fn an_order_that_cannot_be_told_waits_in_order_and_the_others_go_on(under: Under) {
    let app = TestApp::of(notifications::module()).under(under).start().await;
    stand_in_the_way(&app, "x", true).await;
    for order in ["x", "y"] {
        app.deliver(placed(order)).await;
        app.deliver(confirmed(order)).await;
    }
    app.deliver(cancelled("x")).await;
    assert_eq!(told_of(&app, "y").await, ["orders/y/2", "orders/y/1"]);
    assert_eq!(
        told_of(&app, "x").await,
        ["wrong/1"],
        "of its key nothing is handled, though only the first fails"
    );
    let rows = held(&app).await;
    let states: Vec<_> =
        rows.iter().map(|row| (row.type_name.rsplit('.').next().unwrap(), &*row.state)).collect();
    let expected =
        [("OrderPlaced", "retrying"), ("OrderConfirmed", "waiting"), ("OrderCancelled", "waiting")];
    assert_eq!(states, expected);
    assert!(rows[0].reason.as_deref().unwrap_or_default().contains("ALREADY_EXISTS"), "{:?}", rows[0].reason);

    stand_in_the_way(&app, "x", false).await;
    let replayed = eventually("what was held is told", async || {
        app.turn_clock(Duration::from_secs(1));
        app.look_at_held();
        Some(told_of(&app, "x").await).filter(|told| told.len() == 3)
    });
    assert_eq!(replayed.await, ["orders/x/3", "orders/x/2", "orders/x/1"], "in the order of delivery");
    let request = ListNotificationsRequest { order_id: "x".into(), ..Default::default() };
    let kinds: Vec<_> = told(&app, request).await.iter().map(Notification::kind).collect();
    use NotificationKind::{OrderCancelled, OrderConfirmed, OrderPlaced};
    assert_eq!(kinds, [OrderCancelled, OrderConfirmed, OrderPlaced]);
    assert!(held(&app).await.is_empty());
    app.finish().await;
}
