//! The bounds of an adaptive limit.

/// Between what a limit may move; all three equal: a fixed limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitConfig {
    /// Never fewer calls at once than this; 2 by default. Zero counts as one.
    pub min: u32,
    /// Where the limit starts, before it has learned anything; 64 by default.
    pub initial: u32,
    /// Never more calls at once than this; 2048 by default.
    pub max: u32,
}

impl LimitConfig {
    /// A limit that does not move.
    #[must_use]
    pub const fn fixed(limit: u32) -> Self {
        Self { min: limit, initial: limit, max: limit }
    }

    /// The same with `1 <= min <= initial <= max`: the greater bound wins.
    pub(crate) fn ordered(self) -> Self {
        let min = self.min.max(1);
        let max = self.max.max(min);
        Self { min, initial: self.initial.clamp(min, max), max }
    }
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self { min: 2, initial: 64, max: 2048 }
    }
}
