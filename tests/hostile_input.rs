//! What callers may get wrong, or mean to: each input is refused with an error that names it and changes nothing, or it
//! is kept exactly. Nothing panics, and nothing is trimmed, folded, rounded or cut.

#![cfg(feature = "testing")]

mod common;

use std::time::Duration;

use prepaid::model::{
    Against, Label, Lease, Limits, LotClass, MINOR_UNITS_MAX, Metadata, OperationKey, Policy, RequestId, Scope,
    SignedAmount, Status,
};
use prepaid::{AccountHandle, AccountId, Amount, Asset, Error, ErrorKind, HoldId, Ledger, Measured, Refusal};
use proptest::prelude::*;

use common::one::{amount, signed};
use common::places::Place;

on_every_store! {
    reasons_are_kept_byte_for_byte_or_refused,
    metadata_is_kept_byte_for_byte_or_refused,
    evidence_is_kept_byte_for_byte_or_refused,
    ids_at_the_edge_of_the_grammar_are_kept_and_told_apart,
    ids_outside_of_the_grammar_are_refused_and_change_nothing,
    amounts_at_the_edges_are_exact_or_refused,
    leases_of_any_length_end,
}

/// Text that has broken other programs.
const TEXTS: [&str; 32] = [
    "' OR 1=1--",
    "\"; DROP TABLE entries; --",
    "%",
    "_",
    "\0",
    "a\0b",
    "a\r\nb",
    "\u{202e}drow",
    "a\u{200d}b",
    "раypal",
    "é",
    "e\u{301}",
    "İ",
    "ı",
    "ß",
    "\u{feff}a",
    "a b",
    " a",
    "a ",
    "\t",
    "{\"a\":1}",
    "a,b;c",
    "a|b",
    "a#b",
    "$(id)",
    "`id`",
    "../..\\etc",
    "<a>",
    "😀",
    "\u{7f}",
    "\u{85}",
    "a\u{2028}b",
];

async fn funded(place: &Place) -> (Ledger, AccountHandle) {
    let ledger = place.open(Ledger::builder().sweep_every(None)).await;
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(1_000)).await.unwrap();
    (ledger, alice)
}

async fn audited(ledger: Ledger) {
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    ledger.close(Duration::ZERO).await.unwrap();
}

fn invalid(error: &Error, names: &str) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let message = error.to_string();
    assert!(message.contains(names) && message.len() < 600, "{names:?} is not in: {message}");
}

async fn reasons_are_kept_byte_for_byte_or_refused(place: Place) {
    let (ledger, alice) = funded(&place).await;
    let long = "x".repeat(512);
    for reason in TEXTS.into_iter().chain([long.as_str()]).filter(|reason| !reason.trim().is_empty()) {
        alice.set_status(Status::Frozen, reason).await.unwrap();
        let entry = alice.journal(0, u32::MAX).await.unwrap().pop().unwrap();
        let kept = entry.body.windows(reason.len()).any(|bytes| bytes == reason.as_bytes());
        assert!(kept, "{reason:?} is not in the journal");
        alice.set_status(Status::Active, "mended").await.unwrap();
    }
    let before = alice.view().await.unwrap();
    let too_long = "x".repeat(513);
    for reason in ["", " ", "\t\r\n", "\u{2003}", &too_long] {
        let one = SignedAmount::new(1).unwrap();
        invalid(&alice.set_status(Status::Frozen, reason).await.unwrap_err(), "a reason has 1 to 512 bytes");
        invalid(&alice.adjust("k", one, Against::Funding, reason).await.unwrap_err(), &reason.len().to_string());
        invalid(&alice.write_off("k", amount(1), reason).await.unwrap_err(), &reason.len().to_string());
    }
    assert_eq!(alice.view().await.unwrap(), before);
    audited(ledger).await;
}

