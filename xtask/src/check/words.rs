//! No file names a place that exists on one machine only.

use crate::tree::Tree;

/// Beginnings of such places, in two parts so that this file does not name them either.
const PLACES: [(&str, &str); 5] =
    [("/ro", "ot/"), ("/wo", "rk/"), ("/Us", "ers/"), ("file:/", "//"), ("/home", "/runner")];

pub(super) fn findings(tree: &Tree) -> Vec<String> {
    let places = PLACES.map(|(a, b)| format!("{a}{b}"));
    let mut found = Vec::new();
    for (path, text) in tree.all() {
        for (at, line) in text.lines().enumerate() {
            let named = places.iter().filter(|place| names(line, place));
            found.extend(
                named.map(|place| format!("{path}:{}: names {place}, a place on one machine", at + 1)),
            );
        }
    }
    found
}

/// Whether `line` names `place` as the beginning of a path, not as the middle of one.
fn names(line: &str, place: &str) -> bool {
    line.match_indices(place)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-*}".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_one_machine_is_found() {
        for (a, b) in PLACES {
            let line = format!("see {a}{b}x for more\n");
            assert_eq!(findings(&Tree::of(&[("a.toml", &line)])).len(), 1, "{line}");
        }
    }

    #[test]
    fn the_middle_of_a_path_is_not_a_place() {
        let line = format!("docs{}{}x and ../net{}{}y", "/wo", "rk/", "/wo", "rk/");
        assert_eq!(findings(&Tree::of(&[("a.md", &line)])), [""; 0]);
    }
}
