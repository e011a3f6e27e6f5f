//! Fills in templates of generated code.

/// Replaces each `@name@` in `template` by its value, in one pass: what a value contains is never looked at, so that a
/// comment may hold any text.
///
/// # Panics
///
/// When the template uses a name that has no value: a mistake in this crate, which every use of the template shows.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    for (index, piece) in template.split('@').enumerate() {
        if index % 2 == 0 {
            filled.push_str(piece);
        } else {
            let value = values.iter().find(|(name, _)| *name == piece);
            let (_, value) =
                value.unwrap_or_else(|| panic!("the template names `{piece}`, which has no value"));
            filled.push_str(value);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn values_are_not_looked_at() {
        assert_eq!(fill("a @x@@y@ b", &[("x", "@y@"), ("y", "2")]), "a @y@2 b");
    }
}