async fn metadata_is_kept_byte_for_byte_or_refused(place: Place) {
    let (ledger, alice) = funded(&place).await;
    let mut jsons: Vec<String> = TEXTS.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
    // Duplicate names, odd blanks, numbers that no float holds: all of it is the caller's.
    jsons.extend(
        [" { \"b\" : 1,\t\"a\":1.0e400, \"a\": 12345678901234567.123456789 } ", "null", "\"\\ud800\"", "[[[[]]]]"]
            .map(str::to_owned),
    );
    jsons.push(format!("\"{}\"", "x".repeat(Metadata::BYTES_MAX - 2)));
    for (number, json) in jsons.iter().enumerate() {
        let Ok(metadata) = Metadata::from_json(json) else {
            assert!(json.contains("ud800") || json.contains("e400"), "{json}");
            continue;
        };
        alice.deposit(format!("d{number}"), amount(1)).metadata(metadata).await.unwrap();
        let entry = alice.journal(0, u32::MAX).await.unwrap().pop().unwrap();
        assert_eq!(entry.metadata.as_ref().map(Metadata::as_bytes), Some(json.as_bytes()));
    }
    let long = format!("\"{}\"", "x".repeat(Metadata::BYTES_MAX - 1));
    let deep = "[".repeat(4_000);
    for json in [long.as_bytes(), deep.as_bytes(), b"", b"{", b"{} {}", b"\xff", b"nul", b"'a'", b"\"\0\""] {
        let error = Metadata::from_json(json).unwrap_err().to_string();
        assert!(error.contains("metadata") && error.len() < 200, "{error}");
    }
    audited(ledger).await;
}

async fn evidence_is_kept_byte_for_byte_or_refused(place: Place) {
    let (ledger, alice) = funded(&place).await;
    let all: Vec<u8> = (0..=255).collect();
    let most = vec![0xff; Measured::EVIDENCE_BYTES_MAX];
    for (number, evidence) in [&all[..], &most, b"", b"\0"].into_iter().enumerate() {
        let measured = Measured::new(amount(1), 1).with_evidence(evidence.to_vec());
        alice.debit(format!("r{number}"), measured).await.unwrap();
        let entry = alice.journal(0, u32::MAX).await.unwrap().pop().unwrap();
        assert!(evidence.is_empty() || entry.body.windows(evidence.len()).any(|bytes| bytes == evidence));
    }
    let before = alice.view().await.unwrap();
    let more = Measured::new(amount(1), 1).with_evidence(vec![0; Measured::EVIDENCE_BYTES_MAX + 1]);
    invalid(&alice.debit("more", more.clone()).await.unwrap_err(), "evidence of 4097 bytes");
    invalid(&alice.settle("more", more.clone()).or_debit().await.unwrap_err(), "evidence of 4097 bytes");
    invalid(&alice.report("r0", more).await.unwrap_err(), "evidence of 4097 bytes");
    assert_eq!(alice.view().await.unwrap(), before);
    audited(ledger).await;
}

async fn ids_at_the_edge_of_the_grammar_are_kept_and_told_apart(place: Place) {
    let (ledger, alice) = funded(&place).await;
    let longest = "z".repeat(128);
    // Names that a database, a shell or a careless key would take for one another.
    let ids = [
        "a", "A", ".", "..", "-", "--", "=", "+1", "1", "01", "1e5", "null", "NaN", "a/b", "a//b", "a:b", "a=b", "@",
        "a.", &longest,
    ];
    for id in ids {
        let account = ledger.account(id).unwrap();
        account.open().await.unwrap();
        assert_eq!(account.deposit(id, amount(5)).await.unwrap().balance.available, signed(5), "{id}");
        account.debit(id, amount(1)).label(Label::new(id).unwrap()).await.unwrap();
        account.refund(id, id, amount(1)).await.unwrap();
        let read = account.view().await.unwrap();
        assert_eq!((read.id.as_str(), read.books.available), (id, signed(5)));
        assert_eq!(account.hold(id).await.unwrap().unwrap().id, HoldId::new(id, 1).unwrap());
    }
    for id in ids {
        alice.deposit(id, amount(1)).await.unwrap();
    }
    assert_eq!(alice.balance().await.unwrap().available, signed(1_020));
    audited(ledger).await;
}

