//! The genai-prices list, `data.json` of its version 2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::json::{self, Object};
use crate::model::Timestamp;
use crate::pricing::book::PriceBook;
use crate::pricing::content::Content;
use crate::pricing::exact::{Exact, Flaw};
use crate::pricing::hours::{Hours, OffPeak};
use crate::pricing::names::Pattern;
use crate::pricing::rates::{Band, Part, ServiceTier, Sheet};
use crate::pricing::tariff::Tariff;
use crate::pricing::{PriceError, clip};
use crate::tokens::TokenClass;

impl PriceBook {
    /// Reads the genai-prices list, in US dollars, with the prices that hold on the day of `time`.
    ///
    /// Models are listed as `provider/model`; [`PriceBook::tariff_of`] finds them by the names that the list says mean
    /// them. Hours of the day become off-peak rates. A model that
    /// cannot be priced does not spoil the others: asking for it gives its error, and [`PriceBook::unusable`] lists them.
    ///
    /// # Errors
    /// [`PriceError::MalformedList`] if the text is not JSON of this form.
    pub fn from_genai_prices(json: &str, time: Timestamp) -> Result<Self, PriceError> {
        let malformed = |error: serde_json::Error| PriceError::MalformedList(clip(&error.to_string()));
        let missing = |what: &str| PriceError::MalformedList(format!("{what} is missing"));
        let today = jiff::Timestamp::from_microsecond(time.as_micros())
            .map_err(|error| PriceError::MalformedList(error.to_string()))?;
        let today = today.to_zoned(TimeZone::UTC).date();
        let mut book = Self::new();
        for provider in serde_json::from_str::<Vec<Object<'_>>>(json).map_err(malformed)? {
            let name = provider.text("id").ok_or_else(|| missing("id of a provider"))?;
            if let Some(others) = provider.get("fallback_model_providers") {
                book.names().resells(&name, &serde_json::from_str::<Vec<String>>(others.get()).map_err(malformed)?);
            }
            let models = provider.get("models").and_then(json::array).ok_or_else(|| missing(&name))?;
            for model in models {
                let model: Object<'_> = serde_json::from_str(model.get()).map_err(malformed)?;
                let id = model.text("id").ok_or_else(|| missing("id of a model"))?;
                let listed = format!("{name}/{id}");
                if let Some(pattern) = model.get("match") {
                    let pattern: Pattern = serde_json::from_str(pattern.get()).map_err(malformed)?;
                    book.names().pattern(&name, pattern, &listed);
                }
                let prices = model.get("prices").ok_or_else(|| missing(&listed))?;
                book.list(&listed, Some(&name), Reader { model: &listed, today }.tariff(prices));
            }
        }
        Ok(book)
    }
}

/// From a time of the day to another, as `HH:MM`.
type Span = (String, String);

/// The prices of today, and those that hold instead at some hours.
type InForce<'a> = (&'a RawValue, Option<(Span, &'a RawValue)>);

struct Reader<'a> {
    model: &'a str,
    today: Date,
}

/// The prices of a model, at all hours or at some.
struct Prices {
    sheet: Sheet,
    request: Exact,
    unpriced: BTreeSet<String>,
}

