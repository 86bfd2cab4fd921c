//! The LiteLLM price list, `model_prices_and_context_window.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::json::{self, Object};
use crate::pricing::book::PriceBook;
use crate::pricing::content::Content;
use crate::pricing::exact::{Exact, Flaw};
use crate::pricing::hours::{Hours, OffPeak};
use crate::pricing::rates::{Band, Part, Rates, ServiceTier, Sheet};
use crate::pricing::tariff::Tariff;
use crate::pricing::{PriceError, clip};
use crate::tokens::TokenClass;

/// The entry that explains the format.
const SAMPLE: &str = "sample_spec";

impl PriceBook {
    /// Reads the LiteLLM price list, in US dollars.
    ///
    /// Rates of all classes, thresholds, `tiered_pricing`, service tiers, off-peak hours and the fee of a request become
    /// tariffs. Uplifts are named `residency_eu`, `residency_us`, `regional_endpoint`, `geo_us` and `speed_fast`. What the
    /// list has besides is named by [`Tariff::unpriced`]. A model that cannot be priced (a price that is no number, or
    /// none of what can be counted) does not spoil the others: asking for it gives its error, and
    /// [`PriceBook::unusable`] lists them.
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
struct Entry<'a> {
    model: &'a str,
    is_xai: bool,
    makes_images: bool,
    sheet: Sheet,
    tiered: Option<Vec<(u64, Object<'a>)>>,
    off_peak: Option<Object<'a>>,
    request: Exact,
    uplifts: BTreeMap<String, Exact>,
    unpriced: BTreeSet<String>,
}

fn tariff(model: &str, provider: Option<&str>, fields: &Object<'_>) -> Result<Tariff, PriceError> {
    let mut entry = Entry { model, is_xai: provider == Some("xai"), ..Entry::default() };
    entry.makes_images = fields.text("mode").is_some_and(|mode| mode == "image_generation");
    entry.add_defaults(provider, fields)?;
    for (name, value) in fields.iter() {
        match better_than(name).filter(|better| fields.get(better).is_some()) {
            // Another name of the same price.
            Some("cache_read_input_token_cost" | "input_cost_per_second") => {}
            Some(better) if entry.is_above_zero(fields, better) => entry.unpriced(name, value)?,
            Some(_) | None => entry.field(name, value)?,
        }
    }
    entry.tariff(fields)
}

/// The field that is taken instead of this one, where there is one.
fn better_than(name: &str) -> Option<&'static str> {
    match name {
        "input_cost_per_token_cache_hit" => Some("cache_read_input_token_cost"),
        "cost_per_second" => Some("input_cost_per_second"),
        "input_cost_per_second" => Some("output_cost_per_second"),
        "input_cost_per_image" => Some("output_cost_per_image"),
        _ => None,
    }
}

impl<'a> Entry<'a> {
    /// Rates that the list leaves to be known.
    fn add_defaults(&mut self, provider: Option<&str>, fields: &Object<'_>) -> Result<(), PriceError> {
        let listed = |name| fields.get(name).map(|raw| self.number(name, raw)).transpose();
        // Fireworks reads from its cache at half the price.
        let half = match (provider, listed("input_cost_per_token")?) {
            (Some("fireworks_ai"), Some(input)) => input.checked_times(5).and_then(|tenfold| tenfold.shifted(-1)),
            _ => None,
        };
        // What a maker of images says costs what it shows.
        let shown = listed("output_cost_per_image_token")?.filter(|_| self.makes_images);
        self.sheet.set(Part::STANDARD, 0, TokenClass::CacheRead, half);
        self.sheet.set(Part::STANDARD, 0, TokenClass::Output, shown);
        Ok(())
    }

    fn field(&mut self, name: &str, raw: &'a RawValue) -> Result<(), PriceError> {
        match name {
            "tiered_pricing" => self.tiered = Some(self.ranges(raw)?),
            "off_peak_pricing" => self.off_peak = Some(json::object(raw).ok_or_else(|| self.malformed(name, raw))?),
            "provider_specific_entry" => self.specific(raw)?,
            "search_context_cost_per_query" => self.searches(name, raw)?,
            "input_cost_per_request" => self.request = self.number(name, raw)?,
            // The same price in units of Databricks.
            "input_dbu_cost_per_token" | "output_dbu_cost_per_token" => {}
            _ => self.rate(name, raw)?,
        }
        Ok(())
    }

