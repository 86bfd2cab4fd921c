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
            Action::Extend { .. } => {
                let hold = command.hold_key().and_then(|key| snapshot.holds.get(&key));
                let scopes = hold.and_then(|hold| Some(hold.terms.as_deref()?.scopes.as_slice()));
                let asked = budgets_of(account, scopes.unwrap_or_default());
                missing.budgets.extend(asked.filter(|key| !snapshot.budgets.contains_key(key)));
            }
            Action::Renew { .. } | Action::Report { .. } => continue,
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
            | Action::ExpireLot { .. }
            | Action::RemoveBudget { .. }
            | Action::SetStatus { .. }
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

/// What budgets of the account and of these scopes are found by; an account without any has none to look for.
fn budgets_of(account: &Account, scopes: &[Scope]) -> impl Iterator<Item = BudgetKey> {
    let scopes = std::iter::once(None).chain(scopes.iter().cloned().map(Some));
    scopes.filter(|_| account.budgets > 0).map(|scope| BudgetKey { account: account.number, scope })
}

/// The budgets of the scopes, and their windows of now.
fn needs_of_scopes(account: &Account, scopes: &[Scope], snapshot: &Snapshot, now: Timestamp, missing: &mut ReadSet) {
    for key in budgets_of(account, scopes) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Asset, ChainHash, Limits, Pinned, Policy, Terms};

    #[test]
    fn extension_needs_the_budgets_of_all_its_scopes_at_once() {
        let id: crate::model::AccountId = "alice".parse().unwrap();
        let mut account =
            Account::new(id.clone(), 1, Asset::USD, Limits::default(), Policy::default(), ChainHash::default());
        account.budgets = 1;
        let scopes = ["key:a", "key:b", "user:c"].map(|scope| Scope::new(scope).unwrap());
        let terms = Some(Arc::new(Terms { scopes: scopes.to_vec(), ..Terms::default() }));
        let pinned = Pinned { terms, direct: false, policy: Policy::default(), ceiling: None, windows: Vec::new() };
        let extend =
            Action::Extend { hold: "request#1".parse().unwrap(), target: crate::model::Amount::MAX, partial: false };
        let command = Arc::new(Command::new(id.clone(), extend.clone()));
        let key = command.hold_key().unwrap();
        let hold = Hold::new(extend.hold().unwrap().clone(), 1, 1, key, pinned, Timestamp::default());
        let mut snapshot = Snapshot::default();
        snapshot.accounts.insert(id.clone(), Arc::new(account.clone()));
        snapshot.holds.insert(key, Arc::new(hold));

        let missing = of(&[Arc::clone(&command)], &snapshot, Timestamp::default());
        let found = [None, Some("key:a"), Some("key:b"), Some("user:c")];
        let asked: Vec<_> = missing.budgets.iter().map(|key| key.scope.as_ref().map(Scope::as_str)).collect();
        assert_eq!(asked, found);
        // Without budgets there is nothing to look for.
        snapshot.accounts.insert(id, Arc::new(Account { budgets: 0, ..account }));
        assert_eq!(of(&[command], &snapshot, Timestamp::default()), ReadSet::default());
    }
}
