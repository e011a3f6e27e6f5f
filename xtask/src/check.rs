//! `cargo xtask check`: the prose and the habits, checked as the code is.
//!
//! Documentation drifts because nothing fails when it does. Each rule below is one file: a function from the tree to findings.

mod commands;
mod headers;
mod invariants;
mod lengths;
mod links;
pub(crate) mod markdown;
mod pages;
mod versions;
mod words;

use crate::tree::Tree;
use crate::{Result, conclude};

/// Runs every rule.
pub(crate) fn run() -> Result {
    let tree = Tree::read()?;
    for warning in lengths::warnings(&tree) {
        println!("warning: {warning}");
    }
    conclude("check", &findings(&tree))
}

fn findings(tree: &Tree) -> Vec<String> {
    let rules: [fn(&Tree) -> Vec<String>; 8] = [
        headers::findings,
        lengths::findings,
        pages::findings,
        invariants::findings,
        links::findings,
        commands::findings,
        versions::findings,
        words::findings,
    ];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_every_rule() {
        assert_eq!(findings(&Tree::read().unwrap()), [""; 0]);
    }
}
