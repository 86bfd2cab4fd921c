//! Eleven faults that gateways have when they bill in a callback after the response. One test each: here they cannot
//! happen, on any kind of store.

#![cfg(feature = "testing")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use prepaid::journal::Cursor;
use prepaid::metering::observe::{Api, ApiObserver};
use prepaid::model::{Cap, EntryKind, HoldState, Scope, Window};
use prepaid::pricing::Tariff;
use prepaid::store::StoreErrorKind;
use prepaid::testing::{CommitFault, FaultyStore, ManualClock};
use prepaid::{AccountHandle, ErrorKind, Ledger, Outcome, Reserved};

use common::one::{amount, signed};
use common::places::Place;
use common::wire::{Dots, tariff};

on_every_store! {
    f1_billing_rows_are_written_with_the_money_or_not_at_all,
    f2_budget_of_a_stream_is_a_row_and_survives_a_restart,
    f3_key_lives_and_dies_with_what_it_names,
    f4_what_is_derived_from_the_journal_never_drifts,
    f5_request_is_counted_once_from_reserve_to_settlement,
    f6_concurrent_sessions_overwrite_nothing,
    f7_nothing_is_told_before_its_outcome_is_known,
    f8_event_of_a_commit_is_seen_after_it_or_never,
    f9_stream_that_never_finishes_gives_its_quota_back,
    f10_broken_stream_is_counted_with_a_real_tokenizer,
    f11_reconnect_is_told_apart_from_a_new_attempt,
}

/// A ledger whose store can be made to fail, with an account `alice` that has 100.
struct Scene {
    ledger: Ledger,
    store: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
    alice: AccountHandle,
}

impl Scene {
    async fn at(place: &Place) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(FaultyStore::new(place.store(clock.clone()).await));
        let ledger = Ledger::builder().sweep_every(None).open_store(store.clone()).unwrap();
        let alice = ledger.account("alice").unwrap();
        alice.open().await.unwrap();
        if !alice.deposit("opening", amount(100)).await.unwrap().is_replay() {
            assert_eq!(alice.balance().await.unwrap().available, signed(100));
        }
        Self { ledger, store, clock, alice }
    }

    async fn entries(&self, kind: EntryKind) -> usize {
        let page = self.ledger.feed(&Cursor::default(), 1_000).await.unwrap();
        page.entries.iter().filter(|entry| entry.kind == kind).count()
    }

    async fn ends_clean(self) {
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit}");
        self.ledger.close(Duration::ZERO).await.unwrap();
    }
}

/// The field: the API layer writes billing rows itself, outside any transaction, with no retry.
async fn f1_billing_rows_are_written_with_the_money_or_not_at_all(place: Place) {
    let scene = Scene::at(&place).await;
    let hold = scene.alice.reserve("r", amount(40)).await.unwrap().created().unwrap();
    scene.store.script([
        CommitFault::Before(StoreErrorKind::Unavailable),
        CommitFault::During(StoreErrorKind::Unavailable),
        CommitFault::After,
    ]);
    let receipt = hold.settle(amount(25)).await.unwrap();
    assert_eq!(scene.store.faults(), 3, "it was tried until it was done");
    assert_eq!((receipt.balance.available, receipt.balance.held), (signed(75), amount(0)));
    assert_eq!(scene.entries(EntryKind::Settle).await, 1, "and done once");
    scene.ends_clean().await;
}

/// The field: `budget_used` lives in memory, and streams never update it.
async fn f2_budget_of_a_stream_is_a_row_and_survives_a_restart(place: Place) {
    let scene = Scene::at(&place).await;
    let key = Scope::new("key:prod").unwrap();
    scene.alice.set_budget(key.clone(), Window::TOTAL, Cap::Spend(amount(20))).await.unwrap();
    let call = scene.alice.reserve("r", amount(20)).scopes([key.clone()]).tariff(tariff());
    let (metered, billed) =
        call.await.unwrap().created().unwrap().meter(stream::iter([Ok::<_, ()>("........!".into())]), Dots::default());
    metered.collect::<Vec<_>>().await;
    billed.await.unwrap();
    assert_eq!(used(&scene.alice).await, (8, 0));
    // Where the settlement failed, the budget failed with it.
    let hold = scene.alice.reserve("s", amount(5)).scopes([key.clone()]).await.unwrap().created().unwrap();
    scene.store.script([CommitFault::During(StoreErrorKind::Full)]);
    hold.settle(amount(5)).await.unwrap_err();
    assert_eq!(used(&scene.alice).await, (8, 5));
    scene.alice.settle("s", amount(5)).await.unwrap();
    scene.ends_clean().await;
    if place.outlives_its_store() {
        let scene = Scene::at(&place).await;
        assert_eq!(used(&scene.alice).await, (13, 0));
        let denied = scene.alice.reserve("t", amount(8)).scopes([key]).await.unwrap();
        assert!(matches!(denied, Reserved::Denied(_)), "{denied:?}");
        scene.ends_clean().await;
    }
}

