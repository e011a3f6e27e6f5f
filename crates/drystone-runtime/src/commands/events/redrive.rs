//! `events redrive`: messages are sent again from a moment on.

use drystone_events::operate::{Redrive, Wanted};

use super::site::{Site, Sites};
use super::{Redriven, when};
use crate::StartError;

const COMMAND: &str = "events redrive";
/// How many positions of a module are shown one by one.
const SHOWN: usize = 20;

/// Sets positions back and says which.
pub(super) async fn run(sites: &Sites, what: Redriven) -> Result<(), StartError> {
    let since =
        when::read(&what.since, sites.now).map_err(|problem| StartError::command("--since", problem))?;
    let chosen = chosen(sites, &what)?;
    let mut moved = 0;
    for (site, pumps) in chosen {
        let redrive = Redrive { since, pumps, tenant: what.tenant.clone() };
        let done = site.or_failed(COMMAND, site.redrive(&redrive).await)?;
        for one in done.iter().take(SHOWN) {
            let of = one.tenant.as_ref().map(|tenant| format!(", tenant {tenant}")).unwrap_or_default();
            println!("{} to {}{of}: back from number {} to {}", site.module, one.pump, one.from, one.to);
        }
        if done.len() > SHOWN {
            println!("{}: and {} more positions of tenants", site.module, done.len() - SHOWN);
        }
        moved += done.len();
    }
    if moved == 0 {
        println!("nothing that was published since {} has been carried yet", when::moment(since));
    } else {
        println!(
            "what stands behind these numbers is sent again; what consumers have applied before they leave out"
        );
    }
    Ok(())
}

/// The pumps that are meant, by module.
fn chosen<'s>(sites: &'s Sites, what: &Redriven) -> Result<Vec<(&'s Site, Vec<Wanted>)>, StartError> {
    let publishing: Vec<&Site> = sites.all.iter().filter(|site| !site.wanted.is_empty()).collect();
    let is_meant = |site: &&&Site| what.module.as_ref().is_none_or(|module| **module == *site.module);
    let pumps = |site: &&'s Site| {
        let of = |wanted: &&Wanted| what.consumer.as_ref().is_none_or(|consumer| *consumer == wanted.pump);
        let pumps: Vec<Wanted> = site.wanted.iter().filter(of).cloned().collect();
        (!pumps.is_empty()).then_some((*site, pumps))
    };
    let chosen: Vec<_> = publishing.iter().filter(is_meant).filter_map(pumps).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let known = |site: &&Site| {
        let pumps: Vec<&str> = site.wanted.iter().map(|wanted| wanted.pump.as_str()).collect();
        format!("{} to {}", site.module, pumps.join(", "))
    };
    let known: Vec<String> = publishing.iter().map(known).collect();
    let known = if known.is_empty() {
        "no module publishes events that another handles".to_owned()
    } else {
        format!("there are {}", known.join("; "))
    };
    Err(StartError::command(COMMAND, format!("nothing is carried from and to what was named; {known}")))
}
