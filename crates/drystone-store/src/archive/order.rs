//! The order of tables by their foreign keys.

use std::collections::BTreeSet;

/// Tables in groups, those that are referred to first. A group of several refers to itself in a circle, as may a table alone.
pub(crate) fn groups(tables: &[String], references: &[(String, String)]) -> Vec<Vec<String>> {
    let mut left: BTreeSet<&String> = tables.iter().collect();
    let mut groups = Vec::new();
    while let Some(group) = left
        .iter()
        .map(|table| circle(table, &left, references))
        .find(|group| stands(group, &left, references))
    {
        groups.push(group.iter().map(|table| (*table).clone()).collect());
        left.retain(|table| !group.contains(table));
    }
    groups
}

/// The tables of the group of `of` refer to nothing that is left but each other.
fn stands(group: &BTreeSet<&String>, left: &BTreeSet<&String>, references: &[(String, String)]) -> bool {
    let outside =
        |(from, to): &(String, String)| group.contains(from) && left.contains(to) && !group.contains(to);
    !references.iter().any(outside)
}

/// What refers to `of`, however indirectly, and is referred to by it.
fn circle<'t>(
    of: &'t String,
    left: &BTreeSet<&'t String>,
    references: &'t [(String, String)],
) -> BTreeSet<&'t String> {
    let mut group = BTreeSet::from([of]);
    let there = reached(of, left, references);
    group.extend(there.iter().filter(|other| reached(other, left, references).contains(of)));
    group
}

fn reached<'t>(
    of: &'t String,
    left: &BTreeSet<&'t String>,
    references: &'t [(String, String)],
) -> BTreeSet<&'t String> {
    let mut all = BTreeSet::new();
    let mut next = vec![of];
    while let Some(table) = next.pop() {
        for (from, to) in references {
            if from == table && left.contains(to) && all.insert(to) {
                next.push(to);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tables: &[&str], references: &[(&str, &str)], expected: &[&[&str]]) {
        let own = |text: &&str| (*text).to_owned();
        let tables: Vec<String> = tables.iter().map(own).collect();
        let references: Vec<_> = references.iter().map(|(from, to)| (own(from), own(to))).collect();
        assert_eq!(groups(&tables, &references), expected);
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        check(&["a", "b", "c"], &[("a", "b"), ("b", "c"), ("a", "c")], &[&["c"], &["b"], &["a"]]);
        check(&["a", "b"], &[("a", "a"), ("b", "elsewhere")], &[&["a"], &["b"]]);
        check(&[], &[], &[]);
    }

    #[test]
    fn a_circle_stays_together() {
        let references = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "a")];
        check(&["a", "b", "c", "d", "e"], &references, &[&["d"], &["b", "c"], &["a"], &["e"]]);
    }
}