/// The field: the idempotency key lives in a cache that can disagree with the database.
async fn f3_key_lives_and_dies_with_what_it_names(place: Place) {
    let scene = Scene::at(&place).await;
    // A failure takes the key with it: the same key is free for the same deposit.
    scene.store.script([CommitFault::During(StoreErrorKind::Full)]);
    assert_eq!(scene.alice.deposit("d", amount(7)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(scene.alice.deposit("d", amount(7)).await.unwrap().outcome, Outcome::Ok);
    // A lost answer leaves both: the same key replays.
    scene.store.script([CommitFault::After]);
    assert_eq!(scene.alice.deposit("e", amount(5)).await.unwrap().outcome, Outcome::Replayed);
    // No time makes a key forgotten, and no restart.
    scene.clock.advance(Duration::from_secs(10 * 365 * 24 * 60 * 60));
    assert_eq!(scene.alice.deposit("d", amount(7)).await.unwrap().outcome, Outcome::Replayed);
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(112));
    scene.ends_clean().await;
    if place.outlives_its_store() {
        let scene = Scene::at(&place).await;
        assert_eq!(scene.alice.deposit("e", amount(5)).await.unwrap().outcome, Outcome::Replayed);
        assert_eq!(scene.alice.balance().await.unwrap().available, signed(112));
        scene.ends_clean().await;
    }
}

/// The field: cached counters are synced to the database at the wrong moment.
async fn f4_what_is_derived_from_the_journal_never_drifts(place: Place) {
    let scene = Scene::at(&place).await;
    let (mut cursor, mut sums) = (Cursor::default(), HashMap::new());
    for n in 0..60 {
        if n % 7 == 0 {
            scene.store.script([CommitFault::After, CommitFault::During(StoreErrorKind::Unavailable)]);
        }
        let hold = scene.alice.reserve(format!("r{n}"), amount(1)).await.unwrap().created().unwrap();
        if n % 3 == 0 { hold.release(false).await } else { hold.settle(amount(1)).await }.unwrap();
        // A projection of a host's own, fed by the journal alone.
        let page = scene.ledger.feed(&cursor, 100).await.unwrap();
        cursor = page.cursor;
        for entry in page.entries {
            let sum: &mut (i64, i64) = sums.entry(entry.account.clone()).or_default();
            sum.0 += entry.changes.available.minor_units();
            sum.1 += entry.changes.held.minor_units();
        }
        let balance = scene.alice.balance().await.unwrap();
        let expected = (balance.available.minor_units(), balance.held.minor_units());
        assert_eq!(sums.get(scene.alice.id()), Some(&expected), "after request {n}");
    }
    scene.ends_clean().await;
}

/// The field: quota check and billing both count the request.
async fn f5_request_is_counted_once_from_reserve_to_settlement(place: Place) {
    let scene = Scene::at(&place).await;
    let day = Window::day("Europe/Berlin".parse().unwrap());
    scene.alice.set_budget(None, day, Cap::Requests(3)).await.unwrap();
    for n in 0..3 {
        let hold = scene.alice.reserve(format!("r{n}"), amount(5)).await.unwrap().created().unwrap();
        assert_eq!(used(&scene.alice).await, (n, 1), "held while it runs");
        assert!(matches!(scene.alice.reserve(format!("r{n}"), amount(5)).await.unwrap(), Reserved::Replayed { .. }));
        scene.store.script([CommitFault::After]);
        hold.settle(amount(2)).await.unwrap();
        assert_eq!(scene.alice.settle(format!("r{n}"), amount(2)).await.unwrap().outcome, Outcome::Replayed);
        assert_eq!(used(&scene.alice).await, (n + 1, 0), "used once it is settled, and once only");
    }
    let Reserved::Denied(denial) = scene.alice.reserve("r3", amount(5)).await.unwrap() else { panic!() };
    assert!(denial.retry_after.is_some(), "the fourth has to wait for tomorrow: {denial:?}");
    scene.ends_clean().await;
}

/// The field: concurrent sessions overwrite each other.
async fn f6_concurrent_sessions_overwrite_nothing(place: Place) {
    let scene = Scene::at(&place).await;
    let sessions = (0..64_i64).map(|n| {
        let alice = scene.alice.clone();
        tokio::spawn(async move {
            alice.deposit(format!("d{n}"), amount(10)).await.unwrap();
            let hold = alice.reserve(format!("r{n}"), amount(5)).await.unwrap().created().unwrap();
            hold.settle(amount(n % 6)).await.unwrap();
            alice.refund(format!("r{n}"), "f", amount(1)).await.map_or(0, |_| 1)
        })
    });
    let refunded: i64 = join_all(sessions).await.into_iter().map(Result::unwrap).sum();
    let used: i64 = (0..64).map(|n| n % 6).sum();
    let balance = scene.alice.balance().await.unwrap();
    assert_eq!((balance.available, balance.held), (signed(100 + 640 - used + refunded), amount(0)));
    assert_eq!(balance.seq, 2 + 64 * 3 + u64::try_from(refunded).unwrap(), "every change has its entry");
    scene.ends_clean().await;
}

/// The field: side state (routing affinity, caches) is updated before the outcome is known.
async fn f7_nothing_is_told_before_its_outcome_is_known(place: Place) {
    let scene = Scene::at(&place).await;
    let before = scene.ledger.feed(&Cursor::default(), 100).await.unwrap();
    scene.store.script([CommitFault::During(StoreErrorKind::Full), CommitFault::Before(StoreErrorKind::ReadOnly)]);
    for key in ["a", "b"] {
        scene.alice.deposit(key, amount(1)).await.unwrap_err();
        let page = scene.ledger.feed(&before.cursor, 100).await.unwrap();
        assert!(page.entries.is_empty(), "what failed is no event: {:?}", page.entries);
    }
    assert!(matches!(scene.alice.reserve("r", amount(1_000)).await.unwrap(), Reserved::Denied(_)));
    assert!(scene.ledger.feed(&before.cursor, 100).await.unwrap().entries.is_empty(), "nor what was refused");
    scene.alice.deposit("c", amount(1)).await.unwrap();
    let told = scene.ledger.feed(&before.cursor, 100).await.unwrap().entries;
    assert_eq!(told.iter().map(|entry| entry.key.as_ref().unwrap().as_str()).collect::<Vec<_>>(), ["c"]);
    scene.ends_clean().await;
}

/// The field: async tasks start before the transaction commits.
async fn f8_event_of_a_commit_is_seen_after_it_or_never(place: Place) {
    let scene = Scene::at(&place).await;
    let before = scene.ledger.feed(&Cursor::default(), 100).await.unwrap();
    scene.store.keep_out();
    let alice = scene.alice.clone();
    let deposit = tokio::spawn(async move { alice.deposit("d", amount(1)).await.unwrap() });
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(!deposit.is_finished(), "nobody is answered before the commit");
        assert!(scene.ledger.feed(&before.cursor, 100).await.unwrap().entries.is_empty(), "and nobody is told");
    }
    scene.store.let_in();
    let receipt = deposit.await.unwrap();
    let told = scene.ledger.feed(&before.cursor, 100).await.unwrap().entries;
    assert_eq!(
        told.iter().map(|entry| Some(entry.seq)).collect::<Vec<_>>(),
        [receipt.entry],
        "once answered, it is there"
    );
    scene.ends_clean().await;
}

