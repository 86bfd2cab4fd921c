//! What a gateway must be able to rely on, one test per promise and kind of store.

#![cfg(feature = "testing")]

mod common;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use prepaid::metering::observe::{Api, ApiObserver};
use prepaid::metering::{Cut, MeterOptions};
use prepaid::model::{Cap, HoldState, Scope, Window, Zone};
use prepaid::{AccountHandle, DenialReason, HoldId, Ledger, Outcome, Reserved};

use common::one::{amount, signed};
use common::places::Place;
use common::wire::{Dots, tariff};

on_every_store! {
    a1_same_request_executed_again_gives_the_same_result,
    a1_same_request_from_a_hundred_callers_happens_once,
    a2_concurrent_requests_leave_an_exact_balance,
    a2_ten_thousand_concurrent_requests_leave_an_exact_balance,
    a3_daily_and_monthly_counters_count_each_request_once,
    a4_spend_budgets_accumulate_and_survive_a_restart,
    a4_thousand_concurrent_reserves_are_admitted_exactly,
    a5_broken_stream_is_billed_within_a_twentieth,
    a6_reconnect_never_bills_twice,
    a6_new_attempt_is_billed_beside_the_first,
    a7_finished_stream_debits_the_exact_cost,
    a8_failed_stream_gives_the_money_back,
}

async fn ledger(place: &Place) -> Ledger {
    place.open(Ledger::builder().sweep_every(None)).await
}

async fn funded(ledger: &Ledger, units: i64) -> AccountHandle {
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    if units > 0 {
        alice.deposit("opening", amount(units)).await.unwrap();
    }
    alice
}

async fn audited(ledger: Ledger) {
    let audit = ledger.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    ledger.close(Duration::ZERO).await.unwrap();
}

async fn a1_same_request_executed_again_gives_the_same_result(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 100).await;
    let hold = alice.reserve("r", amount(40)).tariff(tariff()).await.unwrap().created().unwrap();
    let bill = hold.settle_body(b"......", Dots::default()).await.unwrap();
    assert_eq!(bill.receipt.balance.available, signed(94));
    let journal = alice.journal(0, 100).await.unwrap();

    let again = alice.reserve("r", amount(40)).tariff(tariff()).await.unwrap();
    let Reserved::Closed { hold, next_attempt: 2, balance } = again else { panic!("{again:?}") };
    assert_eq!(Some(&hold), bill.receipt.hold.as_ref());
    assert_eq!(balance, bill.receipt.balance);
    let measured = prepaid::Measured::new(hold.cost().cost, hold.cost().tokens);
    let settled = alice.settle("r", measured).await.unwrap();
    assert_eq!((settled.outcome, settled.hold), (Outcome::Replayed, bill.receipt.hold));

    let debit = alice.debit("d", amount(5)).await.unwrap();
    let replay = alice.debit("d", amount(5)).await.unwrap();
    assert_eq!((replay.outcome, &replay.hold, replay.balance), (Outcome::Replayed, &debit.hold, debit.balance));
    assert_eq!(alice.journal(0, 100).await.unwrap().len(), journal.len() + 1);
    audited(ledger).await;
}

async fn a1_same_request_from_a_hundred_callers_happens_once(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 100).await;
    let receipts = join_all((0..100).map(|_| async { alice.debit("r", amount(30)).await.unwrap() })).await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.is_replay()).count(), 1);
    let first = &receipts[0];
    assert!(receipts.iter().all(|receipt| receipt.hold == first.hold && receipt.balance == first.balance));
    assert_eq!(alice.balance().await.unwrap().available, signed(70));
    audited(ledger).await;
}

async fn a2_concurrent_requests_leave_an_exact_balance(place: Place) {
    for covered in [0, 1, 50, 99] {
        exactly_as_many_as_are_covered(&place, 100, covered).await;
    }
}

async fn a2_ten_thousand_concurrent_requests_leave_an_exact_balance(place: Place) {
    for covered in [0, 1, 5_000, 9_999] {
        exactly_as_many_as_are_covered(&place, 10_000, covered).await;
    }
}

