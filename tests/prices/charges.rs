//! What a charge contains, what it leaves out, and who gets what of it.

use std::sync::Arc;

use prepaid::Asset;
use prepaid::pricing::{Charge, Item, PriceBook, PriceError, Tariff, explain};
use prepaid::tokens::{Beside, TokenClass, Usage};

fn searched() -> Usage {
    Usage::new().with(TokenClass::Input, 1_000).with(TokenClass::Output, 0).with(TokenClass::WebSearch, 3)
}

#[test]
fn what_is_no_token_and_has_no_rate_is_named_and_not_charged() {
    let tariff = Tariff::per_million("m").input("1").output("2").build().unwrap();
    let charge = tariff.charge(&searched(), Asset::USD).unwrap();
    assert_eq!(charge.exact().to_string(), "0.001");
    assert_eq!(charge.unpriced().collect::<Vec<_>>(), ["3 x web_search"]);
    assert!(explain(&charge).to_string().contains("not in it: 3 x web_search"));
    let nothing_else = Usage::new().with(TokenClass::WebSearch, 3);
    let refused = tariff.charge(&nothing_else, Asset::USD).unwrap_err();
    assert_eq!(refused, PriceError::NoRate { model: "m".to_owned(), class: TokenClass::WebSearch });
}

#[test]
fn tokens_without_a_rate_are_refused() {
    let tariff = Tariff::per_million("m").input("1").build().unwrap();
    let refused = tariff.charge(&Usage::new().with(TokenClass::Reasoning, 1), Asset::USD).unwrap_err();
    assert_eq!(refused.to_string(), "no rate for reasoning: m");
    assert!(tariff.quote_request(1, 1, Asset::USD).is_err());
    assert!(tariff.charge(&Usage::new().with(TokenClass::Output, 0), Asset::USD).unwrap().amount().is_zero());
}

#[test]
fn an_account_in_another_currency_is_refused() {
    let tariff = Tariff::per_million("m").input("1").build().unwrap();
    let points: Asset = "POINTS/0".parse().unwrap();
    let refused = tariff.charge(&searched(), points).unwrap_err();
    assert_eq!(refused.to_string(), "tariff of m is in USD, asset is POINTS/0");
    let converted = tariff.converted_to("POINTS", "1000").unwrap();
    assert_eq!(converted.charge(&searched(), points).unwrap().amount().minor_units(), 1);
}

#[test]
fn uplifts_raise_tokens_and_markups_raise_everything() {
    let tariff =
        Tariff::per_million("m").input("10").rate(TokenClass::WebSearch, "0.01").request("0.5").uplift("geo_us", "1.1");
    let tariff = tariff.build().unwrap();
    let charge = |tariff: &Tariff| tariff.charge(&searched(), Asset::USD).unwrap();
    assert_eq!(charge(&tariff).exact().to_string(), "0.54");
    let raised = tariff.with_uplift("geo_us").unwrap();
    assert_eq!(charge(&raised).exact().to_string(), "0.541");
    let sold = charge(&raised.with_markup("10").unwrap());
    assert_eq!((sold.cost().to_string(), sold.exact().to_string()), ("0.541".to_owned(), "0.5951".to_owned()));
    assert_eq!(Asset::USD.format(sold.margin()), "0.054100000");
    assert_eq!(sold.margin_over(&charge(&raised)), Some(sold.margin()));
    assert!(raised.with_uplift("geo_eu").is_err());
}

#[test]
fn a_discount_gives_margin_away() {
    let tariff = Tariff::per_million("m").input("10").build().unwrap().with_markup("-25").unwrap();
    let charge = tariff.charge(&searched(), Asset::USD).unwrap();
    assert_eq!(
        (Asset::USD.format(charge.amount()), Asset::USD.format(charge.margin())),
        ("0.007500000".into(), "-0.002500000".into())
    );
    assert!(tariff.with_markup("-100.1").is_err());
    // A factor of more digits than can be read again.
    assert!(tariff.with_markup(&format!("0.{}1", "0".repeat(25))).is_err());
}

