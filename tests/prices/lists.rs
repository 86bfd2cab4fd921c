//! Price lists: every price is read as it is written, what cannot be read is refused by name, and nothing is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use prepaid::pricing::{Hours, PriceBook, PriceError, ServiceTier, Tariff};
use prepaid::tokens::{TokenClass, Usage};
use prepaid::{Asset, Timestamp};
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::text;

/// Adds every number in a value, as it is written.
fn add_numbers<'a>(raw: &'a RawValue, numbers: &mut Vec<&'a str>) {
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) {
        fields.values().for_each(|value| add_numbers(value, numbers));
    } else if let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        values.iter().for_each(|value| add_numbers(value, numbers));
    } else if raw.get().starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        numbers.push(raw.get());
    }
}

/// The numbers of the LiteLLM list that have to do with prices.
fn litellm_numbers(list: &str) -> Vec<&str> {
    let list: BTreeMap<String, BTreeMap<String, &RawValue>> = serde_json::from_str(list).unwrap();
    let is_price = |name: &str| ["cost", "pric", "uplift", "provider_specific"].iter().any(|part| name.contains(part));
    let mut numbers = Vec::new();
    for fields in list.values() {
        fields.iter().filter(|(name, _)| is_price(name)).for_each(|(_, raw)| add_numbers(raw, &mut numbers));
    }
    numbers
}

/// The numbers under `prices` of the genai-prices list.
fn genai_numbers(list: &str) -> Vec<&str> {
    let providers: Vec<BTreeMap<String, &RawValue>> = serde_json::from_str(list).unwrap();
    let mut numbers = Vec::new();
    for provider in &providers {
        let models: Vec<BTreeMap<String, &RawValue>> = serde_json::from_str(provider["models"].get()).unwrap();
        models.iter().for_each(|model| add_numbers(model["prices"], &mut numbers));
    }
    numbers
}

