//! One command's changes while it is being decided: kept if it is accepted, dropped if it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::Working;
use super::lots::Lots;
use super::{Operation, Pruned, Refusal};
use crate::model::{
    Account, Amount, ArgumentsHash, Body, Books, Budget, BudgetKey, BudgetWindow, Entry, EntryKind, Hold, HoldId,
    KeyHash, Label, LotMove, Metadata, Moves, OperationKey, Tally, Timestamp, WindowKey, WindowMove,
};

/// Why a command cannot be decided here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The answer is no.
    Refuse(Refusal),
    /// This of the account has to be loaded, then it is decided anew.
    Need(Need),
}

/// What has to be loaded of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Its overdue holds: the command is short of something.
    Overdue,
    /// Its lots with free money.
    LiveLots,
    /// One of its lots.
    Lot(u32),
    /// The budgets of a scope.
    Budgets(BudgetKey),
    /// A window of a budget.
    Window(WindowKey),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// The account a command is about, the rows it touched so far, and the entries it wrote.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    working: &'a Working<'a>,
    /// The store's time, never before the account's last entry.
    pub(super) now: Timestamp,
    pub(super) account: Account,
    pub(super) holds: Vec<(Arc<Hold>, bool)>,
    /// The account's lots, once the command had to do with them.
    pub(super) lots: Option<Lots>,
    pub(super) windows: Vec<BudgetWindow>,
    /// What lots and windows were before the next entry, where it changes them.
    pub(super) lots_before: BTreeMap<u32, Amount>,
    windows_before: BTreeMap<WindowKey, Tally>,
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) entries: Vec<Entry>,
    pub(super) operation: Option<(KeyHash, Operation)>,
    pub(super) pruned: Pruned,
    pub(super) position: u64,
    pub(super) hold_number: i64,
}

