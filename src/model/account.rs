//! Accounts: one customer's prepaid money in one asset.

use serde::{Deserialize, Serialize};

use super::{
    AccountId, Amount, AmountOverflow, Asset, ChainHash, Lot, MINOR_UNITS_MAX, ModelName, Past, Policy, SignedAmount,
    Timestamp, Turnover,
};

/// What an account may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Everything.
    #[default]
    Active,
    /// No new holds, withdrawals or debits; what runs may finish.
    Frozen,
    /// As frozen, and no deposits; what is left may be withdrawn.
    Closed,
}

/// Bounds an account is held to. None is set by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How far reserves may take the balance below zero.
    pub credit: Amount,
    /// How far a cost above its hold may take the balance below zero; without it, all the way.
    pub debt: Option<Amount>,
    /// How many holds may be open at once.
    pub open_holds: Option<u32>,
    /// The largest hold.
    pub hold: Option<Amount>,
    /// The largest sum of all open holds.
    pub held: Option<Amount>,
    /// The largest believable cost of one request; above it an operator has to say so.
    pub ceiling: Option<Amount>,
}

/// The seven ledger accounts behind every customer account, as totals, as the changes of one entry, or as the
/// [`Turnover`] of many. Credit is positive; they always sum to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books<T = SignedAmount> {
    /// Liability: what is not set aside. Negative: the customer owes.
    pub available: T,
    /// Liability: set aside by open holds.
    pub held: T,
    /// Income: the cost of what was used, in full.
    pub revenue: T,
    /// Clearing: money that came in from outside, with a minus.
    pub funding: T,
    /// Contra revenue: promotional credit given, less what expired unused.
    pub promotion: T,
    /// Income: paid credit that expired unused.
    pub breakage: T,
    /// Contra revenue: cost that was not collected.
    pub write_off: T,
    /// The part of `available` that is promotional.
    pub available_promo: T,
    /// The part of `held` that is promotional.
    pub held_promo: T,
    /// The part of `revenue` that is promotional.
    pub revenue_promo: T,
}

impl<T: Copy> Books<T> {
    /// The columns in their canonical order: the seven ledger accounts, then the three promotional parts.
    pub fn columns(&self) -> [T; 10] {
        [
            self.available,
            self.held,
            self.revenue,
            self.funding,
            self.promotion,
            self.breakage,
            self.write_off,
            self.available_promo,
            self.held_promo,
            self.revenue_promo,
        ]
    }

    /// The books with these columns, in canonical order.
    pub fn from_columns(columns: [T; 10]) -> Self {
        let [
            available,
            held,
            revenue,
            funding,
            promotion,
            breakage,
            write_off,
            available_promo,
            held_promo,
            revenue_promo,
        ] = columns;
        Self {
            available,
            held,
            revenue,
            funding,
            promotion,
            breakage,
            write_off,
            available_promo,
            held_promo,
            revenue_promo,
        }
    }
}

impl Books {
    /// The columns that holds change only where promotional money is in them: all but available, held and revenue.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn rest(&self) -> Self {
        let (available, held, revenue) = Default::default();
        Self { available, held, revenue, ..*self }
    }

    /// The books after `changes`.
    ///
    /// # Errors
    /// [`AmountOverflow`] when a total would leave ±2^59.
    pub fn checked_add(&self, changes: &Self) -> Result<Self, AmountOverflow> {
        let mut sums = self.columns();
        for (sum, change) in sums.iter_mut().zip(changes.columns()) {
            *sum = sum.checked_add(change)?;
        }
        Ok(Self::from_columns(sums))
    }

    /// Sum of the seven ledger accounts: zero, always.
    pub fn sum(&self) -> i64 {
        self.columns().iter().take(7).fold(0, |sum: i64, column| sum.saturating_add(column.minor_units()))
    }

    /// Whether nothing moves.
    pub fn is_zero(&self) -> bool {
        self.columns().iter().all(|column| column.is_zero())
    }
}

impl Books<Turnover> {
    /// With the changes of one more entry.
    #[must_use]
    pub fn plus(&self, changes: &Books) -> Self {
        let mut sums = self.columns();
        for (sum, change) in sums.iter_mut().zip(changes.columns()) {
            *sum = sum.plus(change.into());
        }
        Self::from_columns(sums)
    }
}