/// `callers` at once want 7 each of money for exactly `covered` of them; those settle a random part, then give some of
/// that back. Nothing is lost on the way and nothing appears.
async fn exactly_as_many_as_are_covered(place: &Place, callers: u64, covered: i64) {
    let seed = common::number("PREPAID_SEED", RandomState::new().build_hasher().finish());
    println!("PREPAID_SEED={seed} callers={callers} covered={covered}");
    let used = move |number: u64| i64::try_from((seed ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61).unwrap();
    let ledger = ledger(place).await;
    let name = format!("account-{callers}-{covered}");
    let account = ledger.account(name.as_str()).unwrap();
    account.open().await.unwrap();
    if covered > 0 {
        account.deposit("opening", amount(7 * covered)).await.unwrap();
    }
    let tasks = (0..callers).map(|number| {
        let account = account.clone();
        tokio::spawn(async move { account.reserve(format!("r{number}").as_str(), amount(7)).await.unwrap() })
    });
    let mut open = Vec::new();
    for (number, reserved) in (0..).zip(join_all(tasks).await) {
        match reserved.unwrap() {
            Reserved::Created(hold) => open.push((number, hold)),
            Reserved::Denied(denial) => assert_eq!(denial.reason, DenialReason::Funds, "{denial:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(i64::try_from(open.len()).unwrap(), covered, "as many as are covered, no more and no fewer");
    let balance = account.balance().await.unwrap();
    assert_eq!((balance.available, balance.held), (signed(0), amount(7 * covered)));

    let spent: i64 = open.iter().map(|(number, _)| used(*number)).sum();
    let given_back = i64::try_from(open.iter().filter(|(number, _)| used(*number) > 0).count()).unwrap();
    let closing = open.into_iter().map(|(number, hold)| {
        let account = account.clone();
        tokio::spawn(async move {
            let id = hold.id().clone();
            hold.settle(amount(used(number))).await.unwrap();
            if used(number) > 0 {
                account.refund(&id, "refund", amount(1)).await.unwrap();
            }
        })
    });
    for closed in join_all(closing).await {
        closed.unwrap();
    }
    let balance = account.balance().await.unwrap();
    assert_eq!((balance.available, balance.held), (signed(7 * covered - spent + given_back), amount(0)));
    audited(ledger).await;
}

/// Recordings of providers that send one token with each delta, so that what was delivered can be counted by eye.
const RECORDED: [&str; 4] = [
    include_str!("data/streams/openai-chat__openai__gpt-4o-2024-08-06__1.sse"),
    include_str!("data/streams/openai-chat__openai__gpt-4o-2024-08-06__3.sse"),
    include_str!("data/streams/openai-chat__openai__gpt-4o-mini-2024-07-18__1.sse"),
    include_str!("data/streams/openai-chat__openrouter__openai-gpt-4o-mini__1.sse"),
];

async fn a5_broken_stream_is_billed_within_a_twentieth(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 100_000).await;
    for (number, recorded) in RECORDED.iter().enumerate() {
        let events: Vec<&str> = recorded.split_inclusive("\n\n").collect();
        for part in 1..=9 {
            // Cut in the middle of an event: what is half delivered is not delivered.
            let whole = &events[..events.len() * part / 10];
            let half = events[whole.len()].as_bytes();
            let truth =
                whole.iter().filter(|event| event.contains("\"content\":\"") && !event.contains("\"content\":\"\""));
            let truth = i64::try_from(truth.count()).unwrap();
            let pieces: Vec<_> = whole
                .iter()
                .map(|event| event.as_bytes())
                .chain([&half[..half.len() / 2]])
                .map(|piece| Ok(Bytes::from_static(piece)))
                .collect();
            let broken = stream::iter(pieces).chain(stream::iter([Err(std::io::Error::other("connection reset"))]));
            let request = format!("r{number}-{part}");
            let hold = alice.reserve(&request, amount(1_000)).tariff(tariff()).await.unwrap().created().unwrap();
            let observer = ApiObserver::new(Api::OpenAiChat).model("gpt-4o").prompt_tokens(0);
            let (metered, billed) = hold.meter(broken, observer);
            metered.count().await;
            let charged = billed.await.unwrap().receipt.hold.unwrap().captured.minor_units();
            assert!((charged - truth).abs() * 20 <= truth, "{request}: {charged} billed, {truth} delivered");
        }
    }
    audited(ledger).await;
}

/// A recorded body in pieces of so many bytes.
fn body(text: &'static str, piece: usize) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    stream::iter(text.as_bytes().chunks(piece).map(|chunk| Ok(Bytes::from_static(chunk))))
}

async fn a3_daily_and_monthly_counters_count_each_request_once(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 1_000).await;
    let (day, month) = (Window::day(zone()), Window::month(1, zone()).unwrap());
    alice.set_budget(None, day, Cap::Requests(3)).await.unwrap();
    alice.set_budget(scope("key:prod"), month, Cap::Requests(100)).await.unwrap();
    let counted = async || {
        let budgets = alice.budgets().await.unwrap();
        budgets.iter().map(|budget| (budget.used, budget.held)).collect::<Vec<_>>()
    };
    let reserve = async |name: &str| alice.reserve(name, amount(10)).scopes([scope("key:prod")]).await.unwrap();
    // Settled, repeated, settled again: once. A first provider that failed: not at all. A lapse at nothing: not at all.
    let hold = reserve("settled").await.created().unwrap();
    assert!(matches!(reserve("settled").await, Reserved::Replayed { .. }));
    assert_eq!(counted().await, [(0, 1), (0, 1)]);
    hold.settle(amount(4)).await.unwrap();
    alice.settle("settled", amount(4)).await.unwrap();
    reserve("retried#1").await.created().unwrap().release(false).await.unwrap();
    reserve("retried#2").await.created().unwrap().settle(amount(0)).await.unwrap();
    alice.abandon(reserve("lost").await.created().unwrap().detach()).await.unwrap();
    assert_eq!(counted().await, [(2, 0), (2, 0)]);
    reserve("third").await.created().unwrap().settle(amount(1)).await.unwrap();
    let Reserved::Denied(denial) = reserve("fourth").await else { panic!("three a day") };
    assert_eq!(denial.reason, DenialReason::Budget);
    assert!(denial.retry_after.is_some_and(|wait| wait <= Duration::from_secs(25 * 3_600)), "{denial:?}");
    assert_eq!(counted().await, [(3, 0), (3, 0)], "a denied request is counted nowhere");
    audited(ledger).await;
}

async fn a4_spend_budgets_accumulate_and_survive_a_restart(place: Place) {
    let mut books = ledger(&place).await;
    let mut alice = funded(&books, 1_000).await;
    alice.set_budget(scope("key:prod"), Window::TOTAL, Cap::Spend(amount(50))).await.unwrap();
    let reserve = async |alice: &AccountHandle, name: &str, units| {
        alice.reserve(name, amount(units)).scopes([scope("key:prod")]).await.unwrap()
    };
    for name in ["a", "b"] {
        reserve(&alice, name, 20).await.created().unwrap().settle(amount(15)).await.unwrap();
    }
    let running = reserve(&alice, "c", 10).await.created().unwrap().detach();
    if place.outlives_its_store() {
        books.close(Duration::ZERO).await.unwrap();
        books = ledger(&place).await;
        alice = books.account("alice").unwrap();
    }
    let budgets = alice.budgets().await.unwrap();
    assert_eq!(budgets.iter().map(|budget| (budget.used, budget.held)).collect::<Vec<_>>(), [(30, 10)]);
    let denied = reserve(&alice, "d", 11).await;
    let Reserved::Denied(denial) = denied else { panic!("{denied:?}") };
    assert_eq!((denial.reason, denial.grantable), (DenialReason::Budget, amount(10)));
    alice.settle(running, amount(2)).await.unwrap();
    reserve(&alice, "d", 18).await.created().unwrap().settle(amount(18)).await.unwrap();
    assert!(matches!(reserve(&alice, "e", 1).await, Reserved::Denied(_)));
    audited(books).await;
}

async fn a4_thousand_concurrent_reserves_are_admitted_exactly(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 1_000_000).await;
    alice.set_budget(scope("key:prod"), Window::day(zone()), Cap::Spend(amount(500))).await.unwrap();
    let reserves = (0..1_000).map(|number| {
        let alice = alice.clone();
        async move { alice.reserve(format!("r{number}"), amount(10)).scopes([scope("key:prod")]).await.unwrap() }
    });
    let holds: Vec<_> = join_all(reserves).await.into_iter().filter_map(|reserved| reserved.created().ok()).collect();
    assert_eq!(holds.len(), 50);
    join_all(holds.into_iter().map(|hold| hold.settle(amount(10)))).await;
    assert_eq!(alice.budgets().await.unwrap().iter().map(|budget| budget.used).collect::<Vec<_>>(), [500]);
    audited(ledger).await;
}

fn scope(name: &str) -> Scope {
    Scope::new(name).unwrap()
}

fn zone() -> Zone {
    "Europe/Berlin".parse().unwrap()
}

async fn a6_reconnect_never_bills_twice(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 1_000).await;
    for cut_after in 0..5 {
        let request = format!("r{cut_after}");
        let before = alice.balance().await.unwrap().available.minor_units();
        let hold = alice.reserve(&request, amount(50)).tariff(tariff()).await.unwrap().created().unwrap();
        let (mut metered, billed) = hold.meter(body("..........!", 2), Dots::default());
        for _ in 0..cut_after {
            metered.next().await.unwrap().unwrap();
        }
        // The client comes back while its first connection still runs, and again after it is gone.
        let again = alice.reserve(&request, amount(50)).tariff(tariff()).await.unwrap();
        assert!(matches!(again, Reserved::Replayed { .. }), "{again:?}");
        drop(metered);
        let bill = billed.await.unwrap();
        assert_eq!(bill.receipt.balance.available, signed(before - 2 * cut_after));
        let again = alice.reserve(&request, amount(50)).tariff(tariff()).await.unwrap();
        assert!(matches!(&again, Reserved::Closed { hold, .. } if hold.state == HoldState::Settled), "{again:?}");
        assert_eq!(alice.balance().await.unwrap(), bill.receipt.balance);
    }
    audited(ledger).await;
}

