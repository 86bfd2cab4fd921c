//! Rates by class, by length of the prompt, by tier of service; and the sheet they are written on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::exact::Exact;
use super::{PriceError, clip};
use crate::tokens::TokenClass;

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

/// Rates as price lists write them, where much is left unsaid. A tier or an hour that lacks a rate has the standard one;
/// a branch that lacks it has that of the branch below.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet(BTreeMap<(Part, u64), Rates>);

/// A part of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Tier(ServiceTier),
    OffPeak(usize),
}

impl Part {
    pub(super) const STANDARD: Self = Self::Tier(ServiceTier::Standard);
}

impl Sheet {
    /// Writes a rate down, or that there is such a branch.
    pub(super) fn set(&mut self, part: Part, above: u64, class: TokenClass, rate: Option<Exact>) {
        let rates = self.0.entry((part, above)).or_default();
        rates.set(class, rate.or_else(|| rates.get(class)));
    }

    /// The branches of each tier, the standard one always among them.
    pub(super) fn tiers(&self) -> BTreeMap<ServiceTier, Vec<Band>> {
        let tiers = self.0.keys().filter_map(|(part, _)| match part {
            Part::Tier(tier) => Some(*tier),
            Part::OffPeak(_) => None,
        });
        tiers.chain([ServiceTier::Standard]).map(|tier| (tier, self.bands(Part::Tier(tier)))).collect()
    }

    /// The branches of one part.
    pub(super) fn bands(&self, part: Part) -> Vec<Band> {
        let at = |part, above| self.0.get(&(part, above)).copied().unwrap_or_default();
        let bounds = self.0.keys().filter(|(own, _)| *own == part || *own == Part::STANDARD).map(|(_, above)| *above);
        let bounds: BTreeSet<u64> = bounds.chain([0]).collect();
        let mut below = Rates::default();
        let branch = |above| {
            let (own, standard) = (at(part, above), at(Part::STANDARD, above));
            let mut rates = Rates::default();
            for class in TokenClass::ALL {
                let implied = implied_by(part, class).and_then(|by| own.get(by));
                let rate = own.get(class).or(implied).or_else(|| standard.get(class)).or_else(|| below.get(class));
                rates.set(class, rate);
            }
            below = rates;
            Band { above, rates: rates.resolved() }
        };
        bounds.into_iter().map(branch).collect()
    }
}

/// The class whose rate in this part stands for another's, if the part lacks that. Whoever says what output costs means
/// reasoning, too; a batch discount on input takes the place of that on cached input.
fn implied_by(part: Part, class: TokenClass) -> Option<TokenClass> {
    match (part, class) {
        (Part::Tier(ServiceTier::Standard), _) => None,
        (_, TokenClass::Reasoning) => Some(TokenClass::Output),
        (Part::Tier(ServiceTier::Batch), TokenClass::CacheRead | TokenClass::CacheWrite5m) => Some(TokenClass::Input),
        _ => None,
    }
}

impl Rates {
    pub(super) fn get(&self, class: TokenClass) -> Option<Exact> {
        self.0.get(class as usize).copied().flatten()
    }

    /// The rate that `class` is charged at: what a list does not say of cached audio and images it says of all that is
    /// cached. (This is not written into a tariff, so that older ones mean the same.)
    pub(super) fn charged(&self, class: TokenClass) -> Option<Exact> {
        let general = match class {
            TokenClass::CacheReadAudio | TokenClass::CacheReadImage => self.get(TokenClass::CacheRead),
            _ => None,
        };
        self.get(class).or(general)
    }

    pub(super) fn set(&mut self, class: TokenClass, rate: Option<Exact>) {
        if let Some(slot) = self.0.get_mut(class as usize) {
            *slot = rate;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Exact> {
        self.0.into_iter().flatten()
    }

    /// These rates, where a class without one has the rate it falls back to (LiteLLM's rules; a zero is a rate).
    pub(super) fn resolved(mut self) -> Self {
        for class in TokenClass::ALL {
            let fallback = match class {
                TokenClass::Input | TokenClass::Output => None,
                TokenClass::Citation | TokenClass::WebSearch | TokenClass::Query | TokenClass::Image => None,
                TokenClass::Character | TokenClass::Millisecond => None,
                TokenClass::CacheReadAudio | TokenClass::CacheReadImage => None,
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

    /// Reads a name as providers send it; `default` and `on_demand` are standard, `fast` is priority. `auto` is an error, as it does not
    /// say what will be billed.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        match text {
            "default" | "on_demand" => Ok(Self::Standard),
            "fast" => Ok(Self::Priority),
            name => Self::ALL
                .into_iter()
                .find(|tier| tier.name() == name)
                .ok_or_else(|| PriceError::UnknownTier(clip(name))),
        }
    }
}