async fn ids_outside_of_the_grammar_are_refused_and_change_nothing(place: Place) {
    let (ledger, alice) = funded(&place).await;
    let (long, huge) = ("a".repeat(129), "x".repeat(1 << 20));
    let before = alice.view().await.unwrap();
    for text in TEXTS.into_iter().filter(|text| *text != "_").chain([
        "",
        "a#0",
        "a#-1",
        "a#+1",
        "a#01",
        "a#4294967296",
        "#1",
        &long,
        &huge,
    ]) {
        let shown: String = text.chars().take(3).flat_map(char::escape_debug).collect();
        let shown = if shown.contains('\\') { "" } else { shown.as_str() };
        let plain = !text.contains('#');
        if plain {
            invalid(&ledger.account(text).unwrap_err(), shown);
            invalid(&alice.deposit(text, amount(1)).await.unwrap_err(), shown);
            invalid(&alice.refund("a", text, amount(1)).await.unwrap_err(), shown);
            invalid(&alice.reserve_next(text, amount(1)).await.unwrap_err(), shown);
        }
        invalid(&alice.reserve(text, amount(1)).await.unwrap_err(), shown);
        invalid(&alice.settle(text, amount(1)).or_debit().await.unwrap_err(), shown);
        invalid(&alice.hold(text).await.unwrap_err(), shown);
        assert!(Scope::new(text).is_err() && Label::new(text).is_err() && OperationKey::new(text).is_err());
    }
    assert_eq!(alice.view().await.unwrap(), before);
    audited(ledger).await;
}

async fn amounts_at_the_edges_are_exact_or_refused(place: Place) {
    let (ledger, alice) = funded(&place).await;
    let half = MINOR_UNITS_MAX / 2;
    let rich = ledger.account("rich").unwrap();
    rich.open().await.unwrap();
    assert_eq!(rich.deposit("zero", Amount::ZERO).await.unwrap_err().refusal(), Some(&Refusal::ZeroAmount));
    rich.deposit("half", amount(half)).await.unwrap();
    for (key, units) in [("one-more", 1), ("as-much", half), ("all", MINOR_UNITS_MAX)] {
        let error = rich.deposit(key, amount(units)).await.unwrap_err();
        assert!(matches!(error.refusal(), Some(Refusal::TotalTooLarge)), "{error:?}");
    }
    assert_eq!(rich.balance().await.unwrap().available, signed(half));
    // The largest cost there is, more than once: it is owed in full or refused, and never wraps around.
    for request in ["huge", "huger", "hugest"] {
        match alice.settle(request, Amount::MAX).or_debit().await {
            Ok(receipt) => assert!(receipt.balance.available.is_negative()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Refused, "{error}"),
        }
    }
    audited(ledger).await;
}

async fn leases_of_any_length_end(place: Place) {
    let (ledger, alice) = funded(&place).await;
    for (request, span) in [("short", Duration::ZERO), ("long", Duration::MAX)] {
        let lease = Lease { ttl: span, grace: span, late: span };
        let hold = alice.reserve(request, amount(1)).lease(lease).await.unwrap().created().unwrap();
        alice.renew(hold.id(), Some(span)).await.unwrap();
        hold.settle(amount(1)).await.unwrap();
    }
    audited(ledger).await;
}

