//! Assets: what an amount is an amount of, and how its decimals are read and printed.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

use super::amount::{Amount, AmountOverflow, MINOR_UNITS_MAX, SignedAmount, Turnover};

/// An asset: a code and the number of decimals of its minor unit. `USD/9` counts billionths of a dollar.
///
/// ```
/// use prepaid::Asset;
///
/// let points: Asset = "POINTS/0".parse()?;
/// assert_eq!(points.to_string(), "POINTS/0");
/// assert_eq!(points.parse("250")?.minor_units(), 250);
/// assert_eq!(points.parse("2.5").unwrap_err().to_string(), "more than 0 decimals: 2.5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asset {
    code: [u8; Self::CODE_MAX],
    scale: u8,
}

/// An amount that could not be read. The message names the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAmountError {
    /// Not `-?digits[.digits]` with at most 28 digits: no exponent, plus sign, blank, separator or NaN.
    #[error("not a plain decimal number: {0}")]
    Malformed(String),
    /// More decimals than the asset has, even if they are zeros.
    #[error("more than {scale} decimals: {input}")]
    TooPrecise {
        /// What was read.
        input: String,
        /// The decimals the asset has.
        scale: u8,
    },
    /// Below zero where only non-negative amounts make sense.
    #[error("below zero: {0}")]
    Negative(String),
    /// Beyond ±2^59 minor units.
    #[error("outside of ±2^59 minor units: {0}")]
    OutOfRange(String),
}

/// An asset that could not be read or made. The message names the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an asset (1 to 12 of A-Z and 0-9, a slash, a scale from 0 to 12, such as USD/9): {0}")]
pub struct ParseAssetError(String);

impl Asset {
    /// US dollars in billionths: the default.
    pub const USD: Self = Self { code: *b"USD\0\0\0\0\0\0\0\0\0", scale: 9 };

    const CODE_MAX: usize = 12;
    const SCALE_MAX: u8 = 12;
    const DIGITS_MAX: usize = 28;

    /// An asset with `code` (1 to 12 of `A-Z` and `0-9`) and `scale` decimals (0 to 12).
    ///
    /// # Errors
    /// [`ParseAssetError`] naming the input.
    pub fn new(code: &str, scale: u8) -> Result<Self, ParseAssetError> {
        let error = || ParseAssetError(format!("{}/{scale}", clip(code)));
        let valid = !code.is_empty()
            && code.len() <= Self::CODE_MAX
            && scale <= Self::SCALE_MAX
            && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !valid {
            return Err(error());
        }
        let mut padded = [0; Self::CODE_MAX];
        for (slot, byte) in padded.iter_mut().zip(code.bytes()) {
            *slot = byte;
        }
        Ok(Self { code: padded, scale })
    }

    /// The code, such as `USD`.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or_default().trim_end_matches('\0')
    }

    /// The number of decimals of the minor unit.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Reads a non-negative amount: `digits[.digits]`, at most 28 digits, no more decimals than the scale.
    ///
    /// # Errors
    /// [`ParseAmountError`] naming the input; nothing is ever rounded.
    pub fn parse(&self, text: &str) -> Result<Amount, ParseAmountError> {
        let signed = self.parse_signed(text)?;
        Amount::new(signed.minor_units()).map_err(|AmountOverflow| ParseAmountError::Negative(clip(text)))
    }

    /// Reads an amount that may be negative: `-?digits[.digits]`.
    ///
    /// # Errors
    /// As [`Asset::parse`].
    pub fn parse_signed(&self, text: &str) -> Result<SignedAmount, ParseAmountError> {
        let malformed = || ParseAmountError::Malformed(clip(text));
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(malformed()),
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let length = whole.len().saturating_add(fraction.len());
        if whole.is_empty() || !plain(whole) || !plain(fraction) || length > Self::DIGITS_MAX {
            return Err(malformed());
        }
        if fraction.len() > usize::from(self.scale) {
            return Err(ParseAmountError::TooPrecise { input: clip(text), scale: self.scale });
        }
        let padding = usize::from(self.scale).saturating_sub(fraction.len());
        let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', padding));
        let mut minor_units: i64 = 0;
        for digit in digits {
            minor_units = minor_units
                .checked_mul(10)
                .and_then(|units| units.checked_add(i64::from(digit.saturating_sub(b'0'))))
                .ok_or_else(|| ParseAmountError::OutOfRange(clip(text)))?;
        }
        let minor_units = if negative { minor_units.saturating_neg() } else { minor_units };
        SignedAmount::new(minor_units).map_err(|AmountOverflow| ParseAmountError::OutOfRange(clip(text)))
    }

    /// Takes a decimal over exactly.
    ///
    /// # Errors
    /// [`ParseAmountError`] when it is negative, out of range or has non-zero digits below the minor unit.
    pub fn from_decimal(&self, decimal: Decimal) -> Result<Amount, ParseAmountError> {
        self.parse(&decimal.normalize().to_string())
    }

    /// The amount as a decimal of this asset's scale.
    pub fn to_decimal(&self, amount: impl Into<SignedAmount>) -> Decimal {
        Decimal::new(amount.into().minor_units(), u32::from(self.scale))
    }

    /// Prints an amount with all decimals of the scale, such as `0.250000000`; [`Asset::parse_signed`] reads it back.
    pub fn format(&self, amount: impl Into<Turnover>) -> String {
        let (units, scale) = (amount.into().minor_units(), usize::from(self.scale));
        let sign = if units < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", units.unsigned_abs(), width = scale.saturating_add(1));
        match digits.split_at_checked(digits.len().saturating_sub(scale)) {
            Some((whole, decimals)) if !decimals.is_empty() => format!("{sign}{whole}.{decimals}"),
            _ => format!("{sign}{digits}"),
        }
    }

    /// The largest amount, for messages.
    pub fn max(&self) -> Amount {
        Amount::new(MINOR_UNITS_MAX).unwrap_or_default()
    }
}

