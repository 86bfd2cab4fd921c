//! Holds that grow with their streams, and streams that are read on after their client went away.

mod common;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prepaid::metering::{Billed, Cut, MeterOptions, Metered, Slicing};
use prepaid::pricing::Tariff;
use prepaid::tokens::{Certainty, Observer, TokenClass, Usage, UsageReport};
use prepaid::{AccountHandle, Amount, Asset, Ledger, OpenHold};

/// An observer of a host's own: every byte is an output token, and a dot ends the answer.
#[derive(Default)]
struct Letters {
    seen: u64,
    ended: bool,
}

impl Observer for Letters {
    fn feed(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        self.ended |= bytes.contains(&b'.');
    }

    fn body(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn finish(&mut self) {}

    fn is_final(&self) -> bool {
        self.ended
    }

    fn report(&self) -> UsageReport {
        let certainty = if self.ended { Certainty::Reported } else { Certainty::Counted };
        UsageReport::new(Usage::new().with(TokenClass::Output, self.seen), certainty)
    }
}

/// One token costs 0.001.
const TOKEN: i64 = 1_000_000;

fn tokens(count: i64) -> Amount {
    Amount::new(count * TOKEN).unwrap()
}

async fn account(ledger: &Ledger, money: i64) -> AccountHandle {
    let account = ledger.account("alice").unwrap();
    account.open().await.unwrap();
    account.deposit("opening", tokens(money)).await.unwrap();
    account
}

async fn hold(account: &AccountHandle, request: &str, first: i64) -> OpenHold {
    let tariff = Tariff::per_million("letters").input("0").output("1000").build().unwrap();
    account.reserve(request, tokens(first)).tariff(Arc::new(tariff)).await.unwrap().created().unwrap()
}

/// Small thresholds: cut with 20 tokens left, ask with 30.
fn slicing(worst: i64) -> Slicing {
    let mut slicing = Slicing::up_to(tokens(worst));
    (slicing.tokens_per_second, slicing.burst, slicing.least) = (10, 10, 40);
    (slicing.stop, slicing.ask) = (Duration::from_secs(1), Duration::from_secs(1));
    slicing
}

fn meter(hold: OpenHold, text: &str, options: MeterOptions) -> (Metered<Infallible>, Billed) {
    let pieces: Vec<_> =
        text.as_bytes().chunks(10).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
    hold.meter_with(stream::iter(pieces), Letters::default(), options)
}

/// Lets the engine answer what was asked, whoever polls.
async fn answered() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

fn answer(length: usize) -> String {
    "a".repeat(length - 1) + "."
}

#[tokio::test]
async fn sliced_hold_stays_ahead_of_its_stream() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 100_000).await;
    let (mut metered, billed) =
        meter(hold(&alice, "r", 50).await, &answer(5_000), MeterOptions::default().sliced(slicing(9_000)));
    let mut delivered = 0;
    while let Some(piece) = metered.next().await {
        delivered += piece.unwrap().len() as i64;
        answered().await;
        let hold = alice.hold("r").await.unwrap().unwrap();
        assert!(
            delivered == 5_000 || hold.held >= tokens(delivered + 20),
            "{delivered} delivered, {:?} held",
            hold.held
        );
        assert!(!metered.exhausted());
    }
    let bill = billed.await.unwrap();
    let hold = bill.receipt.hold.unwrap();
    assert_eq!((hold.captured, hold.written_off), (tokens(5_000), Amount::ZERO));
    assert!(
        hold.held_at_close < tokens(9_000),
        "slices double, they do not hold the worst case: {:?}",
        hold.held_at_close
    );
    let extended = alice.journal(0, 100).await.unwrap().iter().filter(|entry| entry.kind.name() == "extend").count();
    assert!(extended <= 9, "{extended} extensions for a hundredfold hold");
}

#[tokio::test]
async fn sliced_stream_is_exhausted_before_its_money_is_gone() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 500).await;
    let (mut metered, billed) =
        meter(hold(&alice, "r", 50).await, &answer(5_000), MeterOptions::default().sliced(slicing(9_000)));
    let mut delivered = 0;
    while !metered.exhausted() {
        delivered += metered.next().await.unwrap().unwrap().len() as i64;
        answered().await;
    }
    assert!(
        (460..=480).contains(&delivered),
        "20 tokens are left for the time the upstream takes to stop: {delivered}"
    );
    drop(metered);
    let bill = billed.await.unwrap();
    assert_eq!(bill.receipt.hold.unwrap().captured, tokens(delivered));
    assert_eq!(bill.receipt.balance.available, tokens(500 - delivered).signed());
}

