//! Recomputes the whole ledger from its journal and names what does not agree.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::chronicle::Chronicle;
use super::refold::RefoldedHold;
use crate::error::Result;
use crate::kernel::{Counters, KeyTarget, invariant};
use crate::model::{Account, AccountId, Entry, Hold, HoldState, KeyHash, LedgerId};
use crate::store::{Record, Store};

/// What an audit found.
///
/// It recomputes, in one snapshot of each bucket: that postings sum to zero; totals and balances after every entry;
/// dense numbers; the hash chains; every hold from the entries that name it; refunds; lots, what holds have of
/// them and what expired; budgets, what their windows counted and that they admitted what was reserved; what keys lead to.
/// An account whose past was pruned is recomputed from its last checkpoint on. What the journal does not record it cannot
/// judge: usage reported on holds that are open, their deadlines, and tombstones; what was pruned only its
/// [archive](super::archive) can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// Accounts looked at.
    pub accounts: u64,
    /// Holds looked at.
    pub holds: u64,
    /// Holds among them that are open: their reported usage and deadlines are in no entry.
    pub open_holds: u64,
    /// Holds among them that are tombstones: they are in no entry.
    pub tombstones: u64,
    /// Entries looked at.
    pub entries: u64,
    /// Entries that were archived and pruned.
    pub pruned: u64,
    /// What does not agree; the first thousand.
    pub findings: Vec<Finding>,
    /// How many findings there were in all.
    pub findings_total: u64,
}

/// One thing that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule that is broken, by name.
    pub rule: &'static str,
    /// Where: the account, and the entry or hold.
    pub place: String,
    /// What is there and what should be.
    pub detail: String,
}

const FINDINGS_MAX: usize = 1_000;

impl Audit {
    /// Whether everything agrees.
    pub fn is_clean(&self) -> bool {
        self.findings_total == 0
    }

    pub(super) fn find(&mut self, rule: &'static str, place: impl fmt::Display, detail: impl Into<String>) {
        self.findings_total = self.findings_total.saturating_add(1);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { rule, place: place.to_string(), detail: detail.into() });
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, holds, entries, findings_total, .. } = self;
        write!(f, "{accounts} accounts, {holds} holds, {entries} entries: ")?;
        if self.is_clean() {
            return write!(f, "clean");
        }
        write!(f, "{findings_total} findings")?;
        for Finding { rule, place, detail } in &self.findings {
            write!(f, "\n  {rule} at {place}: {detail}")?;
        }
        Ok(())
    }
}

/// Audits every bucket.
pub(crate) async fn audit(store: &Arc<dyn Store>) -> Result<Audit> {
    let mut audit = Audit::default();
    for bucket in 0..store.buckets() {
        let auditor = Arc::new(Mutex::new(Auditor::new(store.ledger(), std::mem::take(&mut audit))));
        let visitor = Arc::clone(&auditor);
        let visit = move |record| {
            visitor.lock().unwrap_or_else(PoisonError::into_inner).visit(record);
            true
        };
        store.scan(bucket, Box::new(visit)).await?;
        let mut auditor = auditor.lock().unwrap_or_else(PoisonError::into_inner);
        audit = auditor.finish();
    }
    Ok(audit)
}

/// Audits one bucket, record by record.
struct Auditor {
    ledger: LedgerId,
    audit: Audit,
    counters: Counters,
    position: u64,
    /// Up to which position entries may be gone, and how many are.
    pruned: u64,
    missing: u64,
    accounts: HashMap<i64, Chronicle>,
    names: HashMap<i64, AccountId>,
    keys: HashMap<KeyHash, KeyTarget>,
    expected_keys: Vec<(KeyHash, KeyTarget, String)>,
}

impl Auditor {
    fn new(ledger: LedgerId, audit: Audit) -> Self {
        Self {
            ledger,
            audit,
            counters: Counters::default(),
            position: 0,
            pruned: 0,
            missing: 0,
            accounts: HashMap::new(),
            names: HashMap::new(),
            keys: HashMap::new(),
            expected_keys: Vec::new(),
        }
    }

