//! Alerts: what in the journal somebody should be told, each crossing once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;

use crate::model::{
    AccountId, Amount, Body, BudgetBody, BudgetStanding, Cap, Checkpoint, Entry, LotStanding, Malformed, Moves,
    Renewed, Scope, SignedAmount, Tally, Timestamp, WindowStanding,
};

/// What to be told about. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertRules {
    /// When an account's money, held or not, falls below this.
    pub low_balance: Option<Amount>,
    /// When an account begins to owe money.
    pub debt: bool,
    /// When so many hundredths of a budget are used up in its window; 80 and 100, say.
    pub budget_percents: Vec<u8>,
    /// So long before a lot with money in it expires.
    pub lot_expires_within: Option<Duration>,
}

/// Something somebody should be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Alert {
    /// Whose.
    pub account: AccountId,
    /// The last entry of the account when it was noticed.
    pub seq: u64,
    /// What.
    pub kind: AlertKind,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertKind {
    /// The account's money fell below the rule's amount.
    LowBalance {
        /// What it has now, held or not.
        left: SignedAmount,
    },
    /// The account began to owe money.
    Debt {
        /// How much.
        owed: Amount,
    },
    /// So much of a budget is used up in its window.
    Budget {
        /// The budget's number.
        budget: u32,
        /// What it limits; none: the whole account.
        scope: Option<Scope>,
        /// When the window began.
        window: Timestamp,
        /// How many hundredths were crossed.
        percent: u8,
        /// What is used: minor units, requests or tokens.
        used: u64,
        /// What it counts, and the limit.
        cap: Cap,
    },
    /// A lot with money in it expires soon.
    LotExpiring {
        /// The lot's number.
        lot: u32,
        /// What is free of it.
        free: Amount,
        /// When it expires.
        expiry: Timestamp,
    },
}

/// Derives alerts from the feed: a function of the entries and of nothing else. What it remembers is small: lots that
/// did not expire or have money in them, and budgets.
///
/// It is told every entry of an account in order, from the first one on; what it was told twice it would count twice.
/// Where the first ones were pruned it begins with [`oldest_cursor`](crate::Ledger::oldest_cursor): it knows an account's
/// older lots and budgets from the account's next checkpoint on, and tells nothing of them before.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use prepaid::{Asset, Ledger, journal::{AlertKind, AlertRules, Alerts}};
///
/// let usd = Asset::USD;
/// let alice = Ledger::open("memory:").await?.account("alice")?;
/// alice.open().await?;
/// alice.deposit("payment-1", usd.parse("5")?).await?;
/// alice.reserve("request-1", usd.parse("4.50")?).await?.created()?.settle(usd.parse("4.20")?).await?;
///
/// let mut rules = AlertRules::default();
/// rules.low_balance = Some(usd.parse("1")?);
/// let mut alerts = Alerts::new(rules);
/// let mut told = Vec::new();
/// for entry in alice.journal(0, 100).await? {
///     told.extend(alerts.see(&entry)?);
/// }
/// assert_eq!(told.len(), 1);
/// assert_eq!(told[0].kind, AlertKind::LowBalance { left: usd.parse_signed("0.80")? });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    rules: AlertRules,
    accounts: HashMap<AccountId, Standing>,
}

/// What is remembered of an account.
#[derive(Clone, Debug, Default)]
struct Standing {
    seq: u64,
    /// Whether all its lots and budgets are known: it was followed from its first entry or over a checkpoint.
    whole: bool,
    lots: BTreeMap<u32, Lot>,
    budgets: BTreeMap<u32, BudgetBody>,
    /// The last window of each budget in which something was counted.
    windows: BTreeMap<u32, (Timestamp, Tally)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lot {
    free: Amount,
    expiry: Option<Timestamp>,
    told: bool,
}

impl Alerts {
    /// Alerts by these rules, of a feed that is followed from its beginning, or from the oldest cursor.
    pub fn new(rules: AlertRules) -> Self {
        Self { rules, accounts: HashMap::new() }
    }

    /// Takes the next entry in and says what it crossed.
    ///
    /// # Errors
    /// [`Malformed`] when another version wrote the entry or it was damaged; it is not taken in then.
    pub fn see(&mut self, entry: &Entry) -> Result<Vec<Alert>, Malformed> {
        let (body, moves) = entry.body_and_moves()?;
        let standing = self.accounts.entry(entry.account.clone()).or_default();
        standing.seq = entry.seq;
        let mut kinds = Vec::new();
        kinds.extend(self.rules.low_balance.and_then(|least| fell_below(entry, least)));
        standing.begin(&body);
        let lots_before = standing.lots_free();
        standing.know(&body);
        standing.move_lots(&moves);
        if self.rules.debt {
            kinds.extend(began_to_owe(entry, lots_before, standing.lots_free()));
        }
        standing.count(entry.at, &body, &moves, &self.rules.budget_percents, &mut kinds);
        standing.expiring(entry.at, self.rules.lot_expires_within, &mut kinds);
        let alert = |kind| Alert { account: entry.account.clone(), seq: entry.seq, kind };
        Ok(kinds.into_iter().map(alert).collect())
    }

    /// Says what crossed a rule because time passed: lots that expire soon, in no particular order of accounts.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (account, standing) in &mut self.accounts {
            let mut kinds = Vec::new();
            standing.expiring(now, self.rules.lot_expires_within, &mut kinds);
            alerts.extend(kinds.into_iter().map(|kind| Alert { account: account.clone(), seq: standing.seq, kind }));
        }
        alerts
    }
}

impl Standing {
    fn lots_free(&self) -> i64 {
        self.lots.values().fold(0, |sum, lot| sum.saturating_add(lot.free.minor_units()))
    }