    fn rate(&mut self, name: &str, raw: &RawValue) -> Result<(), PriceError> {
        // Images that go in are sold by the piece only where images come out.
        let is_image_in = name.starts_with("input_cost_per_image") && !self.makes_images;
        if let Some((class, above, tier)) = rate_field(name).filter(|(class, ..)| class.is_token() || !is_image_in) {
            // xAI's long prompts begin at the threshold, all others' above it.
            let above = if self.is_xai { above.saturating_sub(1) } else { above };
            let rate = Some(self.unit_rate(class, name, raw)?);
            // Of what is no token, zero says that the model is sold by something else.
            self.sheet.set(Part::Tier(tier), above, class, rate.filter(|rate| class.is_token() || !rate.is_zero()));
        } else if let Some(uplift) = uplift_field(name) {
            self.uplifts.insert(uplift.to_owned(), self.number(name, raw)?);
        } else if name.contains("cost") {
            self.unpriced(name, raw)?;
        }
        Ok(())
    }

    /// Remembers a price that no tariff has, unless it is nothing.
    fn unpriced(&mut self, name: &str, raw: &RawValue) -> Result<(), PriceError> {
        let is_free = !raw.get().starts_with(['{', '[']) && self.number(name, raw)?.is_zero();
        if !is_free {
            self.unpriced.insert(name.to_owned());
        }
        Ok(())
    }

    /// Anthropic's factors for a place and a speed stand among settings that are no prices.
    fn specific(&mut self, raw: &RawValue) -> Result<(), PriceError> {
        for (name, value) in json::object(raw).iter().flat_map(Object::iter) {
            let uplift = match name {
                "us" => "geo_us",
                "fast" => "speed_fast",
                _ => continue,
            };
            self.uplifts.insert(uplift.to_owned(), self.number(name, value)?);
        }
        Ok(())
    }

    /// Searches cost by how much is read; little is what is read where nothing else is asked for.
    fn searches(&mut self, field: &str, raw: &RawValue) -> Result<(), PriceError> {
        const LOW: &str = "search_context_size_low";
        let sizes = json::object(raw).ok_or_else(|| self.malformed(field, raw))?;
        let low = sizes.get(LOW).map(|low| self.number(LOW, low)).transpose()?;
        self.sheet.set(Part::STANDARD, 0, TokenClass::WebSearch, low);
        for (name, value) in sizes.iter() {
            if Some(self.number(name, value)?) != low {
                self.unpriced.insert(name.to_owned());
            }
        }
        Ok(())
    }

    fn tariff(self, fields: &Object<'_>) -> Result<Tariff, PriceError> {
        let mut content = Content::named(self.model, "USD");
        content.tiers = match &self.tiered {
            Some(ranges) => BTreeMap::from([(ServiceTier::Standard, self.bands(ranges)?)]),
            None => self.sheet.tiers(),
        };
        content.off_peak.extend(self.off_peak()?);
        content.request = self.request;
        let is_priced = !self.request.is_zero()
            || content.tiers.values().flatten().flat_map(|band| band.rates.iter()).any(|rate| !rate.is_zero());
        let is_free = fields.get("input_cost_per_token").is_some() && self.unpriced.iter().all(|name| is_extra(name));
        if !is_priced && !is_free {
            let names = Vec::from_iter(self.unpriced).join(", ");
            let reason = if names.is_empty() { "no price at all".to_owned() } else { clip(&names) };
            return Err(PriceError::NotPerToken { model: clip(self.model), reason });
        }
        content.uplifts = self.uplifts;
        content.unpriced = Arc::new(self.unpriced);
        Tariff::new(content)
    }

    /// `tiered_pricing`: ranges of prompt lengths. Search services have ranges of something else.
    fn ranges(&self, raw: &'a RawValue) -> Result<Vec<(u64, Object<'a>)>, PriceError> {
        const FIELD: &str = "tiered_pricing";
        let malformed = || self.malformed(FIELD, raw);
        let mut ranges = Vec::new();
        for range in json::array(raw).ok_or_else(malformed)? {
            let rates = json::object(range).ok_or_else(malformed)?;
            let Some(lengths) = rates.get("range") else {
                return Err(PriceError::NotPerToken { model: clip(self.model), reason: FIELD.to_owned() });
            };
            ranges.push((range_start(lengths).ok_or_else(malformed)?, rates));
        }
        Ok(ranges)
    }