    fn visit(&mut self, record: Record) {
        match record {
            Record::Counters(counters) => self.counters = counters,
            Record::Pruned(until) => self.pruned = until,
            Record::Checkpoint(entry) => {
                self.accounts.entry(entry.account_number).or_default().expect(&entry, &mut self.audit);
            }
            Record::Entry(entry) => self.entry(&entry),
            Record::Account(account) => self.account(&account),
            Record::Hold(hold) => self.hold(&hold),
            Record::Lot(lot) => {
                let place = format!("lot {} of account {}", lot.number, lot.account_number);
                let account = self.accounts.entry(lot.account_number).or_default();
                account.folded.credit.compare_lot(&lot, &place, &mut self.audit);
            }
            Record::Budget(budget) => {
                let place = format!("budget {} of account {}", budget.number, budget.account_number);
                let account = self.accounts.entry(budget.account_number).or_default();
                account.folded.credit.compare_budget(&budget, &place, &mut self.audit);
            }
            Record::Window(window) => {
                let place = format!("{:?}", window.key);
                let account = self.accounts.entry(window.key.account).or_default();
                account.folded.credit.compare_window(&window, &place, &mut self.audit);
            }
            Record::Key(_, KeyTarget::Gone) => {}
            Record::Key(key, target) => {
                self.keys.insert(key, target);
            }
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.audit.entries += 1;
        let place = format!("{}/{}", entry.account, entry.seq);
        let skipped = entry.position.checked_sub(self.position.saturating_add(1));
        if skipped.is_none_or(|skipped| skipped > 0 && entry.position > self.pruned.saturating_add(1)) {
            self.audit.find("dense_positions", &place, format!("position {} after {}", entry.position, self.position));
        }
        self.missing = self.missing.saturating_add(skipped.unwrap_or(0));
        self.position = entry.position;
        if let Some(hash) = entry.operation() {
            self.expected_keys.push((hash, KeyTarget::Entry(entry.position), place));
        }
        let account = self.accounts.entry(entry.account_number).or_default();
        account.fold(self.ledger, entry, &mut self.audit);
    }

    fn account(&mut self, account: &Account) {
        self.audit.accounts += 1;
        self.names.insert(account.number, account.id.clone());
        if !invariant::balanced(&account.books) {
            self.audit.find("trial_balance", &account.id, format!("totals do not sum to zero: {:?}", account.books));
        }
        match self.accounts.get_mut(&account.number) {
            None => self.audit.find("posted_matches_journal", &account.id, "account without entries"),
            Some(chronicle) => {
                let pruned = chronicle.compare(account, &mut self.audit);
                self.audit.pruned = self.audit.pruned.saturating_add(pruned);
                self.missing = self.missing.wrapping_sub(pruned);
            }
        }
    }

    fn hold(&mut self, hold: &Arc<Hold>) {
        self.audit.holds += 1;
        let place = format!("hold {} of account {}", hold.id, hold.account_number);
        self.expected_keys.push((hold.key, KeyTarget::Hold(hold.number), place.clone()));
        if self.names.get(&hold.account_number).is_some_and(|name| KeyHash::hold(name, &hold.id) != hold.key) {
            self.audit.find("key_means_one_thing", &place, format!("its key {} is another name's", hold.key));
        }
        if let Err(rule) = invariant::hold_is_sound(hold) {
            self.audit.find("hold_is_sound", &place, rule);
        }
        let Some(account) = self.accounts.get_mut(&hold.account_number) else {
            self.audit.find("held_matches_holds", &place, "hold without an account");
            return;
        };
        match hold.state {
            HoldState::Open => self.audit.open_holds += 1,
            HoldState::Lapsed | HoldState::Settled | HoldState::Released | HoldState::Sealed => {}
        }
        if account.waits(hold) {
            return;
        }
        if hold.terms.is_none() && !account.folded.knows(&hold.id) {
            self.audit.tombstones += 1;
            return;
        }
        account.folded.take(&hold.id).unwrap_or_default().compare(hold, &place, &mut self.audit);
    }

    fn finish(&mut self) -> Audit {
        if self.counters.position != self.position {
            let detail = format!("bucket says {}, journal ends at {}", self.counters.position, self.position);
            self.audit.find("dense_positions", "bucket", detail);
        }
        if self.missing != 0 {
            let detail = "more or fewer entries are gone than accounts say";
            self.audit.find("dense_positions", "bucket", detail);
        }
        for (key, target, place) in std::mem::take(&mut self.expected_keys) {
            if self.keys.remove(&key) != Some(target) {
                self.audit.find("key_means_one_thing", place, format!("key {key} does not lead here"));
            }
        }
        for key in self.keys.keys() {
            self.audit.find("key_means_one_thing", key, "key leads nowhere");
        }
        for account in self.accounts.values() {
            account.folded.finish(&mut self.audit);
        }
        std::mem::take(&mut self.audit)
    }
}

impl RefoldedHold {
    /// Compares a hold's row with what its entries say.
    fn compare(&self, hold: &Hold, place: &str, audit: &mut Audit) {
        let said = (self.state, self.held, self.cost, self.captured, self.written_off, self.refunded);
        if (&self.takes, &self.windows) != (&hold.takes, &hold.windows) {
            audit.find("lots_match_journal", place, format!("journal says {self:?}, row is {hold:?}"));
        }
        let cost = if hold.state == HoldState::Open { self.cost } else { hold.cost() };
        let row = (Some(hold.state), hold.held, cost, hold.captured, hold.written_off, hold.refunded);
        if said != row || self.seq != hold.seq {
            let (said, row) = ((said, self.seq), (row, hold.seq));
            audit.find("resolved_once", place, format!("journal says {said:?}, row is {row:?}"));
        }
    }
}
