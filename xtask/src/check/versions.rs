//! Versions in the prose are those of the manifest and the sources.

use super::markdown::prose;
use crate::tree::Tree;

const MANIFEST: &str = "Cargo.toml";
const CHANGELOG: &str = "CHANGELOG.md";

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let manifest = tree.text(MANIFEST).unwrap_or_default();
    let (rust, own) = (value(manifest, "rust-version"), value(manifest, "version"));
    let mut found = Vec::new();
    for (path, page) in tree.ending(".md") {
        // A changelog speaks of the past.
        for (line, text) in prose(page).into_iter().filter(|_| path != CHANGELOG) {
            let said = versions_after(text, "Rust ").into_iter().filter(|said| *said != rust);
            found.extend(said.map(|said| format!("{path}:{line}: says Rust {said}; {MANIFEST} says {rust}")));
        }
        for (at, text) in page.lines().enumerate().filter(|(_, text)| text.starts_with("drystone")) {
            let said = text.split('"').nth(1).filter(|said| !said.is_empty() && !own.starts_with(said));
            let said = said.filter(|said| said.starts_with(|c: char| c.is_ascii_digit()));
            found.extend(said.map(|said| format!("{path}:{}: names version {said}; it is {own}", at + 1)));
        }
    }
    let log = tree.text(CHANGELOG).unwrap_or_default();
    if !log.contains(&format!("\n## {own}")) && !log.contains("\n## Unreleased") {
        found.push(format!("{CHANGELOG}: neither a section `## {own}` nor `## Unreleased`"));
    }
    found
}

/// The text of the first `name = "..."`.
fn value<'a>(manifest: &'a str, name: &str) -> &'a str {
    let line = manifest.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
    line.and_then(|text| text.split('"').nth(1)).unwrap_or_default()
}

/// The numbers, such as `1.95`, that follow a word.
fn versions_after<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let numbers = text.split(word).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].trim_end_matches('.')
    });
    numbers.filter(|number| number.contains('.')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(page: &str, log: &str) -> usize {
        let manifest =
            "[workspace.package]\nversion = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.95\"\n";
        findings(&Tree::of(&[(MANIFEST, manifest), ("README.md", page), (CHANGELOG, log)])).len()
    }

    #[test]
    fn the_versions_of_the_manifest_are_silent() {
        let page = "Needs Rust 1.95. A Rust platform.\n\n```toml\ndrystone = \"0.1\"\ndrystone-store = { path = \"../x\" }\n```\n";
        assert_eq!(check(page, "# Log\n\n## 0.1.0\n"), 0);
        assert_eq!(check(page, "# Log\n\n## Unreleased\n\nRust 1.94 no longer works.\n"), 0);
    }

    #[test]
    fn other_versions_are_found() {
        let log = "# Log\n\n## Unreleased\n";
        assert_eq!(check("Needs Rust 1.90 or later.\n", log), 1);
        assert_eq!(check("```toml\ndrystone = \"0.2\"\n```\n", log), 1);
        assert_eq!(check("", "# Log\n"), 1);
    }
}
