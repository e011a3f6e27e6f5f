//! The shop's payments: money taken from cards, and given back.

mod provider;
mod service;

use drystone::prelude::*;
use payments_api::PaymentsServer;

use crate::provider::ProviderSettings;
use crate::service::PaymentsService;

/// The module.
#[must_use]
pub fn module() -> Module {
    Module::new("payments").migrations(migrations!("migrations")).wire(|w| {
        let provider = w.config::<ProviderSettings>();
        let store = w.store();
        w.serve(PaymentsServer::new(PaymentsService { store, provider }));
    })
}
