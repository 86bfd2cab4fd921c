//! The LiteLLM price list, `model_prices_and_context_window.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::json::{self, Object};
use crate::pricing::book::PriceBook;
use crate::pricing::exact::Exact;
use crate::pricing::tariff::{Band, Content, Rates, ServiceTier, Tariff};
use crate::pricing::{PriceError, clip};
use crate::tokens::TokenClass;

/// The entry that explains the format.
const SAMPLE: &str = "sample_spec";

impl PriceBook {
    /// Reads the LiteLLM price list, in US dollars.
    ///
    /// Rates of all token classes, thresholds, `tiered_pricing`, service tiers and uplifts become tariffs. A model that
    /// cannot be priced (a price that is no number, or none per token) does not spoil the others: asking for it gives
    /// its error, and [`PriceBook::unusable`] lists them.
    ///
    /// # Errors
    /// [`PriceError::MalformedList`] if the text is not JSON of this form, or names a model or a field twice.
    pub fn from_litellm(json: &str) -> Result<Self, PriceError> {
        let malformed = |error: serde_json::Error| PriceError::MalformedList(clip(&error.to_string()));
        let list: Object<'_> = serde_json::from_str(json).map_err(malformed)?;
        let mut book = Self::new();
        for (model, fields) in list.iter().filter(|(model, _)| *model != SAMPLE) {
            let fields: Object<'_> = serde_json::from_str(fields.get()).map_err(malformed)?;
            let provider = fields.text("litellm_provider");
            book.list(model, provider.as_deref(), tariff(model, provider.as_deref(), &fields));
        }
        Ok(book)
    }
}

/// Everything of an entry that has to do with prices.
#[derive(Default)]
struct Entry {
    prices: BTreeMap<(ServiceTier, u64), Rates>,
    uplifts: BTreeMap<String, Exact>,
    unpriced: BTreeSet<String>,
}

fn tariff(model: &str, provider: Option<&str>, fields: &Object<'_>) -> Result<Tariff, PriceError> {
    let mut entry = Entry::default();
    let mut tiered = None;
    for (name, value) in fields.iter() {
        match name {
            "tiered_pricing" => tiered = Some(tiers_by_length(model, value)?),
            "provider_specific_entry" => entry.specific(model, value)?,
            // The same price in units of Databricks.
            "input_dbu_cost_per_token" | "output_dbu_cost_per_token" => {}
            // An older name, which counts where the new one is missing.
            "input_cost_per_token_cache_hit" if fields.get("cache_read_input_token_cost").is_some() => {}
            name => entry.field(model, provider, name, value)?,
        }
    }
    let mut content = Content::named(model, "USD");
    content.tiers = match tiered {
        Some(bands) => BTreeMap::from([(ServiceTier::Standard, bands)]),
        None => entry.tiers(),
    };
    let rates = content.tiers.values().flatten().flat_map(|band| TokenClass::ALL.map(|class| band.rates.get(class)));
    let is_priced = rates.flatten().any(|rate| !rate.is_zero());
    let is_free = fields.get("input_cost_per_token").is_some() && entry.unpriced.iter().all(|name| is_extra(name));
    if !is_priced && !is_free {
        let names = Vec::from_iter(entry.unpriced).join(", ");
        let reason = if names.is_empty() { "no price at all".to_owned() } else { names };
        return Err(PriceError::NotPerToken { model: clip(model), reason: clip(&reason) });
    }
    content.uplifts = entry.uplifts;
    content.unpriced = Arc::new(entry.unpriced);
    Tariff::new(content)
}

