//! What a tariff is made of, and what makes it sound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clip;
use super::exact::Exact;
use super::hours::OffPeak;
use super::rates::{Band, ServiceTier};
use crate::model::Asset;

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
    /// Rates at certain hours, instead of those of the standard tier; of several that are open the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) off_peak: Vec<OffPeak>,
    /// Whether the standard rates are off-peak ones that were open when the tariff was taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) is_off_peak: bool,
    /// Rates of other models that may make steps of a response, by the names that responses give them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) others: BTreeMap<Arc<str>, Vec<Band>>,
    /// The fee per request.
    pub(super) request: Exact,
    /// Factors that apply.
    pub(super) adjustments: Arc<[Adjustment]>,
    /// Factors that apply only when they are asked for.
    pub(super) uplifts: BTreeMap<String, Exact>,
    /// Price fields of the source that this tariff cannot express.
    pub(super) unpriced: Arc<BTreeSet<String>>,
}

// These keep the evidence of a charge short.
const MODEL_BYTES_MAX: usize = 256;
const ADJUSTMENTS_MAX: usize = 8;
const ADJUSTMENT_BYTES_MAX: usize = 64;
const OTHERS_MAX: usize = 4;
const OTHER_BYTES_MAX: usize = 64;

/// Rates and factors together have at most so many decimals: 128 bits then hold every cost below three million.
const DECIMALS_MAX: u32 = 32;

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
            off_peak: Vec::new(),
            is_off_peak: false,
            others: BTreeMap::new(),
            request: Exact::ZERO,
            adjustments: Arc::new([]),
            uplifts: BTreeMap::new(),
            unpriced: Arc::default(),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys: there is nothing here that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.version != Self::VERSION {
            return Err(format!("unknown version {}", self.version));
        }
        if !is_name(&self.model, MODEL_BYTES_MAX) {
            return Err(format!("model name is empty, longer than {MODEL_BYTES_MAX} bytes or not plain text"));
        }
        if Asset::new(&self.currency, 0).is_err() {
            return Err(format!("no currency: {}", clip(&self.currency)));
        }
        if self.adjustments.len() > ADJUSTMENTS_MAX {
            return Err(format!("more than {ADJUSTMENTS_MAX} adjustments"));
        }
        let mut names = self.adjustments.iter().map(|adjustment| &adjustment.name).chain(self.uplifts.keys());
        if let Some(name) = names.find(|name| !is_name(name, ADJUSTMENT_BYTES_MAX)) {
            return Err(format!("adjustment without a plain name: {}", clip(name)));
        }
        if self.others.len() > OTHERS_MAX {
            return Err(format!("more than {OTHERS_MAX} other models"));
        }
        if let Some(name) = self.others.keys().find(|name| !is_name(name, OTHER_BYTES_MAX)) {
            return Err(format!("other model without a plain name: {}", clip(name)));
        }
        if !self.tiers.contains_key(&self.tier) || !self.tiers.contains_key(&ServiceTier::Standard) {
            return Err(format!("no rates for tier {}", self.tier));
        }
        for bands in self.all_bands() {
            let ascending = bands.is_sorted_by(|left, right| left.above < right.above);
            if bands.first().is_none_or(|first| first.above != 0) || !ascending {
                return Err("branches of a tier do not ascend from 0".to_owned());
            }
        }
        if !self.off_peak.iter().all(|off_peak| off_peak.hours.is_sound()) {
            return Err("hours that are none".to_owned());
        }
        // A factor more than the numbers have room for is refused now, not when a request has been made.
        let rates = self.all_bands().flatten().flat_map(|band| band.rates.iter());
        let rate_scale = rates.chain([self.request]).map(Exact::scale).max().unwrap_or(0);
        let factors = self.adjustments.iter().map(|adjustment| adjustment.factor.scale());
        if factors.fold(rate_scale, u32::saturating_add) > DECIMALS_MAX {
            return Err(format!("rates and factors have more than {DECIMALS_MAX} decimals together"));
        }
        Ok(())
    }

    /// The branches of every tier, of all hours, and of other models.
    fn all_bands(&self) -> impl Iterator<Item = &Vec<Band>> {
        self.tiers.values().chain(self.off_peak.iter().map(|off_peak| &off_peak.bands)).chain(self.others.values())
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Whether this is text that JSON writes as it is.
fn is_name(text: &str, bytes_max: usize) -> bool {
    let is_plain = |character: char| !character.is_control() && character != '"' && character != '\\';
    !text.is_empty() && text.len() <= bytes_max && text.chars().all(is_plain)
}
