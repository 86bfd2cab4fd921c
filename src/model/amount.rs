//! Money: counts of minor units, never floats, never unchecked.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest magnitude of any amount, change or total: 2^59 minor units.
///
/// Seven values of this size still sum exactly in 64 bits, so an entry's postings can be added up without care.
pub const MINOR_UNITS_MAX: i64 = 1 << 59;

/// A result of money arithmetic left the range of ±2^59 minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("amount is outside of ±2^59 minor units")]
pub struct AmountOverflow;

/// A non-negative number of minor units of an asset, at most 2^59.
///
/// With the default asset `USD/9` one unit is a billionth of a dollar and the maximum is about 576 million dollars.
/// There is no `+`: arithmetic is checked and says so. Serialised as a string of digits, never as a JSON number.
///
/// ```
/// use prepaid::{Amount, Asset};
///
/// let price = Asset::USD.parse("0.25")?;
/// assert_eq!(price.minor_units(), 250_000_000);
/// assert_eq!(Asset::USD.format(price), "0.250000000");
/// assert!(price.checked_sub(Asset::USD.parse("0.26")?).is_err());
/// # Ok::<(), prepaid::model::ParseAmountError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// 2^59 minor units.
    pub const MAX: Self = Self(MINOR_UNITS_MAX);

    /// An amount of `minor_units`.
    ///
    /// # Errors
    /// [`AmountOverflow`] when it is negative or above [`Amount::MAX`].
    pub const fn new(minor_units: i64) -> Result<Self, AmountOverflow> {
        if minor_units < 0 || minor_units > MINOR_UNITS_MAX { Err(AmountOverflow) } else { Ok(Self(minor_units)) }
    }

    /// The number of minor units.
    pub const fn minor_units(self) -> i64 {
        self.0
    }

    /// Whether this is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The same amount as a change of plus so much.
    pub const fn signed(self) -> SignedAmount {
        SignedAmount(self.0)
    }

    /// The same amount as a change of minus so much.
    pub const fn negated(self) -> SignedAmount {
        SignedAmount(self.0.saturating_neg())
    }

    /// The sum.
    ///
    /// # Errors
    /// [`AmountOverflow`] above [`Amount::MAX`].
    pub const fn checked_add(self, other: Self) -> Result<Self, AmountOverflow> {
        Self::new(self.0.saturating_add(other.0))
    }

    /// The difference.
    ///
    /// # Errors
    /// [`AmountOverflow`] when `other` is the larger one.
    pub const fn checked_sub(self, other: Self) -> Result<Self, AmountOverflow> {
        Self::new(self.0.saturating_sub(other.0))
    }

    /// The difference, or zero when `other` is the larger one.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        if other.0 >= self.0 { Self::ZERO } else { Self(self.0.saturating_sub(other.0)) }
    }
}

/// A change or a balance in minor units, within ±2^59. Serialised as a string of digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignedAmount(i64);

impl SignedAmount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// 2^59 minor units.
    pub const MAX: Self = Self(MINOR_UNITS_MAX);

    /// A signed amount of `minor_units`.
    ///
    /// # Errors
    /// [`AmountOverflow`] beyond ±2^59.
    pub const fn new(minor_units: i64) -> Result<Self, AmountOverflow> {
        if minor_units < MINOR_UNITS_MAX.saturating_neg() || minor_units > MINOR_UNITS_MAX {
            Err(AmountOverflow)
        } else {
            Ok(Self(minor_units))
        }
    }

    /// The number of minor units.
    pub const fn minor_units(self) -> i64 {
        self.0
    }

    /// Whether this is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether this is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The same with the other sign.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// The sum.
    ///
    /// # Errors
    /// [`AmountOverflow`] beyond ±2^59.
    pub const fn checked_add(self, other: Self) -> Result<Self, AmountOverflow> {
        Self::new(self.0.saturating_add(other.0))
    }

    /// The difference.
    ///
    /// # Errors
    /// [`AmountOverflow`] beyond ±2^59.
    pub const fn checked_sub(self, other: Self) -> Result<Self, AmountOverflow> {
        Self::new(self.0.saturating_sub(other.0))
    }

    /// This amount where it is positive, else zero.
    pub const fn positive_part(self) -> Amount {
        if self.0 > 0 { Amount(self.0) } else { Amount::ZERO }
    }

    /// The magnitude where this is negative (a debt), else zero.
    pub const fn negative_part(self) -> Amount {
        self.negated().positive_part()
    }
}

/// What any number of changes come to, in minor units: money that comes and goes again passes every bound in time.
/// Serialised as a string of digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turnover(i128);

impl Turnover {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The number of minor units.
    pub const fn minor_units(self) -> i128 {
        self.0
    }

    /// The sum. It is exact: the numbers of entries do not reach so far that it could leave the range.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<Amount> for SignedAmount {
    fn from(amount: Amount) -> Self {
        amount.signed()
    }
}

impl From<Amount> for Turnover {
    fn from(amount: Amount) -> Self {
        Self(i128::from(amount.0))
    }
}

impl From<SignedAmount> for Turnover {
    fn from(amount: SignedAmount) -> Self {
        Self(i128::from(amount.0))
    }
}

impl fmt::Display for Amount {
    /// The bare number of minor units; [`Asset::format`](crate::Asset::format) prints decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SignedAmount {
    /// The bare number of minor units.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Turnover {
    /// The bare number of minor units.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for SignedAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for Turnover {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let minor_units = deserializer.deserialize_str(MinorUnits)?;
        Self::new(minor_units).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SignedAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let minor_units = deserializer.deserialize_str(MinorUnits)?;
        Self::new(minor_units).map_err(serde::de::Error::custom)
    }
}

/// Reads `-?digits` from a string and refuses everything else, JSON numbers above all: they may have been through a
/// float on their way here.
struct MinorUnits;

impl serde::de::Visitor<'_> for MinorUnits {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string of digits, the number of minor units")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<i64, E> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain {
            return Err(E::invalid_value(serde::de::Unexpected::Str(text), &self));
        }
        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_checked_at_both_ends() {
        assert!(Amount::new(-1).is_err());
        assert!(Amount::new(MINOR_UNITS_MAX + 1).is_err());
        assert_eq!(Amount::MAX.checked_add(Amount::new(1).unwrap()), Err(AmountOverflow));
        assert!(SignedAmount::new(i64::MIN).is_err());
        assert_eq!(SignedAmount::new(-3).unwrap().negative_part(), Amount::new(3).unwrap());
    }

    #[test]
    fn json_is_a_string_and_numbers_are_refused() {
        assert_eq!(serde_json::to_string(&Amount::new(42).unwrap()).unwrap(), "\"42\"");
        assert_eq!(serde_json::from_str::<SignedAmount>("\"-42\"").unwrap(), SignedAmount::new(-42).unwrap());
        for bad in
            ["42", "\"\"", "\"+1\"", "\"1e5\"", "\"4_2\"", "\" 1\"", "\"1.0\"", "\"99999999999999999999\"", "\"-1\""]
        {
            assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
        }
    }
}
