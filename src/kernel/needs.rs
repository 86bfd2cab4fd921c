//! What commands need of lots, budgets and windows, worked out before anything is decided: an account without any needs
//! nothing, and with some it is loaded in one go.

use std::sync::Arc;

use super::{Action, Command, ReadSet, Snapshot};
use crate::model::{Account, BudgetKey, Hold, LotKey, Scope, Timestamp, WindowKey};

/// What is missing in `snapshot` for these commands.
pub(super) fn of(commands: &[Arc<Command>], snapshot: &Snapshot, now: Timestamp) -> ReadSet {
    let mut missing = ReadSet::default();
    for command in commands {
        let Some(account) = snapshot.accounts.get(command.account()) else { continue };
        if !account.lots_free.is_zero() && !snapshot.live_lots.contains(&account.number) {
            missing.live_lots.push(account.number);
        }
        match command.action() {
            Action::Reserve { terms, .. } | Action::Debit { terms, .. } => {
                needs_of_scopes(account, &terms.scopes, snapshot, now, &mut missing);
            }
            Action::Settle { or_debit: Some(terms), .. } => {
                needs_of_scopes(account, &terms.scopes, snapshot, now, &mut missing);
            }
            Action::Renew { .. } | Action::Report { .. } => continue,
            Action::ExpireLot { lot } => need_lot(account, *lot, snapshot, &mut missing),
            // Those of an archive that does not follow the last one may be gone, and it is refused.
            Action::Checkpoint { after, lots, .. } if *after == account.past.archived => {
                lots.iter().for_each(|key| need_lot(account, key.lot, snapshot, &mut missing));
            }
            Action::Settle { or_debit: None, .. }
            | Action::Open { .. }
            | Action::Deposit { .. }
            | Action::Withdraw { .. }
            | Action::Adjust { .. }
            | Action::WriteOff { .. }
            | Action::SetLimits { .. }
            | Action::Grant { .. }
            | Action::SetBudget { .. }
            | Action::RemoveBudget { .. }
            | Action::SetStatus { .. }
            | Action::Extend { .. }
            | Action::Release { .. }
            | Action::Abandon { .. }
            | Action::Lapse { .. }
            | Action::Seal { .. }
            | Action::Refund { .. }
            | Action::Correct { .. }
            | Action::CloseBooks { .. }
            | Action::Checkpoint { .. }
            | Action::Prune { .. } => {}
        }
        let hold = command.hold_key().and_then(|key| snapshot.holds.get(&key));
        let overdue = snapshot.overdue.get(command.account()).into_iter().flatten();
        let overdue = overdue.filter_map(|key| snapshot.holds.get(key));
        // What the books are closed over is refused, and its lots and windows may be gone.
        let own =
            |hold: &&Arc<Hold>| hold.account_number == account.number && !hold.is_closed_over(account.past.closed);
        for hold in hold.into_iter().chain(overdue).filter(own) {
            needs_of_hold(account, hold, snapshot, &mut missing);
        }
    }
    missing
}

/// The budgets of the scopes, and their windows of now.
fn needs_of_scopes(account: &Account, scopes: &[Scope], snapshot: &Snapshot, now: Timestamp, missing: &mut ReadSet) {
    if account.budgets == 0 {
        return;
    }
    for scope in std::iter::once(None).chain(scopes.iter().cloned().map(Some)) {
        let key = BudgetKey { account: account.number, scope };
        let Some(budgets) = snapshot.budgets.get(&key) else {
            missing.budgets.push(key);
            continue;
        };
        for budget in budgets.iter() {
            let start = budget.window.at(now.max(account.last_entry_at)).start;
            need_window(WindowKey { account: account.number, budget: budget.number, start }, snapshot, missing);
        }
    }
}

/// The lots a hold took something of, and the windows it is charged to.
fn needs_of_hold(account: &Account, hold: &Hold, snapshot: &Snapshot, missing: &mut ReadSet) {
    for take in &hold.takes {
        need_lot(account, take.lot, snapshot, missing);
    }
    for charged in &hold.windows {
        let key = WindowKey { account: account.number, budget: charged.budget, start: charged.start };
        need_window(key, snapshot, missing);
    }
}

fn need_lot(account: &Account, lot: u32, snapshot: &Snapshot, missing: &mut ReadSet) {
    let key = LotKey { account: account.number, lot };
    if (1..=account.last_lot).contains(&lot) && !snapshot.has_lot(key) {
        missing.lots.push(key);
    }
}

fn need_window(key: WindowKey, snapshot: &Snapshot, missing: &mut ReadSet) {
    if !snapshot.windows.contains_key(&key) {
        missing.windows.push(key);
    }
}
