//! A number that lies somewhere.

/// A number that is not known exactly: the least and the most it can be, and what it most likely is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The least it can be.
    pub low: u64,
    /// What it most likely is.
    pub point: u64,
    /// The most it can be.
    pub high: u64,
}

impl Span {
    /// A number that is known.
    pub const fn exactly(count: u64) -> Self {
        Self { low: count, point: count, high: count }
    }

    /// A number between `low` and `high`.
    pub const fn between(low: u64, point: u64, high: u64) -> Self {
        Self { low, point, high }
    }

    /// A number that `count` says to within `slack`.
    pub const fn around(count: u64, slack: u64) -> Self {
        Self { low: count.saturating_sub(slack), point: count, high: count.saturating_add(slack) }
    }

    /// Whether the number is known.
    pub fn is_exact(self) -> bool {
        self.low == self.high
    }

    /// The sum with another number, neither knowing of the other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_add(other.low),
            point: self.point.saturating_add(other.point),
            high: self.high.saturating_add(other.high),
        }
    }

    /// So many of them.
    #[must_use]
    pub fn times(self, count: impl Into<Self>) -> Self {
        let Self { low, point, high } = count.into();
        Self {
            low: self.low.saturating_mul(low),
            point: self.point.saturating_mul(point),
            high: self.high.saturating_mul(high),
        }
    }

    /// So many of them, if this number is of thousandths. Rounded outwards, the point to the nearest.
    #[must_use]
    pub fn thousandths_of(self, count: impl Into<Self>) -> Self {
        let Self { low, point, high } = self.times(count);
        Self { low: low / 1_000, point: point.saturating_add(500) / 1_000, high: high.div_ceil(1_000) }
    }
}

impl From<u64> for Span {
    fn from(count: u64) -> Self {
        Self::exactly(count)
    }
}
