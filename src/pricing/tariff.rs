//! A tariff: the prices of one model, pinned by a hold and named by the hash of its content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::exact::{Exact, Flaw};
use super::{PriceError, clip};
use crate::model::{Asset, TariffHash};
use crate::tokens::TokenClass;

/// The prices of one model.
///
/// - Every rate is an exact decimal per token. Where a price list gives no rate for a class, the tariff holds the rate
///   that applies instead: cache reads and five-minute writes cost what input costs, one-hour writes what five-minute
///   writes cost, reasoning what output costs, audio and images what text of the same direction costs. A listed rate of
///   zero is a price like any other.
/// - Rates may depend on the length of the prompt (all input tokens, cached ones included). The last branch whose
///   bound the prompt *exceeds* prices the whole request, not only the part above it.
/// - A tariff may hold the rates of several service tiers; one is selected ([`Tariff::at_tier`]).
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

/// The class of service a request was made with, where a provider prices them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceTier {
    /// The ordinary one.
    #[default]
    Standard,
    /// Answered within hours, in batches.
    Batch,
    /// Answered when there is room.
    Flex,
    /// Between flex and standard.
    Balanced,
    /// Answered first; `fast` is another name of it.
    Priority,
    /// Answered at the highest speed.
    Ultrafast,
    /// Short answers that classify or decide.
    Decisions,
}

/// A factor on the cost, with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// What it is multiplied with, and who takes the difference.
    pub kind: AdjustmentKind,
    /// Why, such as `markup 20 %`.
    pub name: String,
    /// What is multiplied.
    pub factor: Exact,
}

/// What an [`Adjustment`] multiplies, and who takes the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentKind {
    /// The provider takes more for its tokens: a region, a speed. Fees are not multiplied.
    Uplift,
    /// The seller takes more or less than the provider: a markup, a discount. It makes the
    /// [margin](super::Charge::margin).
    Markup,
    /// The same money in another currency.
    Conversion,
}

/// What is hashed and stored. Fields that were added later must be skipped when empty, so that old hashes stay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    version: u8,
    pub(super) model: Arc<str>,
    pub(super) currency: String,
    pub(super) tier: ServiceTier,
    pub(super) tiers: BTreeMap<ServiceTier, Vec<Band>>,
    /// The fee per request.
    pub(super) request: Exact,
    /// Factors that apply.
    pub(super) adjustments: Arc<[Adjustment]>,
    /// Factors that apply only when they are asked for.
    pub(super) uplifts: BTreeMap<String, Exact>,
    /// Price fields of the source that this tariff cannot express.
    pub(super) unpriced: Arc<BTreeSet<String>>,
}

/// The rates of requests whose prompt has more than `above` tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Band {
    pub(super) above: u64,
    pub(super) rates: Rates,
}

/// A rate per token for each class that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates([Option<Exact>; TokenClass::ALL.len()]);

/// A model's name is at most so long, so that the evidence of a charge stays short.
const NAME_BYTES_MAX: usize = 256;

/// So many factors apply at most, for the same reason.
const ADJUSTMENTS_MAX: usize = 8;

