//! What the numbers were measured on.

use std::fs;
use std::process::Command;

use crate::report::Table;
use crate::suites::{Failure, Plan};

/// Processor, kernel, compiler, and how a measurement is taken.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let mut table = Table::new(&["", "measured on"]);
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism()?;
    let model = model.map_or("unknown", |(_, name)| name.trim());
    table.row("processor", &[format!("{cores} cores of {model}")]);
    table.row("kernel", &[fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()]);
    let compiler = Command::new("rustc").arg("--version").output()?.stdout;
    table.row("compiler", &[String::from_utf8(compiler)?.trim().to_owned()]);
    table.row("SQLite", &[rusqlite::version().to_owned()]);
    let load = fs::read_to_string("/proc/loadavg")?;
    table.row("load when it began", &[load.split(' ').next().unwrap_or_default().to_owned()]);
    table.row("one measurement", &[format!("median of {} rounds of {:?}", plan.rounds, plan.time)]);
    Ok(table.into_text())
}
