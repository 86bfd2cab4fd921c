//! Alerts: once per crossing, derived from the entries alone.

#![cfg(feature = "testing")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::one::{One, amount, signed};
use prepaid::clock::Clock;
use prepaid::journal::{Alert, AlertKind, AlertRules, Alerts};
use prepaid::kernel::Action;
use prepaid::model::{Cap, LedgerId, LotClass, LotTerms, Scope, Window};
use prepaid::store::MemoryStore;
use prepaid::testing::ManualClock;
use prepaid::{Ledger, Measured};

fn rules() -> AlertRules {
    let mut rules = AlertRules::default();
    (rules.low_balance, rules.debt) = (Some(amount(20)), true);
    rules.budget_percents = vec![50, 100];
    rules.lot_expires_within = Some(Duration::from_secs(60));
    rules
}

/// What the whole journal gives rise to, each with its entry's number.
fn told(one: &One) -> Vec<(u64, AlertKind)> {
    let mut alerts = Alerts::new(rules());
    let journal = one.journal();
    let seen = journal.iter().flat_map(|entry| alerts.see(entry).unwrap());
    seen.map(|alert| (alert.seq, alert.kind)).collect()
}

#[test]
fn low_balance_is_told_once_per_crossing() {
    let one = One::new(30);
    for (name, cost) in [("a", 9), ("b", 5), ("c", 2)] {
        one.name(one.reserve(name, 10, None));
        one.name(one.settle(name, cost, false));
    }
    one.name(one.deposit("more", 10));
    one.name(one.settle("d", 10, true));
    let expected = [(6, 16), (10, 14)].map(|(seq, left)| (seq, AlertKind::LowBalance { left: signed(left) }));
    assert_eq!(told(&one), expected, "holding money is not spending it");
}

#[test]
fn debt_is_the_base_lots_alone() {
    let one = One::new(30);
    let mut gift = LotTerms::default();
    (gift.class, gift.models) = (LotClass::Promotional, vec!["large".parse().unwrap()]);
    one.name(one.grant("g", 100, gift));
    one.name(one.settle("a", 35, true));
    one.name(one.settle("b", 5, true));
    one.name(one.deposit("paid", 40));
    one.name(one.settle("c", 31, true));
    let owed = |units| AlertKind::Debt { owed: amount(units) };
    assert_eq!(told(&one), [(4, owed(5)), (7, owed(1))]);
}

