//! Alerts: once per crossing, derived from the entries alone.

#![cfg(feature = "testing")]

mod common;

use std::time::Duration;

use common::one::{One, amount, signed};
use prepaid::clock::Clock;
use prepaid::journal::{AlertKind, AlertRules, Alerts};
use prepaid::kernel::Action;
use prepaid::model::{Cap, LotClass, LotTerms, Window};

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
