//! Lots, budgets and windows of an account, folded again from its journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Audit;
use super::refold::{GoneCredit, RefoldedHold};
use crate::model::{
    Account, Amount, Books, Budget, BudgetBody, BudgetStanding, BudgetWindow, Charged, Checkpoint, Entry, EntryKind,
    HoldState, Limits, Lot, LotClass, LotPart, LotStanding, LotTerms, Metric, Moves, Quantity, Renewed, Scope,
    SignedAmount, Take, Tally, Timestamp, WindowStanding,
};

/// What the account's entries so far make of its lots and budgets.
#[derive(Debug, Default)]
pub(super) struct Credit {
    lots: BTreeMap<u32, RefoldedLot>,
    last_lot: u32,
    budgets: BTreeMap<u32, (BudgetBody, u32)>,
    of_scope: HashMap<Option<Scope>, BTreeSet<u32>>,
    last_budget: u32,
    windows: BTreeMap<(u32, Timestamp), Tally>,
    /// What was free of lots, and counted in windows, before the entry that is taken in.
    lots_before: BTreeMap<u32, i128>,
    windows_before: BTreeMap<(u32, Timestamp), Tally>,
}

#[derive(Debug)]
struct RefoldedLot {
    terms: Arc<LotTerms>,
    amount: Amount,
    /// Wide, so that what is wrong can be named instead of refused.
    free: i128,
    created_at: Timestamp,
}

/// What lots have to do with a change of a hold: the promotional parts, and what was forfeited.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    available_promo: i128,
    held_promo: i128,
    revenue_promo: i128,
    promotion: i128,
    breakage: i128,
}