/// The field: the transaction committed but the stream never finished, and the quota is burnt.
async fn f9_stream_that_never_finishes_gives_its_quota_back(place: Place) {
    let scene = Scene::at(&place).await;
    for cap in [Cap::Spend(amount(40)), Cap::Requests(1), Cap::Tokens(500)] {
        scene.alice.set_budget(None, Window::TOTAL, cap).await.unwrap();
    }
    // The process dies: nobody closes the hold, and nothing was ever reported.
    scene.alice.reserve("r", amount(40)).tokens(500).await.unwrap().created().unwrap().detach();
    assert!(matches!(scene.alice.reserve("s", amount(40)).tokens(500).await.unwrap(), Reserved::Denied(_)));
    scene.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(scene.ledger.sweep().await.unwrap(), 1);
    let left: Vec<_> = scene.alice.budgets().await.unwrap().iter().map(|budget| (budget.used, budget.held)).collect();
    assert_eq!(left, [(0, 0); 3], "money, request and tokens are back");
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(100));
    scene.alice.reserve("s", amount(40)).tokens(500).await.unwrap().created().unwrap().settle(amount(1)).await.unwrap();
    scene.ends_clean().await;
}

/// The field: the stream breaks, its output is guessed as chunks times three and under- or overbilled.
async fn f10_broken_stream_is_counted_with_a_real_tokenizer(place: Place) {
    const RECORDED: &str = include_str!("data/streams/openai-chat__openai__gpt-4o-2024-08-06__3.sse");
    let scene = Scene::at(&place).await;
    scene.alice.deposit("more", amount(1_000)).await.unwrap();
    let tariff = Arc::new(Tariff::per_million("gpt-4o").input("0").output("0.001").build().unwrap());
    let events: Vec<&str> = RECORDED.split_inclusive("\n\n").collect();
    for cut in [20, 45, 70, 95] {
        let delivered = &events[..cut];
        // This provider sends one token with each delta.
        let truth = delivered
            .iter()
            .filter(|event| event.contains("\"content\":\"") && !event.contains("\"content\":\"\""))
            .count();
        let request = format!("r{cut}");
        let hold = scene.alice.reserve(&request, amount(10)).tariff(tariff.clone()).await.unwrap().created().unwrap();
        let pieces: Vec<_> = delivered.iter().map(|event| Ok::<_, ()>(event.as_bytes().into())).collect();
        let observer = ApiObserver::new(Api::OpenAiChat).model("gpt-4o").prompt_tokens(0);
        let (mut metered, billed) = hold.meter(stream::iter(pieces).chain(stream::pending()), observer);
        for _ in delivered {
            metered.next().await.unwrap().unwrap();
        }
        drop(metered);
        let bill = billed.await.unwrap();
        let counted = bill.report.usage.total_output() as usize;
        let error = counted.abs_diff(truth);
        assert!(error * 20 <= truth, "after {cut} events: {counted} counted, {truth} delivered");
    }
    scene.ends_clean().await;
}