    /// Takes in what was before the first entry that was seen.
    fn begin(&mut self, body: &Body) {
        match body {
            Body::Checkpoint(checkpoint) if !self.whole => self.complete(checkpoint),
            Body::Open(_) | Body::Checkpoint(_) => {}
            _ => return,
        }
        self.whole = true;
    }

    /// What was seen of lots, budgets and windows since the cut is newer than what the checkpoint says of them.
    fn complete(&mut self, checkpoint: &Checkpoint) {
        for LotStanding { number, terms, free, .. } in &checkpoint.lots {
            let lot = self.lots.entry(*number).or_insert_with(|| Lot { free: *free, ..Lot::default() });
            lot.expiry = terms.expiry;
        }
        for BudgetStanding { body, .. } in &checkpoint.budgets {
            self.budgets.entry(body.number).or_insert_with(|| body.clone());
        }
        for WindowStanding { budget, start, tally } in &checkpoint.windows {
            let seen = self.windows.entry(*budget).or_insert((*start, *tally));
            if seen.0 < *start {
                *seen = (*start, *tally);
            }
        }
    }

    /// Lots an entry made, and when they expire.
    fn know(&mut self, body: &Body) {
        match body {
            Body::Grant { lot, terms } => self.know_lot(*lot, terms.expiry),
            Body::Refund { renewed, .. } => {
                renewed.iter().for_each(|Renewed { lot, terms, .. }| self.know_lot(*lot, terms.expiry));
            }
            _ => {}
        }
    }

    fn know_lot(&mut self, number: u32, expiry: Option<Timestamp>) {
        self.lots.insert(number, Lot { expiry, ..Lot::default() });
    }

    fn move_lots(&mut self, moves: &Moves) {
        for moved in &moves.lots {
            self.lots.entry(moved.lot).or_default().free = moved.is;
        }
    }

    /// Percents of budgets that were crossed, by what was counted or by a lower limit.
    fn count(&mut self, at: Timestamp, body: &Body, moves: &Moves, percents: &[u8], kinds: &mut Vec<AlertKind>) {
        if let Body::Budget(new) = body {
            let old = self.budgets.insert(new.number, new.clone()).filter(|old| old.active);
            // A limit is for what comes; what was used in a window that is over crosses it no more.
            let current = self.windows.get(&new.number).filter(|(start, _)| *start == new.window.at(at).start);
            if let (Some(old), Some((start, Tally { used, .. }))) = (old, current) {
                crossed(new, *start, (*used, old.cap.limit()), *used, percents, kinds);
            }
        }
        for moved in &moves.windows {
            let seen = self.windows.entry(moved.budget).or_insert((moved.start, moved.is));
            if moved.start >= seen.0 {
                *seen = (moved.start, moved.is);
            }
            if let Some(budget) = self.budgets.get(&moved.budget) {
                crossed(budget, moved.start, (moved.was.used, budget.cap.limit()), moved.is.used, percents, kinds);
            }
        }
    }

    /// Lots that expire soon. Forgets those that are empty for good, once no checkpoint can say that they are not.
    fn expiring(&mut self, now: Timestamp, within: Option<Duration>, kinds: &mut Vec<AlertKind>) {
        // What can be filled again without its expiry being of interest is made anew then.
        let whole = self.whole;
        self.lots.retain(|_, lot| !whole || !lot.free.is_zero() || lot.expiry.is_some_and(|expiry| now < expiry));
        let Some(within) = within else { return };
        for (number, lot) in self.lots.iter_mut().filter(|(_, lot)| !lot.told && !lot.free.is_zero()) {
            if let Some(expiry) = lot.expiry.filter(|expiry| now.saturating_add(within) >= *expiry && now < *expiry) {
                lot.told = true;
                kinds.push(AlertKind::LotExpiring { lot: *number, free: lot.free, expiry });
            }
        }
    }
}

/// The account's money, held or not, fell below `least` with this entry. A reserve alone moves none of it.
fn fell_below(entry: &Entry, least: Amount) -> Option<AlertKind> {
    let sum = |one: SignedAmount, other: SignedAmount| one.minor_units().saturating_add(other.minor_units());
    let after = sum(entry.available_after, entry.held_after.signed());
    let before = after.saturating_sub(sum(entry.changes.available, entry.changes.held));
    let least = least.minor_units();
    let left = SignedAmount::new(after).unwrap_or_default();
    (before >= least && after < least).then_some(AlertKind::LowBalance { left })
}

/// The base lot fell below zero with this entry.
fn began_to_owe(entry: &Entry, lots_before: i64, lots_after: i64) -> Option<AlertKind> {
    let available = entry.available_after.minor_units();
    let before = available.saturating_sub(entry.changes.available.minor_units()).saturating_sub(lots_before);
    let after = SignedAmount::new(available.saturating_sub(lots_after)).unwrap_or_default();
    (before >= 0 && after.is_negative()).then_some(AlertKind::Debt { owed: after.negative_part() })
}

/// The percents that `is` reaches of the budget's limit and that were not reached before, `was` of what.
fn crossed(
    budget: &BudgetBody,
    window: Timestamp,
    was: (u64, u64),
    is: u64,
    percents: &[u8],
    kinds: &mut Vec<AlertKind>,
) {
    let reaches = |(used, limit): (u64, u64), percent: u8| {
        u128::from(used).saturating_mul(100) >= u128::from(limit).saturating_mul(u128::from(percent))
    };
    let is = (is, budget.cap.limit());
    for percent in percents.iter().filter(|percent| budget.active && !reaches(was, **percent) && reaches(is, **percent))
    {
        kinds.push(AlertKind::Budget {
            budget: budget.number,
            scope: budget.scope.clone(),
            window,
            percent: *percent,
            used: is.0,
            cap: budget.cap,
        });
    }
}