impl Reader<'_> {
    fn tariff(&self, prices: &RawValue) -> Result<Tariff, PriceError> {
        let (always, at_hours) = match json::array(prices) {
            None => (prices, None),
            Some(all) => self.in_force(&all)?,
        };
        let always = self.prices(always)?;
        let mut content = Content::named(self.model, "USD");
        content.tiers = always.sheet.tiers();
        content.request = always.request;
        let mut unpriced = always.unpriced;
        if let Some(((from, to), prices)) = at_hours {
            let mut then = self.prices(prices)?;
            unpriced.append(&mut then.unpriced);
            let (then, mut others) = (then.sheet.bands(Part::STANDARD), always.sheet.bands(Part::STANDARD));
            // The ordinary rates are the dearer ones, whichever of the two the list writes with hours.
            let output = |bands: &[Band]| bands.first().and_then(|band| band.rates.get(TokenClass::Output));
            let (span, bands) = match output(&then) > output(&others) {
                true => (format!("{to}-{from}"), std::mem::replace(&mut others, then)),
                false => (format!("{from}-{to}"), then),
            };
            content.tiers = BTreeMap::from([(ServiceTier::Standard, others)]);
            content.off_peak.push(OffPeak { hours: Hours::utc(&[&span])?, bands });
        }
        content.unpriced = Arc::new(unpriced);
        let has_rates = content.tiers.values().flatten().flat_map(|band| band.rates.iter()).next().is_some();
        if !has_rates && content.request.is_zero() {
            let names = Vec::from_iter(content.unpriced.iter().cloned()).join(", ");
            let reason = if names.is_empty() { "no price at all".to_owned() } else { clip(&names) };
            return Err(PriceError::NotPerToken { model: clip(self.model), reason });
        }
        Tariff::new(content)
    }

    /// Of prices under conditions, of which the last that applies holds.
    fn in_force<'a>(&self, all: &[&'a RawValue]) -> Result<InForce<'a>, PriceError> {
        let mut always = None;
        let mut at_hours = Vec::new();
        for raw in all {
            let malformed = || PriceError::flaw(Flaw::Malformed, self.model, "prices", raw.get());
            let conditional = json::object(raw).ok_or_else(malformed)?;
            let prices = conditional.get("prices").ok_or_else(malformed)?;
            match conditional.get("constraint").map(json::object) {
                None => {
                    always = Some(prices);
                    at_hours.clear();
                }
                Some(None) => return Err(malformed()),
                Some(Some(constraint)) => match (constraint.text("start_date"), span(&constraint)) {
                    (Some(date), _) => {
                        if date.parse::<Date>().map_err(|_| malformed())? <= self.today {
                            always = Some(prices);
                            at_hours.clear();
                        }
                    }
                    (None, Some(span)) => at_hours.push((span, prices)),
                    (None, None) => return Err(malformed()),
                },
            }
        }
        let reason = |reason: &str| PriceError::NotPerToken { model: clip(self.model), reason: reason.to_owned() };
        let always = always.ok_or_else(|| reason("no prices today"))?;
        if at_hours.len() > 1 {
            return Err(reason("more than one price by the hour"));
        }
        Ok((always, at_hours.pop()))
    }

    fn prices(&self, raw: &RawValue) -> Result<Prices, PriceError> {
        let flaw = |flaw, name: &str, raw: &RawValue| PriceError::flaw(flaw, self.model, name, raw.get());
        let fields = json::object(raw).ok_or_else(|| flaw(Flaw::Malformed, "prices", raw))?;
        let mut prices = Prices { sheet: Sheet::default(), request: Exact::ZERO, unpriced: BTreeSet::new() };
        for (name, value) in fields.iter() {
            let per = if name.ends_with("_mtok") { -6 } else { -3 };
            let number = |raw: &RawValue| {
                let number = json::number(raw).and_then(|number| number.shifted(per).ok_or(Flaw::TooPrecise));
                number.map_err(|kind| flaw(kind, name, raw))
            };
            if name == "requests_kcount" {
                prices.request = number(value)?;
                continue;
            }
            let by_length = json::object(value);
            let base = by_length.as_ref().map_or(Some(value), |by_length| by_length.get("base"));
            let base = number(base.ok_or_else(|| flaw(Flaw::Malformed, name, value))?)?;
            let Some(class) = class_of(name) else {
                if !base.is_zero() {
                    prices.unpriced.insert(name.to_owned());
                }
                continue;
            };
            prices.sheet.set(Part::STANDARD, 0, class, Some(base));
            for tier in by_length.and_then(|by_length| json::array(by_length.get("tiers")?)).iter().flatten() {
                let tier = json::object(tier)
                    .and_then(|tier| Some((tier.get("start")?.get().parse().ok()?, tier.get("price")?)));
                let (above, price) = tier.ok_or_else(|| flaw(Flaw::Malformed, name, value))?;
                prices.sheet.set(Part::STANDARD, above, class, Some(number(price)?));
            }
        }
        Ok(prices)
    }
}

/// `start_time` and `end_time`.
fn span(constraint: &Object<'_>) -> Option<Span> {
    let time = |name| constraint.text(name)?.strip_suffix(":00Z").map(str::to_owned);
    Some((time("start_time")?, time("end_time")?))
}

fn class_of(name: &str) -> Option<TokenClass> {
    match name {
        "input_mtok" => Some(TokenClass::Input),
        "cache_read_mtok" => Some(TokenClass::CacheRead),
        "cache_audio_read_mtok" => Some(TokenClass::CacheReadAudio),
        "cache_image_read_mtok" => Some(TokenClass::CacheReadImage),
        "cache_write_mtok" => Some(TokenClass::CacheWrite5m),
        "cache_write_1h_mtok" => Some(TokenClass::CacheWrite1h),
        "input_audio_mtok" => Some(TokenClass::AudioInput),
        "input_image_mtok" => Some(TokenClass::ImageInput),
        "output_mtok" => Some(TokenClass::Output),
        "output_reasoning_mtok" => Some(TokenClass::Reasoning),
        "output_audio_mtok" => Some(TokenClass::AudioOutput),
        "output_image_mtok" => Some(TokenClass::ImageOutput),
        "output_citation_mtok" => Some(TokenClass::Citation),
        "web_searches_kcount" => Some(TokenClass::WebSearch),
        _ => None,
    }
}