/// An account as the ledger keeps it: the sum of its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Account {
    /// Its name.
    pub id: AccountId,
    /// Its number inside its bucket, from 1.
    pub number: i64,
    /// What its amounts are amounts of.
    #[serde(serialize_with = "display")]
    pub asset: Asset,
    /// What it may do.
    pub status: Status,
    /// Bounds it is held to.
    pub limits: Limits,
    /// What its holds are made with.
    pub policy: Policy,
    /// The seven totals.
    pub books: Books,
    /// The part of `available` that is in lots other than the base lot.
    pub lots_free: Amount,
    /// How many lots were ever made.
    pub last_lot: u32,
    /// How many budgets were ever made.
    pub last_budget: u32,
    /// Budgets in force.
    pub budgets: u32,
    /// Holds that are open.
    pub open_holds: u32,
    /// Holds that lapsed and are not sealed yet.
    pub lapsed_holds: u32,
    /// Number of its last entry.
    pub seq: u64,
    /// The last link of its hash chain.
    #[serde(serialize_with = "display")]
    pub head: ChainHash,
    /// Where its last entry stands in the bucket.
    pub last_position: u64,
    /// When its last entry was written.
    pub last_entry_at: Timestamp,
    /// How much of its past is archived.
    pub past: Past,
}

impl Account {
    /// An account without entries; `genesis` is what its first entry follows.
    pub fn new(id: AccountId, number: i64, asset: Asset, limits: Limits, policy: Policy, genesis: ChainHash) -> Self {
        Self {
            id,
            number,
            asset,
            status: Status::Active,
            limits,
            policy,
            books: Books::default(),
            lots_free: Amount::ZERO,
            last_lot: 0,
            last_budget: 0,
            budgets: 0,
            open_holds: 0,
            lapsed_holds: 0,
            seq: 0,
            head: genesis,
            last_position: 0,
            last_entry_at: Timestamp::default(),
            past: Past::default(),
        }
    }

    /// What is in the base lot: the free money no other lot has. Negative: a debt, or used credit.
    pub fn base(&self) -> SignedAmount {
        self.books.available.checked_sub(self.lots_free.signed()).unwrap_or(Amount::MAX.negated())
    }

    /// What reserves can draw on where every lot may pay: free money and the credit limit.
    pub fn spendable(&self) -> SignedAmount {
        self.books.available.checked_add(self.limits.credit.signed()).unwrap_or(SignedAmount::MAX)
    }

    /// What a reserve for `model` can draw on at `now`: the base lot, the lots among `lots` that may pay for it, and the
    /// credit limit. `lots` are the account's lots with free money; others do no harm.
    pub fn spendable_of<'a>(
        &self,
        lots: impl IntoIterator<Item = &'a Lot>,
        model: Option<&ModelName>,
        now: Timestamp,
    ) -> SignedAmount {
        let usable = lots.into_iter().filter(|lot| lot.is_usable(model, now)).map(|lot| lot.free.signed());
        // The base lot alone may lie below the range of amounts.
        let parts = usable.chain([self.books.available, self.lots_free.negated(), self.limits.credit.signed()]);
        let sum = parts.fold(0, |sum: i64, part| sum.saturating_add(part.minor_units()));
        SignedAmount::new(sum.clamp(-MINOR_UNITS_MAX, MINOR_UNITS_MAX)).unwrap_or_default()
    }

    /// The balance, as every reply carries it.
    pub fn balance(&self) -> Balance {
        Balance {
            asset: self.asset,
            available: self.books.available,
            held: self.books.held.positive_part(),
            spendable: self.spendable(),
            open_holds: self.open_holds,
            seq: self.seq,
        }
    }
}

/// An account's balance after entry `seq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Balance {
    /// What it is a balance of.
    #[serde(serialize_with = "display")]
    pub asset: Asset,
    /// What is not set aside; negative: a debt.
    pub available: SignedAmount,
    /// What open holds set aside.
    pub held: Amount,
    /// What a reserve that names no model can draw on: `available` and the credit limit, less what is in lots that are
    /// expired or restricted to models.
    pub spendable: SignedAmount,
    /// How many holds are open.
    pub open_holds: u32,
    /// The entry this is the balance after.
    pub seq: u64,
}

/// Serialises a value the way it prints.
pub(super) fn display<T: std::fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChainHash;

    #[test]
    fn what_can_be_spent_is_exact_at_the_end_of_the_range() {
        let id = "alice".parse().unwrap();
        let mut account = Account::new(id, 1, Asset::USD, Limits::default(), Policy::default(), ChainHash::default());
        account.books.available = SignedAmount::new(17 - MINOR_UNITS_MAX).unwrap();
        account.lots_free = Amount::new(20).unwrap();
        for (credit, spendable) in [(9, 6 - MINOR_UNITS_MAX), (3, -MINOR_UNITS_MAX), (0, -MINOR_UNITS_MAX)] {
            account.limits.credit = Amount::new(credit).unwrap();
            assert_eq!(account.spendable_of([], None, Timestamp::default()).minor_units(), spendable);
        }
    }
}
