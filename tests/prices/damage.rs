//! Lists and evidence that were damaged are refused or read, and nothing panics.

use prepaid::pricing::{Charge, PriceBook, Tariff};
use prepaid::tokens::{TokenClass, Usage};
use prepaid::{Asset, Timestamp};
use proptest::prelude::*;

const LITELLM: &str = r#"{"a": {"litellm_provider": "xai", "mode": "image_generation", "input_cost_per_token": 1.5e-07,
    "output_cost_per_token_above_200k_tokens_priority": 2E-6, "output_cost_per_second": 0.1, "input_cost_per_request": 1,
    "provider_specific_entry": {"us": 1.1}, "regional_endpoint_uplift_multiplier": 1.1, "input_cost_per_pixel": 0.1,
    "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.02},
    "off_peak_pricing": {"input_cost_per_token": 1e-8, "weekday_timezone": "Asia/Shanghai",
        "windows": [{"hours_utc": ["00:00-01:00"], "weekdays": [1, 7]}, {"hours_utc": "20:00-00:00"}]}},
    "b": {"tiered_pricing": [{"range": [0, 256000.0], "input_cost_per_token": 1e-6},
        {"range": [256000.0, 1e6], "input_cost_per_token": 2e-6}]}}"#;

const GENAI: &str = r#"[{"id": "p", "fallback_model_providers": ["p"], "models": [{"id": "m",
    "match": {"or": [{"equals": "m"}, {"regex": "^m-\\d{4}$"}, {"and": [{"contains": "x"}, {"ends_with": "y"}]}]},
    "prices": [{"prices": {"input_mtok": {"base": 1, "tiers": [{"start": 9, "price": 2.5}]}, "requests_kcount": 5}},
        {"constraint": {"start_date": "2025-06-10"}, "prices": {"input_mtok": 1.25}},
        {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"output_mtok": 2}}]}]}]"#;

const TOML: &str = r#"currency = "USD"
    [models."a/b"]
    provider = "a"
    aliases = ["c"]
    input = "2.50"
    second = 1
    request = "0.001"
    above = [{ tokens = 200_000, input = "5" }]
    uplift = { geo_us = "1.1" }
    [models."a/b".tier.batch]
    input = "1.25"
    [[models."a/b".off_peak]]
    hours = ["16:30-00:30"]
    weekdays = [1, 2]
    zone = "Asia/Shanghai"
    input = "1.25"
    [[markup]]
    models = "a/*"
    percent = "20"
"#;

/// The text with some of its bytes replaced, taken out or doubled.
fn damaged(text: &str, damage: &[(usize, usize, u8)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, length, with) in damage {
        let at = at % bytes.len();
        let end = (at + length).min(bytes.len());
        match with {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            byte => bytes[at] = *byte,
        }
        if bytes.is_empty() {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn use_book(book: &PriceBook) {
    let usage = TokenClass::ALL.into_iter().fold(Usage::new(), |usage, class| usage.with(class, u64::MAX / 3));
    for tariff in book.models().map(|model| book.tariff(model)) {
        let Ok(tariff) = tariff else {
            continue;
        };
        assert_eq!(Tariff::from_bytes(&tariff.to_bytes()).unwrap(), tariff);
        let _ = tariff.at(Timestamp::from_micros(i64::MIN)).charge(&usage, Asset::USD);
        let _ = tariff.quote_request(u64::MAX, u64::MAX, Asset::USD);
        let _ = tariff.max_affordable_output(Asset::USD.parse("5").unwrap(), 1_000, Asset::USD);
    }
    let _ = (book.hash(), book.unusable().count());
}

fn damage() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    let byte = prop_oneof![
        Just(0),
        Just(1),
        proptest::sample::select(br#"0123456789.eE+-"[]{},:= nulltrue"#.to_vec()),
        any::<u8>()
    ];
    proptest::collection::vec((any::<usize>(), 1..12_usize, byte), 0..4)
}

proptest! {
    #[test]
    fn a_damaged_list_is_refused_or_read(damage in damage()) {
        let books = [
            PriceBook::from_litellm(&damaged(LITELLM, &damage)),
            PriceBook::from_genai_prices(&damaged(GENAI, &damage), Timestamp::from_micros(1_750_000_000_000_000)),
            PriceBook::from_toml(&damaged(TOML, &damage)),
        ];
        if damage.is_empty() {
            prop_assert!(books.iter().all(|book| book.as_ref().is_ok_and(|book| book.unusable().count() == 0)));
        }
        books.iter().flatten().for_each(use_book);
    }

    #[test]
    fn a_damaged_tariff_or_charge_is_refused_or_the_same(damage in damage()) {
        let tariff = PriceBook::from_toml(TOML).unwrap().tariff("c").unwrap();
        let bytes = damaged(&String::from_utf8(tariff.to_bytes()).unwrap(), &damage);
        if let Ok(read) = Tariff::from_bytes(bytes.as_bytes()) {
            prop_assert_eq!(read.to_bytes(), bytes.as_bytes());
        }
        let charge = tariff.charge(&Usage::new().with(TokenClass::Input, 77), Asset::USD).unwrap();
        let evidence = damaged(&String::from_utf8(charge.evidence()).unwrap(), &damage);
        if let Ok(read) = Charge::from_evidence(evidence.as_bytes()) {
            prop_assert_eq!(Charge::from_evidence(&read.evidence()).unwrap(), read);
        }
    }
}