#[test]
fn the_first_rule_that_matches_sells() {
    let mut book = PriceBook::new();
    for model in ["openai/gpt", "anthropic/claude"] {
        book.insert(Tariff::per_million(model).input("1").build().unwrap());
    }
    let listed = book.hash();
    book.markup("openai/*", "10").unwrap();
    book.markup("*", "50").unwrap();
    let name = |model| book.tariff(model).unwrap().adjustments()[0].name.clone();
    assert_eq!([name("openai/gpt"), name("anthropic/claude")], ["markup 10 %", "markup 50 %"]);
    assert_ne!(book.hash(), listed);
    assert!(book.versions("openai/gpt").all(|tariff| tariff.adjustments().is_empty()));
}

#[test]
fn an_alias_stands_for_its_model() {
    let mut book = PriceBook::new();
    book.alias("large", "house/large");
    assert!(book.tariff("large").is_err());
    book.insert(Tariff::per_million("house/large").input("1").build().unwrap());
    assert_eq!(book.tariff("large").unwrap(), book.tariff("house/large").unwrap());
}

#[test]
fn evidence_that_was_changed_is_refused() {
    let tariff = Tariff::per_million("m").input("1").build().unwrap();
    let evidence = String::from_utf8(tariff.charge(&searched(), Asset::USD).unwrap().evidence()).unwrap();
    for (from, to) in [
        ("1000", "999"),
        ("\"0.000001\"", "\"0.000002\""),
        ("\"0.001\"", "\"0.002\""),
        ("\"v\":1", "\"v\":2"),
        ("input", "inputs"),
        ("USD/9", "USD"),
        ("{", ""),
    ] {
        let changed = evidence.replacen(from, to, 1);
        assert_ne!(changed, evidence, "{from}");
        let refused = Charge::from_evidence(changed.as_bytes()).unwrap_err();
        assert!(matches!(refused, PriceError::MalformedEvidence(_)), "{from}: {refused}");
    }
}

#[test]
fn evidence_fits_the_journal_whatever_the_tariff() {
    let rate = format!("0.{}1", "0".repeat(18));
    let mut builder = Tariff::per_million(&"é".repeat(128)).request(&rate);
    builder = TokenClass::ALL.into_iter().fold(builder, |builder, class| builder.rate(class, &rate));
    builder = (0..7).fold(builder, |builder, index| builder.uplift(&format!("{index}{}", "u".repeat(50)), "1"));
    let mut tariff = builder.build().unwrap().with_markup("1").unwrap();
    for index in 0..7 {
        tariff = tariff.with_uplift(&format!("{index}{}", "u".repeat(50))).unwrap();
    }
    let usage = TokenClass::ALL.into_iter().fold(Usage::new(), |usage, class| usage.with(class, 99_999_999));
    let charge = tariff.charge(&usage, Asset::USD).unwrap();
    assert_eq!(charge.lines().last().unwrap().item, Item::Request);
    assert_eq!(charge.lines().len(), TokenClass::ALL.len() + 1);
    let evidence = charge.evidence();
    println!("{} bytes", evidence.len());
    assert!(evidence.len() <= 4096);
    assert_eq!(Charge::from_evidence(&evidence).unwrap(), charge);
    assert!(tariff.with_markup("1").is_err(), "a ninth factor");
}

