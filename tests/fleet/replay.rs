//! H6: each journal, command after command, once more: by the kernel, which must write the same journal to the last link
//! of its chain, and by a model that shares nothing with it, which must come to the same balances.

use std::collections::HashMap;
use std::sync::Arc;

use prepaid::kernel::{Action, Batch, Command};
use prepaid::model::{Body, CallToken, Entry, EntryKind, LedgerId, Terms};
use prepaid::store::{MemoryStore, Store};
use prepaid::testing::{ManualClock, Model};
use prepaid::{AccountId, Measured};

use crate::checker::{Journals, Violation};
use crate::common::one::amount;

/// How much of each journal the model plays: it looks at everything anew at every step.
const MODEL_ENTRIES: usize = 400;

/// Every account whose journal is not what its commands come to.
pub(crate) async fn violations(ledger: LedgerId, journals: &Journals) -> Vec<Violation> {
    let mut found = Vec::new();
    for (account, entries) in journals {
        let account: AccountId = account.parse().unwrap();
        let by_kernel = kernel_differs(ledger, &account, entries).await;
        let differs = by_kernel.or_else(|| model_differs(&account, entries));
        found.extend(differs.map(|what| Violation { rule: "H6", what: format!("{account}: {what}") }));
    }
    found
}

async fn kernel_differs(ledger: LedgerId, account: &AccountId, entries: &[Entry]) -> Option<String> {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::new(ledger, clock.clone());
    for (entry, command) in entries.iter().zip(commands(account, entries)) {
        clock.set(entry.at);
        let reply = store.commit(0, Arc::new(Batch::new(vec![Arc::new(command)]))).await.unwrap().remove(0);
        if reply.entry != Some(entry.seq) {
            return Some(format!("{entry:?} comes to {reply:?}"));
        }
    }
    let again = store.journal(account, 0, u32::MAX).await.unwrap();
    let mut pairs = again.into_iter().zip(entries);
    // Where an account stands among others is the store's affair.
    let differs = pairs.find(|(again, entry)| {
        let Entry { account_number, position, previous, .. } = **entry;
        let mut here = again.clone();
        (here.account_number, here.position, here.previous) = (account_number, position, previous);
        here != **entry
    });
    differs.map(|(again, entry)| format!("{entry:?} comes to {again:?}"))
}

fn model_differs(account: &AccountId, entries: &[Entry]) -> Option<String> {
    let mut model = Model::default();
    for (entry, command) in entries.iter().zip(commands(account, entries)).take(MODEL_ENTRIES) {
        if let Err(refusal) = model.run(&command, entry.at) {
            return Some(format!("{entry:?} is refused by the model: {refusal}"));
        }
        let totals = model.account(account).unwrap().totals();
        let units = (i128::from(entry.available_after.minor_units()), i128::from(entry.held_after.minor_units()));
        if (totals.available, totals.held) != units {
            return Some(format!("{entry:?} comes to {totals:?} in the model"));
        }
    }
    None
}

/// What was asked for, as the journal tells it.
fn commands(account: &AccountId, entries: &[Entry]) -> Vec<Command> {
    let mut held = HashMap::new();
    entries.iter().map(|entry| Command::new(account.clone(), action(entry, &mut held))).collect()
}

fn action(entry: &Entry, held: &mut HashMap<String, i64>) -> Action {
    let hold = || entry.hold.clone().unwrap();
    let key = || entry.key.clone().unwrap();
    let available = entry.changes.available.minor_units();
    let of_hold = held.entry(entry.hold.as_ref().map(ToString::to_string).unwrap_or_default()).or_default();
    *of_hold += entry.changes.held.minor_units();
    let metadata = entry.metadata.clone();
    match (entry.kind, entry.body().unwrap()) {
        (EntryKind::Open, Body::Open(open)) => {
            Action::Open { asset: open.asset, limits: open.limits, policy: open.policy }
        }
        (EntryKind::Deposit, _) => Action::Deposit { key: key(), amount: amount(available), metadata },
        (EntryKind::Reserve, _) => {
            let mut terms = Terms::default();
            terms.amount = amount(*of_hold);
            let token = CallToken::default();
            Action::Reserve { hold: hold(), terms: Arc::new(terms), lease: None, token, metadata }
        }
        (EntryKind::Extend, _) => Action::Extend { hold: hold(), target: amount(*of_hold), partial: false },
        (EntryKind::Settle, Body::Close(close)) => {
            let measured = Measured::new(close.cost.cost, close.cost.tokens);
            Action::Settle { hold: hold(), measured, or_debit: None, above_ceiling: false, metadata }
        }
        (EntryKind::Release, _) => Action::Release { hold: hold(), waive: false },
        (EntryKind::Lapse, _) => Action::Lapse { hold: hold() },
        (EntryKind::Refund, _) => Action::Refund { hold: hold(), key: key(), amount: amount(available), metadata },
        (EntryKind::BudgetChange, Body::Budget(budget)) => {
            Action::SetBudget { scope: budget.scope, window: budget.window, cap: budget.cap }
        }
        (kind, body) => panic!("nobody asked for it: {kind:?} {body:?}"),
    }
}