impl Credit {
    /// How lots and budgets stood at a checkpoint's cut.
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let mut credit = Self { last_lot: checkpoint.last_lot, ..Self::default() };
        for LotStanding { number, terms, amount, free, created_at } in &checkpoint.lots {
            let (terms, amount, free, created_at) = (Arc::clone(terms), *amount, units(*free), *created_at);
            credit.lots.insert(*number, RefoldedLot { terms, amount, free, created_at });
        }
        for BudgetStanding { body, version } in &checkpoint.budgets {
            credit.last_budget = credit.last_budget.max(body.number);
            credit.of_scope.entry(body.scope.clone()).or_default().insert(body.number);
            credit.budgets.insert(body.number, (body.clone(), *version));
        }
        credit.windows.extend(checkpoint.windows.iter().map(|window| ((window.budget, window.start), window.tally)));
        credit
    }

    /// Writes how lots and budgets stand into a checkpoint of now: those that are not over, and those its holds name.
    /// Answers the lots and windows that are over.
    pub(super) fn stand(&self, checkpoint: &mut Checkpoint) -> GoneCredit {
        let (mut lots, mut windows) = (Vec::new(), Vec::new());
        let (mut live_lots, mut live_windows) = (Vec::new(), Vec::new());
        checkpoint.last_lot = self.last_lot;
        let budgets = self.budgets.values();
        checkpoint.budgets =
            budgets.map(|(body, version)| BudgetStanding { body: body.clone(), version: *version }).collect();
        let over = checkpoint.over();
        for (number, RefoldedLot { terms, amount, free, created_at }) in &self.lots {
            if over.has_lot(*number, terms.expiry, *free == 0) {
                lots.push(*number);
                continue;
            }
            let free = i64::try_from(*free).ok().and_then(|units| Amount::new(units).ok()).unwrap_or_default();
            let (number, amount, created_at) = (*number, *amount, *created_at);
            live_lots.push(LotStanding { number, terms: Arc::clone(terms), amount, free, created_at });
        }
        for ((budget, start), tally) in &self.windows {
            if over.has_window(*budget, *start) {
                windows.push((*budget, *start));
            } else {
                live_windows.push(WindowStanding { budget: *budget, start: *start, tally: *tally });
            }
        }
        (checkpoint.lots, checkpoint.windows) = (live_lots, live_windows);
        (lots, windows)
    }

    /// Lets go of lots and windows that are over.
    pub(super) fn forget(&mut self, (lots, windows): &GoneCredit) {
        for number in lots {
            self.lots.remove(number);
        }
        for window in windows {
            self.windows.remove(window);
        }
    }

    /// A lot was granted.
    pub(super) fn grant(&mut self, entry: &Entry, lot: u32, terms: &Arc<LotTerms>, place: &str, audit: &mut Audit) {
        let amount = entry.changes.available.positive_part();
        let counter = amount.negated();
        let expected = match terms.class {
            LotClass::Paid => Books { available: amount.signed(), funding: counter, ..Books::default() },
            LotClass::Promotional => Books {
                available: amount.signed(),
                promotion: counter,
                available_promo: amount.signed(),
                ..Books::default()
            },
        };
        if entry.changes != expected {
            audit.find("lots_match_journal", place, format!("postings of the grant should be {expected:?}"));
        }
        self.make(lot, terms, amount, entry.at, place, audit);
    }

    /// The rest of a lot expired.
    pub(super) fn expire(&mut self, entry: &Entry, number: u32, place: &str, audit: &mut Audit) {
        let Some(lot) = self.lots.get_mut(&number) else {
            return audit.find("lots_match_journal", place, format!("lot {number} is unknown"));
        };
        if lot.terms.expiry.is_none_or(|expiry| entry.at < expiry) {
            audit.find("lots_match_journal", place, format!("lot {number} expires at {:?}", lot.terms.expiry));
        }
        let gone = i128::from(entry.changes.available.minor_units());
        let counter = match lot.terms.class {
            LotClass::Paid => entry.changes.breakage,
            LotClass::Promotional => entry.changes.promotion,
        };
        if gone.saturating_neg() != lot.free || i128::from(counter.minor_units()) != lot.free {
            audit.find("lots_match_journal", place, format!("free of lot {number} was {}", lot.free));
        }
        self.lots_before.insert(number, lot.free);
        lot.free = 0;
    }

    /// Money was taken out of lots without a hold.
    pub(super) fn take(&mut self, parts: &[LotPart], place: &str, audit: &mut Audit) {
        for part in parts {
            if self.lots.get(&part.lot).is_some_and(|lot| lot.terms.class != LotClass::Paid) {
                audit.find("lots_match_journal", place, format!("promotional lot {} was paid out", part.lot));
            }
            self.change(part.lot, -units(part.amount), place, audit);
        }
        self.check(parts.iter().map(|part| part.lot), place, audit);
    }

    /// A hold changed: what it has to do with lots and windows, before and after.
    pub(super) fn hold(
        &mut self,
        entry: &Entry,
        before: &RefoldedHold,
        after: &RefoldedHold,
        renewed: &[Renewed],
        audit: &mut Audit,
    ) {
        let place = format!("{}/{}", entry.account, entry.seq);
        let parts = self.lots_of(entry, before, after, renewed, &place, audit);
        self.check(before.takes.iter().chain(&after.takes).map(|take| take.lot), &place, audit);
        let changes = &entry.changes;
        let booked = Parts {
            available_promo: wide(changes.available_promo),
            held_promo: wide(changes.held_promo),
            revenue_promo: wide(changes.revenue_promo),
            promotion: wide(changes.promotion),
            breakage: wide(changes.breakage),
        };
        if parts != booked {
            audit.find("lots_match_journal", &place, format!("parts should be {parts:?}, are {booked:?}"));
        }
        for charged in &after.windows {
            let (was, is) = (before.tally(charged.metric), after.tally(charged.metric));
            let key = (charged.budget, charged.start);
            let window = self.windows.entry(key).or_default();
            self.windows_before.entry(key).or_insert(*window);
            window.used = window.used.saturating_add(is.used).saturating_sub(was.used);
            window.held = window.held.saturating_add(is.held).saturating_sub(was.held);
        }
        if matches!(entry.kind, EntryKind::Reserve | EntryKind::Extend) {
            self.admitted(entry, after, &place, audit);
        }
    }

    /// A budget was made, changed or removed.
    pub(super) fn budget(&mut self, body: &BudgetBody, place: &str, audit: &mut Audit) {
        let version = self.budgets.get(&body.number).map_or(0, |(_, version)| *version);
        if version == 0 && body.number != self.last_budget.saturating_add(1) {
            audit.find("budgets_match_journal", place, format!("budget {} after {}", body.number, self.last_budget));
        }
        self.last_budget = self.last_budget.max(body.number);
        self.of_scope.entry(body.scope.clone()).or_default().insert(body.number);
        self.budgets.insert(body.number, (body.clone(), version.saturating_add(1)));
    }

    /// What could be spent for a hold of this model, given what is available now.
    pub(super) fn spendable(
        &self,
        available: SignedAmount,
        limits: &Limits,
        hold: &RefoldedHold,
        at: Timestamp,
    ) -> i128 {
        let usable = |lot: &&RefoldedLot| {
            let models = &lot.terms.models;
            let model = hold.terms.as_ref().and_then(|terms| terms.model.as_ref());
            lot.terms.expiry.is_none_or(|expiry| at < expiry)
                && (models.is_empty() || model.is_some_and(|model| models.contains(model)))
        };
        let free: i128 = self.lots.values().map(|lot| lot.free).sum();
        let usable: i128 = self.lots.values().filter(usable).map(|lot| lot.free).sum();
        wide(available) - free + usable + units(limits.credit)
    }

    /// The entry that was taken in says what it moved.
    pub(super) fn moved(&mut self, moves: &Moves, place: &str, audit: &mut Audit) {
        let lots = std::mem::take(&mut self.lots_before).into_iter();
        let lots = lots.map(|(lot, was)| (lot, was, self.lots.get(&lot).map_or(0, |lot| lot.free)));
        let said = moves.lots.iter().map(|moved| (moved.lot, units(moved.was), units(moved.is)));
        if !lots.filter(|(_, was, is)| was != is).eq(said) {
            audit.find("lots_match_journal", place, format!("moves of lots are {:?}", moves.lots));
        }
        let windows = std::mem::take(&mut self.windows_before).into_iter();
        let windows = windows.map(|(key, was)| (key, was, self.windows.get(&key).copied().unwrap_or_default()));
        let said = moves.windows.iter().map(|moved| ((moved.budget, moved.start), moved.was, moved.is));
        if !windows.filter(|(_, was, is)| was != is).eq(said) {
            audit.find("windows_match_journal", place, format!("moves of windows are {:?}", moves.windows));
        }
    }

    /// Compares the account's row with what its entries say.
    pub(super) fn compare(&self, account: &Account, audit: &mut Audit) {
        let free: i128 = self.lots.values().map(|lot| lot.free).sum();
        let active = self.budgets.values().filter(|(budget, _)| budget.active).count();
        let said = (free, self.last_lot, self.last_budget, active);
        let active = usize::try_from(account.budgets).unwrap_or(usize::MAX);
        let row = (units(account.lots_free), account.last_lot, account.last_budget, active);
        if said != row {
            let detail = format!("journal says lots and budgets are {said:?}, row is {row:?}");
            audit.find("lots_match_journal", &account.id, detail);
        }
    }

    /// Compares a lot's row; each once.
    pub(super) fn compare_lot(&mut self, lot: &Lot, place: &str, audit: &mut Audit) {
        let Some(said) = self.lots.remove(&lot.number) else {
            return audit.find("lots_match_journal", place, "lot without a grant");
        };
        let row = (&lot.terms, lot.amount, units(lot.free), lot.created_at);
        if (&said.terms, said.amount, said.free, said.created_at) != row {
            audit.find("lots_match_journal", place, format!("journal says {said:?}, row is {lot:?}"));
        }
    }

    /// Compares a budget's row; each once.
    pub(super) fn compare_budget(&mut self, budget: &Budget, place: &str, audit: &mut Audit) {
        let Some((said, version)) = self.budgets.remove(&budget.number) else {
            return audit.find("budgets_match_journal", place, "budget without an entry");
        };
        let row = (&budget.scope, &budget.window, budget.cap, budget.active, budget.version);
        if (&said.scope, &said.window, said.cap, said.active, version) != row {
            audit.find("budgets_match_journal", place, format!("journal says {said:?}, row is {budget:?}"));
        }
    }

    /// Compares a window's row; each once.
    pub(super) fn compare_window(&mut self, window: &BudgetWindow, place: &str, audit: &mut Audit) {
        let said = self.windows.remove(&(window.key.budget, window.key.start)).unwrap_or_default();
        if (said.used, said.held) != (window.used, window.held) {
            let detail = format!("journal says {}+{}, row is {}+{}", said.used, said.held, window.used, window.held);
            audit.find("windows_match_journal", place, detail);
        }
    }

    /// What is left once every row was compared.
    pub(super) fn finish(&self, account: &str, audit: &mut Audit) {
        for number in self.lots.keys() {
            audit.find("lots_match_journal", account, format!("lot {number} has no row"));
        }
        for number in self.budgets.keys() {
            audit.find("budgets_match_journal", account, format!("budget {number} has no row"));
        }
        for ((budget, start), _) in self.windows.iter().filter(|(_, tally)| **tally != Tally::default()) {
            audit.find("windows_match_journal", account, format!("window {start} of budget {budget} has no row"));
        }
    }

    /// Moves between lots and a hold's takes what its change says, and answers what that means for the books.
    fn lots_of(
        &mut self,
        entry: &Entry,
        before: &RefoldedHold,
        after: &RefoldedHold,
        renewed: &[Renewed],
        place: &str,
        audit: &mut Audit,
    ) -> Parts {
        let mut parts = Parts::default();
        for (takes, sign) in [(&before.takes, -1), (&after.takes, 1)] {
            for take in takes {
                let total = units(take.held) + units(take.used) + units(take.forfeited);
                self.change(take.lot, -sign * total, place, audit);
                parts.forfeit(self.class(take.lot), sign * units(take.forfeited));
                if self.class(take.lot) == LotClass::Promotional {
                    parts.available_promo -= sign * total;
                    parts.held_promo += sign * units(take.held);
                    parts.revenue_promo += sign * units(take.used);
                }
            }
        }
        for new in renewed {
            self.change(new.from, -units(new.amount), place, audit);
            self.make(new.lot, &new.terms, new.amount, entry.at, place, audit);
        }
        let sums = |part: fn(&Take) -> Amount| after.takes.iter().map(|take| units(part(take))).sum::<i128>();
        let used = units(after.captured) - units(after.refunded);
        if sums(|take| take.held) > units(after.held) || sums(|take| take.used) > used {
            audit.find("lots_match_journal", place, "more is taken of lots than in all");
        }
        parts
    }

    /// Every budget of the hold's scopes that was in force is charged, and admitted it.
    fn admitted(&self, entry: &Entry, hold: &RefoldedHold, place: &str, audit: &mut Audit) {
        let scopes = hold.terms.iter().flat_map(|terms| terms.scopes.iter().cloned().map(Some));
        let numbers = std::iter::once(None).chain(scopes).filter_map(|scope| self.of_scope.get(&scope)).flatten();
        for number in numbers {
            let Some((budget, _)) = self.budgets.get(number).filter(|(budget, _)| budget.active) else { continue };
            let charged = hold.windows.iter().find(|charged| charged.budget == *number);
            let Some(Charged { start, metric, .. }) = charged else {
                if entry.kind == EntryKind::Reserve {
                    audit.find("budgets_match_journal", place, format!("budget {number} is not charged"));
                }
                continue;
            };
            let Tally { used, held } = self.windows.get(&(*number, *start)).copied().unwrap_or_default();
            // An extension asks for money alone.
            let asks = entry.kind == EntryKind::Reserve || *metric == Metric::Spend;
            if *start > entry.at || (asks && used.saturating_add(held) > budget.cap.limit()) {
                let detail = format!("{used}+{held} of {:?} in the window of {start}", budget.cap);
                audit.find("budget_not_exceeded", place, detail);
            }
        }
    }

    fn make(
        &mut self,
        number: u32,
        terms: &Arc<LotTerms>,
        amount: Amount,
        at: Timestamp,
        place: &str,
        audit: &mut Audit,
    ) {
        if number != self.last_lot.saturating_add(1) {
            audit.find("lots_match_journal", place, format!("lot {number} after {}", self.last_lot));
        }
        self.last_lot = number;
        self.lots_before.insert(number, 0);
        let lot = RefoldedLot { terms: Arc::clone(terms), amount, free: units(amount), created_at: at };
        self.lots.insert(number, lot);
    }

    fn change(&mut self, number: u32, change: i128, place: &str, audit: &mut Audit) {
        let Some(lot) = self.lots.get_mut(&number) else {
            return audit.find("lots_match_journal", place, format!("lot {number} is unknown"));
        };
        self.lots_before.entry(number).or_insert(lot.free);
        lot.free += change;
    }

    /// After an entry no lot has less than nothing or more than it was made with.
    fn check(&self, numbers: impl Iterator<Item = u32>, place: &str, audit: &mut Audit) {
        for number in numbers {
            let free = self.lots.get(&number).map(|lot| (lot.free, units(lot.amount)));
            if let Some((free, amount)) = free.filter(|(free, amount)| !(0..=*amount).contains(free)) {
                audit.find("lots_match_journal", place, format!("free of lot {number} is {free} of {amount}"));
            }
        }
    }

    fn class(&self, number: u32) -> LotClass {
        self.lots.get(&number).map(|lot| lot.terms.class).unwrap_or_default()
    }
}

