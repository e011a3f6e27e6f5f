//! The orders' contract.

use drystone::prelude::*;
use inventory_api::{InventoryClient, TakeBackRequest};
use orders_api::{
    CancelOrderRequest, GetOrderRequest, GetReceiptRequest, ListOrdersRequest, ListOrdersResponse, Order,
    OrderState, Orders, OrdersReason, PlaceOrderRequest, Receipt,
};
use payments_api::{PaymentsClient, PaymentsReason, RefundRequest};
use users_api::UsersClient;

use crate::rows::{self, OrderRow, unknown_order};

pub(crate) struct OrdersService {
    pub(crate) store: Store,
    pub(crate) users: UsersClient,
    pub(crate) inventory: InventoryClient,
    pub(crate) payments: PaymentsClient,
}

impl Orders for OrdersService {
    async fn place_order(&self, cx: &mut Context, req: PlaceOrderRequest) -> Result<Order> {
        self.place(cx, req).await
    }

    async fn get_order(&self, cx: &mut Context, req: GetOrderRequest) -> Result<Order> {
        let row = rows::find(&self.store, cx, &req.order_id).await?;
        Ok(row.ok_or_else(|| unknown_order(&req.order_id))?.into())
    }

    async fn get_receipt(&self, cx: &mut Context, req: GetReceiptRequest) -> Result<Receipt> {
        self.receipt(cx, &req.order_id).await
    }

    async fn list_orders(&self, cx: &mut Context, req: ListOrdersRequest) -> Result<ListOrdersResponse> {
        let page: Page<(i64, String)> = Page::asked(req.page_size, &req.page_token)?;
        let (created, id) = page.after().unwrap_or((i64::MAX, String::new()));
        let mut read = self.store.read(cx).await?;
        let mut rows: Vec<OrderRow> = read
            .query(
                "select * from orders
                 where (created < $1 or (created = $1 and id < $2))
                   and ($3 = '' or user_id = $3) and ($4 = 0 or state = $4)
                 order by created desc, id desc limit $5",
            )
            .bind((created, id, &req.user_id, req.state, page.fetch()))
            .all()
            .await?;
        let next_page_token = page.cut(&mut rows, |row| (row.created, row.id.clone()));
        Ok(ListOrdersResponse { orders: rows.into_iter().map(Order::from).collect(), next_page_token })
    }

    async fn cancel_order(&self, cx: &mut Context, req: CancelOrderRequest) -> Result<Order> {
        let Some(mut order) = rows::find(&self.store, cx, &req.order_id).await? else {
            return self.store.begin(cx).await?.refuse(unknown_order(&req.order_id)).await;
        };
        if !order.is(OrderState::Confirmed) {
            let text = format!("order {:?} is not confirmed", order.id);
            return self.store.begin(cx).await?.refuse(OrdersReason::NotCancellable.error(text)).await;
        }
        match self.payments.refund(cx, RefundRequest { charge_id: order.id.clone() }).await {
            Ok(_) => {}
            // Another cancellation was interrupted after this step.
            Err(error) if error.is(PaymentsReason::AlreadyRefunded) => {}
            Err(error) => return Err(error),
        }
        self.inventory.take_back(cx, TakeBackRequest { reservation_id: order.id.clone() }).await?;
        let mut tx = self.store.begin(cx).await?;
        // Of two cancellations at once, one publishes; both are answered.
        if order.go_on(&mut tx, OrderState::Confirmed, OrderState::Cancelled).await? {
            tx.publish(order.cancelled(tx.caller().now()))?;
        }
        tx.commit_with(order.into()).await
    }
}
