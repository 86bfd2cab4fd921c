//! Rules of the kernel beside the state table, one each.

#![cfg(feature = "testing")]

mod common;

use common::one::{One, amount, hold, measured, operation, signed};
use prepaid::clock::Clock;
use prepaid::kernel::{Action, Batch, Command, Snapshot};
use prepaid::model::{
    Against, Body, EntryKind, HoldState, LedgerId, Limits, MINOR_UNITS_MAX, OnLapse, Policy, Quantity, Status,
};
use prepaid::{DenialReason, Refusal};

const HALF: i64 = MINOR_UNITS_MAX / 2;

#[test]
fn debit_of_a_hold_that_runs_conflicts_even_at_zero() {
    let one = One::new(10);
    one.name(one.reserve("h", 5, None));
    assert_eq!(one.name(one.debit("h", 0)), "Conflict");
    one.pass(70);
    one.name(one.lapse("h"));
    assert_eq!(one.name(one.debit("h", 0)), "Conflict");
}

#[test]
fn reserve_on_other_terms_is_told_which_differ() {
    let one = One::new(10);
    one.name(one.reserve("h", 5, None));
    let again = one.run(one.reserve("h", 4, Some(4)));
    assert_eq!(again.hold.map(|hold| hold.state), Some(HoldState::Open));
    let refusal = again.answer.unwrap_err();
    assert_eq!(refusal.name(), "Conflict");
    assert_eq!(refusal, Refusal::OtherTerms { differing: vec!["amount", "min"] });
    assert_eq!(refusal.to_string(), "hold was made on other terms: amount, min");
    assert_eq!(one.name(one.reserve("h", 5, None)), "Replayed");
}

#[test]
fn large_debt_may_be_repaid() {
    let one = One::new(0);
    one.name(one.settle("h", HALF + 2, true));
    assert_eq!(one.name(one.deposit("d", HALF)), "Ok");
    assert_eq!(one.available(), -2);
}

#[test]
fn what_is_left_may_be_withdrawn_whatever_was_earned_before() {
    let one = One::with(HALF, Limits { credit: amount(HALF), ..Limits::default() }, Policy::default());
    one.name(one.settle("h", HALF, true));
    one.name(one.settle("i", 1, true));
    let goodwill = Action::Adjust {
        key: operation("a"),
        amount: signed(10),
        against: Against::Promotion,
        reason: "goodwill".into(),
        metadata: None,
    };
    assert_eq!(one.name(goodwill), "Ok");
    assert_eq!(one.name(one.withdraw("w", 9)), "Ok");
}

#[test]
fn deposit_past_half_of_the_range_is_refused() {
    let one = One::new(HALF);
    assert_eq!(one.name(one.deposit("d", 1)), "TotalTooLarge");
}

#[test]
fn hold_with_reported_tokens_is_not_released_without_a_waiver() {
    let one = One::new(10);
    one.name(one.reserve("free", 0, None));
    one.name(one.report("free", 0, 50));
    assert_eq!(one.name(one.release("free", false)), "UsageReported");
    assert_eq!(one.name(one.release("free", true)), "Ok");
}

#[test]
fn more_tokens_than_any_store_keeps_are_refused() {
    let one = One::new(10);
    one.name(one.reserve("h", 5, None));
    assert_eq!(one.name(one.report("h", 1, Quantity::TOKENS_MAX + 1)), "TotalTooLarge");
    assert_eq!(one.name(one.report("h", 1, Quantity::TOKENS_MAX)), "Ok");
}

#[test]
fn hold_that_a_store_loaded_twice_lapses_once() {
    let one = One::new(10);
    one.name(one.reserve("h", 5, None));
    one.name(one.report("h", 2, 0));
    one.pass(70);
    let rows = one.rows();
    let mut snapshot = Snapshot { ledger: LedgerId([7; 16]), counters: rows.counters, ..Snapshot::default() };
    let keys = || rows.holds.iter().map(|hold| hold.key);
    snapshot.accounts.insert(one.account.clone(), std::sync::Arc::new(one.view()));
    snapshot.holds.extend(rows.holds.iter().map(|hold| (hold.key, hold.clone())));
    snapshot.overdue.insert(one.account.clone(), keys().chain(keys()).collect());
    let reserve = Command::new(one.account.clone(), one.reserve("i", 8, None));
    let decision = Batch::new(vec![reserve.into()]).decide(&snapshot, one.clock.now()).unwrap();
    let kinds: Vec<_> = decision.changes.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Lapse, EntryKind::Reserve]);
}

#[test]
fn partial_extension_of_a_frozen_account_is_denied() {
    let one = One::new(10);
    one.name(one.reserve("h", 5, None));
    one.name(one.status(Status::Frozen));
    let answer = one.run(one.extend("h", 8, true)).answer;
    assert!(
        matches!(&answer, Err(Refusal::Denied(denial)) if denial.reason == DenialReason::Frozen),
        "a frozen account gives nothing: {answer:?}"
    );
    assert_eq!(one.name(one.extend("h", 5, true)), "Ok", "what is held already is held");
}

