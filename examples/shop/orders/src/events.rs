//! What the orders publish, made of the row of the order.

use std::time::SystemTime;

use drystone::prelude::*;
use orders_api::{OrderCancelled, OrderConfirmed, OrderPlaced};

use crate::rows::OrderRow;

impl OrderRow {
    pub(crate) fn placed(&self) -> OrderPlaced {
        OrderPlaced {
            order_id: self.id.clone(),
            user_id: self.user_id.clone(),
            sku: self.sku.clone(),
            quantity: self.quantity,
            total: Some(self.total()),
            place_time: Some(timestamp(self.created)),
        }
    }

    pub(crate) fn confirmed(&self, at: SystemTime) -> OrderConfirmed {
        OrderConfirmed {
            order_id: self.id.clone(),
            user_id: self.user_id.clone(),
            total: Some(self.total()),
            confirm_time: Some(timestamp(micros(at))),
        }
    }

    pub(crate) fn cancelled(&self, at: SystemTime) -> OrderCancelled {
        OrderCancelled {
            order_id: self.id.clone(),
            user_id: self.user_id.clone(),
            total: Some(self.total()),
            cancel_time: Some(timestamp(micros(at))),
        }
    }
}
