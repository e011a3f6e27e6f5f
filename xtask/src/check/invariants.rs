//! Every "Architecture Invariant" names the test that holds it, and that test exists.
//!
//! A paragraph of ARCHITECTURE.md that begins so holds at least one link of the form ``[`name_of_the_test`](file.rs)``.

use crate::tree::Tree;

const PAGE: &str = "ARCHITECTURE.md";
const MARK: &str = "Architecture Invariant:";

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (line, text) in paragraphs(tree.text(PAGE).unwrap_or_default()) {
        let Some((_, claim)) = text.split_once(MARK) else { continue };
        let tests = tests(claim);
        if tests.is_empty() {
            found.push(format!("{PAGE}:{line}: no test holds this invariant; name it as [`test`](file.rs)"));
        }
        let missing =
            tests.into_iter().filter(|(name, file)| !is_test(tree.text(file).unwrap_or_default(), name));
        found.extend(missing.map(|(name, file)| format!("{PAGE}:{line}: {file} has no test `{name}`")));
    }
    found
}

/// The paragraphs of a page, each as one text with the number of its first line.
fn paragraphs(page: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (at, line) in page.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with("* ") || line.starts_with('#') {
            open = false;
        }
        match found.last_mut() {
            Some((_, text)) if open => text.extend([" ", line.trim()]),
            _ => found.push((at + 1, line.to_owned())),
        }
        open = !line.trim().is_empty();
    }
    found
}

/// Names and files of the tests that a text links to.
fn tests(text: &str) -> Vec<(&str, &str)> {
    let links = text.split("[`").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once("`](")?;
        Some((name, rest.split_once(')')?.0))
    });
    links.filter(|(_, file)| file.ends_with(".rs")).collect()
}

/// Whether the file has a test of this name: the line before it, or one a little further up, is a test attribute.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let declares = |line: &str| {
        let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        rest.and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with(['(', '<']))
    };
    let is_marked = |at: usize| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
        above.into_iter().any(|line| line.contains("test"))
    };
    lines.iter().enumerate().any(|(at, line)| declares(line) && is_marked(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "#[test]\nfn holds() {}\n#[tokio::test(start_paused = true)]\nasync fn also() {}\n/// No claim.\nfn helper() {}\nimpl A {\nfn twice() {}\n}\n#[test]\nfn twice() {}\n";

    fn check(page: &str) -> usize {
        findings(&Tree::of(&[(PAGE, page), ("a/tests/a.rs", SOURCE)])).len()
    }

    #[test]
    fn an_invariant_with_its_test_is_silent() {
        assert_eq!(
            check(
                "**Architecture Invariant:** the store\nknows no network.\nHeld by [`holds`](a/tests/a.rs).\n"
            ),
            0
        );
        assert_eq!(
            check("* **Architecture Invariant:** x [`holds`](a/tests/a.rs), [`also`](a/tests/a.rs)\n"),
            0
        );
        assert_eq!(check("**Architecture Invariant:** x [`twice`](a/tests/a.rs)\n"), 0);
        assert_eq!(check("No claim.\n"), 0);
    }

    #[test]
    fn an_invariant_without_a_test_is_found() {
        for page in [
            "**Architecture Invariant:** the store knows no network.\n\n[`holds`](a/tests/a.rs)\n",
            "* **Architecture Invariant:** one.\n* Another line. [`holds`](a/tests/a.rs)\n",
            "**Architecture Invariant:** x [`gone`](a/tests/a.rs)\n",
            "**Architecture Invariant:** x [`helper`](a/tests/a.rs)\n",
            "**Architecture Invariant:** x [`holds`](a/tests/b.rs)\n",
        ] {
            assert_eq!(check(page), 1, "{page}");
        }
    }
}
