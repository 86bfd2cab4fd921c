//! The genai-prices list, and what its authors compute with it.

use prepaid::pricing::{Charge, PriceBook, PriceError};
use prepaid::tokens::{TokenClass, Usage};
use prepaid::{Asset, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::text;

/// When the recorded usages were priced.
const PRICED_AT: &str = "2025-11-06T12:00:00Z";

#[test]
fn recorded_usages_cost_what_genai_prices_says() {
    let at: jiff::Timestamp = PRICED_AT.parse().unwrap();
    let at = Timestamp::from_micros(at.as_microsecond());
    let book = PriceBook::from_genai_prices(&text("genai_prices_v2.json"), at).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text("genai_prices_usages.json")).unwrap();
    let (mut all, mut others) = (0, Vec::new());
    for row in rows.iter().filter(|row| row["model"].is_string()) {
        let model = row["model"].as_str().unwrap();
        for extracted in row["extracted"].as_array().unwrap() {
            let usage = disjoint(&extracted["usage"]);
            let priced = extracted["extractors"].as_array().unwrap();
            for priced in priced.iter().filter(|priced| priced["input_price"].is_string()) {
                all += 1;
                let provider = priced["provider_id"].as_str().unwrap();
                let charge =
                    book.tariff_of(provider, model).and_then(|tariff| tariff.at(at).charge(&usage, Asset::USD));
                let ours = charge.as_ref().map(|charge| charge.exact().to_decimal().unwrap());
                if ours.as_ref() != Ok(&total(priced)) {
                    let known = is_known(&charge, total(priced));
                    others.push((known, format!("{provider}/{model}: {}, ours {ours:?}", total(priced))));
                }
            }
        }
    }
    println!("{} of {all} equal", all - others.len());
    others.iter().for_each(|(_, other)| println!("{other}"));
    assert!(all > 100 && others.len() * 100 <= all, "more than one in a hundred differs");
    assert!(others.iter().all(|(known, _)| *known), "a price differs for no known reason");
}

/// A model without prices is free there and an error here.
fn is_known(charge: &Result<Charge, PriceError>, theirs: Decimal) -> bool {
    matches!(charge, Err(PriceError::NotPerToken { .. })) && theirs.is_zero()
}

fn total(priced: &Value) -> Decimal {
    let decimal = |name: &str| {
        priced[name]
            .as_str()
            .map(|text| Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).unwrap())
    };
    decimal("total_price").unwrap_or_else(|| decimal("input_price").unwrap() + decimal("output_price").unwrap())
}

/// Totals that include their parts, made disjoint.
fn disjoint(usage: &Value) -> Usage {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let parts = [
        (
            TokenClass::CacheRead,
            count("cache_read_tokens") - count("cache_audio_read_tokens") - count("cache_image_read_tokens"),
        ),
        (TokenClass::CacheReadAudio, count("cache_audio_read_tokens")),
        (TokenClass::CacheReadImage, count("cache_image_read_tokens")),
        (TokenClass::CacheWrite5m, count("cache_write_tokens")),
        (TokenClass::AudioInput, count("input_audio_tokens") - count("cache_audio_read_tokens")),
        (TokenClass::ImageInput, count("input_image_tokens") - count("cache_image_read_tokens")),
        (TokenClass::Reasoning, count("output_reasoning_tokens")),
        (TokenClass::ImageOutput, count("output_image_tokens")),
        (TokenClass::WebSearch, count("web_searches")),
    ];
    let sum = |wanted: fn(TokenClass) -> bool| {
        parts.iter().filter(|(class, _)| wanted(*class)).map(|(_, count)| count).sum::<u64>()
    };
    let usage = parts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .fold(Usage::new(), |usage, (class, count)| usage.with(class, count));
    usage
        .with(TokenClass::Input, count("input_tokens") - sum(TokenClass::is_input))
        .with(TokenClass::Output, count("output_tokens").saturating_sub(sum(TokenClass::is_output)))
}
