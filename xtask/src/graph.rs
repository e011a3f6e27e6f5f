//! The graph of the workspace's own crates: a golden file, and what may know what.
//!
//! `crate-graph.txt` makes a new edge a visible line in a diff. The rules below are the ones that a diff alone would not stop. Both
//! look at normal and build dependencies: what a test uses ships to nobody.

mod rules;

use std::collections::BTreeSet;
use std::fs;

use crate::metadata::{self, Kind, Package};
use crate::tree::{self, Tree};
use crate::{Result, conclude};

/// The golden file, from the root of the repository.
const GOLDEN: &str = "crate-graph.txt";

/// `cargo xtask graph`.
pub(crate) fn print() -> Result {
    print!("{}", render(&metadata::members()?));
    Ok(())
}

/// `cargo xtask graph --bless`.
pub(crate) fn bless() -> Result {
    let path = tree::root().join(GOLDEN);
    fs::write(&path, render(&metadata::members()?))
        .map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// `cargo xtask graph --check`.
pub(crate) fn check() -> Result {
    let members = metadata::members()?;
    let tree = Tree::read()?;
    let mut findings = drift(tree.text(GOLDEN).unwrap_or_default(), &render(&members));
    findings.extend(rules::breaches(&members));
    findings.extend(rules::reaching_out(&tree));
    conclude("graph", &findings)
}

/// One line per edge, and one for a crate without any.
fn render(members: &[Package]) -> String {
    let names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let mut lines = BTreeSet::new();
    for package in members {
        let before = lines.len();
        for (name, kind) in edges(package, &names) {
            let note = if kind == Kind::Build { " (build)" } else { "" };
            lines.insert(format!("{} -> {name}{note}\n", package.name));
        }
        if lines.len() == before {
            lines.insert(format!("{}\n", package.name));
        }
    }
    lines.into_iter().collect()
}

/// The members that a package needs to be built.
fn edges<'a>(package: &'a Package, names: &BTreeSet<&str>) -> BTreeSet<(&'a str, Kind)> {
    let shipped = package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let own = shipped.filter(|dependency| names.contains(dependency.name.as_str()));
    own.map(|dependency| (dependency.name.as_str(), dependency.kind)).collect()
}

/// The lines in which the golden file and the workspace differ.
fn drift(golden: &str, actual: &str) -> Vec<String> {
    let (golden, actual): (BTreeSet<&str>, BTreeSet<&str>) =
        (golden.lines().collect(), actual.lines().collect());
    let gone = golden.difference(&actual).map(|line| format!("- {line}"));
    let new = actual.difference(&golden).map(|line| format!("+ {line}"));
    let mut lines: Vec<String> = gone.chain(new).collect();
    if !lines.is_empty() {
        lines.insert(
            0,
            format!("{GOLDEN}: the graph has changed; if that is meant, run `cargo xtask graph --bless`"),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_a_line_and_tests_draw_none() {
        let members = rules::fixture(&[
            ("crates/a", "a", &[]),
            ("crates/b", "b", &[("a", Kind::Normal), ("serde", Kind::Normal)]),
            ("crates/c", "c", &[("a", Kind::Build), ("b", Kind::Dev)]),
        ]);
        assert_eq!(render(&members), "a\nb -> a\nc -> a (build)\n");
    }

    #[test]
    fn a_new_edge_and_a_lost_one_are_named() {
        assert_eq!(drift("a\nb -> a\n", "a\nb -> a\n"), [""; 0]);
        let lines = drift("a\nb -> a\n", "a\nb -> c\n");
        assert!(lines[0].contains("--bless"), "{lines:?}");
        assert_eq!(lines[1..], ["- b -> a", "+ b -> c"]);
    }

    #[test]
    fn the_golden_file_shows_the_workspace() {
        let golden = fs::read_to_string(tree::root().join(GOLDEN)).unwrap();
        assert_eq!(drift(&golden, &render(&metadata::members().unwrap())), [""; 0]);
    }

    #[test]
    fn the_workspace_keeps_the_rules() {
        assert_eq!(rules::breaches(&metadata::members().unwrap()), [""; 0]);
        assert_eq!(rules::reaching_out(&Tree::read().unwrap()), [""; 0]);
    }
}