#[tokio::test]
async fn streams_of_one_account_reach_the_end_of_its_money_together() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 2_000).await;
    let mut streams = Vec::new();
    for request in ["a", "b", "c", "d"] {
        let hold = hold(&alice, request, 50).await;
        streams.push((meter(hold, &answer(5_000), MeterOptions::default().sliced(slicing(9_000))).0, 0));
    }
    while !streams.iter().all(|(metered, _)| metered.exhausted()) {
        for (metered, delivered) in streams.iter_mut().filter(|(metered, _)| !metered.exhausted()) {
            *delivered += metered.next().await.unwrap().unwrap().len() as i64;
            answered().await;
        }
    }
    let delivered: Vec<i64> = streams.iter().map(|(_, delivered)| *delivered).collect();
    assert!(delivered.iter().all(|delivered| *delivered >= 440), "nobody took more than a share: {delivered:?}");
    assert!(delivered.iter().sum::<i64>() <= 2_000, "{delivered:?}");
}

#[tokio::test]
async fn hold_that_reached_the_worst_case_is_never_exhausted() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 100).await;
    let (mut metered, billed) =
        meter(hold(&alice, "r", 50).await, &answer(100), MeterOptions::default().sliced(slicing(100)));
    while let Some(piece) = metered.next().await {
        piece.unwrap();
        answered().await;
        assert!(!metered.exhausted());
    }
    assert_eq!(billed.await.unwrap().receipt.balance.available, tokens(0).signed());
}

#[tokio::test]
async fn upstream_is_read_on_after_its_client_went_away() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 1_000).await;
    let drain = MeterOptions::cut(Cut::Drain { max: Duration::from_secs(60) });
    let (mut metered, billed) = meter(hold(&alice, "r", 500).await, &answer(400), drain);
    metered.next().await.unwrap().unwrap();
    drop(metered);
    let bill = billed.await.unwrap();
    assert_eq!(bill.report.certainty, Certainty::Reported);
    assert_eq!(bill.receipt.hold.unwrap().captured, tokens(400));
}

#[tokio::test]
async fn upstreams_beyond_the_bound_of_drains_are_settled_at_once() {
    let ledger = Ledger::builder().drains(1).open("memory:").await.unwrap();
    let alice = account(&ledger, 10_000).await;
    let drain = MeterOptions::cut(Cut::Drain { max: Duration::from_secs(60) });
    let endless = stream::pending::<Result<Bytes, Infallible>>();
    let (first, first_billed) = hold(&alice, "a", 500).await.meter_with(endless, Letters::default(), drain);
    let (mut second, second_billed) = meter(hold(&alice, "b", 500).await, &answer(400), drain);
    second.next().await.unwrap().unwrap();
    drop(first);
    drop(second);
    assert_eq!(second_billed.await.unwrap().receipt.hold.unwrap().captured, tokens(10));
    assert_eq!(alice.hold("a").await.unwrap().unwrap().state, prepaid::model::HoldState::Open, "it is still read");
    drop(first_billed);
}

#[tokio::test]
async fn drain_ends_after_its_longest_time() {
    tokio::time::pause();
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 1_000).await;
    let drain = MeterOptions::cut(Cut::Drain { max: Duration::from_secs(60) });
    let text = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"abc"))]).chain(stream::pending());
    let (mut metered, billed) = hold(&alice, "r", 500).await.meter_with(text, Letters::default(), drain);
    metered.next().await.unwrap().unwrap();
    drop(metered);
    let bill = billed.await.unwrap();
    assert_eq!(bill.receipt.hold.unwrap().captured, tokens(3));
}

#[tokio::test]
async fn metered_hold_without_a_tariff_is_abandoned_loudly() {
    let ledger = Ledger::open("memory:").await.unwrap();
    let alice = account(&ledger, 1_000).await;
    let bare = alice.reserve("r", tokens(5)).await.unwrap().created().unwrap();
    assert_eq!(bare.asset(), Asset::USD);
    let text = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"abc."))]);
    let (mut metered, billed) = bare.meter(text, Letters::default());
    while metered.next().await.is_some() {}
    let error = billed.await.unwrap_err();
    assert!(error.to_string().contains("a metered hold needs a tariff"), "{error}");
}
