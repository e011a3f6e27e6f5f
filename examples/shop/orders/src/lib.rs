//! The shop's orders: from the wish to buy to the confirmed sale.
//!
//! Placing an order reserves stock, charges the card and confirms both, with one keyed call a step. The order is written before the
//! first step, under an id that follows from the caller's key, so that a retry finds an interrupted order and completes it: every step that
//! happened already answers from its record.
//!
//! Each step of an order's life is published with the transaction that takes it.

mod events;
mod placing;
mod receipt;
mod rows;
mod service;

use drystone::prelude::*;
use inventory_api::InventoryClient;
use orders_api::{OrderCancelled, OrderConfirmed, OrderPlaced, OrdersServer};
use payments_api::PaymentsClient;
use users_api::UsersClient;

use crate::service::OrdersService;

/// The module.
#[must_use]
pub fn module() -> Module {
    Module::new("orders").migrations(migrations!("migrations")).wire(|w| {
        let service = OrdersService {
            store: w.store(),
            users: w.client::<UsersClient>(),
            inventory: w.client::<InventoryClient>(),
            payments: w.client::<PaymentsClient>(),
        };
        w.serve(OrdersServer::new(service));
        w.publishes::<OrderPlaced>();
        w.publishes::<OrderConfirmed>();
        w.publishes::<OrderCancelled>();
    })
}