/// The states of two holds.
fn states(one: &One, holds: [&str; 2]) -> [HoldState; 2] {
    holds.map(|name| one.hold(name).unwrap().state)
}

#[test]
fn limit_per_hold_lapses_no_overdue_hold() {
    let one = One::with(1000, Limits { hold: Some(amount(5)), ..Limits::default() }, Policy::default());
    one.name(one.reserve("h", 5, None));
    one.name(one.reserve("k", 5, None));
    one.pass(70);
    assert_eq!(one.name(one.reserve("i", 8, Some(1))), "CreatedPartial");
    assert_eq!(states(&one, ["h", "k"]), [HoldState::Open; 2], "no lapse raises the limit");
    assert_eq!(one.name(one.extend("i", 9, true)), "OkPartial");
    assert_eq!(states(&one, ["h", "k"]), [HoldState::Open; 2]);
    assert_eq!(one.name(one.renew("h")), "Ok", "its owner lost nothing");
}

#[test]
fn no_more_holds_lapse_than_the_limit_per_hold_lets_through() {
    // With one lapse there is more than the limit, and with the other deposit exactly as much.
    for (deposit, others) in [(15, 5), (13, 5)] {
        let limits = Limits { hold: Some(amount(8)), ..Limits::default() };
        let one = One::with(deposit, limits, Policy::default());
        one.name(one.reserve("h", others, None));
        one.name(one.reserve("k", others, None));
        one.pass(70);
        assert_eq!(one.name(one.reserve("i", 12, Some(1))), "CreatedPartial");
        assert_eq!(one.hold("i").unwrap().held, amount(8));
        assert_eq!(states(&one, ["h", "k"]), [HoldState::Lapsed, HoldState::Open], "{deposit} deposited");
    }
}

#[test]
fn debit_above_the_ceiling_is_no_matter_of_funds() {
    let one = One::with(50, Limits { ceiling: Some(amount(100)), ..Limits::default() }, Policy::default());
    let refusal = one.run(one.debit("d", 1000)).answer.unwrap_err();
    assert_eq!(refusal, Refusal::AboveCeiling { cost: amount(1000), ceiling: amount(100) });
    let Action::Debit { hold, terms, measured, metadata, .. } = one.debit("d", 1000) else { unreachable!() };
    let overridden = Action::Debit { hold, terms, measured, above_ceiling: true, metadata };
    assert_eq!(one.name(overridden), "Denied", "who insists still needs the money");
    assert_eq!(one.name(one.debit("d", 50)), "OkDirect");
}

#[test]
fn repeated_debit_is_recognised_after_a_correction() {
    let one = One::new(100);
    assert_eq!(one.name(one.debit("d", 5)), "OkDirect");
    assert_eq!(one.name(one.correct("d", "c", 5, 7)), "Ok");
    assert_eq!(one.name(one.debit("d", 5)), "Replayed");
    assert_eq!(one.name(one.settle("d", 5, true)), "Replayed");
    assert_eq!(one.name(one.debit("d", 7)), "Replayed");
    assert_eq!(one.name(one.debit("d", 6)), "Conflict");
    assert_eq!(one.available(), 93);
}

#[test]
fn override_of_a_report_is_recorded_when_its_hold_is_closed_without_its_owner() {
    let limits = Limits { ceiling: Some(amount(10)), ..Limits::default() };
    let report =
        |name: &str, units| Action::Report { hold: hold(name), measured: measured(units, 0), above_ceiling: true };
    // What the last entry says: the cost, and whether an operator had to insist on it.
    let last = |one: &One| match one.journal().last().unwrap().body().unwrap() {
        Body::Close(close) => (close.cost.cost.minor_units(), close.above_ceiling),
        other => panic!("{other:?}"),
    };
    let one = One::with(500, limits, Policy::default());
    for name in ["h", "i", "j"] {
        one.name(one.reserve(name, 5, None));
    }
    one.name(report("h", 50));
    one.name(report("j", 10));
    one.name(one.abandon("h"));
    assert_eq!(last(&one), (50, true));
    one.name(one.abandon("j"));
    assert_eq!(last(&one), (10, false), "up to the ceiling everything is believed");
    one.name(one.abandon("i"));
    assert_eq!(last(&one), (0, false));
    // The report comes when the hold has lapsed.
    assert_eq!(one.name(report("i", 20)), "LeaseLost");
    one.pass(200);
    assert_eq!(one.name(one.seal("i")), "Sealed");
    assert_eq!(last(&one), (20, true));

    let one = One::with(500, limits, Policy { on_lapse: OnLapse::CaptureHeld, ..Policy::default() });
    one.name(one.reserve("h", 50, None));
    one.name(report("h", 20));
    one.name(one.abandon("h"));
    assert_eq!(last(&one), (50, false), "what was held, nobody reported");
}