#[test]
fn budget_is_told_at_every_percent_and_when_its_limit_falls() {
    let one = One::new(1_000);
    let set = |limit| Action::SetBudget { scope: None, window: Window::TOTAL, cap: Cap::Spend(amount(limit)) };
    one.name(set(100));
    one.name(one.settle("a", 49, true));
    one.name(one.settle("b", 1, true));
    one.name(one.settle("c", 20, true));
    one.name(set(70));
    one.name(one.refund("c", "r", 10));
    one.name(one.settle("d", 100, true));
    let percents: Vec<_> = told(&one)
        .into_iter()
        .map(|(seq, kind)| match kind {
            AlertKind::Budget { percent, used, .. } => (seq, percent, used),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(percents, [(5, 50, 50), (7, 100, 70), (9, 100, 160)]);
}

#[test]
fn lower_limit_is_not_judged_by_a_window_that_is_over() {
    let one = One::new(1_000);
    let window = Window::day("UTC".parse().unwrap());
    let set = |limit| Action::SetBudget { scope: None, window: window.clone(), cap: Cap::Spend(amount(limit)) };
    one.name(set(100));
    one.name(one.settle("a", 49, true));
    one.clock.advance(Duration::from_secs(3 * 24 * 60 * 60));
    one.name(set(40));
    assert_eq!(told(&one), []);
    one.name(one.settle("b", 19, true));
    one.name(set(20));
    one.name(set(19));
    assert_eq!(told(&one).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [7, 8]);
}

/// From an account's checkpoint on it is as if all of its past had been seen.
#[tokio::test]
async fn pruned_past_is_known_from_the_checkpoint() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new(LedgerId([7; 16]), clock.clone()));
    let ledger = Ledger::builder().sweep_every(None).open_store(store).unwrap();
    let alice = ledger.account("alice").unwrap();
    alice.open().await.unwrap();
    alice.deposit("opening", amount(100)).await.unwrap();
    let made = clock.now();
    let at = |seconds| made.saturating_add(Duration::from_secs(seconds));
    alice.grant("kept", LotClass::Paid, amount(50)).priority(-1).expires_at(at(100)).await.unwrap();
    alice.grant("spent", LotClass::Paid, amount(5)).priority(1).expires_at(at(100)).await.unwrap();
    for scope in ["key:a", "key:b"] {
        alice.set_budget(Scope::new(scope).unwrap(), Window::TOTAL, Cap::Spend(amount(100))).await.unwrap();
    }
    let spend = async |name: &str, scope: &str, units: i64| {
        let used = alice.settle(name, Measured::new(amount(units), 0)).or_debit();
        used.scopes([Scope::new(scope).unwrap()]).await.unwrap();
    };
    spend("a1", "key:a", 3).await;
    spend("b0", "key:b", 1).await;
    clock.advance(Duration::from_secs(1));
    let cut = clock.now();
    clock.advance(Duration::from_secs(1));
    // Between the cut and its checkpoint: a lot is emptied, a window counts on.
    spend("b1", "key:b", 47).await;
    let (mut whole, mut late) = (Alerts::new(rules()), Alerts::new(rules()));
    for entry in alice.journal(0, 100).await.unwrap() {
        assert_eq!(whole.see(&entry).unwrap(), []);
    }
    let archive = alice.archive(cut, std::io::sink()).await.unwrap().unwrap();
    alice.checkpoint(&archive).await.unwrap();
    assert!(alice.prune().await.unwrap() > 0);
    let page = ledger.feed(&ledger.oldest_cursor().await.unwrap(), 100).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.kind.name()).collect::<Vec<_>>(), ["settle", "checkpoint"]);
    for entry in &page.entries {
        assert_eq!(late.see(entry).unwrap(), []);
    }
    whole.see(&page.entries[1]).unwrap();

    let told = late.tick(at(50));
    assert!(matches!(told[..], [Alert { kind: AlertKind::LotExpiring { lot: 1, .. }, .. }]), "{told:?}");
    assert_eq!(told, whole.tick(at(50)));
    spend("a2", "key:a", 47).await;
    alice.set_budget(Scope::new("key:b").unwrap(), Window::TOTAL, Cap::Spend(amount(96))).await.unwrap();
    spend("debt", "key:c", 60).await;
    let mut names = Vec::new();
    for entry in ledger.feed(&page.cursor, 100).await.unwrap().entries {
        let told = late.see(&entry).unwrap();
        assert_eq!(told, whole.see(&entry).unwrap());
        names.extend(told.into_iter().map(|alert| match alert.kind {
            AlertKind::Budget { budget, used, .. } => format!("budget {budget}: {used}"),
            AlertKind::LowBalance { left } => format!("left {left}"),
            AlertKind::Debt { owed } => format!("owed {owed}"),
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(names, ["budget 1: 50", "budget 2: 48", "left -3", "owed 3"]);
}

#[test]
fn lot_about_to_expire_is_told_once() {
    let one = One::new(100);
    let now = one.clock.now();
    let at = |seconds| {
        let mut terms = LotTerms::default();
        terms.expiry = Some(now.saturating_add(Duration::from_secs(seconds)));
        terms
    };
    one.name(one.grant("soon", 5, at(100)));
    one.name(one.grant("spent", 5, at(90)));
    one.name(one.settle("a", 5, true));
    let mut alerts = Alerts::new(rules());
    one.journal().iter().for_each(|entry| assert_eq!(alerts.see(entry).unwrap(), []));
    let tick = |alerts: &mut Alerts, seconds| alerts.tick(now.saturating_add(Duration::from_secs(seconds)));
    assert_eq!(tick(&mut alerts, 39), []);
    let told = tick(&mut alerts, 41);
    let expected = AlertKind::LotExpiring { lot: 1, free: amount(5), expiry: at(100).expiry.unwrap() };
    assert_eq!(told.iter().map(|alert| alert.kind.clone()).collect::<Vec<_>>(), [expected]);
    assert_eq!(tick(&mut alerts, 50), []);
    // The one that was spent is not remembered for ever.
    let remembers = |alerts: &Alerts, lot: &str| format!("{alerts:?}").contains(lot);
    assert!(remembers(&alerts, "2: Lot"), "{alerts:?}");
    assert_eq!(tick(&mut alerts, 90), []);
    assert!(remembers(&alerts, "1: Lot") && !remembers(&alerts, "2: Lot"), "{alerts:?}");
}
