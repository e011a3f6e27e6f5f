//! Receipts: an order with what became of its payment, as far as that is known.

use drystone::prelude::*;
use orders_api::{Receipt, ReceiptPayment};
use payments_api::{ChargeState, GetChargeRequest, PaymentsReason};

use crate::rows::{self, unknown_order};
use crate::service::OrdersService;

impl OrdersService {
    pub(crate) async fn receipt(&self, cx: &mut Context, order_id: &str) -> Result<Receipt> {
        let order = rows::find(&self.store, cx, order_id).await?.ok_or_else(|| unknown_order(order_id))?;
        let payment = self.payment(cx, order_id).await.or_fallback(cx, |_| ReceiptPayment::NotKnownNow)?;
        Ok(Receipt { order: Some(order.into()), payment: payment as i32 })
    }

    async fn payment(&self, cx: &Context, order_id: &str) -> Result<ReceiptPayment> {
        match self.payments.get_charge(cx, GetChargeRequest { charge_id: order_id.to_owned() }).await {
            Ok(charge) if charge.state() == ChargeState::Refunded => Ok(ReceiptPayment::Refunded),
            Ok(_) => Ok(ReceiptPayment::Charged),
            Err(error) if error.is(PaymentsReason::ChargeNotFound) => Ok(ReceiptPayment::None),
            Err(error) => Err(error),
        }
    }
}