/// Rates and factors together have at most so many decimals: 128 bits then hold every cost below three million.
const DECIMALS_MAX: u32 = 32;

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

    /// The rate per token of `class` in the selected tier, for a prompt of `prompt_tokens`; `None` if it has no price.
    pub fn rate(&self, class: TokenClass, prompt_tokens: u64) -> Option<Exact> {
        self.band(prompt_tokens)?.rates.get(class)
    }

    /// The fee per request.
    pub fn request_fee(&self) -> Exact {
        self.content.request
    }

    /// The factors on the whole cost, in the order they were added.
    pub fn adjustments(&self) -> &[Adjustment] {
        &self.content.adjustments
    }

    /// The surcharges that [`Tariff::with_uplift`] can select, with their factors.
    pub fn uplifts(&self) -> impl Iterator<Item = (&str, Exact)> + '_ {
        self.content.uplifts.iter().map(|(name, factor)| (name.as_str(), *factor))
    }

    /// The fields of the price list that this tariff does not price: tools, units other than tokens, off-peak hours.
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

    /// This tariff with a markup of `percent` on the whole cost; below zero a discount. Exact, and on top of earlier
    /// ones: twice 10 % is 21 %.
    ///
    /// # Errors
    /// [`PriceError::MalformedPrice`], [`PriceError::TooPrecise`] or, for a discount above 100 %,
    /// [`PriceError::NegativePrice`], naming the input.
    pub fn with_markup(&self, percent: &str) -> Result<Self, PriceError> {
        let flaw = |flaw| PriceError::flaw(flaw, self.model(), "markup", percent);
        let (kind, digits) = match percent.strip_prefix('-') {
            Some(digits) => ("discount", digits),
            None => ("markup", percent),
        };
        let change = Exact::parse(digits).map_err(flaw)?;
        let share = change.shifted(-2).ok_or(Flaw::TooPrecise).map_err(flaw)?;
        let factor = match kind {
            "markup" => Exact::ONE.checked_add(share).ok_or(Flaw::TooPrecise).map_err(flaw)?,
            _ => Exact::ONE.checked_sub(share).ok_or(Flaw::Negative).map_err(flaw)?,
        };
        self.adjusted(AdjustmentKind::Markup, format!("{kind} {change} %"), factor)
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

    /// The branch that prices a request with so many prompt tokens.
    pub(super) fn band(&self, prompt_tokens: u64) -> Option<&Band> {
        let bands = self.bands();
        bands.iter().rev().find(|band| band.above < prompt_tokens).or_else(|| bands.first())
    }

    /// Refuses an asset of another currency: a price in dollars is not a price in points.
    pub(super) fn check_currency(&self, asset: Asset) -> Result<(), PriceError> {
        if asset.code() == self.currency() {
            return Ok(());
        }
        Err(PriceError::WrongCurrency { model: clip(self.model()), currency: self.currency().to_owned(), asset })
    }

    fn adjusted(&self, kind: AdjustmentKind, name: String, factor: Exact) -> Result<Self, PriceError> {
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

impl Content {
    const VERSION: u8 = 1;

    /// Nothing but the names; the caller fills in `tiers`.
    pub(super) fn named(model: &str, currency: &str) -> Self {
        Self {
            version: Self::VERSION,
            model: model.into(),
            currency: currency.to_owned(),
            tier: ServiceTier::Standard,
            tiers: BTreeMap::new(),
            request: Exact::ZERO,
            adjustments: Arc::new([]),
            uplifts: BTreeMap::new(),
            unpriced: Arc::default(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys: there is nothing here that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn validate(&self) -> Result<(), String> {
        if self.version != Self::VERSION {
            return Err(format!("unknown version {}", self.version));
        }
        if self.model.is_empty() || self.model.len() > NAME_BYTES_MAX || self.model.contains(char::is_control) {
            return Err("model name is empty, longer than 256 bytes or has control characters".to_owned());
        }
        if Asset::new(&self.currency, 0).is_err() {
            return Err(format!("no currency: {}", clip(&self.currency)));
        }
        if self.adjustments.len() > ADJUSTMENTS_MAX {
            return Err(format!("more than {ADJUSTMENTS_MAX} adjustments"));
        }
        if !self.tiers.contains_key(&self.tier) || !self.tiers.contains_key(&ServiceTier::Standard) {
            return Err(format!("no rates for tier {}", self.tier));
        }
        for (tier, bands) in &self.tiers {
            let ascending = bands.is_sorted_by(|left, right| left.above < right.above);
            if bands.first().is_none_or(|first| first.above != 0) || !ascending {
                return Err(format!("branches of tier {tier} do not ascend from 0"));
            }
        }
        // A factor more than the numbers have room for is refused now, not when a request has been made.
        let rates = self.tiers.values().flatten().flat_map(|band| band.rates.0).flatten();
        let rate_scale = rates.chain([self.request]).map(Exact::scale).max().unwrap_or(0);
        let factors = self.adjustments.iter().map(|adjustment| adjustment.factor.scale());
        if factors.fold(rate_scale, u32::saturating_add) > DECIMALS_MAX {
            return Err(format!("rates and factors have more than {DECIMALS_MAX} decimals together"));
        }
        Ok(())
    }
}

impl Rates {
    pub(super) fn get(&self, class: TokenClass) -> Option<Exact> {
        self.0.get(class as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, class: TokenClass, rate: Option<Exact>) {
        if let Some(slot) = self.0.get_mut(class as usize) {
            *slot = rate;
        }
    }

    /// These rates, where a class without one has the rate it falls back to (LiteLLM's rules; a zero is a rate).
    pub(super) fn resolved(mut self) -> Self {
        for class in TokenClass::ALL {
            let fallback = match class {
                TokenClass::Input | TokenClass::Output => None,
                TokenClass::CacheRead | TokenClass::CacheWrite5m => self.get(TokenClass::Input),
                TokenClass::CacheWrite1h => self.get(TokenClass::CacheWrite5m),
                TokenClass::AudioInput | TokenClass::ImageInput => self.get(TokenClass::Input),
                TokenClass::Reasoning | TokenClass::AudioOutput | TokenClass::ImageOutput => {
                    self.get(TokenClass::Output)
                }
            };
            self.set(class, self.get(class).or(fallback));
        }
        self
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(TokenClass::ALL.into_iter().filter_map(|class| Some((class, self.get(class)?))))
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rates = Self::default();
        for (class, rate) in BTreeMap::<TokenClass, Exact>::deserialize(deserializer)? {
            rates.set(class, Some(rate));
        }
        Ok(rates)
    }
}

impl ServiceTier {
    /// Every tier, the standard one first.
    pub const ALL: [Self; 7] =
        [Self::Standard, Self::Batch, Self::Flex, Self::Balanced, Self::Priority, Self::Ultrafast, Self::Decisions];

    /// The name used in explanations, exports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Balanced => "balanced",
            Self::Priority => "priority",
            Self::Ultrafast => "ultrafast",
            Self::Decisions => "decisions",
        }
    }
}

impl fmt::Display for ServiceTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ServiceTier {
    type Err = PriceError;

    /// Reads a name as providers send it; `default` is standard, `fast` is priority. `auto` is an error, as it does not
    /// say what will be billed.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        match text {
            "default" => Ok(Self::Standard),
            "fast" => Ok(Self::Priority),
            name => Self::ALL
                .into_iter()
                .find(|tier| tier.name() == name)
                .ok_or_else(|| PriceError::UnknownTier(clip(name))),
        }
    }
}
