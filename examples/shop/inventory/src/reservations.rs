//! Reservations: units move from available to reserved, and then back or out for good.

use drystone::prelude::*;
use inventory_api::{InventoryReason, Money, Reservation, ReservationState, ReserveRequest};

use crate::service::{StockRow, positive, unknown_sku};

#[derive(Row)]
struct ReservationRow {
    id: String,
    sku: String,
    quantity: i32,
    currency_code: String,
    price_minor: i64,
    state: i32,
}

impl From<ReservationRow> for Reservation {
    fn from(row: ReservationRow) -> Self {
        Self {
            id: row.id,
            sku: row.sku,
            quantity: row.quantity,
            unit_price: Some(Money { currency_code: row.currency_code, minor_units: row.price_minor }),
            state: row.state,
        }
    }
}

/// Sets units aside under the id that the caller chose.
pub(crate) async fn reserve(store: &Store, cx: &mut Context, req: ReserveRequest) -> Result<Reservation> {
    positive("quantity", req.quantity)?;
    if req.reservation_id.is_empty() {
        return Err(
            Error::invalid_argument("the reservation has no id").violation("reservation_id", "is empty")
        );
    }
    let mut tx = store.begin(cx).await?;
    let item: Option<StockRow> =
        tx.query("select * from stock where sku = $1").bind((&req.sku,)).optional().await?;
    let Some(item) = item else { return tx.refuse(unknown_sku(&req.sku)).await };
    let moved = tx
        .query(
            "update stock set available = available - $2, reserved = reserved + $2
             where sku = $1 and available >= $2",
        )
        .bind((&req.sku, req.quantity))
        .execute()
        .await?;
    if moved == 0 {
        let text = format!("fewer than {} units of {:?} are available", req.quantity, req.sku);
        return tx.refuse(InventoryReason::OutOfStock.error(text)).await;
    }
    let row: ReservationRow = tx
        .query(
            "insert into reservations (id, sku, quantity, currency_code, price_minor, state)
             values ($1, $2, $3, $4, $5, $6) returning *",
        )
        .bind((
            &req.reservation_id,
            &req.sku,
            req.quantity,
            &item.currency_code,
            item.price_minor,
            ReservationState::Held as i32,
        ))
        .one()
        .await?;
    tx.commit_with(row.into()).await
}

/// One way in which a reservation goes on.
struct Step {
    from: ReservationState,
    to: ReservationState,
    /// `$1` is the SKU, `$2` the units.
    move_units: &'static str,
}

/// Makes the units of a held reservation available again.
pub(crate) async fn release(store: &Store, cx: &mut Context, id: &str) -> Result<Reservation> {
    let step = Step {
        from: ReservationState::Held,
        to: ReservationState::Released,
        move_units: "update stock set available = available + $2, reserved = reserved - $2 where sku = $1",
    };
    take(store, cx, id, step).await
}

/// Takes the units of a held reservation out of stock.
pub(crate) async fn confirm(store: &Store, cx: &mut Context, id: &str) -> Result<Reservation> {
    let step = Step {
        from: ReservationState::Held,
        to: ReservationState::Confirmed,
        move_units: "update stock set reserved = reserved - $2 where sku = $1",
    };
    take(store, cx, id, step).await
}

/// Puts the units of a confirmed reservation back into stock.
pub(crate) async fn take_back(store: &Store, cx: &mut Context, id: &str) -> Result<Reservation> {
    let step = Step {
        from: ReservationState::Confirmed,
        to: ReservationState::TakenBack,
        move_units: "update stock set available = available + $2 where sku = $1",
    };
    take(store, cx, id, step).await
}

/// Takes a step; a reservation that has taken it already is left as it is.
async fn take(store: &Store, cx: &mut Context, id: &str, step: Step) -> Result<Reservation> {
    let mut tx = store.begin(cx).await?;
    let row: Option<ReservationRow> =
        tx.query("select * from reservations where id = $1").bind((id,)).optional().await?;
    let Some(mut row) = row else {
        let text = format!("there is no reservation {id:?}");
        return tx.refuse(InventoryReason::ReservationNotFound.error(text)).await;
    };
    let to = step.to as i32;
    if row.state == step.from as i32 {
        tx.query(step.move_units).bind((&row.sku, row.quantity)).execute().await?;
        tx.query("update reservations set state = $2 where id = $1").bind((id, to)).execute().await?;
        row.state = to;
    } else if row.state != to {
        let text = format!("reservation {id:?} is in another state");
        return tx.refuse(InventoryReason::ReservationClosed.error(text)).await;
    }
    tx.commit_with(row.into()).await
}
