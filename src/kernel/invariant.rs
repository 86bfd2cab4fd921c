//! What must be true of rows whenever they are written: checked after every decision while debug assertions are on,
//! and by the audit always.

use std::sync::Arc;

use crate::model::{Account, Amount, Books, Entry, Hold, HoldState, Take};

/// Checks one command's rows.
pub(super) fn check(account: &Account, holds: &[(Arc<Hold>, bool)], entries: &[Entry]) {
    debug_assert!(balanced(&account.books), "totals of {} do not sum to zero: {:?}", account.id, account.books);
    debug_assert!(!account.books.held.is_negative(), "held of {} is negative", account.id);
    for entry in entries {
        debug_assert!(balanced(&entry.changes), "postings of {}/{} do not sum to zero", entry.account, entry.seq);
    }
    for (hold, _) in holds {
        debug_assert_eq!(hold_is_sound(hold), Ok(()), "hold {} is not sound: {hold:?}", hold.id);
    }
}

/// `transaction_whole`, `trial_balance`: debits equal credits.
pub(crate) fn balanced(books: &Books) -> bool {
    books.sum() == 0
}

/// What must be true of a hold on its own, or the rule that is broken.
pub(crate) fn hold_is_sound(hold: &Hold) -> Result<(), &'static str> {
    let open = hold.state == HoldState::Open;
    let lapsed = hold.state == HoldState::Lapsed;
    let sum = |part: fn(&Take) -> Amount| hold.takes.iter().map(part).try_fold(Amount::ZERO, Amount::checked_add).ok();
    let split = hold.captured.checked_add(hold.written_off);
    let rules = [
        (open || hold.held.is_zero(), "only an open hold holds money"),
        (
            hold.actual.is_some() != (open || lapsed),
            "a cost is final once the owner or the late window closed the hold",
        ),
        (open || hold.closed_at.is_some(), "a closed hold was closed at some time"),
        (lapsed || hold.provisional.cost.is_zero(), "only a lapsed hold has a provisional cost"),
        (hold.refunded <= hold.captured, "no more is refunded than was collected"),
        (!open || hold.captured.is_zero(), "an open hold has collected nothing"),
        (open || split == Ok(hold.cost().cost), "cost is what was collected and what was written off"),
        (hold.state != HoldState::Released || hold.captured == Amount::ZERO, "a released hold has collected nothing"),
        (hold.due.is_some() == (open || lapsed), "what is not final is due some time"),
        (sum(|take| take.held).is_some_and(|held| held <= hold.held), "no more is held of lots than in all"),
        (sum(|take| take.used).is_some_and(|used| used <= hold.refundable()), "no more is spent of lots than in all"),
        (hold.takes.is_sorted_by(|one, next| one.lot < next.lot), "takes are in order, one for each lot"),
    ];
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
}
