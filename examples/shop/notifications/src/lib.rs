//! The shop's notifications: what happened, told to those whom it concerns.
//!
//! The module calls nobody and is called by nobody but readers: it reacts to what orders and inventory publish. What it stores follows from the event
//! alone, so that it is the same whenever and wherever the event arrives.

mod handlers;
mod service;

use drystone::prelude::*;
use inventory_api::StockLow;
use notifications_api::NotificationsServer;
use orders_api::{OrderCancelled, OrderConfirmed, OrderPlaced};

use crate::service::NotificationsService;

/// The module.
#[must_use]
pub fn module() -> Module {
    Module::new("notifications").migrations(migrations!("migrations")).wire(|w| {
        w.serve(NotificationsServer::new(NotificationsService { store: w.store() }));
        w.handle::<OrderPlaced>(handlers::on_order_placed);
        w.handle::<OrderConfirmed>(handlers::on_order_confirmed);
        w.handle::<OrderCancelled>(handlers::on_order_cancelled);
        w.handle::<StockLow>(handlers::on_stock_low);
    })
}
