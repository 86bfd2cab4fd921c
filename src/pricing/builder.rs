//! Tariffs made by hand.

use super::PriceError;
use super::content::Content;
use super::exact::{Exact, Flaw};
use super::hours::{Hours, OffPeak};
use super::rates::{Part, ServiceTier, Sheet};
use super::tariff::Tariff;
use crate::tokens::TokenClass;

/// Collects the rates of a [`Tariff`], as plain decimal strings (`2.50`, no sign, no exponent, at most 28 digits).
///
/// Rates are per million tokens. A rate that is not given falls back as [`Tariff`] says; without an input or output rate
/// those tokens cannot be charged. The first mistake is reported by [`TariffBuilder::build`].
///
/// ```
/// use prepaid::pricing::{ServiceTier, Tariff};
/// use prepaid::tokens::TokenClass;
///
/// let tariff = Tariff::per_million("claude")
///     .input("3").cache_read("0.30").cache_write_5m("3.75").cache_write_1h("6").output("15")
///     .above(200_000).input("6").output("22.50")
///     .tier(ServiceTier::Batch).input("1.50").output("7.50")
///     .build()?;
/// assert_eq!(tariff.rate(TokenClass::CacheRead, 200_000).unwrap().to_string(), "0.0000003");
/// assert_eq!(tariff.rate(TokenClass::Input, 200_001).unwrap().to_string(), "0.000006");
/// assert_eq!(tariff.at_tier(ServiceTier::Batch).rate(TokenClass::Output, 1).unwrap().to_string(), "0.0000075");
/// let wrong = Tariff::per_million("claude").input("3 USD").build().unwrap_err();
/// assert_eq!(wrong.to_string(), "price cannot be read: claude: input: 3 USD");
/// # Ok::<(), prepaid::pricing::PriceError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TariffBuilder {
    content: Content,
    sheet: Sheet,
    hours: Vec<Hours>,
    part: Part,
    above: u64,
    flaw: Option<PriceError>,
}

impl Tariff {
    /// Starts a tariff of `model` in US dollars per million tokens.
    pub fn per_million(model: &str) -> TariffBuilder {
        TariffBuilder {
            content: Content::named(model, "USD"),
            sheet: Sheet::default(),
            hours: Vec::new(),
            part: Part::STANDARD,
            above: 0,
            flaw: None,
        }
    }
}

impl TariffBuilder {
    /// The currency of all rates: the code of the asset that is charged.
    pub fn currency(mut self, code: &str) -> Self {
        code.clone_into(&mut self.content.currency);
        self
    }

    /// The rates that follow are those of `tier`, from an empty prompt on. What is not given is as in the standard tier.
    pub fn tier(mut self, tier: ServiceTier) -> Self {
        self.part = Part::Tier(tier);
        self.branch(0)
    }

    /// The rates that follow hold at these hours, from an empty prompt on. What is not given is as at other hours.
    pub fn off_peak(mut self, hours: Hours) -> Self {
        self.part = Part::OffPeak(self.hours.len());
        self.hours.push(hours);
        self.branch(0)
    }

    /// The rates that follow price requests whose whole prompt exceeds `tokens`. What is not given stays as it is below.
    pub fn above(self, tokens: u64) -> Self {
        self.branch(tokens)
    }

    /// Uncached input text.
    pub fn input(self, per_million: &str) -> Self {
        self.rate(TokenClass::Input, per_million)
    }

    /// Input read from a cache.
    pub fn cache_read(self, per_million: &str) -> Self {
        self.rate(TokenClass::CacheRead, per_million)
    }

    /// Input written to a cache for five minutes.
    pub fn cache_write_5m(self, per_million: &str) -> Self {
        self.rate(TokenClass::CacheWrite5m, per_million)
    }

    /// Input written to a cache for one hour.
    pub fn cache_write_1h(self, per_million: &str) -> Self {
        self.rate(TokenClass::CacheWrite1h, per_million)
    }

    /// Visible output text.
    pub fn output(self, per_million: &str) -> Self {
        self.rate(TokenClass::Output, per_million)
    }

    /// Reasoning.
    pub fn reasoning(self, per_million: &str) -> Self {
        self.rate(TokenClass::Reasoning, per_million)
    }

    /// Any class of tokens; of what is no token, the rate of one, and of one second for
    /// [milliseconds](TokenClass::Millisecond).
    pub fn rate(mut self, class: TokenClass, rate: &str) -> Self {
        let exponent = match class {
            TokenClass::Millisecond => -3,
            class if class.is_token() => -6,
            _ => 0,
        };
        let rate = self.read(class.name(), rate, exponent);
        self.sheet.set(self.part, self.above, class, rate);
        self
    }

    /// A surcharge of the provider's on all tokens, which [`Tariff::with_uplift`] selects by its name: `1.1` is 10 % more.
    pub fn uplift(mut self, name: &str, factor: &str) -> Self {
        if let Some(factor) = self.read(name, factor, 0) {
            self.content.uplifts.insert(name.to_owned(), factor);
        }
        self
    }

    /// The fee of each request, whatever it uses.
    pub fn request(mut self, fee: &str) -> Self {
        self.content.request = self.read("request", fee, 0).unwrap_or_default();
        self
    }

    /// The tariff.
    ///
    /// # Errors
    /// [`PriceError`] naming the first input that is not a plain decimal, is negative or has more than 28 digits;
    /// [`PriceError::MalformedTariff`] for an empty model name or a currency that is no asset code.
    pub fn build(self) -> Result<Tariff, PriceError> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let mut content = self.content;
        content.tiers = self.sheet.tiers();
        let bands = |index| self.sheet.bands(Part::OffPeak(index));
        let hours = self.hours.into_iter().enumerate();
        content.off_peak = hours.map(|(index, hours)| OffPeak { hours, bands: bands(index) }).collect();
        Tariff::new(content)
    }

    fn branch(mut self, above: u64) -> Self {
        self.above = above;
        self.sheet.set(self.part, above, TokenClass::Input, None);
        self
    }

    fn read(&mut self, name: &str, text: &str, exponent: i64) -> Option<Exact> {
        let read = Exact::parse(text).and_then(|rate| rate.shifted(exponent).ok_or(Flaw::TooPrecise));
        match read {
            Ok(rate) => Some(rate),
            Err(flaw) => {
                let error = PriceError::flaw(flaw, &self.content.model, name, text);
                self.flaw.get_or_insert(error);
                None
            }
        }
    }
}
