//! Costs that another implementation computed from the same list must be ours.

use std::collections::BTreeMap;

use prepaid::pricing::{Charge, PriceBook, PriceError, ServiceTier, Tariff};
use prepaid::tokens::{TokenClass, Usage};
use prepaid::{Asset, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{text, usage};

/// A reference cost and ours.
struct Verdict {
    id: String,
    tag: String,
    expected: Decimal,
    ours: Result<Decimal, PriceError>,
    exact: Option<Decimal>,
    reason: Option<&'static str>,
}

#[test]
fn reference_costs_are_ours() {
    let book = PriceBook::from_litellm(&text("litellm_model_prices.json")).unwrap();
    let (equal, unexplained) = compared(&book, &text("litellm_cost_cases.jsonl"));
    assert!(equal >= 99 && unexplained == 0, "{equal} %, {unexplained} for no known reason");
    if let Some(path) = std::env::var_os("PREPAID_COST_CASES") {
        let further = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (equal, unexplained) = compared(&book, &further);
        assert!(equal >= 99 || unexplained == 0, "{equal} %, {unexplained} for no known reason");
    }
}

/// Prints what differs; returns how many percent are equal, and how many differ for no known reason.
fn compared(book: &PriceBook, file: &str) -> (usize, usize) {
    let cases = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let verdicts: Vec<Verdict> =
        cases.filter(|case| case["_meta"].is_null()).map(|case| verdict(book, &case)).collect();
    let mut by_tag: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut others = Vec::new();
    for verdict in &verdicts {
        let (equal, all) = by_tag.entry(&verdict.tag).or_default();
        *all += 1;
        match verdict.is_equal() {
            true => *equal += 1,
            false => others.push(verdict),
        }
    }
    for (tag, (equal, all)) in by_tag {
        println!("{tag:32} {equal:4} of {all:4}");
    }
    println!("{} of {} equal", verdicts.len() - others.len(), verdicts.len());
    for Verdict { id, tag, expected, ours, reason, .. } in &others {
        println!("{id} {tag}: {expected}, ours {ours:?}: {}", reason.unwrap_or("?"));
    }
    let equal = (verdicts.len() - others.len()) * 100 / verdicts.len();
    (equal, others.iter().filter(|other| other.reason.is_none()).count())
}

fn verdict(book: &PriceBook, case: &Value) -> Verdict {
    let decimal = |text: &str| Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).unwrap();
    Verdict {
        id: format!("{} {}", case["id"], case["model"].as_str().unwrap()),
        tag: case["tag"].as_str().unwrap().to_owned(),
        expected: decimal(case["total_cost"].as_str().unwrap()),
        ours: charge(book, case).map(|charge| charge.exact().to_decimal().unwrap()),
        exact: case["exact_total"].as_str().map(decimal),
        reason: reason(case),
    }
}

/// Where LiteLLM does not do what its list says.
fn reason(case: &Value) -> Option<&'static str> {
    let is = |field: &str, part: &str| case[field].as_str().is_some_and(|text| text.contains(part));
    match () {
        () if is("provider", "perplexity") && is("tag", "threshold") => Some("no thresholds for Perplexity"),
        () if is("model", "gemini-exp") => Some("experimental models of Gemini are free"),
        () if is("tag", "web-search-xai") => Some("the list has no price for searches of xAI"),
        () => None,
    }
}

impl Verdict {
    /// Within 1e-9 of a cost that was computed in binary; the very same as one that was computed in decimals.
    fn is_equal(&self) -> bool {
        let near = |ours: &Decimal| (ours - self.expected).abs() <= Decimal::new(1, 9);
        self.ours.as_ref().is_ok_and(|ours| near(ours) && self.exact.is_none_or(|exact| exact == *ours))
    }
}

fn charge(book: &PriceBook, case: &Value) -> Result<Charge, PriceError> {
    let tariff = select(book.tariff(case["model"].as_str().unwrap())?, case)?;
    tariff.charge(&used(case), Asset::USD)
}

/// The tariff with what the case's parameters and usage ask for.
fn select(mut tariff: Tariff, case: &Value) -> Result<Tariff, PriceError> {
    let params = &case["params"];
    // LiteLLM prices Fireworks at the standard tier, whatever was asked for.
    if let Some(tier) = params["service_tier"].as_str().filter(|_| case["provider"] != "fireworks_ai") {
        tariff = tariff.at_tier(tier.parse()?);
    }
    if params["batch"] == true {
        tariff = tariff.at_tier(ServiceTier::Batch);
    }
    if let Some(at) = params["at"].as_str() {
        let at: jiff::Timestamp = at.parse().unwrap();
        tariff = tariff.at(Timestamp::from_micros(at.as_microsecond()));
    }
    let mut uplifts = Vec::new();
    uplifts.extend(params["data_residency"].as_str().map(|place| format!("residency_{place}")));
    uplifts.extend(
        params["vertex_location"].as_str().filter(|place| *place != "global").map(|_| "regional_endpoint".to_owned()),
    );
    uplifts.extend(case["usage"]["inference_geo"].as_str().map(|geo| format!("geo_{geo}")));
    uplifts.extend(case["usage"]["speed"].as_str().map(|speed| format!("speed_{speed}")));
    for uplift in uplifts {
        if tariff.uplifts().any(|(name, _)| name == uplift) {
            tariff = tariff.with_uplift(&uplift)?;
        }
    }
    Ok(tariff)
}

fn used(case: &Value) -> Usage {
    let provider = case["provider"].as_str().unwrap();
    let units = &case["unit_usage"];
    if units.is_object() {
        let classes = [
            ("characters", TokenClass::Character),
            ("search_units", TokenClass::Query),
            ("queries", TokenClass::Query),
            ("images", TokenClass::Image),
        ];
        let counted = classes.iter().filter_map(|(name, class)| Some((*class, units[name].as_u64()?)));
        let mut usage = counted.fold(Usage::new(), |usage, (class, count)| usage.with(class, count));
        let seconds = units["seconds"].as_number().map(|seconds| millis(&seconds.to_string(), 3));
        let time = seconds.or_else(|| units["response_time_ms"].as_number().map(|ms| millis(&ms.to_string(), 0)));
        usage.set(TokenClass::Millisecond, time);
        return usage;
    }
    let mut usage = usage::of_litellm(&case["usage"], provider);
    // A tool's cost is in the total where it was asked for; Perplexity's always.
    if case["tool_cost"].is_string() || provider == "perplexity" {
        let searches = usage::searches(&case["usage"]);
        // Gemini before 3 takes its price once for all searches of a prompt.
        let once = case["model"].as_str().is_some_and(|model| model.contains("gemini-2"));
        usage.set(TokenClass::WebSearch, Some(if once { searches.min(1) } else { searches }));
        usage.set(TokenClass::Citation, case["usage"]["citation_tokens"].as_u64());
    }
    usage
}

/// A decimal in units of 10^-scale.
fn millis(text: &str, scale: u32) -> u64 {
    let scaled = Decimal::from_str_exact(text).unwrap() * Decimal::from(10_u64.pow(scale));
    u64::try_from(scaled).unwrap()
}
