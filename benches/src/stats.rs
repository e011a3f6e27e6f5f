//! Rounds of measurements and what is reported of them.

use std::collections::BTreeMap;

/// Measurements by name, one a round.
#[derive(Debug, Default)]
pub(crate) struct Rounds(BTreeMap<String, Vec<f64>>);

impl Rounds {
    /// Adds a round's measurement.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The median over the rounds; not a number if nothing was measured under this name.
    pub(crate) fn median(&self, name: &str) -> f64 {
        median(self.of(name).to_vec())
    }

    /// The sum over the rounds.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.of(name).iter().sum()
    }

    /// The median of the differences inside each round.
    pub(crate) fn difference(&self, name: &str, base: &str) -> f64 {
        median(self.of(name).iter().zip(self.of(base)).map(|(value, base)| value - base).collect())
    }

    /// The median of the ratios inside each round.
    pub(crate) fn ratio(&self, name: &str, base: &str) -> f64 {
        median(self.of(name).iter().zip(self.of(base)).map(|(value, base)| value / base).collect())
    }

    fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The middle value, the upper one of two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_ratios_are_taken_inside_a_round() {
        let mut rounds = Rounds::default();
        for (a, b) in [(1.0, 3.0), (100.0, 102.0), (10.0, 40.0)] {
            rounds.add("a", a);
            rounds.add("b", b);
        }
        assert!((rounds.median("b") - 40.0).abs() < 1e-9);
        // The medians differ by 30, the rounds by 2 at the middle.
        assert!((rounds.difference("b", "a") - 2.0).abs() < 1e-9);
        assert!((rounds.ratio("b", "a") - 3.0).abs() < 1e-9);
        assert!(rounds.median("c").is_nan());
    }
}
