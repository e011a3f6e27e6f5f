//! The known name that a misspelt one was meant to be.

/// The known name nearest to `name`, if one is near enough to be meant.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let by_distance = known.into_iter().map(|known| (distance(name, known), known));
    let (distance, nearest) = by_distance.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.chars().count() / 3).then_some(nearest)
}

/// `; did you mean ...?` where a known name is near, and otherwise all of them.
pub(super) fn hint(name: &str, what: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None if known.is_empty() => format!("; there are no {what}"),
        None => format!("; the {what} are {}", known.join(", ")),
    }
}

/// How many characters have to be put in, left out or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, c) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, d) in other.iter().enumerate() {
            let replaced = corner + usize::from(c != *d);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let known = ["timeout", "retry", "breaker"];
        for (name, meant) in
            [("timout", "timeout"), ("retries", "retry"), ("braeker", "breaker"), ("retry", "retry")]
        {
            assert_eq!(nearest(name, known), Some(meant), "{name}");
        }
        assert_eq!(nearest("bulkhead", known), None);
        assert_eq!(distance("", "abc"), 3);
        assert!(hint("bulkhead", "settings", &known).contains("timeout, retry, breaker"));
        assert!(hint("timout", "settings", &known).contains("did you mean timeout?"));
    }
}
