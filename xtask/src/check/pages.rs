//! A page per error code, and a code per page.
//!
//! Codes are the platform's reasons, the ids of what the tools refuse (`DRY-C001`), and the compile errors that tests pin (`E0502-tx`).

use std::collections::BTreeSet;

use super::markdown::prose;
use crate::tree::Tree;

const REASONS: &str = "crates/drystone-call/src/reason.rs";
const PAGES: &str = "docs/errors/";
const INDEX: &str = "docs/errors/README.md";

/// What every page says, in this order.
const SECTIONS: [&str; 4] = ["## What happened", "## Why", "## What to do", "## Example"];

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let mut codes = reasons(tree.text(REASONS).unwrap_or_default());
    let mut found = Vec::new();
    if codes.is_empty() {
        found.push(format!(
            "{REASONS}: no reason found; the list's form has changed, teach xtask/src/check/pages.rs"
        ));
    }
    codes.extend(ids(tree));
    let pages: BTreeSet<String> = tree.under(PAGES).filter_map(|(path, _)| page_name(path)).collect();
    found.extend(
        codes.difference(&pages).map(|code| format!("{PAGES}{code}.md: no page for the code {code}")),
    );
    let strays = pages.difference(&codes).filter(|page| !is_pinned(tree, page));
    found.extend(strays.map(|page| format!("{PAGES}{page}.md: a page for no code")));
    for page in &pages {
        found.extend(faults(tree, page));
    }
    found
}

/// The names in the list of platform reasons: `Variant = "NAME", Code, 400;`.
fn reasons(source: &str) -> BTreeSet<String> {
    let list = source.lines().skip_while(|line| !line.starts_with("platform_reasons! {"));
    let names = list
        .filter_map(|line| line.split_once(" = \"")?.1.split_once("\", ").map(|(name, _)| name.to_owned()));
    names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect()
}

/// The ids of the form `DRY-X000` in the platform's sources.
fn ids(tree: &Tree) -> BTreeSet<String> {
    let sources = tree.under("crates/").filter(|(path, _)| path.contains("/src/") && path.ends_with(".rs"));
    sources.flat_map(|(_, text)| text.match_indices("DRY-").filter_map(|(at, _)| id(&text[at..]))).collect()
}

/// The id at the beginning of `text`.
fn id(text: &str) -> Option<String> {
    let id = text.get(..8)?;
    let letter = id.get(4..5)?.chars().all(|c| c.is_ascii_uppercase());
    let number = id.get(5..)?.chars().all(|c| c.is_ascii_digit());
    (letter && number).then(|| id.to_owned())
}

fn page_name(path: &str) -> Option<String> {
    let name = path.strip_prefix(PAGES)?.strip_suffix(".md")?;
    (path != INDEX).then(|| name.to_owned())
}

/// Whether the page is about a compile error that some test pins.
fn is_pinned(tree: &Tree, page: &str) -> bool {
    let code = page.split('-').next().unwrap_or_default();
    let error = format!("error[{code}]");
    tree.ending(".stderr").any(|(_, text)| text.contains(&error))
}

/// What a page lacks.
fn faults(tree: &Tree, page: &str) -> Vec<String> {
    let path = format!("{PAGES}{page}.md");
    let text = tree.text(&path).unwrap_or_default();
    let mut found = Vec::new();
    let title = text.lines().next().unwrap_or_default();
    if !title.starts_with("# ") || !title.contains(page.split('-').next_back().unwrap_or_default()) {
        found.push(format!("{path}:1: the title must name the code"));
    }
    let headings: Vec<&str> =
        prose(text).into_iter().map(|(_, line)| line).filter(|l| l.starts_with("## ")).collect();
    let mut rest = headings.iter();
    let missing = SECTIONS.iter().find(|section| !rest.any(|heading| heading == *section));
    found.extend(
        missing.map(|section| format!("{path}: no section `{section}`, or not in the order of the others")),
    );
    if !tree.text(INDEX).unwrap_or_default().contains(&format!("({page}.md)")) {
        found.push(format!("{INDEX}: does not list {page}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "enum E { X = \"NO\", }\nplatform_reasons! {\n    /// Doc.\n    TooLarge = \"TOO_LARGE\", Internal, 500;\n}\n";
    const PAGE: &str = "# TOO_LARGE\n\n## What happened\n\n## Why\n\n## What to do\n\n## Example\n";

    fn check(reasons: &str, pages: &[(&str, &str)]) -> Vec<String> {
        let index: String =
            pages.iter().map(|(path, _)| format!("({})\n", path.trim_start_matches(PAGES))).collect();
        let mut files = vec![(REASONS, reasons), (INDEX, index.as_str())];
        files.push(("crates/a/tests/ui/x.stderr", "error[E0502]: cannot borrow"));
        files.extend_from_slice(pages);
        findings(&Tree::of(&files))
    }

    #[test]
    fn a_code_with_its_page_is_silent() {
        assert_eq!(check(LIST, &[("docs/errors/TOO_LARGE.md", PAGE)]), [""; 0]);
    }

    #[test]
    fn the_list_of_reasons_must_be_found() {
        assert_eq!(check("", &[]).len(), 1);
    }

    #[test]
    fn a_code_without_a_page_is_found() {
        assert!(check(LIST, &[])[0].contains("no page for the code TOO_LARGE"));
        let rule = Tree::of(&[
            (REASONS, LIST),
            (INDEX, "(TOO_LARGE.md)"),
            ("docs/errors/TOO_LARGE.md", PAGE),
            ("crates/a/src/r.rs", "\"DRY-C001\""),
        ]);
        assert_eq!(findings(&rule), ["docs/errors/DRY-C001.md: no page for the code DRY-C001"]);
        let tree = Tree::of(&[(
            "crates/a/src/rules.rs",
            "const ID: &str = \"DRY-C001\"; // DRY-Cxxx\nf(\"error[DRY-R002]: {a}\")",
        )]);
        assert_eq!(ids(&tree), ["DRY-C001", "DRY-R002"].map(str::to_owned).into());
    }

    #[test]
    fn a_page_without_a_code_is_found() {
        let stray = PAGE.replace("TOO_LARGE", "GONE");
        let found = check(LIST, &[("docs/errors/TOO_LARGE.md", PAGE), ("docs/errors/GONE.md", &stray)]);
        assert_eq!(found, ["docs/errors/GONE.md: a page for no code"]);
        let pinned = PAGE.replace("TOO_LARGE", "E0502: a tx");
        assert_eq!(
            check(LIST, &[("docs/errors/TOO_LARGE.md", PAGE), ("docs/errors/E0502-tx.md", &pinned)]),
            [""; 0]
        );
    }

    #[test]
    fn a_page_has_its_title_sections_and_a_line_in_the_index() {
        let path = "docs/errors/TOO_LARGE.md";
        for (page, word) in [
            (PAGE.replace("# TOO_LARGE", "# Too large"), "title"),
            (PAGE.replace("## Why\n", ""), "## Why"),
            (PAGE.replace("## Why", "## Then").replace("## Example", "## Why"), "## What to do"),
        ] {
            let found = check(LIST, &[(path, &page)]);
            assert!(found.iter().any(|text| text.contains(word)), "{word}: {found:?}");
        }
        let unlisted = Tree::of(&[(REASONS, LIST), (INDEX, ""), (path, PAGE)]);
        assert_eq!(findings(&unlisted), ["docs/errors/README.md: does not list TOO_LARGE"]);
    }
}