impl Default for Asset {
    fn default() -> Self {
        Self::USD
    }
}

impl FromStr for Asset {
    type Err = ParseAssetError;

    fn from_str(text: &str) -> Result<Self, ParseAssetError> {
        let error = || ParseAssetError(clip(text));
        let (code, scale) = text.split_once('/').ok_or_else(error)?;
        if scale.is_empty() || scale.len() > 2 || !scale.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        Self::new(code, scale.parse().map_err(|_| error())?).map_err(|_| error())
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.code(), self.scale)
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asset({self})")
    }
}

/// The beginning of an input, short enough for a message.
pub(super) fn clip(text: &str) -> String {
    const SHOWN_MAX: usize = 64;
    let shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() { format!("{shown}… ({} bytes)", text.len()) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_is_exact_or_an_error_that_names_the_input() {
        let usd = Asset::USD;
        assert_eq!(usd.parse("1.5").unwrap().minor_units(), 1_500_000_000);
        assert_eq!(usd.parse("000.000000001").unwrap().minor_units(), 1);
        assert_eq!(usd.parse_signed("-0").unwrap(), SignedAmount::ZERO);
        let bad = [
            "",
            "1e5",
            "1E-3",
            "+1",
            "1_000",
            "NaN",
            "inf",
            ".5",
            "5.",
            "1,5",
            "１",
            "0x10",
            " 1",
            "1 ",
            "--1",
            "1.2.3",
            "-",
            "12345678901234567890123456789",
        ];
        for text in bad {
            let error = usd.parse_signed(text).unwrap_err();
            assert!(matches!(error, ParseAmountError::Malformed(_)), "{text}: {error}");
        }
        assert!(matches!(usd.parse("0.0000000001"), Err(ParseAmountError::TooPrecise { .. })));
        assert!(matches!(usd.parse("-1"), Err(ParseAmountError::Negative(_))));
        assert!(matches!(usd.parse("576460753"), Err(ParseAmountError::OutOfRange(_))));
        let huge = "9".repeat(10_000_000);
        assert!(usd.parse(&huge).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn printing_reads_back() {
        for units in [0, 1, -1, 999_999_999, 1_000_000_000, MINOR_UNITS_MAX, -MINOR_UNITS_MAX] {
            let amount = SignedAmount::new(units).unwrap();
            for asset in ["USD/9", "USD/12", "USD/2", "JPY/0"].map(|asset| asset.parse::<Asset>().unwrap()) {
                assert_eq!(asset.parse_signed(&asset.format(amount)).unwrap(), amount);
                assert_eq!(asset.format(amount), asset.to_decimal(amount).to_string());
            }
        }
    }

    #[test]
    fn assets_are_refused_by_name() {
        for bad in ["", "USD", "usd/2", "USD/13", "USD/", "USD/-1", "/2", "ABCDEFGHIJKLM/2", "U D/2", "USD/2/3"] {
            let error = bad.parse::<Asset>().unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