impl Entry {
    fn field(&mut self, model: &str, provider: Option<&str>, name: &str, raw: &RawValue) -> Result<(), PriceError> {
        let flaw = |flaw| PriceError::flaw(flaw, model, name, raw.get());
        if let Some((class, above, tier)) = rate_field(name) {
            // xAI's long prompts begin at the threshold, all others' above it.
            let above = if provider == Some("xai") { above.saturating_sub(1) } else { above };
            let rate = json::number(raw).map_err(flaw)?;
            self.prices.entry((tier, above)).or_default().set(class, Some(rate));
        } else if let Some(uplift) = uplift_field(name) {
            self.uplifts.insert(uplift.to_owned(), json::number(raw).map_err(flaw)?);
        } else if name.contains("cost") || name == "off_peak_pricing" {
            let is_scalar = !raw.get().starts_with(['{', '[']);
            let is_free = is_scalar && json::number(raw).map_err(flaw)?.is_zero();
            if !is_free {
                self.unpriced.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// Anthropic's factors for a place and a speed stand among settings that are no prices.
    fn specific(&mut self, model: &str, raw: &RawValue) -> Result<(), PriceError> {
        for (name, value) in json::object(raw).iter().flat_map(Object::iter) {
            let uplift = match name {
                "us" => "geo_us",
                "fast" => "speed_fast",
                _ => continue,
            };
            let factor = json::number(value).map_err(|flaw| PriceError::flaw(flaw, model, name, value.get()))?;
            self.uplifts.insert(uplift.to_owned(), factor);
        }
        Ok(())
    }

    /// The branches of each tier. What a tier does not say is as in the standard one, above a threshold as below it.
    fn tiers(&self) -> BTreeMap<ServiceTier, Vec<Band>> {
        let none = Rates::default();
        let at = |tier, above| self.prices.get(&(tier, above)).unwrap_or(&none);
        let tiers: BTreeSet<ServiceTier> =
            self.prices.keys().map(|(tier, _)| *tier).chain([ServiceTier::Standard]).collect();
        let bands = |tier: ServiceTier| {
            let of_tier = self.prices.keys().filter(|(own, _)| *own == tier || *own == ServiceTier::Standard);
            let bounds: BTreeSet<u64> = of_tier.map(|(_, above)| *above).chain([0]).collect();
            let mut below = Rates::default();
            let mut bands = Vec::new();
            for above in bounds {
                let (own, standard) = (at(tier, above), at(ServiceTier::Standard, above));
                let mut rates = Rates::default();
                for class in TokenClass::ALL {
                    let mut rate = own.get(class).or_else(|| standard.get(class)).or_else(|| below.get(class));
                    // A tier with an output rate of its own means it for reasoning, too.
                    if class == TokenClass::Reasoning && tier != ServiceTier::Standard && own.get(class).is_none() {
                        rate = own.get(TokenClass::Output).or(rate);
                    }
                    rates.set(class, rate);
                }
                below = rates;
                bands.push(Band { above, rates: rates.resolved() });
            }
            bands
        };
        tiers.into_iter().map(|tier| (tier, bands(tier))).collect()
    }
}

/// `tiered_pricing`: ranges of prompt lengths, each with all the rates there are.
fn tiers_by_length(model: &str, raw: &RawValue) -> Result<Vec<Band>, PriceError> {
    let malformed = || PriceError::MalformedPrice {
        model: clip(model),
        field: "tiered_pricing".to_owned(),
        input: clip(raw.get()),
    };
    let mut bands: Vec<Band> = Vec::new();
    for tier in json::array(raw).ok_or_else(malformed)? {
        let tier = json::object(tier).ok_or_else(malformed)?;
        let mut rates = Rates::default();
        let mut above = None;
        for (name, value) in tier.iter() {
            match (name, rate_field(name)) {
                ("range", _) => above = range_start(value),
                (_, Some((class, 0, ServiceTier::Standard))) => {
                    let rate = json::number(value).map_err(|flaw| PriceError::flaw(flaw, model, name, value.get()))?;
                    rates.set(class, Some(rate));
                }
                _ => {
                    return Err(PriceError::NotPerToken {
                        model: clip(model),
                        reason: format!("tiered {}", clip(name)),
                    });
                }
            }
        }
        bands.push(Band { above: above.ok_or_else(malformed)?, rates: rates.resolved() });
    }
    Ok(bands)
}

fn range_start(range: &RawValue) -> Option<u64> {
    let bounds = json::array(range)?;
    let start = json::number(bounds.first()?).ok()?;
    u64::try_from(start.ceil_units(0)?).ok()
}

/// `<class>[_above_<n>k_tokens][_<tier>]`.
fn rate_field(name: &str) -> Option<(TokenClass, u64, ServiceTier)> {
    TokenClass::ALL.into_iter().find_map(|class| {
        let rest = field_of(class).iter().find_map(|base| name.strip_prefix(base))?;
        let (above, rest) = match rest.strip_prefix("_above_").and_then(|rest| rest.split_once("k_tokens")) {
            Some((thousands, rest)) => (thousands.parse::<u64>().ok()?.checked_mul(1000)?, rest),
            None => (0, rest),
        };
        Some((class, above, tier_suffix(rest)?))
    })
}

fn field_of(class: TokenClass) -> &'static [&'static str] {
    match class {
        TokenClass::Input => &["input_cost_per_token"],
        TokenClass::CacheRead => &["cache_read_input_token_cost", "input_cost_per_token_cache_hit"],
        TokenClass::CacheWrite5m => &["cache_creation_input_token_cost"],
        TokenClass::CacheWrite1h => &["cache_creation_input_token_cost_above_1hr"],
        TokenClass::AudioInput => &["input_cost_per_audio_token"],
        TokenClass::ImageInput => &["input_cost_per_image_token"],
        TokenClass::Output => &["output_cost_per_token"],
        TokenClass::Reasoning => &["output_cost_per_reasoning_token"],
        TokenClass::AudioOutput => &["output_cost_per_audio_token"],
        TokenClass::ImageOutput => &["output_cost_per_image_token"],
    }
}

fn tier_suffix(suffix: &str) -> Option<ServiceTier> {
    match suffix {
        "" => Some(ServiceTier::Standard),
        "_batches" => Some(ServiceTier::Batch),
        "_flex" => Some(ServiceTier::Flex),
        "_balanced" => Some(ServiceTier::Balanced),
        "_priority" => Some(ServiceTier::Priority),
        "_ultrafast" => Some(ServiceTier::Ultrafast),
        "_decisions" => Some(ServiceTier::Decisions),
        _ => None,
    }
}

fn uplift_field(name: &str) -> Option<&'static str> {
    match name {
        "regional_processing_uplift_multiplier_eu" => Some("residency_eu"),
        "regional_processing_uplift_multiplier_us" => Some("residency_us"),
        "regional_endpoint_uplift_multiplier" => Some("regional_endpoint"),
        _ => None,
    }
}

/// Prices of what may come on top of tokens. A model that has no others is not sold by them.
fn is_extra(name: &str) -> bool {
    ["search_context_cost_per_query", "grounding_cost_per_query", "citation_cost", "code_interpreter", "file_search"]
        .iter()
        .any(|extra| name.contains(extra))
}
