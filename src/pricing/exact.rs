//! Exact decimals: what a rate, a factor or an unrounded cost is, with no digit ever lost.

use std::cmp::Ordering;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative decimal, `mantissa / 10^scale`. Equality and order are those of the number: `2.50` equals `2.5`.
///
/// Rates and factors are read from text with at most 28 digits; sums and products may have more, and are exact or
/// fail. Arithmetic of `rust_decimal` is not used, because its `checked_*` functions round silently.
///
/// Printed and serialised as a plain decimal string without trailing zeros.
#[derive(Clone, Copy, Default)]
pub struct Exact {
    mantissa: u128,
    scale: u32,
}

/// Why a text is not an [`Exact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Malformed,
    Negative,
    TooPrecise,
}

/// More than this many decimals, and `10^scale` would not fit 128 bits.
const SCALE_MAX: u32 = 38;

/// What is read has at most this many digits, before and behind the point together, as `Decimal` has.
const DIGITS_MAX: u32 = 28;

impl Exact {
    /// Nothing.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };
    /// One.
    pub const ONE: Self = Self { mantissa: 1, scale: 0 };

    /// Reads `digits[.digits]`: no sign, exponent or blank.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        if text.contains(['e', 'E']) {
            return Err(Flaw::Malformed);
        }
        Self::parse_json(text)
    }

    /// Reads a JSON number from its text, so that `1.5e-07` means exactly that.
    pub(super) fn parse_json(text: &str) -> Result<Self, Flaw> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, read_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(Flaw::Malformed),
            Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(Flaw::Malformed);
        }
        let mut mantissa: u128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = u128::from(digit.saturating_sub(b'0'));
            mantissa = mantissa.checked_mul(10).and_then(|sum| sum.checked_add(digit)).ok_or(Flaw::TooPrecise)?;
        }
        match (mantissa, negative) {
            (0, _) => return Ok(Self::ZERO),
            (_, true) => return Err(Flaw::Negative),
            (_, false) => {}
        }
        let decimals = i64::try_from(fraction.len()).map_err(|_| Flaw::TooPrecise)?;
        Self { mantissa, scale: 0 }.shifted(exponent.saturating_sub(decimals)).ok_or(Flaw::TooPrecise)
    }

    /// The same digits with the point moved: `self * 10^exponent`, where the result has at most 28 digits.
    pub(super) fn shifted(self, exponent: i64) -> Option<Self> {
        let scale = i64::from(self.scale).checked_sub(exponent)?;
        let mut shifted = match u32::try_from(scale) {
            Ok(scale) => Self { mantissa: self.mantissa, scale },
            Err(_) => {
                let zeros = u32::try_from(scale.checked_neg()?).ok()?;
                Self { mantissa: self.mantissa.checked_mul(power(zeros)?)?, scale: 0 }
            }
        };
        while shifted.scale > 0 && shifted.mantissa.checked_rem(10) == Some(0) {
            shifted.mantissa = shifted.mantissa.checked_div(10)?;
            shifted.scale = shifted.scale.saturating_sub(1);
        }
        let fits = shifted.scale <= DIGITS_MAX && shifted.mantissa < power(DIGITS_MAX)?;
        fits.then_some(shifted)
    }

    /// The exact sum; `None` beyond 128 bits.
    pub(super) fn checked_add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(Self { mantissa: self.mantissa_at(scale)?.checked_add(other.mantissa_at(scale)?)?, scale })
    }

    /// The exact difference; `None` beyond 128 bits or below zero.
    pub(super) fn checked_sub(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(Self { mantissa: self.mantissa_at(scale)?.checked_sub(other.mantissa_at(scale)?)?, scale })
    }

    /// The exact product with a count; `None` beyond 128 bits.
    pub(super) fn checked_times(self, count: u64) -> Option<Self> {
        Some(Self { mantissa: self.mantissa.checked_mul(u128::from(count))?, scale: self.scale })
    }

    /// The exact product; `None` beyond 128 bits or 38 decimals.
    pub(super) fn checked_mul(self, other: Self) -> Option<Self> {
        let scale = self.scale.checked_add(other.scale).filter(|scale| *scale <= SCALE_MAX)?;
        Some(Self { mantissa: self.mantissa.checked_mul(other.mantissa)?, scale })
    }

    /// The smallest whole number of units of `10^-scale` that is not below this; `None` beyond 128 bits.
    pub(super) fn ceil_units(self, scale: u32) -> Option<u128> {
        match self.scale.checked_sub(scale) {
            Some(surplus) => Some(self.mantissa.div_ceil(power(surplus)?)),
            None => self.mantissa_at(scale),
        }
    }

    /// The number of decimals it is kept with.
    pub(super) fn scale(self) -> u32 {
        self.scale
    }

    /// Whether this is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// The same number as a `Decimal`, where it has room for it (28 digits); nothing is rounded.
    pub fn to_decimal(self) -> Option<Decimal> {
        let plain = self.to_string();
        Decimal::from_str_exact(&plain).ok()
    }

    fn mantissa_at(self, scale: u32) -> Option<u128> {
        match scale.saturating_sub(self.scale) {
            0 => Some(self.mantissa),
            zeros => self.mantissa.checked_mul(power(zeros)?),
        }
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        // Whole parts first: what is left is below one, and so has room at any scale up to 38.
        let split = |number: &Self| {
            let one = power(number.scale).unwrap_or(u128::MAX);
            let fraction = Self { mantissa: number.mantissa.checked_rem(one).unwrap_or(0), scale: number.scale };
            (number.mantissa.checked_div(one).unwrap_or(0), fraction.mantissa_at(SCALE_MAX).unwrap_or(0))
        };
        if self.scale == other.scale { self.mantissa.cmp(&other.mantissa) } else { split(self).cmp(&split(other)) }
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Exact {}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::try_from(self.scale).unwrap_or(0);
        let digits = format!("{:0>width$}", self.mantissa, width = decimals.saturating_add(1));
        let (whole, fraction) = digits.split_at_checked(digits.len().saturating_sub(decimals)).unwrap_or((&digits, ""));
        match fraction.trim_end_matches('0') {
            "" => f.pad(whole),
            fraction => f.pad(&format!("{whole}.{fraction}")),
        }
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exact({self})")
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Plain;
        impl serde::de::Visitor<'_> for Plain {
            type Value = Exact;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string with a plain decimal of at most 28 digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Exact, E> {
                Exact::parse(text).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Plain)
    }
}

