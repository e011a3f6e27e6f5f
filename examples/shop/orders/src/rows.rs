//! Orders as they are stored.

use drystone::prelude::*;
use orders_api::{Money, Order, OrderState, OrdersReason};

#[derive(Clone, Row)]
pub(crate) struct OrderRow {
    pub(crate) id: String,
    pub(crate) user_id: String,
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) currency_code: String,
    pub(crate) total_minor: i64,
    pub(crate) state: i32,
    pub(crate) decline_reason: String,
    /// Microseconds since 1970.
    pub(crate) created: i64,
}

impl OrderRow {
    pub(crate) fn is(&self, state: OrderState) -> bool {
        self.state == state as i32
    }

    /// What all units cost together.
    pub(crate) fn total(&self) -> Money {
        Money { currency_code: self.currency_code.clone(), minor_units: self.total_minor }
    }

    /// Takes the order from one state to another, in the database and here; says whether it was in the first.
    pub(crate) async fn go_on(&mut self, tx: &mut Tx<'_>, from: OrderState, to: OrderState) -> Result<bool> {
        let changed = tx
            .query("update orders set state = $3 where id = $1 and state = $2")
            .bind((&self.id, from as i32, to as i32))
            .execute()
            .await?;
        self.state = to as i32;
        Ok(changed == 1)
    }
}

impl From<OrderRow> for Order {
    fn from(row: OrderRow) -> Self {
        let total = Some(row.total());
        Self {
            id: row.id,
            user_id: row.user_id,
            sku: row.sku,
            quantity: row.quantity,
            total,
            state: row.state,
            create_time: Some(timestamp(row.created)),
            decline_reason: row.decline_reason,
        }
    }
}

/// The order of this id.
pub(crate) async fn find(store: &Store, cx: &mut Context, id: &str) -> Result<Option<OrderRow>> {
    store.read(cx).await?.query("select * from orders where id = $1").bind((id,)).optional().await
}

pub(crate) fn unknown_order(id: &str) -> Error {
    OrdersReason::OrderNotFound.error(format!("there is no order {id:?}"))
}