    /// Each range has all the rates of tokens there are: none is taken from the entry or from the range below.
    fn bands(&self, ranges: &[(u64, Object<'_>)]) -> Result<Vec<Band>, PriceError> {
        let units = self.sheet.bands(Part::STANDARD).first().map(|band| band.rates).unwrap_or_default();
        let mut bands = Vec::new();
        for (above, range) in ranges {
            let mut rates = Rates::default();
            for class in TokenClass::ALL.into_iter().filter(|class| !class.is_token()) {
                rates.set(class, units.get(class));
            }
            for (name, value) in range.iter().filter(|(name, _)| *name != "range") {
                let Some((class, 0, ServiceTier::Standard)) = rate_field(name) else {
                    return Err(self.malformed(name, value));
                };
                rates.set(class, Some(self.number(name, value)?));
            }
            bands.push(Band { above: *above, rates: rates.resolved() });
        }
        Ok(bands)
    }

    fn off_peak(&self) -> Result<Option<OffPeak>, PriceError> {
        let Some(fields) = &self.off_peak else {
            return Ok(None);
        };
        let part = Part::OffPeak(0);
        let mut sheet = self.sheet.clone();
        for (name, value) in fields.iter() {
            if let Some((class, 0, ServiceTier::Standard)) = rate_field(name) {
                sheet.set(part, 0, class, Some(self.number(name, value)?));
            }
        }
        let zone = fields.text("weekday_timezone");
        let windows = match fields.get("windows") {
            Some(windows) => json::array(windows).and_then(|windows| windows.into_iter().map(json::object).collect()),
            None => Some(vec![Object(fields.0.clone())]),
        };
        let mut hours: Option<Hours> = None;
        for window in windows.iter().flatten() {
            let window = read_window(window, zone.as_deref())?;
            hours = Some(match hours {
                Some(hours) => hours.and(window),
                None => window,
            });
        }
        let hours = hours.ok_or_else(|| PriceError::MalformedHours(clip(self.model)))?;
        Ok(Some(OffPeak { hours, bands: sheet.bands(part) }))
    }

    fn unit_rate(&self, class: TokenClass, name: &str, raw: &RawValue) -> Result<Exact, PriceError> {
        let rate = self.number(name, raw)?;
        match class {
            // Listed per second.
            TokenClass::Millisecond => rate.shifted(-3).ok_or(Flaw::TooPrecise),
            _ => Ok(rate),
        }
        .map_err(|flaw| PriceError::flaw(flaw, self.model, name, raw.get()))
    }

    fn is_above_zero(&self, fields: &Object<'_>, name: &str) -> bool {
        fields.get(name).is_some_and(|raw| self.number(name, raw).is_ok_and(|rate| !rate.is_zero()))
    }

    fn number(&self, name: &str, raw: &RawValue) -> Result<Exact, PriceError> {
        json::number(raw).map_err(|flaw| PriceError::flaw(flaw, self.model, name, raw.get()))
    }

    fn malformed(&self, name: &str, raw: &RawValue) -> PriceError {
        PriceError::flaw(Flaw::Malformed, self.model, name, raw.get())
    }
}

/// `hours_utc`, one span or several, on `weekdays` or every day.
fn read_window(window: &Object<'_>, zone: Option<&str>) -> Result<Hours, PriceError> {
    let malformed = || PriceError::MalformedHours(clip(window.get("hours_utc").map_or("", RawValue::get)));
    let spans = window.get("hours_utc").ok_or_else(malformed)?.get();
    let spans: Vec<String> = serde_json::from_str(spans)
        .or_else(|_| serde_json::from_str(spans).map(|span: String| vec![span]))
        .map_err(|_| malformed())?;
    let mut hours = Hours::utc(&spans.iter().map(String::as_str).collect::<Vec<_>>())?;
    if let Some(days) = window.get("weekdays") {
        hours = hours.on(&serde_json::from_str::<Vec<i8>>(days.get()).map_err(|_| malformed())?)?;
    }
    match zone {
        Some(zone) => hours.in_zone(zone),
        None => Ok(hours),
    }
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
        TokenClass::CacheReadAudio => &["cache_read_input_audio_token_cost"],
        TokenClass::CacheReadImage => &["cache_read_input_image_token_cost"],
        TokenClass::CacheWrite5m => &["cache_creation_input_token_cost"],
        TokenClass::CacheWrite1h => &["cache_creation_input_token_cost_above_1hr"],
        TokenClass::AudioInput => &["input_cost_per_audio_token"],
        TokenClass::ImageInput => &["input_cost_per_image_token"],
        TokenClass::Output => &["output_cost_per_token"],
        TokenClass::Reasoning => &["output_cost_per_reasoning_token"],
        TokenClass::AudioOutput => &["output_cost_per_audio_token"],
        TokenClass::ImageOutput => &["output_cost_per_image_token"],
        TokenClass::Citation => &["citation_cost_per_token"],
        TokenClass::WebSearch => &[],
        TokenClass::Query => &["input_cost_per_query"],
        TokenClass::Image => &["output_cost_per_image", "input_cost_per_image"],
        TokenClass::Character => &["input_cost_per_character"],
        TokenClass::Millisecond => &["output_cost_per_second", "input_cost_per_second", "cost_per_second"],
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
    ["search_context_size", "grounding_cost_per_query", "code_interpreter", "file_search"]
        .iter()
        .any(|extra| name.contains(extra))
}
