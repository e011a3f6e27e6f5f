//! Every Rust file begins with a `//!` header that says what it is and why.

use crate::tree::Tree;

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let bare = tree.ending(".rs").filter(|(_, text)| !has_header(text));
    bare.map(|(path, _)| format!("{path}:1: no header; say in a `//!` line what the file is and why"))
        .collect()
}

fn has_header(text: &str) -> bool {
    text.lines().next().and_then(|line| line.strip_prefix("//!")).is_some_and(|rest| !rest.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_the_first_line_and_says_something() {
        let check = |text| findings(&Tree::of(&[("a.rs", text)])).len();
        assert_eq!(check("//! What it is.\n"), 0);
        for text in
            ["", "//!\n", "fn a() {}\n//! Late.\n", "// Not a header.\n", "/// Nor this.\nfn a() {}\n"]
        {
            assert_eq!(check(text), 1, "{text:?}");
        }
    }
}
