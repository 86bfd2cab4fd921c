//! A tariff: the prices of one model, pinned by a hold and named by the hash of its content.

use std::fmt;
use std::sync::Arc;

use super::content::{Adjustment, AdjustmentKind, Content};
use super::exact::{Exact, Flaw};
use super::rates::{Band, ServiceTier};
use super::{PriceError, clip};
use crate::model::{Asset, TariffHash, Timestamp};
use crate::tokens::TokenClass;

/// The prices of one model.
///
/// - Every rate is an exact decimal per token. Where a price list gives no rate for a class, the tariff holds the rate
///   that applies instead: cache reads and five-minute writes cost what input costs, reads of audio and images what all
///   cache reads cost, one-hour writes what five-minute writes cost, reasoning what output costs, audio and images what text of the same direction costs. A listed rate of
///   zero is a price like any other.
/// - Rates may depend on the length of the prompt (all input tokens, cached ones included). The last branch whose
///   bound the prompt *exceeds* prices the whole request, not only the part above it.
/// - A tariff may hold the rates of several service tiers; one is selected ([`Tariff::at_tier`]). It may hold off-peak
///   rates; [`Tariff::at`] selects them, if the time of the request is within their hours.
/// - What is no token (web searches, images, spoken characters, seconds) has a rate each, or is
///   [unpriced](super::Charge::unpriced).
/// - A flat fee per request and factors (markup, discount, uplift, conversion) apply last.
///
/// Cheap to clone. Two tariffs are equal exactly when their [hashes](Tariff::hash) are.
///
/// ```
/// use prepaid::pricing::{ServiceTier, Tariff};
///
/// let tariff = Tariff::per_million("model").input("2.50").output("10").build()?;
/// assert_eq!(Tariff::from_bytes(&tariff.to_bytes())?, tariff);
/// assert_ne!(tariff.with_markup("20")?.hash(), tariff.hash());
/// assert_eq!(tariff.at_tier(ServiceTier::Priority).tier(), ServiceTier::Standard);
/// # Ok::<(), prepaid::pricing::PriceError>(())
/// ```
#[derive(Clone)]
pub struct Tariff {
    content: Arc<Content>,
    hash: TariffHash,
}

impl Tariff {
    /// Takes over content that a loader or builder has filled in.
    pub(super) fn new(content: Content) -> Result<Self, PriceError> {
        content
            .validate()
            .map_err(|reason| PriceError::MalformedTariff(format!("{}: {reason}", clip(&content.model))))?;
        let hash = TariffHash::of(&content.to_bytes());
        Ok(Self { content: Arc::new(content), hash })
    }

