//! Placing an order, step by step, so that an interrupted one can be taken up again.

use drystone::defects;
use drystone::prelude::*;
use inventory_api::{ConfirmRequest, GetStockRequest, InventoryReason, ReleaseRequest, ReserveRequest};
use orders_api::{Order, OrderState, OrdersReason, PlaceOrderRequest};
use payments_api::{ChargeRequest, Money, PaymentsReason};
use users_api::{GetUserRequest, UsersReason};

use crate::rows::{self, OrderRow};
use crate::service::OrdersService;

impl OrdersService {
    /// Places an order, or completes the one that an earlier attempt with the same key began.
    pub(crate) async fn place(&self, cx: &mut Context, req: PlaceOrderRequest) -> Result<Order> {
        check(&req)?;
        let id = cx.stable_id("order").to_string();
        let order = match rows::find(&self.store, cx, &id).await? {
            Some(begun) => begun,
            None => match self.begin(cx, &id, &req).await? {
                Ok(begun) => begun,
                Err(refusal) => return self.store.begin(cx).await?.refuse(refusal).await,
            },
        };
        if order.is(OrderState::Declined) {
            return self.refuse_declined(cx, &order).await;
        }
        cx.note("order", &order.id);
        if let Err(error) = self.reserve(cx, &order).await {
            return match InventoryReason::of(&error) {
                Some(InventoryReason::OutOfStock) => {
                    let text =
                        format!("fewer than {} units of {:?} are available", order.quantity, order.sku);
                    self.decline(cx, order, OrdersReason::OutOfStock.error(text)).await
                }
                _ => Err(error),
            };
        }
        if let Err(error) = self.charge(cx, &order, req.card_token).await {
            return match PaymentsReason::of(&error) {
                Some(PaymentsReason::CardDeclined) => {
                    if !defects::broken("the stock of a declined payment is kept") {
                        self.release(cx, &order).await?;
                    }
                    self.decline(cx, order, OrdersReason::CardDeclined.error("the card was declined")).await
                }
                _ => Err(error),
            };
        }
        self.inventory.confirm(cx, ConfirmRequest { reservation_id: order.id.clone() }).await?;
        self.confirm(cx, order).await
    }

    /// Writes the order before anything is asked of other modules; the inner error is a refusal to record.
    async fn begin(&self, cx: &mut Context, id: &str, req: &PlaceOrderRequest) -> Result<Result<OrderRow>> {
        let user = self.users.get_user(cx, GetUserRequest { user_id: req.user_id.clone() });
        let stock = self.inventory.get_stock(cx, GetStockRequest { sku: req.sku.clone() });
        let (user, stock) = drystone::join!(user, stock);
        if let Err(error) = user {
            return match UsersReason::of(&error) {
                Some(UsersReason::UserNotFound) => {
                    Ok(Err(OrdersReason::UnknownUser.error(format!("there is no user {:?}", req.user_id))))
                }
                _ => Err(error),
            };
        }
        let price = match stock {
            Ok(stock) => stock.price.unwrap_or_default(),
            Err(error) if error.is(InventoryReason::UnknownSku) => {
                return Ok(Err(
                    OrdersReason::UnknownSku.error(format!("the catalogue has no item {:?}", req.sku))
                ));
            }
            Err(error) => return Err(error),
        };
        let total = price
            .minor_units
            .checked_mul(i64::from(req.quantity))
            .ok_or_else(|| Error::invalid_argument("the total is more than can be counted"))?;
        let mut tx = self.store.begin(cx).await?;
        let created = micros(tx.caller().now());
        let row: OrderRow = tx
            .query(
                "insert into orders (id, user_id, sku, quantity, currency_code, total_minor, state, created)
                 values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
            )
            .bind((
                id,
                &req.user_id,
                &req.sku,
                req.quantity,
                &price.currency_code,
                total,
                OrderState::Placing as i32,
                created,
            ))
            .one()
            .await?;
        tx.publish(row.placed())?;
        tx.commit().await?;
        Ok(Ok(row))
    }

    async fn reserve(&self, cx: &Context, order: &OrderRow) -> Result<()> {
        let (reservation_id, sku) = (order.id.clone(), order.sku.clone());
        self.inventory.reserve(cx, ReserveRequest { reservation_id, sku, quantity: order.quantity }).await?;
        Ok(())
    }

    async fn release(&self, cx: &Context, order: &OrderRow) -> Result<()> {
        self.inventory.release(cx, ReleaseRequest { reservation_id: order.id.clone() }).await?;
        Ok(())
    }

    async fn charge(&self, cx: &Context, order: &OrderRow, card_token: String) -> Result<()> {
        let amount = Money { currency_code: order.currency_code.clone(), minor_units: order.total_minor };
        let (charge_id, order_id) = (order.id.clone(), order.id.clone());
        self.payments
            .charge(cx, ChargeRequest { charge_id, order_id, amount: Some(amount), card_token })
            .await?;
        Ok(())
    }

    async fn confirm(&self, cx: &mut Context, mut order: OrderRow) -> Result<Order> {
        let mut tx = self.store.begin(cx).await?;
        if order.go_on(&mut tx, OrderState::Placing, OrderState::Confirmed).await? {
            tx.publish(order.confirmed(tx.caller().now()))?;
        }
        tx.commit_with(order.into()).await
    }

    /// Keeps the order, readable as declined, and records the refusal.
    async fn decline(&self, cx: &mut Context, mut order: OrderRow, refusal: Error) -> Result<Order> {
        let reason = refusal.reason_info().map(|info| info.name().to_owned()).unwrap_or_default();
        order.state = OrderState::Declined as i32;
        order.decline_reason = reason;
        let mut tx = self.store.begin(cx).await?;
        tx.query("update orders set state = $2, decline_reason = $3 where id = $1")
            .bind((&order.id, order.state, &order.decline_reason))
            .execute()
            .await?;
        tx.commit().await?;
        self.store.begin(cx).await?.refuse(refusal.with("order_id", &order.id)).await
    }

    /// Answers for an order that was declined before the refusal could be recorded.
    async fn refuse_declined(&self, cx: &mut Context, order: &OrderRow) -> Result<Order> {
        let refusal = match order.decline_reason.as_str() {
            "OUT_OF_STOCK" => {
                let text = format!("fewer than {} units of {:?} are available", order.quantity, order.sku);
                OrdersReason::OutOfStock.error(text)
            }
            _ => OrdersReason::CardDeclined.error("the card was declined"),
        };
        self.store.begin(cx).await?.refuse(refusal.with("order_id", &order.id)).await
    }
}

fn check(req: &PlaceOrderRequest) -> Result<()> {
    let mut wrong = Error::invalid_argument("the order is not complete");
    for (field, text) in [("user_id", &req.user_id), ("sku", &req.sku), ("card_token", &req.card_token)] {
        if text.is_empty() {
            wrong = wrong.violation(field, "is empty");
        }
    }
    if !(1..=1_000_000).contains(&req.quantity) {
        wrong = wrong.violation("quantity", "must be 1 to 1000000");
    }
    if wrong.violations().is_empty() { Ok(()) } else { Err(wrong) }
}
