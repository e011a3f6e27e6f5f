//! The shop's inventory: what there is to buy, and how much of it.

mod reservations;
mod service;

use drystone::prelude::*;
use inventory_api::InventoryServer;
use serde::Deserialize;

use crate::service::InventoryService;

/// `[modules.inventory]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The tenant in which a small catalogue is made.
    seed_tenant: Option<String>,
}

/// The module.
#[must_use]
pub fn module() -> Module {
    Module::new("inventory").migrations(migrations!("migrations")).wire(|w| {
        let store = w.store();
        w.serve(InventoryServer::new(InventoryService { store: store.clone() }));
        if let Some(tenant) = w.config::<Settings>().seed_tenant {
            w.at_start("seed", move |background| async move {
                service::seed(&store, &mut background.context(&tenant)?).await
            });
        }
    })
}
