//! What each layer costs alone, and breakers beside each other: runs the program of `benches/layers` and node's of `benches/opossum`, and makes tables of what they print.
//!
//! Both are packages of their own, so that what stands beside the platform is none of its dependencies.

use std::path::Path;
use std::process::Command;

use crate::report::Table;
use crate::stats::Rounds;
use crate::suites::{Failure, Plan, build_directory};

/// The call that each breaker's is beside, in its own language.
const BARE: [&str; 2] = ["bare call", "bare call in node"];
/// What the callee behind a breaker does, as the programs name it, and the column.
const WORKS: [(&str, &str); 3] =
    [("succeeds", "closed, succeeds"), ("10 % fail", "closed, 10 % fail"), ("open", "open, refused")];

/// Builds both programs and runs them.
pub(crate) fn run(plan: &Plan) -> Result<String, Failure> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside the release profile's directory, which another package must not share.
    let target = build_directory()?.join("../bench-layers");
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--manifest-path"]).arg(here.join("layers/Cargo.toml"));
    output(build.arg("--target-dir").arg(&target))?;
    output(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(here.join("opossum")))?;
    let rounds = plan.rounds.to_string();
    let mut all = Lines::default();
    all.read(&output(Command::new(target.join("release/layers")).arg(&rounds))?)?;
    all.read(&output(Command::new("node").arg(here.join("opossum/breakers.js")).arg(&rounds))?)?;
    Ok(format!(
        "{}\n{}\n{}\nMedians of {rounds} rounds; a round is the fastest of its batches.\n",
        all.alone("core", "core", None),
        all.alone("layer", "tower layer over a service that is ready", Some("the service alone")),
        all.breakers()
    ))
}

fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(
            format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What the programs printed.
#[derive(Default)]
struct Lines {
    rounds: Rounds,
    /// Groups and names in the order in which they came.
    names: Vec<(String, String)>,
}

impl Lines {
    fn read(&mut self, text: &str) -> Result<(), Failure> {
        for line in text.lines() {
            let parts: Vec<&str> = line.split('\t').collect();
            let [group, name, unit, value] = parts[..] else {
                return Err(format!("not a measurement: {line}").into());
            };
            let named = (group.to_owned(), name.to_owned());
            if !self.names.contains(&named) {
                self.names.push(named);
            }
            self.rounds.add(format!("{group} {name} {unit}"), value.parse()?);
        }
        Ok(())
    }

    fn of(&self, group: &str) -> impl Iterator<Item = &str> {
        self.names.iter().filter(move |(known, _)| known == group).map(|(_, name)| name.as_str())
    }

    /// A group whose members stand alone, or above one of them.
    fn alone(&self, group: &str, title: &str, base: Option<&str>) -> String {
        let mut columns = vec![title, "ns"];
        columns.extend(base.map(|_| "above it"));
        columns.push("allocations");
        let mut table = Table::new(&columns);
        for name in self.of(group) {
            let ns = format!("{group} {name} ns");
            let mut cells = vec![format!("{:.0}", self.rounds.median(&ns))];
            cells.extend(
                base.map(|base| format!("{:.0}", self.rounds.difference(&ns, &format!("{group} {base} ns")))),
            );
            cells.push(format!("{:.0}", self.rounds.median(&format!("{group} {name} allocations"))));
            table.row(name, &cells);
        }
        table.into_text()
    }

    fn breakers(&self) -> String {
        let mut columns = vec!["ns a call".to_owned()];
        for (_, column) in WORKS {
            columns.extend([column.to_owned(), "above bare".to_owned()]);
        }
        columns.push("allocations".to_owned());
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut table = Table::new(&columns);
        let mut bare = BARE[0];
        for name in self.of(WORKS[0].0) {
            bare = BARE.into_iter().find(|known| *known == name).unwrap_or(bare);
            let mut cells = Vec::new();
            for (work, _) in WORKS {
                let ns = format!("{work} {name} ns");
                cells.push(format!("{:.0}", self.rounds.median(&ns)));
                cells.push(format!("{:.0}", self.rounds.difference(&ns, &format!("{work} {bare} ns"))));
            }
            let allocations = self.rounds.median(&format!("{} {name} allocations", WORKS[0].0));
            cells.push(if allocations.is_nan() {
                "collected".to_owned()
            } else {
                format!("{allocations:.0}")
            });
            table.row(name, &cells);
        }
        table.into_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_is_beside_the_bare_call_of_its_own_language() {
        let mut lines = Lines::default();
        for (name, ns) in [("bare call", 2), ("ours", 40), ("bare call in node", 50), ("opossum", 1050)] {
            for (work, _) in WORKS {
                lines.read(&format!("{work}\t{name}\tns\t{ns}\n")).unwrap();
            }
        }
        lines.read("succeeds\tours\tallocations\t0.000\n").unwrap();
        let table = lines.breakers();
        assert!(table.contains("| ours | 40 | 38 | 40 | 38 | 40 | 38 | 0 |"), "{table}");
        assert!(table.contains("| opossum | 1050 | 1000 |") && table.contains("| collected |"), "{table}");
        assert!(lines.read("nothing").is_err());
    }
}
