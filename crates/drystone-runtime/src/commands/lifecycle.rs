//! `tenants create`, `suspend` and `resume`, in every module.

use drystone_call::TenantId;
use drystone_store::TenantState;

use super::everywhere::{Everywhere, Part, failed};
use crate::StartError;

/// Creates a tenant in every module that does not have it.
pub(super) async fn create(all: &Everywhere, tenant: &TenantId) -> Result<(), StartError> {
    let command = format!("tenants create {tenant}");
    let mut created = Vec::new();
    for part in &all.parts {
        let new = part.reach.create(tenant).await.map_err(|error| failed(&command, &part.module, &error))?;
        if new {
            created.push(&*part.module);
        }
    }
    if created.is_empty() {
        println!("tenant {tenant} is there already, in every module");
    } else {
        println!("tenant {tenant} is created in {}", created.join(", "));
    }
    Ok(())
}

/// Suspends a tenant: callers before those they call, so that what a module has begun can still be ended by the others.
pub(super) async fn suspend(all: &Everywhere, tenant: &TenantId) -> Result<(), StartError> {
    let suspended = suspend_in(all, tenant).await?;
    if suspended.is_empty() {
        println!("tenant {tenant} is suspended already");
    } else {
        println!("tenant {tenant} is suspended in {}", names(&suspended));
    }
    Ok(())
}

/// Suspends a tenant and says in which modules it was not before.
pub(super) async fn suspend_in<'e>(
    all: &'e Everywhere,
    tenant: &TenantId,
) -> Result<Vec<&'e Part>, StartError> {
    let states = all.known("suspend", tenant).await?;
    let mut suspended = Vec::new();
    for (part, state) in states {
        // Also where it is suspended: an interrupted command may not have waited for those who still worked for it.
        if matches!(state, Some(TenantState::Active | TenantState::Suspended)) {
            let done = part.reach.suspend(tenant).await;
            done.map_err(|error| failed(&format!("tenants suspend {tenant}"), &part.module, &error))?;
        }
        if state == Some(TenantState::Active) {
            suspended.push(part);
        }
    }
    Ok(suspended)
}

/// Resumes a tenant that is suspended.
pub(super) async fn resume(all: &Everywhere, tenant: &TenantId) -> Result<(), StartError> {
    let command = format!("tenants resume {tenant}");
    let states = all.known("resume", tenant).await?;
    for (part, state) in &states {
        if let Some(state @ (TenantState::Importing | TenantState::Deleting)) = state {
            let problem = format!(
                "the tenant is {state} in module `{}`: that was interrupted, and its data is not whole; `{} tenants delete {tenant}` removes it",
                part.module, all.app
            );
            return Err(StartError::command(command, problem));
        }
    }
    let parts: Vec<&Part> =
        states.iter().filter(|(_, state)| state.is_some()).map(|(part, _)| *part).collect();
    resume_in(&parts, tenant).await?;
    println!("tenant {tenant} is active");
    Ok(())
}

/// Resumes a tenant in these modules, those that are called before their callers.
pub(super) async fn resume_in(parts: &[&Part], tenant: &TenantId) -> Result<(), StartError> {
    for part in parts.iter().rev() {
        let done = part.reach.resume(tenant).await;
        done.map_err(|error| failed(&format!("tenants resume {tenant}"), &part.module, &error))?;
    }
    Ok(())
}

/// The names of modules, parted by commas.
pub(super) fn names(parts: &[&Part]) -> String {
    parts.iter().map(|part| &*part.module).collect::<Vec<_>>().join(", ")
}
