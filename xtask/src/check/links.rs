//! Relative links in Markdown lead somewhere, to the heading too if they name one.

use super::markdown::{anchors, prose};
use crate::tree::Tree;

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, page) in tree.ending(".md") {
        for (line, text) in prose(page) {
            for target in targets(text).into_iter().filter(|target| is_relative(target)) {
                if let Some(wrong) = broken(tree, path, page, &target) {
                    found.push(format!("{path}:{line}: the link to {target} {wrong}"));
                }
            }
        }
    }
    found
}

/// What is wrong with a link, if something is.
fn broken(tree: &Tree, path: &str, page: &str, target: &str) -> Option<String> {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let there = if file.is_empty() { path.to_owned() } else { resolve(path, file)? };
    if !tree.has(&there) {
        return Some(format!("leads to {there}, which does not exist"));
    }
    let there = if file.is_empty() { page } else { tree.text(&there).unwrap_or_default() };
    let known = heading.is_empty() || anchors(there).iter().any(|anchor| anchor == heading);
    (!known).then(|| "names a heading that is not there".to_owned())
}

/// The path that a relative one means on a page; `None` if it leaves the repository.
fn resolve(page: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:")
}

/// The targets of `[text](target)` and `[name]: target`, outside code.
fn targets(line: &str) -> Vec<String> {
    let bare: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut found: Vec<String> = bare
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    if let Some((_, target)) = bare.split_once("]: ").filter(|_| bare.starts_with('[')) {
        found.push(target.trim().to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let other = "# A heading\n";
        findings(&Tree::of(&[("docs/guide/a.md", text), ("docs/b.md", other), ("LICENSE-MIT", "")]))
    }

    #[test]
    fn links_that_lead_somewhere_are_silent() {
        for text in [
            "[b](../b.md), [up](../../LICENSE-MIT) and [here](.)",
            "[b](../b.md#a-heading)",
            "# Mine\n\n[mine](#mine)",
            "[far](https://example.org/x.md)",
            "[b]: ../b.md",
            "`[code](nowhere.md)`",
            "```\n[code](nowhere.md)\n```",
            "![`x`](../b.md \"title\")",
        ] {
            assert_eq!(check(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[b](b.md)",
            "[b](../b.md#another)",
            "[mine](#mine)",
            "[b]: b.md",
            "two: [b](../b.md) [c](../c.md)",
            "[`code`](nowhere.md)",
        ] {
            let found = check(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("docs/guide/a.md:1: "), "{found:?}");
        }
    }
}