impl Parts {
    fn forfeit(&mut self, class: LotClass, amount: i128) {
        match class {
            LotClass::Paid => self.breakage += amount,
            LotClass::Promotional => self.promotion += amount,
        }
    }
}

impl RefoldedHold {
    /// What it counts for in a budget of `metric`.
    fn tally(&self, metric: Metric) -> Tally {
        let count = |amount: i128| u64::try_from(amount).unwrap_or(0);
        match self.state {
            None | Some(HoldState::Released) => Tally::default(),
            Some(HoldState::Open) => {
                let asked = self.terms.as_ref().map_or(0, |terms| terms.tokens);
                let held = match metric {
                    Metric::Spend => count(units(self.held)),
                    Metric::Requests => 1,
                    Metric::Tokens => asked,
                };
                Tally { used: 0, held }
            }
            Some(HoldState::Lapsed | HoldState::Sealed) if self.cost == Quantity::ZERO => Tally::default(),
            Some(HoldState::Lapsed | HoldState::Settled | HoldState::Sealed) => {
                let used = match metric {
                    Metric::Spend => count(units(self.cost.cost) - units(self.refunded)),
                    Metric::Requests => 1,
                    Metric::Tokens => self.cost.tokens,
                };
                Tally { used, held: 0 }
            }
        }
    }
}

fn units(amount: Amount) -> i128 {
    i128::from(amount.minor_units())
}

fn wide(amount: SignedAmount) -> i128 {
    i128::from(amount.minor_units())
}