/// What the first budget used and holds.
async fn used(account: &AccountHandle) -> (u64, u64) {
    let budgets = account.budgets().await.unwrap();
    (budgets[0].used, budgets[0].held)
}

/// The field: a reconnect reuses the trace id, so it is billed twice, or a second real consumption is hidden.
async fn f11_reconnect_is_told_apart_from_a_new_attempt(place: Place) {
    let scene = Scene::at(&place).await;
    let first = scene.alice.reserve("trace-1", amount(20)).tariff(tariff()).await.unwrap().created().unwrap();
    // The client reconnects while the first is running: nothing may be started for it.
    let again = scene.alice.reserve("trace-1", amount(20)).tariff(tariff()).await.unwrap();
    assert!(matches!(again, Reserved::Replayed { .. }), "{again:?}");
    let (metered, billed) = first.meter(stream::iter([Ok::<_, ()>("......!".into())]), Dots::default());
    metered.collect::<Vec<_>>().await;
    billed.await.unwrap();
    // And after it: it is told what the attempt was, and which one is next.
    let again = scene.alice.reserve("trace-1", amount(20)).tariff(tariff()).await.unwrap();
    let Reserved::Closed { next_attempt: 2, .. } = again else { panic!("{again:?}") };
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(94));
    // What really runs again is paid again, under a name of its own.
    let second = scene.alice.reserve_next("trace-1", amount(20)).tariff(tariff()).await.unwrap().created().unwrap();
    assert_eq!(second.id().to_string(), "trace-1#2");
    second.settle(amount(6)).await.unwrap();
    assert_eq!(scene.alice.balance().await.unwrap().available, signed(88));
    for attempt in ["trace-1#1", "trace-1#2"] {
        let hold = scene.alice.hold(attempt).await.unwrap().unwrap();
        assert_eq!((hold.state, hold.captured), (HoldState::Settled, amount(6)));
    }
    scene.ends_clean().await;
}