    /// Reads what [`Tariff::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`PriceError::MalformedTariff`] for anything that is not exactly the canonical form of a tariff.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PriceError> {
        let content: Content =
            serde_json::from_slice(bytes).map_err(|error| PriceError::MalformedTariff(error.to_string()))?;
        if content.to_bytes() != bytes {
            return Err(PriceError::MalformedTariff(format!("{}: not in canonical form", clip(&content.model))));
        }
        Self::new(content)
    }

    /// The canonical form: compact JSON, rates as decimal strings per token, the same bytes for the same content.
    /// A store keeps it under [`Tariff::hash`].
    pub fn to_bytes(&self) -> Vec<u8> {
        self.content.to_bytes()
    }

    /// The name of this content: the hash of [`Tariff::to_bytes`].
    pub fn hash(&self) -> TariffHash {
        self.hash
    }

    /// The model these are the prices of, by its name in the price list.
    pub fn model(&self) -> &str {
        &self.content.model
    }

    /// The code of the currency the rates are in, such as `USD`.
    pub fn currency(&self) -> &str {
        &self.content.currency
    }

    /// The selected service tier.
    pub fn tier(&self) -> ServiceTier {
        self.content.tier
    }

    /// The service tiers that have rates of their own, standard first.
    pub fn tiers(&self) -> impl Iterator<Item = ServiceTier> + '_ {
        self.content.tiers.keys().copied()
    }

    /// Whether off-peak rates were selected; tiers other than the standard one have the same rates at all hours.
    pub fn is_off_peak(&self) -> bool {
        self.content.is_off_peak && self.content.tier == ServiceTier::Standard
    }

    /// The rate per unit of `class` in the selected tier, for a prompt of `prompt_tokens`; `None` if it has no price.
    pub fn rate(&self, class: TokenClass, prompt_tokens: u64) -> Option<Exact> {
        self.band(prompt_tokens)?.rates.charged(class)
    }

    /// The fee per request.
    pub fn request_fee(&self) -> Exact {
        self.content.request
    }

    /// The factors on the cost, in the order they were added.
    pub fn adjustments(&self) -> &[Adjustment] {
        &self.content.adjustments
    }

    /// The surcharges that [`Tariff::with_uplift`] can select, with their factors.
    pub fn uplifts(&self) -> impl Iterator<Item = (&str, Exact)> + '_ {
        self.content.uplifts.iter().map(|(name, factor)| (name.as_str(), *factor))
    }

    /// The fields of the price list that this tariff does not price, such as tools and video.
    pub fn unpriced(&self) -> impl Iterator<Item = &str> + '_ {
        self.content.unpriced.iter().map(String::as_str)
    }

    /// This tariff with the rates of `tier` selected; of the standard tier, if `tier` has none of its own. What
    /// [`Tariff::tier`] then says is what is charged.
    #[must_use]
    pub fn at_tier(&self, tier: ServiceTier) -> Self {
        let tier = if self.content.tiers.contains_key(&tier) { tier } else { ServiceTier::Standard };
        self.changed(|content| content.tier = tier).unwrap_or_else(|_| self.clone())
    }

    /// The same with the rates of a tier that it has. It is the tariff that was agreed on, and keeps its hash: the tier was
    /// the provider's choice.
    pub(super) fn answered_in(&self, tier: ServiceTier) -> Self {
        let mut content = Content::clone(&self.content);
        content.tier = tier;
        Self { content: Arc::new(content), hash: self.hash }
    }

    /// The rates that hold for a request made at `time`: the off-peak ones, if their hours are open, else the others. A
    /// tariff without off-peak rates stays as it is. Without this call the ordinary rates are charged, and a quote is the
    /// worst of all hours.
    #[must_use]
    pub fn at(&self, time: Timestamp) -> Self {
        if self.content.off_peak.is_empty() {
            return self.clone();
        }
        let open = self.content.off_peak.iter().find(|off_peak| off_peak.hours.contain(time));
        let changed = self.changed(|content| {
            content.off_peak.clear();
            content.is_off_peak = open.is_some();
            if let Some(open) = open {
                content.tiers.insert(ServiceTier::Standard, open.bands.clone());
            }
        });
        changed.unwrap_or_else(|_| self.clone())
    }

    /// This tariff with a markup of `percent` on the whole cost; below zero a discount. Exact, and on top of earlier
    /// ones: twice 10 % is 21 %.
    ///
    /// # Errors
    /// [`PriceError::MalformedPrice`], [`PriceError::TooPrecise`] or, for a discount above 100 %,
    /// [`PriceError::NegativePrice`], naming the input.
    pub fn with_markup(&self, percent: &str) -> Result<Self, PriceError> {
        let (name, factor) = markup_factor(self.model(), percent)?;
        self.adjusted(AdjustmentKind::Markup, name, factor)
    }

    /// This tariff with one of its [uplifts](Tariff::uplifts) applied to the cost of all tokens.
    ///
    /// # Errors
    /// [`PriceError::UnknownUplift`] if it has none of this name.
    pub fn with_uplift(&self, name: &str) -> Result<Self, PriceError> {
        let unknown = || PriceError::UnknownUplift { model: clip(self.model()), uplift: clip(name) };
        let factor = self.content.uplifts.get(name).copied().ok_or_else(unknown)?;
        self.adjusted(AdjustmentKind::Uplift, format!("uplift {name}"), factor)
    }

    /// This tariff with the rates of another model that may make steps of a response (an adviser), whose usage is not in
    /// the response's totals but [beside](crate::tokens::UsageReport::beside) them; requests
    /// [name](crate::tokens::RequestEstimate::others) such models. `model` is the name that responses give it. Its selected
    /// tier is taken, without its fee and its factors: what this tariff adds, it adds to those steps, too. A quote does not
    /// foresee them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use prepaid::Asset;
    /// use prepaid::pricing::Tariff;
    /// use prepaid::tokens::{Beside, TokenClass, Usage};
    ///
    /// let adviser = Tariff::per_million("anthropic/claude-opus-4-7").input("5").output("25").build()?;
    /// let tariff = Tariff::per_million("claude-sonnet-4-6").input("3").output("15").build()?;
    /// let tariff = tariff.with_other("claude-opus-4-7", &adviser)?;
    /// let advice = Usage::new().with(TokenClass::Input, 2_000).with(TokenClass::Output, 1_000);
    /// let beside = [Beside { model: Some(Arc::from("claude-opus-4-7")), usage: advice }];
    /// let charge = tariff.charge_with(&Usage::new().with(TokenClass::Output, 100), &beside, Asset::USD)?;
    /// assert_eq!(charge.exact().to_string(), "0.0365");
    /// # Ok::<(), prepaid::pricing::PriceError>(())
    /// ```
    ///
    /// # Errors
    /// [`PriceError::MalformedTariff`] for a name that is empty or longer than 64 bytes, a fifth model, or prices in another
    /// currency.
    pub fn with_other(&self, model: &str, prices: &Self) -> Result<Self, PriceError> {
        if prices.currency() != self.currency() {
            let reason = format!("{} is priced in {}", clip(model), prices.currency());
            return Err(PriceError::MalformedTariff(format!("{}: {reason}", clip(self.model()))));
        }
        self.changed(|content| {
            content.others.insert(Arc::from(model), prices.bands().to_vec());
        })
    }

    /// This tariff in another currency: one unit of the present one is `rate` units of `currency`, for example the code
    /// of an asset that counts points.
    ///
    /// # Errors
    /// [`PriceError::MalformedPrice`] or its siblings, naming the input.
    pub fn converted_to(&self, currency: &str, rate: &str) -> Result<Self, PriceError> {
        let flaw = |flaw| PriceError::flaw(flaw, self.model(), "conversion", rate);
        let factor = Exact::parse(rate).map_err(flaw)?;
        let name = format!("{} to {currency}", self.currency());
        let converted = self.adjusted(AdjustmentKind::Conversion, name, factor)?;
        converted.changed(|content| currency.clone_into(&mut content.currency))
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// The branches of the selected tier, by ascending bound.
    pub(super) fn bands(&self) -> &[Band] {
        self.content.tiers.get(&self.content.tier).map_or(&[], Vec::as_slice)
    }

    /// The branches of the selected tier at ordinary hours, then those of off-peak hours that may still be open.
    pub(super) fn bands_of_all_hours(&self) -> impl Iterator<Item = &[Band]> {
        let is_timed = self.content.tier == ServiceTier::Standard;
        let off_peak = self.content.off_peak.iter().filter(move |_| is_timed);
        std::iter::once(self.bands()).chain(off_peak.map(|off_peak| off_peak.bands.as_slice()))
    }

    /// The branch that prices a request with so many prompt tokens.
    pub(super) fn band(&self, prompt_tokens: u64) -> Option<&Band> {
        band(self.bands(), prompt_tokens)
    }

    /// The branch that prices a step of another model, or of this one, with so many prompt tokens.
    pub(super) fn band_of(&self, model: Option<&str>, prompt_tokens: u64) -> Option<&Band> {
        match model {
            Some(model) => band(self.content.others.get(model)?, prompt_tokens),
            None => self.band(prompt_tokens),
        }
    }

    /// Refuses an asset of another currency: a price in dollars is not a price in points.
    pub(crate) fn check_currency(&self, asset: Asset) -> Result<(), PriceError> {
        if asset.code() == self.currency() {
            return Ok(());
        }
        Err(PriceError::WrongCurrency { model: clip(self.model()), currency: self.currency().to_owned(), asset })
    }

    pub(super) fn adjusted(&self, kind: AdjustmentKind, name: String, factor: Exact) -> Result<Self, PriceError> {
        let adjustment = Adjustment { kind, name, factor };
        self.changed(|content| content.adjustments = content.adjustments.iter().cloned().chain([adjustment]).collect())
    }

    fn changed(&self, change: impl FnOnce(&mut Content)) -> Result<Self, PriceError> {
        let mut content = Content::clone(&self.content);
        change(&mut content);
        Self::new(content)
    }
}

