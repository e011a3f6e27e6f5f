//! `tenants list`: every tenant of every module, and where its modules disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use drystone_store::TenantState;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::everywhere::Everywhere;
use super::table::Table;
use crate::StartError;
use crate::admin::TenantLine;

/// A tenant over all modules.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    /// The state where all modules agree, and `mixed` otherwise.
    state: String,
    created: String,
    modules: BTreeMap<String, TenantState>,
}

/// Prints the tenants.
pub(super) async fn run(all: &Everywhere, json: bool) -> Result<(), StartError> {
    let modules: Vec<Arc<str>> = all.parts.iter().map(|part| Arc::clone(&part.module)).collect();
    let listed = listed(&modules, &all.tenants().await?);
    if json {
        let text = serde_json::to_string_pretty(&listed);
        println!("{}", text.map_err(|error| StartError::command("tenants list", error))?);
    } else if listed.is_empty() {
        println!("there are no tenants; `{} tenants create NAME` creates one", all.app);
    } else {
        print!("{}", table(&modules, &listed));
    }
    Ok(())
}

fn listed(modules: &[Arc<str>], tenants: &[Vec<TenantLine>]) -> Vec<Listed> {
    let names: BTreeSet<&str> = tenants.iter().flatten().map(|line| line.name.as_str()).collect();
    let of = |name: &str| -> Vec<(&Arc<str>, &TenantLine)> {
        let found = modules.iter().zip(tenants);
        found
            .filter_map(|(module, lines)| Some((module, lines.iter().find(|line| line.name == name)?)))
            .collect()
    };
    names
        .into_iter()
        .map(|name| {
            let lines = of(name);
            let states: BTreeSet<&str> = lines.iter().map(|(_, line)| line.state.as_str()).collect();
            let agreed = states.len() == 1 && lines.len() == modules.len();
            Listed {
                name: name.to_owned(),
                state: if agreed { lines[0].1.state.to_string() } else { "mixed".to_owned() },
                created: lines.iter().map(|(_, line)| line.created()).min().map(shown).unwrap_or_default(),
                modules: lines.iter().map(|(module, line)| (module.to_string(), line.state)).collect(),
            }
        })
        .collect()
}

fn table(modules: &[Arc<str>], listed: &[Listed]) -> String {
    let mut table = Table::new(&["tenant", "state", "created", ""]);
    for tenant in listed {
        let told = if tenant.state == "mixed" { told_apart(modules, &tenant.modules) } else { String::new() };
        table.row([tenant.name.clone(), tenant.state.clone(), tenant.created.clone(), told]);
    }
    table.to_string()
}

/// In which modules a tenant is in which state.
fn told_apart(modules: &[Arc<str>], states: &BTreeMap<String, TenantState>) -> String {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for module in modules {
        let state = states.get(&**module).map_or_else(|| "not there".to_owned(), ToString::to_string);
        groups.entry(state).or_default().push(module);
    }
    let groups: Vec<String> =
        groups.iter().map(|(state, modules)| format!("{state}: {}", modules.join(", "))).collect();
    groups.join("; ")
}

/// A time to the second.
pub(super) fn shown(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn line(name: &str, state: &str) -> TenantLine {
        from_value(json!({"name": name, "state": state, "created": 1_767_225_600_123_u64})).unwrap()
    }

    #[test]
    fn tenants_on_which_modules_disagree_are_told_apart() {
        let modules: Vec<Arc<str>> = ["orders", "users"].map(Arc::from).to_vec();
        let tenants = [
            vec![line("acme", "active"), line("bolt", "suspended")],
            vec![line("acme", "active"), line("bolt", "active"), line("cog", "importing")],
        ];
        let text = table(&modules, &listed(&modules, &tenants));
        assert_eq!(
            text,
            "tenant  state   created\n\
             acme    active  2026-01-01T00:00:00Z\n\
             bolt    mixed   2026-01-01T00:00:00Z  active: users; suspended: orders\n\
             cog     mixed   2026-01-01T00:00:00Z  importing: users; not there: orders\n"
        );
    }
}