/// What amounts look like when they come from outside: mostly nearly right.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{0,30}(\\.[0-9]{0,14})?",
        "[-+]?[0-9 _,.eExX٣１]{0,12}",
        ".{0,40}",
        Just("NaN".to_owned()),
        Just("inf".to_owned()),
        Just("1e5".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: u32::try_from(common::number("PREPAID_INPUTS", 20_000)).unwrap(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a second reading of the grammar, in wide integers.
    #[test]
    fn amounts_are_read_exactly_or_refused_by_name(text in number(), scale in 0..=12_u8) {
        let asset = Asset::new("X", scale).unwrap();
        let expected = exactly(&text, scale);
        match asset.parse_signed(&text) {
            Ok(read) => {
                prop_assert_eq!(Some(i128::from(read.minor_units())), expected);
                prop_assert_eq!(asset.parse_signed(&asset.format(read)).unwrap(), read);
                let json = serde_json::to_string(&read).unwrap();
                prop_assert!(json.starts_with('"'), "never a number: {}", json);
                prop_assert_eq!(serde_json::from_str::<SignedAmount>(&json).unwrap(), read);
            }
            Err(error) => {
                prop_assert!(expected.is_none_or(|units| units.abs() > i128::from(MINOR_UNITS_MAX)), "{} is fine: {}", text, error);
                prop_assert!(error.to_string().len() < 1_000);
            }
        }
        // Only strings of digits are amounts in JSON.
        prop_assert!(serde_json::from_str::<Amount>(&scale.to_string()).is_err());
    }

    /// Whatever is accepted is what was given, and reads back.
    #[test]
    fn ids_are_kept_exactly_or_refused(text in prop_oneof![".{0,140}", "[A-Za-z0-9._:@/+=#-]{0,130}"]) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:@/+=-".contains(c);
        let good = !text.is_empty() && text.len() <= 128 && text.chars().all(allowed);
        prop_assert_eq!(AccountId::new(&text).is_ok(), good);
        prop_assert_eq!(RequestId::new(&text).is_ok(), good);
        if let Ok(id) = OperationKey::new(&text) {
            prop_assert_eq!(id.as_str(), &text);
        }
        if let Ok(hold) = text.parse::<HoldId>() {
            prop_assert_eq!(hold.to_string(), text);
        }
    }
}

#[tokio::test]
async fn amount_of_another_asset_than_the_accounts_is_refused() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let account = ledger.account("cents").unwrap();
    let cents: Asset = "EUR/2".parse().unwrap();
    account.open_with(cents, Limits::default(), Policy::default()).await.unwrap();
    let five = Asset::USD.parse("5").unwrap();
    let calls = [
        account.deposit("d", five).asset(Asset::USD).await,
        account.withdraw("w", five).asset(Asset::USD).await,
        account.grant("g", LotClass::Paid, five).asset(Asset::USD).await,
        account.debit("r", five).asset(Asset::USD).await,
    ];
    for call in calls {
        let error = call.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with("account=EUR/2 amount=USD/9"), "{error}");
    }
    let paid = account.deposit("d", cents.parse("5").unwrap()).asset(cents).await.unwrap();
    assert_eq!((paid.entry, paid.balance.available.minor_units()), (Some(2), 500));
}

/// A misspelt limit would otherwise lift all of them.
#[test]
fn limit_that_does_not_exist_is_refused_by_its_name() {
    let error = serde_json::from_str::<Limits>(r#"{"holds": "5"}"#).unwrap_err();
    assert!(error.to_string().contains("`holds`"), "{error}");
}

/// Minor units, if the text is `-?digits[.digits]` with at most 28 digits and as many decimals as the scale has.
fn exactly(text: &str, scale: u8) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let fraction = match fraction {
        None => "",
        Some(fraction) if plain(fraction) => fraction,
        Some(_) => return None,
    };
    if !plain(whole) || whole.len() + fraction.len() > 28 || fraction.len() > usize::from(scale) {
        return None;
    }
    let units: i128 = format!("{whole}{fraction:0<width$}", width = usize::from(scale)).parse().ok()?;
    Some(if text.starts_with('-') { -units } else { units })
}
