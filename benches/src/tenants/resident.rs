//! What a process keeps of its tenants: memory and open files, in a process of its own that has done nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::orders::{all, millis};
use super::{Bench, OPEN_FILES, TIMES};
use crate::child::{self, Role};
use crate::cpu::megabytes;
use crate::recorder::Recorder;
use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan};

const WHEN: [&str; 2] = ["opened", "after an order of each"];

/// Opens the stores that are at these places, one process each, several times.
pub(super) fn measure(places: &[PathBuf], plan: &Plan, rounds: &mut Rounds) -> Result<(), Failure> {
    for _ in 0..plan.rounds.min(TIMES) {
        for (place, limit) in places.iter().zip(OPEN_FILES) {
            let output =
                child::command(Role::Tenants, Recorder::Lean, place)?.arg(limit.to_string()).output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            for line in std::str::from_utf8(&output.stdout)?.lines() {
                let (name, value) =
                    line.rsplit_once(' ').ok_or_else(|| format!("not a measurement: {line}"))?;
                rounds.add(format!("{limit} {name}"), value.parse()?);
            }
        }
    }
    Ok(())
}

/// Opens the store at a place and looks at this process, before and after an order of every tenant.
pub(crate) fn print(place: &Path) -> Result<(), Failure> {
    let limit = std::env::args().nth(1).ok_or("the limit of open files is the argument")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bench = Arc::new(Bench::open(place, limit).await?);
        println!("opened-in {:.2}", millis(bench.opened));
        look(WHEN[0])?;
        all(&bench).await?;
        look(WHEN[1])?;
        println!("open-files {}", bench.store.metrics().open_files);
        Ok(())
    })
}

fn look(when: &str) -> Result<(), Failure> {
    let own = std::process::id();
    println!("resident, {when} {:.1}", megabytes(own, "status", "VmRSS")?);
    println!("share, {when} {:.1}", megabytes(own, "smaps_rollup", "Pss")?);
    println!("descriptors, {when} {}", std::fs::read_dir("/proc/self/fd")?.count());
    Ok(())
}

/// By the limit of open files.
pub(super) fn table(rounds: &Rounds) -> String {
    let mut table = Table::new(&["a store of 1,000 tenants", "256 files may be open", "2,000 may be open"]);
    let mut row = |text: &str, name: &str, decimals: usize| {
        let cells =
            OPEN_FILES.map(|limit| format!("{:.decimals$}", rounds.median(&format!("{limit} {name}"))));
        table.row(text, &cells);
    };
    row("opened, ms", "opened-in", 1);
    for when in WHEN {
        row(&format!("resident, {when}, MB"), &format!("resident, {when}"), 1);
        row(&format!("proportional share, {when}, MB"), &format!("share, {when}"), 1);
        row(&format!("file descriptors, {when}"), &format!("descriptors, {when}"), 0);
    }
    row("tenants' files open at the end", "open-files", 0);
    table.into_text()
}
