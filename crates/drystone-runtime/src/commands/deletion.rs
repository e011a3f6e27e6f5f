//! `tenants delete`: a suspended tenant and all its data, in every module.

use drystone_call::TenantId;
use drystone_store::TenantState;

use super::everywhere::{Everywhere, Part, failed};
use crate::StartError;

/// Deletes a tenant whose name was said twice. Where it was interrupted, running it again completes it.
pub(super) async fn run(all: &Everywhere, tenant: &TenantId, yes: Option<&str>) -> Result<(), StartError> {
    let command = format!("tenants delete {tenant}");
    let states = all.known("delete", tenant).await?;
    if let Some((part, _)) = states.iter().find(|(_, state)| *state == Some(TenantState::Active)) {
        let problem = format!(
            "the tenant is active in module `{}`; suspend it first: {} tenants suspend {tenant}",
            part.module, all.app
        );
        return Err(StartError::command(command, problem));
    }
    if yes != Some(tenant.as_str()) {
        let problem = format!(
            "this removes all data of tenant {tenant} in {}, for good; confirm with --yes {tenant}",
            all.modules()
        );
        return Err(StartError::command(command, problem));
    }
    let parts: Vec<&Part> =
        states.iter().filter(|(_, state)| state.is_some()).map(|(part, _)| *part).collect();
    delete_in(&parts, tenant).await?;
    println!("tenant {tenant} is deleted");
    Ok(())
}

/// Deletes a tenant in these modules.
pub(super) async fn delete_in(parts: &[&Part], tenant: &TenantId) -> Result<(), StartError> {
    for part in parts {
        let done = part.reach.delete(tenant).await;
        done.map_err(|error| failed(&format!("tenants delete {tenant}"), &part.module, &error))?;
    }
    Ok(())
}

/// Deletes what an import that failed has left in these modules, and says so in the error.
pub(super) async fn undo(error: StartError, parts: &[&Part], tenant: &TenantId, app: &str) -> StartError {
    if parts.is_empty() {
        return error;
    }
    for part in parts {
        // One that was let in already has to be shut out again; of the others this is refused.
        let _ = part.reach.suspend(tenant).await;
    }
    let note = match delete_in(parts, tenant).await {
        Ok(()) => format!("what was imported of tenant {tenant} is deleted again"),
        Err(left) => format!(
            "what was imported could not be deleted ({left}); `{app} tenants delete {tenant} --yes {tenant}` does it later"
        ),
    };
    error.and(&note)
}
