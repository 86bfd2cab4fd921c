//! A charge in words and columns.

use std::fmt;

use super::charge::Charge;

/// A charge as a table: what was counted, how often, at which rate, the product; then adjustments, the exact sum and
/// what is charged. Printed with `Display`.
///
/// ```
/// use prepaid::Asset;
/// use prepaid::pricing::{Tariff, explain};
/// use prepaid::tokens::{TokenClass, Usage};
///
/// let tariff = Tariff::per_million("gpt-4o").input("2.50").output("10").build()?.with_markup("20")?;
/// let usage = Usage::new().with(TokenClass::Input, 1_000).with(TokenClass::Output, 99);
/// let text = explain(&tariff.charge(&usage, Asset::USD)?).to_string();
/// let (_model_tier_and_tariff, lines) = text.split_once('\n').unwrap();
/// assert_eq!(lines, "\
///   \x20 input                   1000 x 0.0000025        = 0.0025\n\
///   \x20 output                    99 x 0.00001          = 0.00099\n\
///   \x20 markup 20 % x 1.2\n\
///   \x20 exact 0.004188 USD\n\
///   \x20 charged 0.004188000 USD\n");
/// # Ok::<(), prepaid::pricing::PriceError>(())
/// ```
pub fn explain(charge: &Charge) -> Explanation<'_> {
    Explanation { charge }
}

/// A charge as a table; see [`explain`].
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'a> {
    charge: &'a Charge,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let charge = self.charge;
        let hours = if charge.is_off_peak() { ", off-peak" } else { "" };
        writeln!(f, "{}, {}{hours}, tariff {}", charge.model(), charge.tier(), charge.tariff())?;
        for line in charge.lines() {
            let rate = line.rate.to_string();
            writeln!(f, "  {:<15} {:>12} x {rate:<16} = {}", line.label(), line.count, line.product)?;
        }
        for adjustment in charge.adjustments() {
            writeln!(f, "  {} x {}", adjustment.name, adjustment.factor)?;
        }
        let asset = charge.asset();
        writeln!(f, "  exact {} {}", charge.exact(), asset.code())?;
        writeln!(f, "  charged {} {}", asset.format(charge.amount()), asset.code())?;
        let unpriced: Vec<&str> = charge.unpriced().collect();
        if !unpriced.is_empty() {
            writeln!(f, "  not in it: {}", unpriced.join(", "))?;
        }
        Ok(())
    }
}
