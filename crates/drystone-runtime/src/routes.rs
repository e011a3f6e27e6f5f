//! `routes`: every way in, contract by contract.

use std::fmt::Write as _;

use drystone_contract::Contract;

use crate::StartError;
use crate::module::ModulePlan;

/// The REST routes and gRPC methods of every served contract as a table.
pub(crate) fn table(plans: &[ModulePlan]) -> Result<String, StartError> {
    let mut text = String::new();
    for plan in plans {
        for served in &plan.served {
            let info = served.contract();
            let contract = Contract::parse(info.descriptor_set, info.name)
                .map_err(|error| StartError::part(format!("contract {}", info.name), error))?;
            let _ = writeln!(text, "{} (module {})", info.name, plan.name);
            for method in &contract.methods {
                for binding in &method.bindings {
                    let _ = writeln!(
                        text,
                        "  {:<7}{:<44} {}",
                        binding.verb.as_str(),
                        binding.template.to_string(),
                        method.path
                    );
                }
                if method.bindings.is_empty() {
                    let _ = writeln!(text, "  {:<51} {}", "gRPC only", method.path);
                }
            }
        }
    }
    Ok(text)
}
