//! How long the shop takes to build for development: from nothing, and after a change.
//!
//! In a copy of the working tree with a target directory of its own, so that the real one stays warm.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::report::Table;
use crate::stats::median;
use crate::suites::{Failure, Plan, directory};

/// Changes that are measured: what changes, and the file that gets another line.
const CHANGES: [(&str, &str); 3] = [
    ("a module's code", "examples/shop/orders/src/placing.rs"),
    ("a contract", "examples/shop/orders/api/proto/shop/orders/v1/orders.proto"),
    ("the call itself, below everything", "crates/drystone-call/src/lib.rs"),
];
const REPEATS: usize = 3;

/// Copies, builds, changes, builds again.
pub(crate) fn run(_: &Plan) -> Result<String, Failure> {
    let copy = directory()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(&root).output()?;
    for file in std::str::from_utf8(&listed.stdout)?.lines().filter(|file| root.join(file).is_file()) {
        let to = copy.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap_or(copy.path()))?;
        std::fs::copy(root.join(file), to)?;
    }
    let mut table = Table::new(&["debug build of the shop", "s"]);
    table.row("from nothing", &[format!("{:.0}", build(copy.path())?)]);
    table.row("nothing changed", &[format!("{:.1}", build(copy.path())?)]);
    for (what, file) in CHANGES {
        let mut times = Vec::new();
        for n in 0..REPEATS {
            let path = copy.path().join(file);
            let text = std::fs::read_to_string(&path)?;
            std::fs::write(&path, format!("{text}// {n}\n"))?;
            times.push(build(copy.path())?);
        }
        table.row(&format!("after a change of {what}"), &[format!("{:.1}", median(times))]);
    }
    Ok(table.into_text())
}

/// Seconds of one build.
fn build(copy: &Path) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "-p", "shop"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"));
    if !command.status()?.success() {
        return Err("the copy of the working tree does not build".into());
    }
    Ok(began.elapsed().as_secs_f64())
}
