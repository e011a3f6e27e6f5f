//! The shop's inventory: what there is to buy, and how much of it.

mod low_stock;
mod reservations;
mod service;

use drystone::prelude::*;
use inventory_api::{InventoryServer, StockLow};
use orders_api::OrderConfirmed;
use serde::Deserialize;

use crate::low_stock::Threshold;
use crate::service::InventoryService;

/// `[modules.inventory]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The tenant in which a small catalogue is made.
    seed_tenant: Option<String>,
    /// An item of which fewer units than this are available after a sale is low; none is, with zero.
    low_stock: i32,
}

/// The module.
#[must_use]
pub fn module() -> Module {
    Module::new("inventory").migrations(migrations!("migrations")).wire(|w| {
        let (store, settings) = (w.store(), w.config::<Settings>());
        let threshold = Threshold(settings.low_stock);
        w.serve(InventoryServer::new(InventoryService { store: store.clone(), threshold }));
        w.publishes::<StockLow>();
        w.handle_with::<OrderConfirmed, _>(threshold, low_stock::on_order_confirmed);
        if let Some(tenant) = settings.seed_tenant {
            w.at_start("seed", move |background| async move {
                service::seed(&store, &mut background.context(&tenant)?).await
            });
        }
    })
}