async fn a6_new_attempt_is_billed_beside_the_first(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 1_000).await;
    for attempt in 1..=3 {
        let hold = alice.reserve_next("r", amount(50)).tariff(tariff()).await.unwrap().created().unwrap();
        assert_eq!(*hold.id(), HoldId::new("r", attempt).unwrap());
        let (metered, billed) = hold.meter(body("..........!", 3), Dots::default());
        assert_eq!(metered.count().await, 4);
        assert_eq!(billed.await.unwrap().receipt.balance.available, signed(1_000 - 10 * i64::from(attempt)));
    }
    audited(ledger).await;
}

async fn a7_finished_stream_debits_the_exact_cost(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 1_000).await;
    // Below what is held, all of it, and above.
    for (request, held, cost) in [("below", 50, 10), ("equal", 10, 10), ("above", 4, 10)] {
        let before = alice.balance().await.unwrap().available.minor_units();
        let hold = alice.reserve(request, amount(held)).tariff(tariff()).await.unwrap().created().unwrap();
        let (metered, billed) = hold.meter(body("..........!", 4), Dots::default());
        let passed: Vec<_> = metered.map(|item| item.unwrap()).collect().await;
        assert_eq!(passed.concat(), b"..........!");
        // The end of the stream was handed on after the settlement: the balance is there already.
        assert_eq!(alice.balance().await.unwrap().available, signed(before - cost));
        let bill = billed.await.unwrap();
        assert_eq!(bill.charge.unwrap().amount(), amount(cost));
        let settled = alice.hold(request).await.unwrap().unwrap();
        assert_eq!((settled.state, settled.captured, settled.held), (HoldState::Settled, amount(cost), amount(0)));
    }
    audited(ledger).await;
}

