//! A quote: the most a request can cost.

use super::charge::{Charge, Line, named};
use super::exact::Exact;
use super::rates::Band;
use super::tariff::Tariff;
use super::{PriceError, clip};
use crate::model::{Amount, Asset};
use crate::tokens::{TokenClass, Usage};

/// The most a request can cost: its worst case over every class its tokens can turn out to be, and every branch of the
/// tariff it can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    input: u64,
    output: u64,
    worst: Charge,
}

/// Which classes the tokens of a request can be.
type Reach = fn(TokenClass) -> bool;

impl Tariff {
    /// The most that `input` tokens, whatever part of them is cached or not text, and `output` tokens, reasoning
    /// included, can cost, at any hour unless [`Tariff::at`] was called, in the selected tier of service. Usage within
    /// these bounds is never charged more there; see [`Tariff::charge_at`]. What is no token is not in it: see [`Tariff::quote_with`].
    ///
    /// # Errors
    /// As [`Tariff::charge`]: `NoRate` if there is input and no price for it, or output and no price for that.
    pub fn quote_request(&self, input: u64, output: u64, asset: Asset) -> Result<Quote, PriceError> {
        self.quote(input, output, &Usage::new(), asset, |_| true)
    }

    /// The same, with the most that is used besides tokens: web searches, images, seconds. Token classes of `units` are
    /// ignored. What is not in it is charged all the same, above the quote: where tools of the provider's are asked for,
    /// or it searches for every answer (Perplexity), say how often.
    ///
    /// # Errors
    /// As [`Tariff::quote_request`].
    pub fn quote_with(&self, input: u64, output: u64, units: &Usage, asset: Asset) -> Result<Quote, PriceError> {
        self.quote(input, output, units, asset, |_| true)
    }

    /// The same for a request whose input and output are text: audio and images, which may be dearer, are not feared.
    ///
    /// # Errors
    /// As [`Tariff::quote_request`].
    pub fn quote_text(&self, input: u64, output: u64, asset: Asset) -> Result<Quote, PriceError> {
        self.quote(input, output, &Usage::new(), asset, is_text)
    }

    /// The largest number of output tokens whose [quote](Tariff::quote_request) fits `amount`, to send upstream as the
    /// cap where the asked one cannot be paid; `None` if not even the input can. `u64::MAX` where output is free.
    ///
    /// ```
    /// use prepaid::Asset;
    /// use prepaid::pricing::Tariff;
    ///
    /// let tariff = Tariff::per_million("gpt-4o").input("2.50").output("10").build()?;
    /// let left = Asset::USD.parse("0.01").unwrap();
    /// assert_eq!(tariff.max_affordable_output(left, 1_000, Asset::USD)?, Some(750));
    /// assert_eq!(tariff.max_affordable_output(left, 4_001, Asset::USD)?, None);
    /// # Ok::<(), prepaid::pricing::PriceError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tariff::quote_request`].
    pub fn max_affordable_output(&self, amount: Amount, input: u64, asset: Asset) -> Result<Option<u64>, PriceError> {
        let fits = |output| match self.quote_request(input, output, asset) {
            Ok(quote) => Ok(quote.amount() <= amount),
            Err(PriceError::OutOfRange { .. }) => Ok(false),
            Err(error) => Err(error),
        };
        if !fits(0)? {
            return Ok(None);
        }
        let (mut most, mut above) = (0, u64::MAX);
        if fits(above)? {
            return Ok(Some(above));
        }
        // `most` fits and `above` does not, until they are neighbours.
        while above.abs_diff(most) > 1 {
            let middle = most.midpoint(above);
            if fits(middle)? {
                most = middle;
            } else {
                above = middle;
            }
        }
        Ok(Some(most))
    }

    fn quote(&self, input: u64, output: u64, units: &Usage, asset: Asset, reach: Reach) -> Result<Quote, PriceError> {
        let mut worst: Option<Charge> = None;
        for bands in self.bands_of_all_hours() {
            let ends = bands.iter().skip(1).map(|next| next.above).chain([u64::MAX]);
            for (band, end) in bands.iter().zip(ends).filter(|(band, _)| band.above == 0 || band.above < input) {
                let sides = [(true, input.min(end)), (false, output)];
                let sides = sides.into_iter().filter(|(_, count)| *count > 0);
                let dearest = |(is_input, count)| self.dearest(band, is_input, count, reach);
                let mut lines = sides.map(dearest).collect::<Result<Vec<_>, _>>()?;
                let unpriced = self.add_units(&mut lines, units, Some(band))?;
                let charge = self.sum(lines, named(&unpriced), asset)?;
                if worst.as_ref().is_none_or(|worst| worst.exact() < charge.exact()) {
                    worst = Some(charge);
                }
            }
        }
        let worst = worst.ok_or_else(|| PriceError::NotPerToken {
            model: clip(self.model()),
            reason: "it has no rates at all".to_owned(),
        })?;
        Ok(Quote { input, output, worst })
    }

    /// The line of tokens that all turn out to be of their direction's dearest class.
    fn dearest(&self, band: &Band, is_input: bool, count: u64, reach: Reach) -> Result<Line, PriceError> {
        // Of equals the last is taken: text before what falls back to it.
        let classes = TokenClass::ALL.into_iter().rev().filter(|class| {
            let direction = if is_input { class.is_input() } else { class.is_output() };
            direction && reach(*class)
        });
        let rate = |class: &TokenClass| band.rates.get(*class).unwrap_or(Exact::ZERO);
        let class = classes.max_by_key(rate).unwrap_or(if is_input { TokenClass::Input } else { TokenClass::Output });
        self.line(class, count, band.rates.get(class))
    }
}

impl Quote {
    /// The most the request can cost, rounded up as a charge is.
    pub fn amount(&self) -> Amount {
        self.worst.amount()
    }

    /// The same before it was rounded up.
    pub fn exact(&self) -> Exact {
        self.worst.exact()
    }

    /// The input tokens it allows for.
    pub fn input(&self) -> u64 {
        self.input
    }

    /// The output tokens it allows for.
    pub fn output(&self) -> u64 {
        self.output
    }

    /// The worst case, as the charge it would be.
    pub fn worst(&self) -> &Charge {
        &self.worst
    }
}

fn is_text(class: TokenClass) -> bool {
    match class {
        TokenClass::Input
        | TokenClass::CacheRead
        | TokenClass::CacheWrite5m
        | TokenClass::CacheWrite1h
        | TokenClass::Output
        | TokenClass::Reasoning => true,
        TokenClass::CacheReadAudio | TokenClass::CacheReadImage => false,
        TokenClass::AudioInput | TokenClass::ImageInput | TokenClass::AudioOutput | TokenClass::ImageOutput => false,
        TokenClass::Citation | TokenClass::WebSearch | TokenClass::Query | TokenClass::Image => false,
        TokenClass::Character | TokenClass::Millisecond => false,
    }
}
