//! The shop's users: the people who order.

mod service;

use drystone::prelude::*;
use serde::Deserialize;
use users_api::UsersServer;

use crate::service::UsersService;

/// `[modules.users]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// The tenant in which a first user, `ada`, is made.
    seed_tenant: Option<String>,
}

/// The module.
#[must_use]
pub fn module() -> Module {
    Module::new("users").migrations(migrations!("migrations")).wire(|w| {
        let store = w.store();
        w.serve(UsersServer::new(UsersService { store: store.clone() }));
        if let Some(tenant) = w.config::<Settings>().seed_tenant {
            w.at_start("seed", move |background| async move {
                service::seed(&store, &mut background.context(&tenant)?).await
            });
        }
    })
}