async fn a8_failed_stream_gives_the_money_back(place: Place) {
    let ledger = ledger(&place).await;
    let alice = funded(&ledger, 100).await;
    let reserve = async |request| alice.reserve(request, amount(50)).tariff(tariff()).await.unwrap().created().unwrap();

    let refused = || stream::iter([Err::<Bytes, _>(std::io::Error::other("connection reset"))]);
    let (metered, billed) = reserve("fails-at-once").await.meter(refused(), Dots::default());
    assert_eq!(metered.count().await, 1);
    assert_eq!(billed.await.unwrap().receipt.balance.available, signed(100));

    let broken = body("......", 2).chain(refused());
    let free = MeterOptions::cut(Cut::Free);
    let (metered, billed) = reserve("operator-pays").await.meter_with(broken, Dots::default(), free);
    assert_eq!(metered.count().await, 4);
    assert_eq!(billed.await.unwrap().receipt.balance.available, signed(100));
    assert_eq!(alice.hold("operator-pays").await.unwrap().unwrap().state, HoldState::Released);

    drop(reserve("never-sent").await);
    // Queued before this: answered before this.
    assert_eq!(alice.release("never-sent", false).await.unwrap().outcome, Outcome::Replayed);
    assert_eq!(alice.balance().await.unwrap().available, signed(100));
    audited(ledger).await;
}
