//! Noticing that an item runs low: once, until units are added.

use drystone::prelude::*;
use inventory_api::StockLow;
use orders_api::OrderConfirmed;

/// The rule: an item of which fewer units than this can be reserved is low. None is, with zero.
#[derive(Clone, Copy)]
pub(crate) struct Threshold(pub(crate) i32);

#[derive(Row)]
struct SoldRow {
    sku: String,
    title: String,
    available: i32,
}

/// A sale was confirmed: publishes [`StockLow`] if it is the first to leave its item low.
pub(crate) async fn on_order_confirmed(
    threshold: &Threshold,
    tx: &mut Tx<'_>,
    event: OrderConfirmed,
) -> Result<()> {
    let sold: Option<SoldRow> = tx
        .query(
            "select stock.sku, title, available from reservations join stock on stock.sku = reservations.sku
             where reservations.id = $1",
        )
        .bind((&event.order_id,))
        .optional()
        .await?;
    // An order reserves under its own id before it is confirmed.
    let Some(SoldRow { sku, title, available }) = sold else {
        return Err(Error::not_found(format!("order {:?} has no reservation", event.order_id)));
    };
    if available >= threshold.0 {
        return Ok(());
    }
    let noticed = tx
        .query("insert into low_items (sku) values ($1) on conflict do nothing")
        .bind((&sku,))
        .execute()
        .await?;
    if noticed == 1 {
        let notice_time = Some(timestamp(micros(tx.caller().now())));
        tx.publish(StockLow { sku, title, available, threshold: threshold.0, notice_time })?;
    }
    Ok(())
}

/// Units were added: an item that is low no longer may be noticed again.
pub(crate) async fn added(threshold: Threshold, tx: &mut Tx<'_>, sku: &str, available: i32) -> Result<()> {
    if available >= threshold.0 {
        tx.query("delete from low_items where sku = $1").bind((sku,)).execute().await?;
    }
    Ok(())
}