impl PartialEq for Tariff {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Tariff {}

impl fmt::Debug for Tariff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tariff({} {} {})", self.model(), self.tier(), self.hash)
    }
}

fn band(bands: &[Band], prompt_tokens: u64) -> Option<&Band> {
    bands.iter().rev().find(|band| band.above < prompt_tokens).or_else(|| bands.first())
}

/// The name and the factor of a markup of `percent`, or of a discount, if that is below zero.
pub(super) fn markup_factor(model: &str, percent: &str) -> Result<(String, Exact), PriceError> {
    let flaw = |flaw| PriceError::flaw(flaw, model, "markup", percent);
    let (kind, digits) = match percent.strip_prefix('-') {
        Some(digits) => ("discount", digits),
        None => ("markup", percent),
    };
    let change = Exact::parse(digits).map_err(flaw)?;
    let share = change.shifted(-2).ok_or(Flaw::TooPrecise).map_err(flaw)?;
    let factor = match kind {
        "markup" => Exact::ONE.checked_add(share).ok_or(Flaw::TooPrecise),
        _ => Exact::ONE.checked_sub(share).ok_or(Flaw::Negative),
    };
    // As many digits as can be read again.
    let factor = factor.and_then(|factor| factor.shifted(0).ok_or(Flaw::TooPrecise)).map_err(flaw)?;
    Ok((format!("{kind} {change} %"), factor))
}
