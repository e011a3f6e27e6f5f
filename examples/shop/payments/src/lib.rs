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
        w.serve(PaymentsServer::new(PaymentsService {
            store: w.store(),
            provider: w.config::<ProviderSettings>(),
        }));
    })
}