#[test]
fn every_price_is_read_as_it_is_written() {
    let (litellm, genai) = (text("litellm_model_prices.json"), text("genai_prices_v2.json"));
    for (name, numbers) in [("LiteLLM", litellm_numbers(&litellm)), ("genai-prices", genai_numbers(&genai))] {
        let distinct: BTreeSet<&str> = numbers.iter().copied().collect();
        println!("{name}: {} prices, {} distinct", numbers.len(), distinct.len());
        assert!(numbers.len() > 2_000);
        for written in distinct {
            // A second opinion on what the text means.
            let meant = Decimal::from_str_exact(written).or_else(|_| Decimal::from_scientific(written)).unwrap();
            let list = format!(r#"{{"m": {{"input_cost_per_token": {written}, "output_cost_per_token": 1}}}}"#);
            let read = PriceBook::from_litellm(&list).unwrap().tariff("m").unwrap().rate(TokenClass::Input, 1).unwrap();
            assert_eq!(read.to_string(), meant.normalize().to_string(), "{written}");
        }
    }
}

#[test]
fn every_listed_model_has_a_tariff_or_a_reason() {
    let litellm = PriceBook::from_litellm(&text("litellm_model_prices.json")).unwrap();
    let genai = PriceBook::from_genai_prices(&text("genai_prices_v2.json"), Timestamp::from_micros(0)).unwrap();
    for (name, book) in [("LiteLLM", litellm), ("genai-prices", genai)] {
        let mut reasons = BTreeMap::<String, usize>::new();
        for (model, error) in book.unusable() {
            let PriceError::NotPerToken { reason, .. } = error else {
                panic!("{model}: {error}");
            };
            *reasons.entry(reason.clone()).or_default() += 1;
        }
        println!("{name}: {} models have tariffs; others {reasons:#?}", book.models().count());
        assert!(book.models().count() > 400);
        for model in book.models() {
            let tariff = book.tariff(model).unwrap();
            assert_eq!(Tariff::from_bytes(&tariff.to_bytes()).unwrap(), tariff);
        }
    }
}

#[test]
fn where_the_lists_agree_on_rates_they_agree_on_costs() {
    let litellm = PriceBook::from_litellm(&text("litellm_model_prices.json")).unwrap();
    let genai = PriceBook::from_genai_prices(&text("genai_prices_v2.json"), time("2026-08-21T12:00:00Z")).unwrap();
    let classes = [TokenClass::Input, TokenClass::CacheRead, TokenClass::CacheWrite5m, TokenClass::Output];
    let usage = classes.into_iter().fold(Usage::new(), |usage, class| usage.with(class, 1_000));
    let (mut both, mut agree) = (0, 0);
    for model in litellm.models() {
        for provider in ["openai", "anthropic"] {
            let (Ok(ours), Ok(theirs)) = (litellm.tariff_of(provider, model), genai.tariff_of(provider, model)) else {
                continue;
            };
            both += 1;
            if classes.iter().all(|class| ours.rate(*class, 3_000) == theirs.rate(*class, 3_000)) {
                agree += 1;
                let cost = |tariff: &Tariff| tariff.charge(&usage, Asset::USD).unwrap().exact();
                assert_eq!(cost(&ours), cost(&theirs), "{provider} {model}");
            }
        }
    }
    println!("{both} models of OpenAI and Anthropic in both lists, {agree} with the same rates");
    assert!(agree * 2 > both && agree > 10);
}

#[test]
fn what_is_no_price_list_is_refused_by_name() {
    let refused = |list: &str| PriceBook::from_litellm(list).unwrap_err().to_string();
    assert!(refused("[]").contains("expected an object"), "{}", refused("[]"));
    assert!(refused(r#"{"a": {"#).contains("EOF"), "{}", refused(r#"{"a": {"#));
    assert!(refused(r#"{"gpt": {}, "gpt": {}}"#).contains("name stands twice: gpt"));
    let twice = r#"{"gpt": {"output_cost_per_token": 1, "output_cost_per_token": 2}}"#;
    assert!(refused(twice).contains("name stands twice: output_cost_per_token"));
    assert!(PriceBook::from_genai_prices("{}", Timestamp::default()).is_err());
    assert!(
        PriceBook::from_genai_prices("[{}]", Timestamp::default())
            .unwrap_err()
            .to_string()
            .contains("id of a provider")
    );
}

#[test]
fn a_wrong_price_spoils_its_model_alone_and_is_named() {
    let list = |price: &str| {
        format!(r#"{{"good": {{"input_cost_per_token": 1e-6}}, "bad": {{"input_cost_per_token": {price}}}}}"#)
    };
    for (price, says) in [
        ("-1e-6", "price is below zero: bad: input_cost_per_token: -1e-6"),
        ("\"1e-6\"", r#"price cannot be read: bad: input_cost_per_token: \"1e-6\""#),
        ("true", "price cannot be read: bad: input_cost_per_token: true"),
        ("[1]", "price cannot be read: bad: input_cost_per_token: [1]"),
        ("1e-29", "price has more than 28 digits: bad: input_cost_per_token: 1e-29"),
        ("1e400", "price has more than 28 digits: bad: input_cost_per_token: 1e400"),
        ("null", "model has no price per token: bad: no price at all"),
    ] {
        let book = PriceBook::from_litellm(&list(price)).unwrap();
        assert_eq!(book.tariff("bad").unwrap_err().to_string(), says);
        assert_eq!(book.models().collect::<Vec<_>>(), ["good"]);
        assert_eq!(book.unusable().map(|(model, _)| model).collect::<Vec<_>>(), ["bad"]);
    }
}

#[test]
fn a_model_sold_by_what_no_tariff_has_is_not_free() {
    let list = r#"{"video": {"input_cost_per_token": 0, "output_cost_per_token": 0, "output_cost_per_second_720p": 0.1},
        "free": {"input_cost_per_token": 0, "output_cost_per_token": 0}}"#;
    let book = PriceBook::from_litellm(list).unwrap();
    assert_eq!(
        book.tariff("video").unwrap_err().to_string(),
        "model has no price per token: video: output_cost_per_second_720p"
    );
    assert!(book.tariff("free").is_ok());
}

#[test]
fn a_newer_list_keeps_what_it_lacks_and_what_was_before() {
    let list = |models: &[(&str, &str)]| {
        let models = models.iter().map(|(model, price)| format!(r#""{model}": {{"input_cost_per_token": {price}}}"#));
        PriceBook::from_litellm(&format!("{{{}}}", models.collect::<Vec<_>>().join(","))).unwrap()
    };
    let mut book = list(&[("retired", "1e-6"), ("same", "2e-6"), ("changed", "3e-6")]);
    let (before, pinned) = (book.hash(), book.tariff("changed").unwrap());
    let merge = book.merge(list(&[("same", "2.0e-6"), ("changed", "4e-6"), ("new", "5e-6")]));
    let names = |names: &[std::sync::Arc<str>]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!([names(&merge.added), names(&merge.changed), names(&merge.kept)], [["new"], ["changed"], ["retired"]]);
    assert!(book.tariff("retired").is_ok());
    assert_ne!(book.tariff("changed").unwrap(), pinned);
    assert_eq!(book.versions("changed").nth(1), Some(&pinned));
    assert_ne!(book.hash(), before);
    let now = book.hash();
    assert_eq!(book.merge(list(&[("same", "2e-6")])).changed.len(), 0);
    assert_eq!(book.hash(), now);
}

#[test]
fn a_provider_is_never_charged_for_as_another() {
    let list = r#"{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1e-6},
        "azure/gpt-4o": {"litellm_provider": "azure", "input_cost_per_token": 2e-6},
        "claude": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 3e-6}}"#;
    let book = PriceBook::from_litellm(list).unwrap();
    let rate = |provider, model| Some(book.tariff_of(provider, model).ok()?.rate(TokenClass::Input, 1)?.to_string());
    assert_eq!(rate("openai", "gpt-4o").as_deref(), Some("0.000001"));
    assert_eq!(rate("azure", "gpt-4o").as_deref(), Some("0.000002"));
    assert_eq!(rate("bedrock", "claude").as_deref(), Some("0.000003"));
    assert_eq!(rate("anthropic", "claude"), None);
    assert_eq!(rate("open", "gpt-4o"), None);
}

#[test]
fn a_list_of_ones_own_with_a_slip_of_the_pen_is_refused() {
    let model = |line: &str| format!("[models.m]\ninput = \"1\"\noutput = \"2\"\n{line}\n");
    for (text, says) in [
        (model("ouput = \"2\""), "price cannot be read: m: ouput: 2"),
        (model("cache_read = 0.1"), "price cannot be read: m: cache_read: 0.1, which must be a string"),
        (model("cache_read = \"1e-1\""), "price cannot be read: m: cache_read: 1e-1"),
        (model("cache_read = \"-1\""), "price is below zero: m: cache_read: -1"),
        (model("above = [{ input = \"1\" }]"), "price cannot be read: m: above: an unexpected table"),
        (model("[models.m.tier.fastest]\ninput = \"1\""), "unknown service tier: fastest"),
        (model("[[models.m.off_peak]]\nhours = [\"16:30-24:30\"]"), "hours cannot be read: 16:30-24:30"),
        (model("[[models.m.off_peak]]\ninput = \"1\""), "hours cannot be read: m: no hours"),
        (model("[[models.m.off_peak]]\nhours = [\"00:00-01:00\"]\nweekdays = [0]"), "hours cannot be read: weekday 0"),
        (
            model("[[models.m.off_peak]]\nhours = [\"00:00-01:00\"]\nzone = \"Mars/Base\""),
            "hours cannot be read: Mars/Base",
        ),
        ("[[markup]]\nmodels = \"*\"".to_owned(), "price cannot be read: list: markup: an unexpected table"),
        ("[[markup]]\nmodels = \"*\"\npercent = \"-101\"".to_owned(), "price is below zero: *: markup: -101"),
        ("currency = \"dollars\"\n[models.m]\ninput = \"1\"".to_owned(), "not a tariff: m: no currency: dollars"),
        ("model = 1".to_owned(), "price cannot be read: list: model: 1"),
    ] {
        assert_eq!(PriceBook::from_toml(&text).unwrap_err().to_string(), says, "{text}");
    }
    assert!(PriceBook::from_toml("[models").unwrap_err().to_string().starts_with("price list cannot be read: "));
}

#[test]
fn hours_branches_and_tiers_of_ones_own_list_hold() {
    let book = PriceBook::from_toml(
        r#"
        [models.m]
        input = "4"
        output = 8
        second = "0.06"
        above = [{ tokens = 100, input = "6" }]
        [models.m.tier.priority]
        output = "16"
        [[models.m.off_peak]]
        hours = ["22:00-06:00"]
        input = "2"
        above = [{ tokens = 100, input = "3" }]
        "#,
    )
    .unwrap();
    let tariff = book.tariff("m").unwrap();
    let rate = |tariff: &Tariff, class, prompt| tariff.rate(class, prompt).unwrap().to_string();
    let hour = |hour: i64| tariff.at(Timestamp::from_micros(hour * 3_600_000_000));
    assert_eq!(rate(&tariff, TokenClass::Millisecond, 1), "0.00006");
    assert_eq!(
        [rate(&tariff, TokenClass::Input, 100), rate(&tariff, TokenClass::Input, 101)],
        ["0.000004", "0.000006"]
    );
    assert_eq!(
        [rate(&hour(23), TokenClass::Input, 100), rate(&hour(5), TokenClass::Input, 101)],
        ["0.000002", "0.000003"]
    );
    assert_eq!(rate(&hour(6), TokenClass::Input, 1), "0.000004");
    assert_eq!([hour(23).is_off_peak(), hour(6).is_off_peak()], [true, false]);
    assert_eq!(rate(&hour(23), TokenClass::Output, 1), "0.000008");
    assert!(!hour(23).at_tier(ServiceTier::Priority).is_off_peak());
    assert_eq!(hour(23).at_tier(ServiceTier::Priority).rate(TokenClass::Input, 1), tariff.rate(TokenClass::Input, 1));
    let priority = tariff.at_tier(ServiceTier::Priority);
    assert_eq!(
        [rate(&priority, TokenClass::Output, 1), rate(&priority, TokenClass::Reasoning, 101)],
        ["0.000016", "0.000016"]
    );
    assert_eq!(rate(&priority, TokenClass::Input, 101), "0.000006");
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

#[test]
fn hours_hold_from_their_start_to_before_their_end() {
    let hours = Hours::utc(&["04:00-06:00"]).unwrap();
    for (at, is_open) in
        [("03:59:59.999999", false), ("04:00:00", true), ("05:59:59.999999", true), ("06:00:00", false)]
    {
        assert_eq!(hours.contain(time(&format!("2026-08-19T{at}Z"))), is_open, "{at}");
    }
    assert!(Hours::utc(&["20:00-24:00"]).unwrap().contain(time("2026-08-19T23:59:59Z")));
}

#[test]
fn the_day_of_the_week_is_that_of_the_zone() {
    // A Sunday from 16:00 UTC on in Shanghai, where it is still Saturday in UTC.
    let sundays = Hours::utc(&["00:00-00:00"]).unwrap().on(&[7]).unwrap();
    let in_shanghai = sundays.clone().in_zone("Asia/Shanghai").unwrap();
    let at = time("2026-08-22T16:00:00Z");
    assert_eq!([sundays.contain(at), in_shanghai.contain(at)], [false, true]);
    let before = time("2026-08-22T15:59:59Z");
    assert_eq!([sundays.contain(before), in_shanghai.contain(before)], [false, false]);
}

#[test]
fn of_two_prices_by_the_hour_the_dearer_is_the_ordinary_one() {
    let list = |at_hours: u8, else_where: u8| {
        format!(
            r#"[{{"id": "p", "models": [{{"id": "m", "match": {{"equals": "m"}}, "prices": [
            {{"prices": {{"input_mtok": 1, "output_mtok": {else_where}}}}},
            {{"constraint": {{"start_time": "00:30:00Z", "end_time": "16:30:00Z"}},
              "prices": {{"input_mtok": 1, "output_mtok": {at_hours}}}}}]}}]}}]"#
        )
    };
    for (at_hours, else_where, cheap_at, dear_at) in [(9, 3, "17:00", "12:00"), (3, 9, "12:00", "17:00")] {
        let book = PriceBook::from_genai_prices(&list(at_hours, else_where), Timestamp::default()).unwrap();
        let tariff = book.tariff_of("p", "M").unwrap();
        let rate = |tariff: &Tariff| tariff.rate(TokenClass::Output, 1).unwrap().to_string();
        let at = |hour: &str| tariff.at(time(&format!("2026-08-19T{hour}:00Z")));
        assert_eq!([rate(&tariff), rate(&at(dear_at)), rate(&at(cheap_at))], ["0.000009", "0.000009", "0.000003"]);
        assert_eq!([at(dear_at).is_off_peak(), at(cheap_at).is_off_peak()], [false, true]);
    }
}

#[test]
fn prices_hold_from_the_day_on_that_the_list_says() {
    let list = r#"[{"id": "p", "models": [{"id": "m", "match": {"starts_with": "m-"}, "prices": [
        {"prices": {"input_mtok": 1, "output_mtok": 1}},
        {"constraint": {"start_date": "2026-09-01"}, "prices": {"input_mtok": 2, "output_mtok": 2}}]}]},
        {"id": "q", "fallback_model_providers": ["p"], "models": []}]"#;
    for (at, rate) in [("2026-08-31T23:59:59Z", "0.000001"), ("2026-09-01T00:00:00Z", "0.000002")] {
        let book = PriceBook::from_genai_prices(list, time(at)).unwrap();
        let of = |provider| book.tariff_of(provider, "M-2026").unwrap().rate(TokenClass::Input, 1).unwrap().to_string();
        assert_eq!([of("p"), of("q")], [rate, rate], "{at}");
        assert!(book.tariff_of("p", "other").is_err());
    }
}
