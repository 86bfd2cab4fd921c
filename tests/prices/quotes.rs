//! What a quote promises and a charge says, on tariffs drawn at random.

use prepaid::pricing::{Charge, Hours, PriceBook, PriceError, ServiceTier, Tariff, TariffBuilder};
use prepaid::tokens::{TokenClass, Usage};
use prepaid::{Asset, Timestamp};
use proptest::prelude::*;

const RATES: std::ops::Range<u64> = 0..100_000;

fn tariffs() -> impl Strategy<Value = Tariff> {
    let rates = || proptest::collection::vec(proptest::option::of(RATES), TokenClass::ALL.len());
    let bands = || proptest::collection::btree_map(1..5_000_u64, rates(), 0..3);
    let off_peak = proptest::option::of((0..24_u8, 0..24_u8, rates(), bands()));
    (rates(), bands(), off_peak, proptest::option::of(RATES), proptest::collection::vec(0..300_u32, 0..3)).prop_map(
        |(base, bands, off_peak, fee, percents)| {
            let builder = Tariff::per_million("model").input("1").output("1").request(&cents(fee.unwrap_or(0)));
            let mut builder = bands
                .iter()
                .fold(priced(builder, &base), |builder, (above, rates)| priced(builder.above(*above), rates));
            if let Some((from, to, rates, bands)) = off_peak {
                let hours = Hours::utc(&[&format!("{from:02}:00-{to:02}:00")]).unwrap();
                builder = priced(builder.off_peak(hours), &rates);
                builder = bands.iter().fold(builder, |builder, (above, rates)| priced(builder.above(*above), rates));
            }
            percents.into_iter().fold(builder.build().unwrap(), |tariff, percent| {
                tariff.with_markup(&format!("{}.5", i64::from(percent) - 99)).unwrap()
            })
        },
    )
}

fn priced(builder: TariffBuilder, rates: &[Option<u64>]) -> TariffBuilder {
    let rates = TokenClass::ALL.into_iter().zip(rates).filter_map(|(class, rate)| Some((class, (*rate)?)));
    rates.fold(builder, |builder, (class, rate)| builder.rate(class, &cents(rate)))
}

fn cents(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn usages() -> impl Strategy<Value = Usage> {
    proptest::collection::vec(proptest::option::of(0..3_000_u64), TokenClass::ALL.len()).prop_map(|counts| {
        let mut usage = Usage::new();
        TokenClass::ALL.into_iter().zip(counts).for_each(|(class, count)| usage.set(class, count));
        // Nothing but what has no price would be refused.
        usage.with(TokenClass::Input, usage.get(TokenClass::Input).unwrap_or(1).max(1))
    })
}

proptest! {
    #[test]
    fn usage_within_a_quote_never_costs_more(
        tariff in tariffs(), usage in usages(), spare in (0..2_000_u64, 0..2_000_u64), scale in 0..=9_u8, hour in 0..24_i64,
    ) {
        let asset = Asset::new("USD", scale).unwrap();
        let (input, output) = (usage.total_input() + spare.0, usage.total_output() + spare.1);
        let quote = tariff.quote_with(input, output, &usage, asset).unwrap();
        let charge = tariff.at(Timestamp::from_micros(hour * 3_600_000_000)).charge(&usage, asset).unwrap();
        prop_assert!(charge.amount() <= quote.amount(), "{charge:?} above {quote:?}");
        prop_assert!(charge.exact() <= quote.exact());
    }

    #[test]
    fn the_affordable_output_fits_and_one_more_does_not(
        tariff in tariffs(), input in 0..6_000_u64, output in 0..6_000_u64, scale in 0..=9_u8,
    ) {
        let asset = Asset::new("USD", scale).unwrap();
        let amount = tariff.quote_request(input, output, asset).unwrap().amount();
        let most = tariff.max_affordable_output(amount, input, asset).unwrap().unwrap();
        prop_assert!(most >= output);
        prop_assert!(most == u64::MAX || tariff.quote_request(input, most, asset).unwrap().amount() <= amount);
        if let Some(more) = most.checked_add(1) {
            prop_assert!(tariff.quote_request(input, more, asset).map_or(true, |quote| quote.amount() > amount));
        }
    }

    #[test]
    fn a_tariff_is_read_again_from_its_bytes(tariff in tariffs()) {
        let read = Tariff::from_bytes(&tariff.to_bytes()).unwrap();
        prop_assert_eq!(&read, &tariff);
        prop_assert_eq!(read.at(Timestamp::default()), tariff.at(Timestamp::default()));
    }

    #[test]
    fn a_charge_is_read_again_from_its_evidence(tariff in tariffs(), usage in usages()) {
        let charge = tariff.charge(&usage, Asset::USD).unwrap();
        let evidence = charge.evidence();
        prop_assert!(evidence.len() <= 4096, "{} bytes", evidence.len());
        prop_assert_eq!(Charge::from_evidence(&evidence).unwrap(), charge);
    }
}

#[test]
fn an_unknown_model_is_an_error_and_never_free() {
    let book = PriceBook::from_litellm("{}").unwrap();
    assert_eq!(book.tariff("gpt-9").unwrap_err(), PriceError::UnknownModel { model: "gpt-9".to_owned() });
}

#[test]
fn a_tier_without_an_own_rate_has_the_standard_one() {
    let list = r#"{"m": {"input_cost_per_token": 2e-6, "output_cost_per_token": 4e-6,
        "cache_read_input_token_cost": 1e-6, "input_cost_per_token_priority": 3e-6}}"#;
    let tariff = PriceBook::from_litellm(list).unwrap().tariff("m").unwrap().at_tier(ServiceTier::Priority);
    let rate = |class| tariff.rate(class, 1).unwrap().to_string();
    assert_eq!(
        [rate(TokenClass::Input), rate(TokenClass::Output), rate(TokenClass::CacheRead)],
        ["0.000003", "0.000004", "0.000001"]
    );
}