/// What an entry says besides its kind and its postings.
#[derive(Debug, Default)]
pub(super) struct Details<'a> {
    pub(super) hold: Option<&'a HoldId>,
    pub(super) key: Option<(&'a OperationKey, KeyHash, ArgumentsHash)>,
    pub(super) label: Option<&'a Label>,
    pub(super) metadata: Option<&'a Metadata>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(working: &'a Working<'a>, account: Account, now: Timestamp) -> Self {
        let counters = working.counters();
        Self {
            working,
            now: now.max(account.last_entry_at),
            account,
            holds: Vec::new(),
            lots: None,
            windows: Vec::new(),
            lots_before: BTreeMap::new(),
            windows_before: BTreeMap::new(),
            budget: None,
            entries: Vec::new(),
            operation: None,
            pruned: Pruned::default(),
            position: counters.position,
            hold_number: counters.hold,
        }
    }

    /// The hold a key leads to, as this command left it.
    pub(super) fn hold(&self, key: KeyHash) -> Option<Arc<Hold>> {
        let own = self.holds.iter().rev().find(|(hold, _)| hold.key == key);
        own.map(|(hold, _)| Arc::clone(hold)).or_else(|| self.working.hold(key))
    }

    /// The hold a command names, after making sure that the key really is its and the books are not closed over it.
    pub(super) fn named_hold(&self, key: KeyHash, id: &HoldId) -> Result<Option<Arc<Hold>>, Stop> {
        match self.hold(key) {
            None if self.working.is_gone(key) => Err(Refusal::TooOld.into()),
            Some(hold) if hold.id != *id || hold.account_number != self.account.number => {
                Err(Refusal::KeyCollision.into())
            }
            Some(hold) if hold.is_closed_over(self.account.past.closed) => Err(Refusal::TooOld.into()),
            found => Ok(found),
        }
    }

    /// The operation done under a key: nothing, or how it compares with this one.
    pub(super) fn repeated(&self, key: &OperationKey, hash: KeyHash, arguments: ArgumentsHash) -> Result<bool, Stop> {
        match self.working.operation(hash) {
            None if self.working.is_gone(hash) => Err(Refusal::TooOld.into()),
            None => Ok(false),
            Some(done) if done.key != *key => Err(Refusal::KeyCollision.into()),
            Some(done) if done.seq <= self.account.past.closed => Err(Refusal::TooOld.into()),
            Some(done) if done.arguments != arguments => Err(Refusal::KeyReused.into()),
            Some(_) => Ok(true),
        }
    }

    /// What the account's due open holds are found by; the command has to wait if nobody looked yet.
    pub(super) fn overdue(&self) -> Result<&'a [KeyHash], Stop> {
        self.working.overdue(&self.account.id).ok_or(Stop::Need(Need::Overdue))
    }

    /// A number for a new hold.
    pub(super) fn next_hold_number(&mut self) -> i64 {
        self.hold_number = self.hold_number.saturating_add(1);
        self.hold_number
    }

    /// Writes a new hold.
    pub(super) fn insert_hold(&mut self, hold: Hold) {
        self.holds.push((Arc::new(hold), true));
    }

    /// Writes a hold that exists.
    pub(super) fn update_hold(&mut self, hold: Hold) {
        match self.holds.iter_mut().find(|(own, _)| own.key == hold.key) {
            Some((own, _)) => *own = Arc::new(hold),
            None => self.holds.push((Arc::new(hold), false)),
        }
    }

    /// The account's lots that are loaded, as this command left them.
    pub(super) fn lots(&mut self) -> &mut Lots {
        let (working, account) = (self.working, self.account.number);
        self.lots.get_or_insert_with(|| working.lots(account))
    }

    /// Whether every lot with free money is loaded.
    pub(super) fn knows_live_lots(&self) -> bool {
        self.working.knows_live_lots(&self.account.id, self.account.number)
    }

    /// The budgets of a scope, removed ones too.
    pub(super) fn budgets(&self, key: BudgetKey) -> Result<&'a [Arc<Budget>], Stop> {
        self.working.budgets(&key).ok_or(Stop::Need(Need::Budgets(key)))
    }

    /// What a budget counted in a window, as this command left it.
    pub(super) fn window(&self, key: WindowKey) -> Result<BudgetWindow, Stop> {
        let own = self.windows.iter().find(|window| window.key == key).copied();
        own.or_else(|| self.working.window(&self.account.id, key)).ok_or(Stop::Need(Need::Window(key)))
    }

    /// Writes a window.
    pub(super) fn put_window(&mut self, before: BudgetWindow, window: BudgetWindow) {
        self.windows_before.entry(window.key).or_insert_with(|| before.tally());
        match self.windows.iter_mut().find(|own| own.key == window.key) {
            Some(own) => *own = window,
            None => self.windows.push(window),
        }
    }

    /// What was moved in lots and windows since the last entry.
    fn moves(&mut self) -> Moves {
        let mut moves = Moves::default();
        for (lot, was) in std::mem::take(&mut self.lots_before) {
            let is = self.lots().free(lot);
            moves.lots.extend((was != is).then_some(LotMove { lot, was, is }));
        }
        for (key, was) in std::mem::take(&mut self.windows_before) {
            let is = self.windows.iter().find(|window| window.key == key).map_or(was, BudgetWindow::tally);
            let WindowKey { budget, start, .. } = key;
            moves.windows.extend((was != is).then_some(WindowMove { budget, start, was, is }));
        }
        moves
    }

    /// Writes an entry: the account becomes the sum of its journal again.
    pub(super) fn record(
        &mut self,
        kind: EntryKind,
        changes: Books,
        body: &Body,
        details: Details<'_>,
    ) -> Result<(), Refusal> {
        let books = self.account.books.checked_add(&changes).map_err(|_| Refusal::TotalTooLarge)?;
        let held_after = Amount::new(books.held.minor_units()).map_err(|_| Refusal::TotalTooLarge)?;
        let body = body.encode_with(&self.moves());
        self.position = self.position.saturating_add(1);
        let mut entry = Entry {
            account: self.account.id.clone(),
            account_number: self.account.number,
            seq: self.account.seq.saturating_add(1),
            position: self.position,
            previous: self.account.last_position,
            at: self.now,
            kind,
            changes,
            available_after: books.available,
            held_after,
            hold: details.hold.cloned(),
            key: details.key.map(|(key, ..)| key.clone()),
            arguments: details.key.map(|(.., arguments)| arguments),
            label: details.label.cloned(),
            body: body.into(),
            metadata: details.metadata.cloned(),
            hash: self.account.head,
        };
        entry.hash = self.account.head.next(&entry.canonical());
        if let Some((key, hash, arguments)) = details.key {
            self.operation = Some((hash, Operation { key: key.clone(), arguments, seq: entry.seq }));
        }
        self.account.books = books;
        self.account.seq = entry.seq;
        self.account.head = entry.hash;
        self.account.last_position = entry.position;
        self.account.last_entry_at = entry.at;
        self.entries.push(entry);
        Ok(())
    }
}
