//! What becomes of an event: a notification, in the transaction that records the event as handled.

use drystone::Timestamp;
use drystone::prelude::*;
use inventory_api::StockLow;
use notifications_api::NotificationKind;
use orders_api::{OrderCancelled, OrderConfirmed, OrderPlaced};

/// A notification to be stored.
struct Note {
    kind: NotificationKind,
    user_id: String,
    order_id: String,
    sku: String,
    text: String,
    time: Option<Timestamp>,
}

pub(crate) async fn on_order_placed(tx: &mut Tx<'_>, event: OrderPlaced) -> Result<()> {
    let note = Note {
        kind: NotificationKind::OrderPlaced,
        text: format!("Your order is placed: {} of {}.", event.quantity, event.sku),
        user_id: event.user_id,
        order_id: event.order_id,
        sku: event.sku,
        time: event.place_time,
    };
    keep(tx, note).await
}

pub(crate) async fn on_order_confirmed(tx: &mut Tx<'_>, event: OrderConfirmed) -> Result<()> {
    let note = Note {
        kind: NotificationKind::OrderConfirmed,
        text: "Your order is paid and on its way.".to_owned(),
        user_id: event.user_id,
        order_id: event.order_id,
        sku: String::new(),
        time: event.confirm_time,
    };
    keep(tx, note).await
}

pub(crate) async fn on_order_cancelled(tx: &mut Tx<'_>, event: OrderCancelled) -> Result<()> {
    let note = Note {
        kind: NotificationKind::OrderCancelled,
        text: "Your order is cancelled, and the money is given back.".to_owned(),
        user_id: event.user_id,
        order_id: event.order_id,
        sku: String::new(),
        time: event.cancel_time,
    };
    keep(tx, note).await
}

pub(crate) async fn on_stock_low(tx: &mut Tx<'_>, event: StockLow) -> Result<()> {
    let note = Note {
        kind: NotificationKind::StockLow,
        text: format!("{} runs low: {} left, fewer than {}.", event.title, event.available, event.threshold),
        user_id: String::new(),
        order_id: String::new(),
        sku: event.sku,
        time: event.notice_time,
    };
    keep(tx, note).await
}

/// Stores a notification as the last one about its order, or about its item.
async fn keep(tx: &mut Tx<'_>, note: Note) -> Result<()> {
    let subject = match &*note.order_id {
        "" => format!("items/{}", note.sku),
        order => format!("orders/{order}"),
    };
    let (number,): (i64,) = tx
        .query("select coalesce(max(number), 0) + 1 from notifications where subject = $1")
        .bind((&subject,))
        .one()
        .await?;
    let time = note.time.unwrap_or_default();
    let created = time.seconds * 1_000_000 + i64::from(time.nanos / 1000);
    tx.query(
        "insert into notifications (subject, number, kind, user_id, order_id, sku, text, created)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind((&subject, number, note.kind as i32, &note.user_id, &note.order_id, &note.sku, &note.text, created))
    .execute()
    .await?;
    Ok(())
}