fn read_exponent(text: &str) -> Result<i64, Flaw> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Flaw::Malformed);
    }
    // An exponent that does not fit is as far out of range as one of a million.
    let exponent = digits.parse::<i64>().unwrap_or(1_000_000).min(1_000_000);
    Ok(if text.starts_with('-') { exponent.saturating_neg() } else { exponent })
}

fn power(exponent: u32) -> Option<u128> {
    10_u128.checked_pow(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_are_read_as_they_are_written() {
        let read = |text: &str| Exact::parse_json(text).map(|number| number.to_string());
        assert_eq!(read("1.5e-07").unwrap(), "0.00000015");
        assert_eq!(read("2.9999900000000002e-06").unwrap(), "0.0000029999900000000002");
        assert_eq!(read("256000.0").unwrap(), "256000");
        assert_eq!(read("1E+3").unwrap(), "1000");
        assert_eq!(read("-0.0").unwrap(), "0");
        assert_eq!(read("0e99999999999999999999").unwrap(), "0");
        assert_eq!(read("0.1000000000000000000000000000000000").unwrap(), "0.1");
        assert_eq!(read("-1e-9"), Err(Flaw::Negative));
        for text in ["1e-29", "1e28", "0.12345678901234567890123456789", "1e99999999999999999999", &"9".repeat(60)] {
            assert_eq!(read(text), Err(Flaw::TooPrecise), "{text}");
        }
        for text in ["", ".5", "5.", "+1", "1_0", "NaN", "null", "\"1\"", "1e", "1e+-2", "--1", "1 ", "１"] {
            assert_eq!(read(text), Err(Flaw::Malformed), "{text}");
        }
        assert_eq!(Exact::parse("1e5"), Err(Flaw::Malformed));
    }

    #[test]
    fn order_and_equality_are_those_of_the_number() {
        let exact = |text| Exact::parse(text).unwrap();
        let product = exact("2.5").checked_mul(exact("0.4")).unwrap();
        assert_eq!(product, Exact::ONE);
        assert!(exact("9999999999999999999999999999") > exact("0.9999999999999999999999999999"));
        assert!(exact("0.30") > exact("0.299"));
    }

    #[test]
    fn units_round_up_and_only_up() {
        let units = |text, scale| Exact::parse(text).unwrap().ceil_units(scale);
        assert_eq!(units("0.0000000001", 9), Some(1));
        assert_eq!(units("0.000000001", 9), Some(1));
        assert_eq!(units("0", 9), Some(0));
        assert_eq!(units("1.5", 0), Some(2));
        assert_eq!(units("2", 12), Some(2_000_000_000_000));
        assert_eq!(units("9999999999999999999999999999", 12), None);
    }
}