#[test]
fn what_is_unpriced_is_cut_in_evidence_before_it_is_too_long() {
    let fields: Vec<String> = (0..200).map(|index| format!("\"extra_{index}_cost\": 1")).collect();
    let list = format!(r#"{{"m": {{"input_cost_per_token": 1e-6, {}}}}}"#, fields.join(","));
    let tariff = PriceBook::from_litellm(&list).unwrap().tariff("m").unwrap();
    let charge = tariff.charge(&searched(), Asset::USD).unwrap();
    assert_eq!(charge.unpriced().count(), 201);
    let evidence = charge.evidence();
    assert!(evidence.len() <= 4096);
    let read = Charge::from_evidence(&evidence).unwrap();
    assert_eq!((read.amount(), read.unpriced().next()), (charge.amount(), Some("3 x web_search")));
}

fn step(model: Option<&str>, input: u64, output: u64) -> Beside {
    let usage = Usage::new().with(TokenClass::Input, input).with(TokenClass::Output, output);
    Beside { model: model.map(Arc::from), usage }
}

#[test]
fn steps_of_a_response_are_charged_at_the_rates_of_their_models() {
    let adviser = Tariff::per_million("p/adviser").input("5").output("25").above(10).input("50").request("1");
    let adviser = adviser.build().unwrap().with_markup("50").unwrap();
    let own =
        Tariff::per_million("m").input("1").output("2").request("0.5").build().unwrap().with_markup("10").unwrap();
    let tariff = own.with_other("adviser", &adviser).unwrap();
    assert_ne!(tariff, own);
    assert_eq!(Tariff::from_bytes(&tariff.to_bytes()).unwrap(), tariff);
    let usage = Usage::new().with(TokenClass::Input, 1_000).with(TokenClass::Output, 100);
    // A short prompt and a long one, a step of the model itself, and one of a model that nobody priced.
    let beside = [
        step(Some("adviser"), 10, 20),
        step(Some("adviser"), 11, 30),
        step(None, 2_000, 0),
        step(Some("stranger"), 7, 0),
    ];
    let charge = tariff.charge_with(&usage, &beside, Asset::USD).unwrap();
    let lines: Vec<String> = charge.lines().iter().map(|line| format!("{} {}", line.count, line.label())).collect();
    let expected =
        ["3000 input", "100 output", "10 input of adviser", "50 output of adviser", "11 input of adviser", "1 request"];
    assert_eq!(lines, expected);
    // (3000 x 1 + 100 x 2 + 10 x 5 + 50 x 25 + 11 x 50) / 10^6 + 0.5, and a tenth on top.
    assert_eq!(charge.exact().to_string(), "0.555555");
    assert_eq!(charge.unpriced().collect::<Vec<_>>(), ["7 x input of stranger"]);
    assert!(explain(&charge).to_string().contains("output of adviser"));
    assert_eq!(Charge::from_evidence(&charge.evidence()).unwrap(), charge);
    assert_eq!(own.charge_with(&usage, &beside, Asset::USD).unwrap().unpriced().count(), 5);
    assert_eq!(own.charge_with(&usage, &[], Asset::USD).unwrap(), own.charge(&usage, Asset::USD).unwrap());
}

#[test]
fn evidence_of_many_steps_stays_small() {
    let tariff = Tariff::per_million("m").input("1").output("2").build().unwrap();
    let name = |index: u64| format!("{index}{}", "x".repeat(63));
    let tariff = (0..4).fold(tariff.clone(), |all, index| all.with_other(&name(index), &tariff).unwrap());
    assert!(tariff.with_other(&name(4), &tariff).is_err() && tariff.with_other("", &tariff).is_err());
    let beside: Vec<Beside> = (0..64).map(|index| step(Some(&name(index % 8)), 1_000 + index, 1)).collect();
    let charge = tariff.charge_with(&Usage::new().with(TokenClass::Output, 1), &beside, Asset::USD).unwrap();
    assert!(charge.evidence().len() <= prepaid::model::Measured::EVIDENCE_BYTES_MAX);
    assert_eq!(Charge::from_evidence(&charge.evidence()).unwrap().exact(), charge.exact());
    assert_eq!(charge.lines().len(), 9);
}

#[test]
fn cached_audio_and_images_have_rates_of_their_own_or_that_of_all_that_is_cached() {
    let usage = Usage::new().with(TokenClass::CacheReadAudio, 1_000).with(TokenClass::CacheReadImage, 100);
    let plain = Tariff::per_million("m").input("4").cache_read("1");
    let priced = plain.clone().rate(TokenClass::CacheReadAudio, "3").rate(TokenClass::CacheReadImage, "2");
    for (tariff, expected) in [(plain, "0.0011"), (priced, "0.0032")] {
        let tariff = tariff.build().unwrap();
        assert_eq!(tariff.charge(&usage, Asset::USD).unwrap().exact().to_string(), expected);
        assert!(tariff.quote_request(1_100, 0, Asset::USD).unwrap().exact().to_string().as_str() >= expected);
    }
}
